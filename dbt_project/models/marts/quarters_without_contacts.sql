{{ config(unique_key='subscriber_id') }}
-- One row per enrolled subscriber, quarter with contacts and quarter that would be worth something else without them.

with quarters as (
    select * from {{ ref('int_quarters') }}
),

-- For each quarter with contacts, the subscriber's life without them.
lives as (
    select
        quarters.subscriber_id,
        quarters.wave_id,
        quarters.terms_id,
        broken.quarter as without_quarter,
        broken.contact_count as without_count,
        quarters.quarter,
        quarters.quarter_from,
        quarters.is_decided,
        quarters.streak as streak_with,
        {{ streak(
            'quarters.quarter',
            'quarters.contact_count > 0 and quarters.quarter <> broken.quarter',
            'quarters.subscriber_id, broken.quarter'
        ) }} as streak
    from quarters
    inner join quarters as broken
        on quarters.subscriber_id = broken.subscriber_id and broken.contact_count > 0
),

priced_lives as (
    {{ priced('lives') }}
)

select
    lives.subscriber_id,
    lives.wave_id,
    lives.terms_id,
    lives.without_quarter,
    lives.without_count,
    lives.quarter,
    lives.is_decided,
    lives.streak,
    lives.mb_per_month
from priced_lives as lives
where
    lives.streak <> lives.streak_with
    and lives.quarter_from <= {{ business_date() }}
