-- One row per app event that the run knows. Events that share an id count once: the first that was delivered.

with deliveries as (
    select * from {{ ref('stg_deliveries') }} where feed = 'app_events'
),

records as not materialized (
    select
        events.event_id,
        events.subscriber_id,
        events.event_type,
        events.occurred_at,
        events.occurred_on,
        events.platform,
        events.app_version,
        events.record_no,
        deliveries.business_date
    from {{ source('raw', 'app_events') }} as events
    inner join deliveries on events.delivery_id = deliveries.delivery_id
    where events.occurred_on <= {{ business_date() }}
),

{{ one_of_each('event_id', 'records.business_date, records.record_no') }}

select * exclude (record_no, business_date) from one_of_each
