{{ config(unique_key='subscriber_id') }}
-- One row per member and thing that comes next for it, with its day.

with members as (
    select * from {{ ref('members') }}
),

quarters as (
    select * from {{ ref('quarters') }}
)

select
    members.subscriber_id,
    'enrolment_ends' as what,
    0 as quarter,
    0 as month,
    members.enrol_until as comes_on,
    cast(null as bigint) as volume_mb
from members
where
    members.enrolment_state in ('no_install', 'no_login', 'no_video', 'not_active')
    and members.enrol_until > {{ add_days(business_date(), 1) }}

union all

-- A run covers the day before it.
select
    quarters.subscriber_id,
    'decision' as what,
    quarters.quarter,
    0 as month,
    {{ add_days('quarters.decidable_on', 1) }} as comes_on,
    null as volume_mb
from quarters
where quarters.quarter_state in ('call_free_so_far', 'broken_so_far')

union all

select
    quarters.subscriber_id,
    'reward' as what,
    quarters.quarter,
    0 as month,
    quarters.rewarded_from as comes_on,
    quarters.mb_per_month as volume_mb
from quarters
inner join members on quarters.subscriber_id = members.subscriber_id
where
    quarters.quarter_state = 'call_free_so_far'
    and quarters.mb_per_month > 0
    and members.withdrawn_at is null

union all

select
    entitlements.subscriber_id,
    'grant' as what,
    entitlements.quarter,
    entitlements.month,
    entitlements.nominal_from as comes_on,
    entitlements.missing_mb as volume_mb
from {{ ref('entitlements') }} as entitlements
where entitlements.entitlement_state = 'to_come'
