-- One row per entitlement that is decided or was granted, weighed against the ledger once this run has posted.

with before as (
    select * from {{ ref('int_entitlements') }}
),

due as (
    select
        grants.subscriber_id,
        grants.quarter,
        grants.month
    from {{ ref('grants_due') }} as grants
),

-- The posting changes what it grants, and nothing else.
unchanged as (
    select before.*
    from before
    anti join due
        on
            before.subscriber_id = due.subscriber_id
            and before.quarter = due.quarter
            and before.month = due.month
),

granted as (
    select
        before.subscriber_id,
        before.wave_id,
        before.terms_id,
        before.quarter,
        before.month,
        before.is_decided,
        before.entitled_mb,
        before.nominal_from,
        before.nominal_until,
        before.allowed_attempts,
        before.status,
        before.withdrawn_on
    from before
    semi join due
        on
            before.subscriber_id = due.subscriber_id
            and before.quarter = due.quarter
            and before.month = due.month
),

posted as (
    select grants.*
    from {{ ref('int_grants_posted') }} as grants
    semi join due
        on
            grants.subscriber_id = due.subscriber_id
            and grants.quarter = due.quarter
            and grants.month = due.month
),

answered_grants as (
    {{ answered('posted') }}
),

after as (
    select * from unchanged
    union all
    select * from ({{ balance('granted', 'answered_grants') }})
)

select
    after.subscriber_id,
    after.wave_id,
    after.terms_id,
    after.quarter,
    after.month,
    after.nominal_from,
    after.nominal_until,
    after.is_decided,
    after.entitled_mb,
    after.issued_mb,
    after.missing_mb,
    after.overpaid_mb,
    after.entry_count,
    after.rejected_count,
    after.is_parked,
    after.entitlement_state
from after
