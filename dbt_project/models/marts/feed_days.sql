-- One row per daily feed and day up to the business date: delivered, waived or missing?

select
    days.feed,
    days.day,
    coalesce(days.day < days.starts_on, true) as is_before_start,
    days.is_delivered,
    days.is_waived,
    days.is_complete,
    deliveries.file_name,
    deliveries.record_count,
    deliveries.rejected_count
from {{ ref('int_feed_days') }} as days
left join {{ ref('stg_deliveries') }} as deliveries on days.delivery_id = deliveries.delivery_id
