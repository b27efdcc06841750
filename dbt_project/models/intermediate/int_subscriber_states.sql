{{ config(unique_key='subscriber_id') }}
-- One row per subscriber and state, with the time from which and until which it held.

-- Read three times, which costs less than to write it down.
with changes as not materialized (
    select * from {{ ref('stg_subscribers') }}
),

changed as (
    {{ ids_of_several('changes', 'subscriber_id') }}
),

-- Of changes at the same instant the one delivered last counts.
changes_of_several as (
    select changes.*
    from changes
    semi join changed on hash(changes.subscriber_id) = changed.id_hash
    qualify row_number() over (
        partition by changes.subscriber_id, changes.changed_at
        order by changes.business_date desc, changes.record_no desc
    ) = 1
),

states as (
    select
        changes.*,
        cast(null as timestamp) as state_until
    from changes
    anti join changed on hash(changes.subscriber_id) = changed.id_hash

    union all

    select
        changes.*,
        lead(changes.changed_at) over (partition by changes.subscriber_id order by changes.changed_at) as state_until
    from changes_of_several as changes
)

select
    states.subscriber_id,
    states.msisdn,
    states.email,
    states.brand,
    states.tariff,
    states.status,
    states.has_marketing_consent,
    states.activated_on,
    states.changed_at as state_from,
    states.changed_on as state_from_on,
    states.state_until
from states
