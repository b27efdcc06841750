-- One row per daily feed that has started: how far is it complete?

with days as (
    select * from {{ ref('int_feed_days') }}
)

select
    days.feed,
    days.starts_on,
    bool_and(days.is_complete) as is_complete,
    bool_and(days.is_delivered) as is_delivered_in_full
from days
where days.day >= days.starts_on
group by days.feed, days.starts_on
