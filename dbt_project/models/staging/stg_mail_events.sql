-- One row per mail event that the run knows. Events that share an id count once: the first that was delivered.

with deliveries as (
    select * from {{ ref('stg_deliveries') }} where feed = 'mail_events'
)

select
    events.event_id,
    events.subscriber_id,
    events.wave_id,
    events.event_type,
    events.occurred_at,
    events.occurred_on
from {{ source('raw', 'mail_events') }} as events
inner join deliveries on events.delivery_id = deliveries.delivery_id
where events.occurred_on <= {{ business_date() }}
qualify row_number() over (
    partition by events.event_id
    order by deliveries.business_date, events.record_no
) = 1
