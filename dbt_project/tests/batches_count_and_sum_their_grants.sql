{{ config(meta={'is_of_all': true}) }}
-- Lines and volume of each batch are those of its grants, the batch of this run included.

with batches as (
    select
        batches.sequence,
        batches.line_count,
        batches.volume_mb
    from {{ source('ledger', 'batches') }} as batches

    union all

    select
        batch.sequence,
        batch.line_count,
        batch.volume_mb
    from {{ ref('batch_due') }} as batch
),

grants as (
    select
        grants.sequence,
        count(*) as line_count,
        sum(grants.volume_mb) as volume_mb
    from {{ ref('grants') }} as grants
    group by grants.sequence
)

select coalesce(batches.sequence, grants.sequence) as sequence
from batches
full join grants on batches.sequence = grants.sequence
where
    batches.sequence is null
    or batches.line_count <> coalesce(grants.line_count, 0)
    or batches.volume_mb <> coalesce(grants.volume_mb, 0)
