-- One row per change of a subscriber that the run knows.

with deliveries as (
    select * from {{ ref('stg_deliveries') }} where feed = 'subscribers'
)

select
    changes.subscriber_id,
    changes.msisdn,
    changes.email,
    changes.brand,
    changes.tariff,
    changes.status,
    changes.marketing_consent as has_marketing_consent,
    changes.activated_on,
    changes.changed_at,
    changes.changed_on,
    deliveries.business_date,
    changes.record_no
from {{ source('raw', 'subscribers') }} as changes
inner join deliveries on changes.delivery_id = deliveries.delivery_id
where changes.changed_on <= {{ business_date() }}
