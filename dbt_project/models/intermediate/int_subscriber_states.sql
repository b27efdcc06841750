-- One row per subscriber and state, with the time from which and until which it held.

with changes as not materialized (
    select * from {{ ref('stg_subscribers') }}
),

-- Most subscribers have one state, and need not be sorted. A hash that two share only sorts some of these in vain.
changed as (
    select hash(changes.subscriber_id) as id_hash
    from changes
    group by hash(changes.subscriber_id)
    having count(*) > 1
),

states as (
    select
        changes.*,
        cast(null as timestamp) as state_until
    from changes
    anti join changed on hash(changes.subscriber_id) = changed.id_hash

    union all

    select
        several.*,
        lead(several.changed_at) over (partition by several.subscriber_id order by several.changed_at) as state_until
    from (
        select changes.*
        from changes
        semi join changed on hash(changes.subscriber_id) = changed.id_hash
        -- Of changes at the same instant the one delivered last counts.
        qualify row_number() over (
            partition by changes.subscriber_id, changes.changed_at
            order by changes.business_date desc, changes.record_no desc
        ) = 1
    ) as several
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
