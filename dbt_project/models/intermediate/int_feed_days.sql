-- One row per daily feed and day from its start (or its earliest waiver) to the business date: is the day complete?

with deliveries as (
    select * from {{ ref('stg_deliveries') }}
),

waivers as (
    select distinct
        decisions.feed,
        decisions.business_date
    from {{ source('ledger', 'decisions') }} as decisions
    where
        decisions.kind = 'waive'
        and decisions.business_date <= {{ business_date() }}
),

-- A feed starts with the first delivery that came, even a bad one, unless an operator has refused it.
starts as (
    select
        received.feed,
        min(received.business_date) as starts_on
    from {{ source('ledger', 'deliveries') }} as received
    left join {{ source('ledger', 'decisions') }} as refusals
        on received.delivery_id = refusals.delivery_id and refusals.kind = 'refuse'
    where
        received.feed in ({{ daily_feeds() }})
        and received.business_date <= {{ business_date() }}
        and refusals.decision_id is null
    group by received.feed
),

first_days as (
    select
        days.feed,
        min(days.day) as first_on
    from (
        select starts.feed, starts.starts_on as day from starts
        union all
        select waivers.feed, waivers.business_date as day from waivers
    ) as days
    group by days.feed
),

calendar as (
    select
        first_days.feed,
        cast(unnest(generate_series(first_days.first_on, {{ business_date() }}, interval 1 day)) as date) as day
    from first_days
),

days as (
    select
        calendar.feed,
        calendar.day,
        starts.starts_on,
        deliveries.delivery_id,
        deliveries.delivery_id is not null as is_delivered,
        waivers.feed is not null as is_waived,
        deliveries.delivery_id is not null or waivers.feed is not null as is_complete
    from calendar
    left join starts on calendar.feed = starts.feed
    left join deliveries on calendar.feed = deliveries.feed and calendar.day = deliveries.business_date
    left join waivers on calendar.feed = waivers.feed and calendar.day = waivers.business_date
)

select
    days.feed,
    days.day,
    days.starts_on,
    days.delivery_id,
    days.is_delivered,
    days.is_waived,
    days.is_complete,
    -- The feed is complete from this day to the day before this date.
    coalesce(
        min(case when not days.is_complete then days.day end) over (
            partition by days.feed
            order by days.day
            rows between current row and unbounded following
        ),
        {{ add_days(business_date(), 1) }}
    ) as complete_until
from days
