-- One row per day looked back on, wave, day of enrolment, quarters called in and whether it has left: how many
-- enrolled subscribers stood there. The latest day is the business date; the others let a forecast prove itself.

with cuts as (
    select {{ add_months(business_date(), '-3 * steps.step') }} as cut_on
    from (select unnest([0, 1, 2, 3]) as step) as steps
),

enrolled as (
    select
        cuts.cut_on,
        {{ add_days('cuts.cut_on', 1) }} as next_day,
        enrolments.subscriber_id,
        enrolments.wave_id,
        enrolments.enrolled_on
    from cuts
    inner join {{ ref('int_enrolments') }} as enrolments on enrolments.enrolled_on <= cuts.cut_on
),

-- Quarters begin and end alike for all who enrolled on a day, and those that have ended are the first ones.
ended as (
    select
        days.cut_on,
        days.wave_id,
        days.enrolled_on,
        count(quarters.quarter) as ended_count
    from (select distinct enrolled.cut_on, enrolled.wave_id, enrolled.enrolled_on, enrolled.next_day from enrolled) as days
    left join (
        select distinct
            enrolments.wave_id,
            enrolments.enrolled_on,
            quarters.quarter,
            quarters.quarter_until
        from {{ ref('int_quarters') }} as quarters
        inner join {{ ref('int_enrolments') }} as enrolments on quarters.subscriber_id = enrolments.subscriber_id
    ) as quarters
        on
            days.wave_id = quarters.wave_id
            and days.enrolled_on = quarters.enrolled_on
            and quarters.quarter_until <= days.next_day
    group by days.cut_on, days.wave_id, days.enrolled_on
),

-- By what is known today of the days up to the one looked back on.
called as (
    select
        quarters.subscriber_id,
        list_sort(list(quarters.quarter)) as called_quarters
    from {{ ref('int_quarters') }} as quarters
    where quarters.contact_count > 0
    group by quarters.subscriber_id
),

with_status as (
    select
        enrolled.*,
        ended.ended_count,
        coalesce(
            exits.left_on <= enrolled.cut_on or steps.withdrawn_on <= enrolled.cut_on,
            false
        ) as has_left
    from enrolled
    inner join ended
        on
            enrolled.cut_on = ended.cut_on
            and enrolled.wave_id = ended.wave_id
            and enrolled.enrolled_on = ended.enrolled_on
    left join {{ ref('int_exits') }} as exits on enrolled.subscriber_id = exits.subscriber_id
    left join {{ ref('int_enrolment_steps') }} as steps on enrolled.subscriber_id = steps.subscriber_id
)

select
    members.cut_on,
    members.wave_id,
    members.enrolled_on,
    cast(members.ended_count as integer) as ended_count,
    coalesce(
        array_to_string(
            list_filter(called.called_quarters, lambda quarter: quarter <= members.ended_count), ','
        ),
        ''
    ) as called_quarters,
    coalesce(current_quarter.first_contact_at < {{ local_midnight('members.next_day') }}, false) as has_called_since,
    members.has_left,
    count(*) as member_count
from with_status as members
left join called on members.subscriber_id = called.subscriber_id
left join {{ ref('int_quarters') }} as current_quarter
    on
        members.subscriber_id = current_quarter.subscriber_id
        and members.ended_count + 1 = current_quarter.quarter
        and current_quarter.contact_count > 0
group by all
