-- One row per thing that waits for deliveries: what, how many, and for which days of which feed.

with run as (
    select * from {{ ref('int_run') }}
),

missing as (
    select
        days.feed,
        days.day
    from {{ ref('int_feed_days') }} as days
    where not days.is_complete and days.day >= days.starts_on
),

-- Each daily feed that is not complete, with the days it lacks; no days: it has not started.
lacking as (
    select
        feeds.feed,
        count(missing.day) as missing_count,
        string_agg(cast(missing.day as varchar), ', ' order by missing.day) as missing_days
    from unnest([{{ daily_feeds() }}]) as feeds(feed)
    left join missing on feeds.feed = missing.feed
    left join {{ ref('int_feeds') }} as started on feeds.feed = started.feed
    where missing.day is not null or started.feed is null
    group by feeds.feed
),

not_current as (
    select * from lacking where feed in ('subscribers', 'app_events')
),

late_quarters as (
    select
        quarters.subscriber_id,
        quarters.quarter,
        quarters.decidable_on,
        enrolments.enrolled_on
    from {{ ref('int_quarters') }} as quarters
    inner join {{ ref('int_enrolments') }} as enrolments on quarters.subscriber_id = enrolments.subscriber_id
    cross join run
    where
        not quarters.is_decided
        and quarters.decidable_on <= run.business_date
),

quarters_waiting as (
    select
        'quarters' as what,
        count(*) as item_count,
        'calls' as feed,
        (
            select string_agg(cast(missing.day as varchar), ', ' order by missing.day)
            from missing
            where
                missing.feed = 'calls'
                and missing.day >= (select min(late_quarters.enrolled_on) from late_quarters)
                and missing.day <= (select max(late_quarters.decidable_on) from late_quarters)
        ) as missing_days
    from late_quarters
    having count(*) > 0
),

enrolments_waiting as (
    select
        'enrolments' as what,
        count(*) as item_count
    from {{ ref('members') }} as members
    where members.enrolment_state = 'waiting'
    having count(*) > 0
),

grants_waiting as (
    select
        'grants' as what,
        count(*) as item_count
    from {{ ref('entitlements') }} as entitlements
    where entitlements.entitlement_state = 'waiting'
    having count(*) > 0
),

draws_waiting as (
    select
        'draw of wave ' || waves.wave_id as what,
        1 as item_count
    from {{ ref('pilot_waves') }} as waves
    where waves.wave_state = 'waiting'
),

-- A draw waits for real deliveries: a waived day does not help it. The first must be of a day before the invitation.
draw_days as (
    select days.day
    from {{ ref('int_feed_days') }} as days
    where days.feed = 'subscribers' and days.day >= days.starts_on and not days.is_delivered

    union

    select {{ add_days('min(waves.invite_on)', -1) }} as day
    from {{ ref('pilot_waves') }} as waves
    inner join {{ ref('int_feeds') }} as feeds on feeds.feed = 'subscribers'
    where waves.wave_state = 'waiting'
    having min(waves.invite_on) <= min(feeds.starts_on)
),

draw_feed as (
    select
        'subscribers' as feed,
        string_agg(cast(draw_days.day as varchar), ', ' order by draw_days.day) as missing_days
    from draw_days
)

select
    'deliveries' as what,
    lacking.missing_count as item_count,
    lacking.feed,
    lacking.missing_days
from lacking

union all

select
    quarters_waiting.what,
    quarters_waiting.item_count,
    quarters_waiting.feed,
    quarters_waiting.missing_days
from quarters_waiting

union all

select
    waiting.what,
    waiting.item_count,
    not_current.feed,
    not_current.missing_days
from (
    select * from enrolments_waiting
    union all
    select * from grants_waiting
) as waiting
cross join not_current

union all

select
    draws_waiting.what,
    draws_waiting.item_count,
    draw_feed.feed,
    draw_feed.missing_days
from draws_waiting
cross join draw_feed
