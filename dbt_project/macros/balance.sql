{# What was issued of each entitlement, what is missing, and the first rule that keeps it from being granted.
   `grants` is one row per ledger entry with billing's answer. It is read twice: before posting, to find what
   is due, and with the batch of this run, for the marts. So both follow the same rules. What it needs of the
   entitled comes along, so that what was balanced can be balanced again. #}
{% macro balance(entitled, grants) %}
with run as (
    select * from {{ ref('int_run') }}
),

issued as (
    select
        grants.subscriber_id,
        grants.quarter,
        grants.month,
        sum(grants.volume_mb) filter (where not grants.is_rejected) as issued_mb,
        count(*) as entry_count,
        count(*) filter (where grants.is_rejected) as rejected_count
    from {{ grants }} as grants
    group by grants.subscriber_id, grants.quarter, grants.month
),

balanced as (
    select
        entitled.*,
        cast(coalesce(issued.issued_mb, 0) as bigint) as issued_mb,
        coalesce(issued.entry_count, 0) as entry_count,
        coalesce(issued.rejected_count, 0) as rejected_count,
        coalesce(issued.rejected_count >= entitled.allowed_attempts, false) as is_parked
    from {{ entitled }} as entitled
    left join issued
        on
            entitled.subscriber_id = issued.subscriber_id
            and entitled.quarter = issued.quarter
            and entitled.month = issued.month
    where entitled.is_decided or issued.entry_count is not null
)

select
    balanced.subscriber_id,
    balanced.wave_id,
    balanced.terms_id,
    balanced.quarter,
    balanced.month,
    balanced.nominal_from,
    balanced.nominal_until,
    balanced.is_decided,
    balanced.entitled_mb,
    balanced.issued_mb,
    case when balanced.is_decided then greatest(balanced.entitled_mb - balanced.issued_mb, 0) else 0 end
        as missing_mb,
    case when balanced.is_decided then greatest(balanced.issued_mb - balanced.entitled_mb, 0) else 0 end
        as overpaid_mb,
    cast(balanced.entry_count as integer) as entry_count,
    cast(balanced.rejected_count as integer) as rejected_count,
    balanced.is_parked,
    case
        when not balanced.is_decided then 'undecided'
        when balanced.entitled_mb = 0 then 'nothing_earned'
        when balanced.issued_mb >= balanced.entitled_mb then 'granted'
        when balanced.is_parked then 'parked'
        when balanced.quarter > 0 and balanced.withdrawn_on < balanced.nominal_from then 'withdrawn'
        when balanced.nominal_from > {{ add_days('run.business_date', 1) }} then 'to_come'
        when balanced.status <> 'active' then 'not_active'
        when not run.is_current then 'waiting'
        else 'due'
    end as entitlement_state,
    balanced.allowed_attempts,
    balanced.status,
    balanced.withdrawn_on
from balanced
cross join run
{% endmacro %}

{# Billing's answer to each grant of `grants`, as far as the run knows. #}
{% macro answered(grants) %}
with answers as (
    select
        acks.grant_id,
        bool_or(acks.status = 'accepted') as has_accepted,
        bool_or(acks.status = 'rejected') as has_rejected,
        -- The reason of the latest rejection.
        max_by(acks.reason, (acks.processed_at, acks.reason)) filter (where acks.status = 'rejected')
            as rejection_reason,
        min(acks.processed_on) as answered_on
    from {{ ref('stg_grant_acks') }} as acks
    group by acks.grant_id
)

select
    grants.*,
    case
        when answers.grant_id is null then 'unanswered'
        when answers.has_accepted then 'accepted'
        else 'rejected'
    end as answer,
    coalesce(answers.has_accepted and answers.has_rejected, false) as is_contradicting,
    -- Rejected is what billing rejected and never accepted (rule 1.8).
    coalesce(answers.has_rejected and not answers.has_accepted, false) as is_rejected,
    -- A reason is shown when it is a code: free text could name a person.
    case
        when
            regexp_full_match(answers.rejection_reason, '[A-Za-z][A-Za-z0-9_-]{0,31}')
            and not regexp_matches(answers.rejection_reason, '[0-9]{5}')
            then answers.rejection_reason
        when answers.rejection_reason is not null then '(other)'
    end as rejection_reason,
    answers.answered_on
from {{ grants }} as grants
left join answers on grants.grant_id = answers.grant_id
{% endmacro %}
