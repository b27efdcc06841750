-- Every day from enrolment to the day that decides the quarter is there, or waived. Missing data never pays.

with spans as (
    -- Many subscribers share a span: each is looked at once.
    select distinct
        enrolments.enrolled_on,
        quarters.decidable_on
    from {{ ref('quarters') }} as quarters
    inner join {{ ref('enrolments') }} as enrolments on quarters.subscriber_id = enrolments.subscriber_id
    where quarters.is_decided
),

complete_days as (
    select days.day
    from {{ ref('feed_days') }} as days
    where days.feed = 'calls' and days.is_complete
)

select
    spans.enrolled_on,
    spans.decidable_on
from spans
left join complete_days
    on spans.enrolled_on <= complete_days.day and spans.decidable_on >= complete_days.day
group by spans.enrolled_on, spans.decidable_on
having count(complete_days.day) <> spans.decidable_on - spans.enrolled_on + 1
