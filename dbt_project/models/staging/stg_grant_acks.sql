-- One row per answer of billing that the run knows.

with deliveries as (
    select * from {{ ref('stg_deliveries') }} where feed = 'grant_acks'
)

select
    acks.grant_id,
    acks.status,
    acks.reason,
    acks.processed_at,
    acks.processed_on
from {{ source('raw', 'grant_acks') }} as acks
inner join deliveries on acks.delivery_id = deliveries.delivery_id
where acks.processed_on <= {{ business_date() }}
