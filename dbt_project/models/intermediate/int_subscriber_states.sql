-- One row per subscriber and state, with the time from which and until which it held.

with changes as (
    select *
    from {{ ref('stg_subscribers') }}
    -- Of changes at the same instant the one delivered last counts.
    qualify row_number() over (
        partition by subscriber_id, changed_at
        order by business_date desc, record_no desc
    ) = 1
)

select
    changes.subscriber_id,
    changes.msisdn,
    changes.email,
    changes.brand,
    changes.tariff,
    changes.status,
    changes.has_marketing_consent,
    changes.activated_on,
    changes.changed_at as state_from,
    changes.changed_on as state_from_on,
    lead(changes.changed_at) over (
        partition by changes.subscriber_id
        order by changes.changed_at
    ) as state_until
from changes
