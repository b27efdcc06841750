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

-- By what is known today of the days up to the one looked back on.
quarters as (
    select
        enrolled.cut_on,
        enrolled.subscriber_id,
        count(*) filter (where quarters.quarter_until <= enrolled.next_day) as ended_count,
        coalesce(
            list(quarters.quarter order by quarters.quarter) filter (
                where
                    quarters.quarter_until <= enrolled.next_day
                    and quarters.contact_count > 0
            ),
            cast([] as integer[])
        ) as called_quarters,
        coalesce(
            bool_or(quarters.first_contact_at < {{ local_midnight('enrolled.next_day') }}) filter (
                where quarters.quarter_until > enrolled.next_day
            ),
            false
        ) as has_called_since
    from enrolled
    inner join {{ ref('int_quarters') }} as quarters
        on enrolled.subscriber_id = quarters.subscriber_id and quarters.quarter_from <= enrolled.next_day
    group by enrolled.cut_on, enrolled.subscriber_id
),

with_status as (
    select
        enrolled.*,
        coalesce(
            exits.left_on <= enrolled.cut_on or steps.withdrawn_on <= enrolled.cut_on,
            false
        ) as has_left
    from enrolled
    left join {{ ref('int_exits') }} as exits on enrolled.subscriber_id = exits.subscriber_id
    left join {{ ref('int_enrolment_steps') }} as steps on enrolled.subscriber_id = steps.subscriber_id
)

select
    members.cut_on,
    members.wave_id,
    members.enrolled_on,
    cast(coalesce(quarters.ended_count, 0) as integer) as ended_count,
    array_to_string(coalesce(quarters.called_quarters, cast([] as integer[])), ',') as called_quarters,
    coalesce(quarters.has_called_since, false) as has_called_since,
    members.has_left,
    count(*) as member_count
from with_status as members
left join quarters on members.cut_on = quarters.cut_on and members.subscriber_id = quarters.subscriber_id
group by all
