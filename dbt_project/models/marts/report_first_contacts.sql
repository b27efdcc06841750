-- One row per drawn wave, arm and day since the invitation on which a member had its first contact or left the count.

with members as (
    select
        members.wave_id,
        members.arm,
        members.first_contact_on is not null as has_called,
        coalesce(members.first_contact_on, least(exits.left_on, waves.window_until)) - waves.invite_on as day
    from {{ ref('kpi_members') }} as members
    inner join {{ ref('kpi_waves') }} as waves on members.wave_id = waves.wave_id
    left join {{ ref('int_exits') }} as exits on members.subscriber_id = exits.subscriber_id
    where waves.window_days > 0
)

select
    members.wave_id,
    members.arm,
    -- A line that had ended before the invitation leaves at once.
    cast(greatest(members.day, 0) as integer) as day,
    count(*) filter (where members.has_called) as first_contact_count,
    count(*) filter (where not members.has_called) as left_count
from members
group by all
