{{ config(unique_key='subscriber_id') }}
-- One row per enrolment that this run records.

select
    enrolments.subscriber_id,
    enrolments.wave_id,
    enrolments.enrolled_at,
    enrolments.enrolled_on,
    enrolments.recorded_in_run_on
from {{ ref('int_enrolments') }} as enrolments
where enrolments.is_new
