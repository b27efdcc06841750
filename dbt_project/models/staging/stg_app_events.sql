-- One row per app event that the run knows. Events that share an id count once: the first that was delivered.

with deliveries as (
    select * from {{ ref('stg_deliveries') }} where feed = 'app_events'
)

select
    events.event_id,
    events.subscriber_id,
    events.event_type,
    events.occurred_at,
    events.occurred_on,
    events.platform,
    events.app_version
from {{ source('raw', 'app_events') }} as events
inner join deliveries on events.delivery_id = deliveries.delivery_id
where events.occurred_on <= {{ business_date() }}
qualify row_number() over (
    partition by events.event_id
    order by deliveries.business_date, events.record_no
) = 1
