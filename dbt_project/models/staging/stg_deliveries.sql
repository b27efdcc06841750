{{ config(materialized='table') }}
-- One row per feed and business date: the delivery in force, as far as the run knows.

with accepted as (
    select
        deliveries.delivery_id,
        deliveries.feed,
        deliveries.business_date,
        deliveries.file_name,
        deliveries.record_count,
        deliveries.rejected_count
    from {{ source('ledger', 'deliveries') }} as deliveries
    where
        deliveries.verdict = 'accepted'
        and deliveries.business_date <= {{ business_date() }}
)

select
    accepted.delivery_id,
    accepted.feed,
    accepted.business_date,
    accepted.file_name,
    accepted.record_count,
    accepted.rejected_count
from accepted
qualify row_number() over (
    partition by accepted.feed, accepted.business_date
    order by accepted.delivery_id desc
) = 1
