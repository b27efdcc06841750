-- One row per entitlement that is decided or was granted, weighed against the ledger once this run has posted.

with due as (
    {{ answered(ref('grants_due')) }}
),

-- The posting adds an entry to what it grants, and changes nothing else.
balanced as (
    select
        entitlements.* replace (
            entitlements.issued_mb + case when due.is_rejected then 0 else coalesce(due.volume_mb, 0) end as issued_mb,
            entitlements.entry_count + cast(due.grant_id is not null as integer) as entry_count,
            entitlements.rejected_count + cast(coalesce(due.is_rejected, false) as integer) as rejected_count
        )
    from {{ ref('int_entitlements') }} as entitlements
    left join due
        on
            entitlements.subscriber_id = due.subscriber_id
            and entitlements.quarter = due.quarter
            and entitlements.month = due.month
)

select weighed.* exclude (allowed_attempts, status, withdrawn_on)
from ({{ weighed('balanced') }}) as weighed
