{{ config(unique_key='subscriber_id') }}
-- One row per enrolled subscriber: its enrolment as recorded.

select
    enrolments.subscriber_id,
    enrolments.wave_id,
    enrolments.terms_id,
    enrolments.enrolled_at,
    enrolments.enrolled_on,
    enrolments.recorded_in_run_on,
    -- Recorded, but what is known today would not enrol this subscriber any more.
    steps.enrolment_outcome <> 'enrols' as is_lapsed
from {{ ref('int_enrolments') }} as enrolments
inner join {{ ref('int_enrolment_steps') }} as steps on enrolments.subscriber_id = steps.subscriber_id
