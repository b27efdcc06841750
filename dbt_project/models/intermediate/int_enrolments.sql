{{ config(unique_key='subscriber_id') }}
-- One row per enrolled subscriber: as recorded, and those that this run records.

with recorded as (
    select
        enrolments.subscriber_id,
        enrolments.enrolled_at,
        enrolments.enrolled_on,
        enrolments.recorded_in_run_on,
        false as is_new
    from {{ source('ledger', 'enrolments') }} as enrolments
),

-- The first current run that finds an enrolment records it, and it stays as recorded.
found as (
    select
        steps.subscriber_id,
        steps.enrols_at as enrolled_at,
        steps.enrols_on as enrolled_on,
        run.business_date as recorded_in_run_on,
        true as is_new
    from {{ ref('int_enrolment_steps') }} as steps
    inner join {{ ref('int_run') }} as run on run.is_current and run.is_posting
    left join recorded on steps.subscriber_id = recorded.subscriber_id
    where
        steps.enrolment_outcome = 'enrols'
        and recorded.subscriber_id is null
),

enrolments as (
    select * from recorded
    union all
    select * from found
)

select
    enrolments.subscriber_id,
    members.wave_id,
    members.terms_id,
    enrolments.enrolled_at,
    enrolments.enrolled_on,
    enrolments.recorded_in_run_on,
    enrolments.is_new,
    members.welcome_mb,
    members.quarters,
    members.settlement_days,
    members.max_attempts
from enrolments
inner join {{ ref('int_members') }} as members on enrolments.subscriber_id = members.subscriber_id
