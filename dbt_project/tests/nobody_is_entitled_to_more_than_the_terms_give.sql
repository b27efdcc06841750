-- No entitlement is above the welcome volume, or the greatest tier, of its terms.

with tiers as (
    select
        tiers.terms_id,
        max(tiers.mb_per_month) as greatest_mb
    from {{ ref('reward_tiers') }} as tiers
    group by tiers.terms_id
)

select
    entitlements.subscriber_id,
    entitlements.quarter,
    entitlements.month
from {{ ref('entitlements') }} as entitlements
inner join {{ ref('terms') }} as terms on entitlements.terms_id = terms.terms_id
left join tiers on entitlements.terms_id = tiers.terms_id
where
    entitlements.entitled_mb
    > case when entitlements.quarter = 0 then terms.welcome_mb else coalesce(tiers.greatest_mb, 0) end
