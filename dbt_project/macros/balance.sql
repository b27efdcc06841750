{# What is missing of each entitlement, and the first rule that keeps it from being granted. `balanced` is one row
   per entitlement with what was issued of it. It is read twice: before posting, to find what is due, and with what
   this run grants, for the marts. So both follow the same rules. #}
{% macro weighed(balanced) %}
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
    balanced.entry_count,
    balanced.rejected_count,
    balanced.rejected_count >= balanced.allowed_attempts as is_parked,
    case
        when not balanced.is_decided then 'undecided'
        when balanced.entitled_mb = 0 then 'nothing_earned'
        when balanced.issued_mb >= balanced.entitled_mb then 'granted'
        when balanced.rejected_count >= balanced.allowed_attempts then 'parked'
        when balanced.quarter > 0 and balanced.withdrawn_on < balanced.nominal_from then 'withdrawn'
        when balanced.nominal_from > {{ add_days('run.business_date', 1) }} then 'to_come'
        when balanced.status <> 'active' then 'not_active'
        when not run.is_current then 'waiting'
        else 'due'
    end as entitlement_state,
    balanced.allowed_attempts,
    balanced.status,
    balanced.withdrawn_on
from {{ balanced }} as balanced
cross join {{ ref('int_run') }} as run
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
        -- Of the answer that counts.
        coalesce(min(acks.processed_on) filter (where acks.status = 'accepted'), min(acks.processed_on)) as answered_on
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
        when {{ is_code('answers.rejection_reason') }} then answers.rejection_reason
        when answers.rejection_reason is not null then '(other)'
    end as rejection_reason,
    answers.answered_on
from {{ grants }} as grants
left join answers on grants.grant_id = answers.grant_id
{% endmacro %}
