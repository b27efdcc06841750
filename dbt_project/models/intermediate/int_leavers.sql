{{ config(materialized='ephemeral') }}
-- One row per member that has left: the local date since when, be it that its line has ended or that it withdrew.

with departures as (
    select
        exits.subscriber_id,
        exits.left_on
    from {{ ref('int_exits') }} as exits

    union all

    select
        steps.subscriber_id,
        steps.withdrawn_on as left_on
    from {{ ref('int_enrolment_steps') }} as steps
    where steps.withdrawn_on is not null
)

select
    departures.subscriber_id,
    min(departures.left_on) as left_on
from departures
group by departures.subscriber_id
