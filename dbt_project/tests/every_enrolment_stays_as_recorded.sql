-- What arrives after an enrolment was recorded does not move it.

select recorded.subscriber_id
from {{ source('ledger', 'enrolments') }} as recorded
left join {{ ref('enrolments') }} as enrolments on recorded.subscriber_id = enrolments.subscriber_id
where
    enrolments.enrolled_at is distinct from recorded.enrolled_at
    or enrolments.enrolled_on is distinct from recorded.enrolled_on
    or enrolments.recorded_in_run_on is distinct from recorded.recorded_in_run_on
