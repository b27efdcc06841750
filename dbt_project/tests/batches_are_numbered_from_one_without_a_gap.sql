-- Billing misses a file when a number is missing, so there must be no gap, the batch of this run included.

with batches as (
    select batches.sequence from {{ source('ledger', 'batches') }} as batches
    union all
    select batch.sequence from {{ ref('batch_due') }} as batch
)

select count(*) as batch_count
from batches
having min(batches.sequence) <> 1 or max(batches.sequence) <> count(*) or count(distinct batches.sequence) <> count(*)
