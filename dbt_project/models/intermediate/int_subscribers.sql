{{ config(materialized='view') }}
-- One row per subscriber: its state as of the end of the business date.

select
    states.subscriber_id,
    states.msisdn,
    states.email,
    states.brand,
    states.tariff,
    states.status,
    states.has_marketing_consent,
    states.activated_on,
    states.state_from
from {{ ref('int_subscriber_states') }} as states
where states.state_until is null
