-- What the entitlements call issued is, entry by entry, what the ledger holds and billing has not rejected.

with grants as (
    select
        grants.subscriber_id,
        grants.quarter,
        grants.month,
        coalesce(sum(grants.volume_mb) filter (where grants.answer <> 'rejected'), 0) as issued_mb,
        count(*) as entry_count
    from {{ ref('grants') }} as grants
    group by grants.subscriber_id, grants.quarter, grants.month
),

entitlements as (
    select * from {{ ref('entitlements') }} where entry_count > 0
)

select
    coalesce(grants.subscriber_id, entitlements.subscriber_id) as subscriber_id,
    grants.issued_mb as granted_mb,
    entitlements.issued_mb
from grants
full join entitlements
    on
        grants.subscriber_id = entitlements.subscriber_id
        and grants.quarter = entitlements.quarter
        and grants.month = entitlements.month
where
    grants.issued_mb is distinct from entitlements.issued_mb
    or grants.entry_count is distinct from entitlements.entry_count
