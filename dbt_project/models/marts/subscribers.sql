{{ config(materialized='view', unique_key='subscriber_id') }}
-- One row per subscriber: its state as of the end of the business date, and its place in the pilot.

select
    subscribers.subscriber_id,
    subscribers.brand,
    subscribers.tariff,
    subscribers.status,
    subscribers.has_marketing_consent,
    subscribers.activated_on,
    subscribers.state_from,
    members.wave_id,
    members.arm
from {{ ref('int_subscribers') }} as subscribers
left join {{ ref('int_members') }} as members on subscribers.subscriber_id = members.subscriber_id
