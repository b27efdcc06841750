-- One row per mail event that the run knows. Events that share an id count once: the first that was delivered.

with deliveries as (
    select * from {{ ref('stg_deliveries') }} where feed = 'mail_events'
),

records as not materialized (
    select
        events.event_id,
        events.subscriber_id,
        events.wave_id,
        events.event_type,
        events.occurred_at,
        events.occurred_on,
        events.record_no,
        deliveries.business_date
    from {{ source('raw', 'mail_events') }} as events
    inner join deliveries on events.delivery_id = deliveries.delivery_id
    where events.occurred_on <= {{ business_date() }}
),

{{ one_of_each('event_id', 'records.business_date, records.record_no') }}

select * exclude (record_no, business_date) from one_of_each
