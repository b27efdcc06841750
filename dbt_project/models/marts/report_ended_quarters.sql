-- One row per day looked back on, wave, quarter, streak before it and outcome: how many quarters had ended so, of
-- enrolled subscribers that had not left. By what is known today of the days up to the one looked back on.

with cuts as (
    {{ days_looked_back_on() }}
),

ended as (
    select
        quarters.wave_id,
        quarters.quarter,
        quarters.quarter_until,
        quarters.streak_before,
        quarters.is_call_free,
        leavers.left_on,
        count(*) as quarter_count
    from {{ ref('int_quarters') }} as quarters
    left join {{ ref('int_leavers') }} as leavers on quarters.subscriber_id = leavers.subscriber_id
    group by all
)

select
    cuts.cut_on,
    ended.wave_id,
    ended.quarter,
    ended.streak_before,
    ended.is_call_free,
    cast(sum(ended.quarter_count) as bigint) as quarter_count
from ended
inner join cuts
    on
        ended.quarter_until <= cuts.next_day
        and (ended.left_on is null or ended.left_on > cuts.cut_on)
group by all
