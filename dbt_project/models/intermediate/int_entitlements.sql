{{ config(unique_key='subscriber_id') }}
-- One row per entitlement that is decided or was granted, weighed against the ledger before this run posts.

with issued as (
    select
        grants.subscriber_id,
        grants.quarter,
        grants.month,
        sum(grants.volume_mb) filter (where not grants.is_rejected) as issued_mb,
        count(*) as entry_count,
        count(*) filter (where grants.is_rejected) as rejected_count
    from {{ ref('int_grants') }} as grants
    group by grants.subscriber_id, grants.quarter, grants.month
),

balanced as (
    select
        entitled.*,
        cast(coalesce(issued.issued_mb, 0) as bigint) as issued_mb,
        cast(coalesce(issued.entry_count, 0) as integer) as entry_count,
        cast(coalesce(issued.rejected_count, 0) as integer) as rejected_count
    from {{ ref('int_entitled') }} as entitled
    left join issued
        on
            entitled.subscriber_id = issued.subscriber_id
            and entitled.quarter = issued.quarter
            and entitled.month = issued.month
    where entitled.is_decided or issued.entry_count is not null
)

{{ weighed('balanced') }}
