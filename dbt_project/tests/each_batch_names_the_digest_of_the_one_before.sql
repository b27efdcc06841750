-- The chain of digests: each file vouches for the one before it.

select batches.sequence
from {{ source('ledger', 'batches') }} as batches
left join {{ source('ledger', 'batches') }} as previous on batches.sequence = previous.sequence + 1
where batches.previous_sha256 is distinct from previous.sha256
