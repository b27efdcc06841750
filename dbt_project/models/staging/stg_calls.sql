-- One row per call that the run knows: the current one of the records that share its id.

with deliveries as (
    select * from {{ ref('stg_deliveries') }} where feed = 'calls'
)

select
    calls.call_id,
    calls.record_version,
    calls.subscriber_id,
    calls.msisdn,
    calls.direction,
    calls.line,
    calls.started_at,
    calls.started_on,
    calls.duration_s,
    calls.outcome,
    calls.voided as is_voided
from {{ source('raw', 'calls') }} as calls
inner join deliveries on calls.delivery_id = deliveries.delivery_id
where calls.started_on <= {{ business_date() }}
qualify row_number() over (
    partition by calls.call_id
    order by calls.record_version desc, deliveries.business_date desc, calls.record_no desc
) = 1
