-- One row per day looked back on, wave, day of enrolment, quarters called in and whether it has left: how many
-- enrolled subscribers stood there. The latest day is the business date; the others let a forecast prove itself.

with cuts as (
    select {{ add_months(business_date(), '-3 * steps.step') }} as cut_on
    from (select unnest([0, 1, 2, 3]) as step) as steps
),

-- Quarters begin and end alike for all who enrolled on a day, and those that have ended are the first ones.
days as (
    select distinct
        enrolments.wave_id,
        enrolments.enrolled_on,
        quarters.quarter,
        quarters.quarter_until
    from {{ ref('int_quarters') }} as quarters
    inner join {{ ref('int_enrolments') }} as enrolments on quarters.subscriber_id = enrolments.subscriber_id
),

ended as (
    select
        cuts.cut_on,
        days.wave_id,
        days.enrolled_on,
        count(*) filter (where days.quarter_until <= {{ add_days('cuts.cut_on', 1) }}) as ended_count
    from days
    inner join cuts on days.enrolled_on <= cuts.cut_on
    group by cuts.cut_on, days.wave_id, days.enrolled_on
),

called as (
    select
        quarters.subscriber_id,
        list({'quarter': quarters.quarter, 'first_contact_at': quarters.first_contact_at}) as calls
    from {{ ref('int_quarters') }} as quarters
    where quarters.contact_count > 0
    group by quarters.subscriber_id
),

withdrawals as (
    select
        steps.subscriber_id,
        steps.withdrawn_on
    from {{ ref('int_enrolment_steps') }} as steps
    where steps.withdrawn_on is not null
),

-- Each subscriber once: only then as often as is looked back, which need not be remembered.
lives as (
    select
        enrolments.wave_id,
        enrolments.enrolled_on,
        least(exits.left_on, withdrawals.withdrawn_on) as left_on,
        coalesce(called.calls, []) as calls
    from {{ ref('int_enrolments') }} as enrolments
    left join called on enrolments.subscriber_id = called.subscriber_id
    left join {{ ref('int_exits') }} as exits on enrolments.subscriber_id = exits.subscriber_id
    left join withdrawals on enrolments.subscriber_id = withdrawals.subscriber_id
)

-- By what is known today of the days up to the one looked back on.
select
    ended.cut_on,
    lives.wave_id,
    lives.enrolled_on,
    cast(ended.ended_count as integer) as ended_count,
    array_to_string(
        list_sort(
            list_transform(
                list_filter(lives.calls, lambda call: call.quarter <= ended.ended_count), lambda call: call.quarter
            )
        ),
        ','
    ) as called_quarters,
    len(
        list_filter(
            lives.calls,
            lambda call: call.quarter = ended.ended_count + 1
            and call.first_contact_at < {{ local_midnight(add_days('ended.cut_on', 1)) }}
        )
    ) > 0 as has_called_since,
    coalesce(lives.left_on <= ended.cut_on, false) as has_left,
    count(*) as member_count
from lives
inner join ended on lives.wave_id = ended.wave_id and lives.enrolled_on = ended.enrolled_on
group by all
