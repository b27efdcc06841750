-- One row per call that the run knows: the current one of the records that share its id.

with deliveries as (
    select * from {{ ref('stg_deliveries') }} where feed = 'calls'
),

records as not materialized (
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
        calls.voided as is_voided,
        calls.record_no,
        deliveries.business_date
    from {{ source('raw', 'calls') }} as calls
    inner join deliveries on calls.delivery_id = deliveries.delivery_id
    where calls.started_on <= {{ business_date() }}
),

{{ one_of_each('call_id', 'records.record_version desc, records.business_date desc, records.record_no desc') }}

select * exclude (record_no, business_date) from one_of_each
