{{ config(unique_key='subscriber_id') }}
-- One row per entitlement that is decided or was granted, weighed against the ledger once this run has posted.

with due as (
    {{ answered(ref('grants_due')) }}
),

-- What the run posts is known by its state, as in `grants_due`, so only what billing has rejected beforehand is joined.
-- A test of the data adds up the grants, and finds the same.
posted as (
    select
        entitlements.*,
        entitlements.entitlement_state = 'due' and run.is_posting as is_posted_now,
        due.grant_id is not null as is_rejected_now
    from {{ ref('int_entitlements') }} as entitlements
    cross join {{ ref('int_run') }} as run
    left join due
        on
            entitlements.subscriber_id = due.subscriber_id
            and entitlements.quarter = due.quarter
            and entitlements.month = due.month
            and due.is_rejected
),

-- The posting adds an entry to what it grants, and changes nothing else.
balanced as (
    select
        posted.* replace (
            posted.issued_mb
            + case when posted.is_posted_now and not posted.is_rejected_now then posted.missing_mb else 0 end
                as issued_mb,
            posted.entry_count + cast(posted.is_posted_now as integer) as entry_count,
            posted.rejected_count + cast(posted.is_rejected_now as integer) as rejected_count
        )
    from posted
)

select weighed.* exclude (allowed_attempts, status, withdrawn_on)
from ({{ weighed('balanced') }}) as weighed
