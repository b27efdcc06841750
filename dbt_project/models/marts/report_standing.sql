-- One row per day looked back on, wave, day of enrolment, ended quarters, streak, a contact since and whether it has
-- left: how many enrolled subscribers stood there. By what is known today of the days up to the one looked back on.

with cuts as (
    {{ days_looked_back_on() }}
),

-- Looked up, and not joined: how many stand somewhere is not foreseen, so a join would keep all of them in memory.
left_by as (
    select
        cuts.cut_on,
        leavers.subscriber_id
    from {{ ref('int_leavers') }} as leavers
    inner join cuts on leavers.left_on <= cuts.cut_on
),

-- Where each stands is said by one of its quarters: the one under way, or the last once that has ended.
stood as (
    select
        cuts.cut_on,
        quarters.wave_id,
        quarters.enrolled_on,
        case
            when quarters.quarter_until <= cuts.next_day then quarters.quarter
            else quarters.quarter - 1
        end as ended_count,
        case
            when quarters.quarter_until <= cuts.next_day then quarters.streak
            else quarters.streak_before
        end as streak,
        quarters.quarter_until > cuts.next_day
        and coalesce(quarters.first_contact_at < cuts.next_day_begins_at, false) as has_called_since,
        (cuts.cut_on, quarters.subscriber_id) in (
            select
                left_by.cut_on,
                left_by.subscriber_id
            from left_by
        ) as has_left
    from {{ ref('int_quarters') }} as quarters
    inner join cuts
        on
            quarters.enrolled_on <= cuts.cut_on
            and quarters.quarter_from <= cuts.next_day
            and (quarters.quarter_until > cuts.next_day or quarters.is_last)
)

select
    stood.cut_on,
    stood.wave_id,
    stood.enrolled_on,
    stood.ended_count,
    stood.streak,
    stood.has_called_since,
    stood.has_left,
    count(*) as member_count
from stood
group by all
