{{ config(materialized='ephemeral') }}
-- One row per member whose line has ended: the local date since when, as of the end of the business date.

select
    members.subscriber_id,
    min(states.state_from_on) as left_on
from {{ ref('int_members') }} as members
inner join {{ ref('int_subscriber_states') }} as states on members.subscriber_id = states.subscriber_id
where states.status = 'terminated'
group by members.subscriber_id
having bool_or(states.state_until is null)
