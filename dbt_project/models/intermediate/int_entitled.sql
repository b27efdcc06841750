{{ config(materialized='view') }}
-- One row per enrolled subscriber, quarter and month: what it is entitled to by what is known now.

with enrolments as (
    select * from {{ ref('int_enrolments') }}
),

months as (
    select cast(unnest([1, 2, 3]) as integer) as month
),

priced_quarters as (
    {{ priced(ref('int_quarters')) }}
),

welcome as (
    select
        enrolments.subscriber_id,
        0 as quarter,
        0 as month,
        true as is_decided,
        enrolments.welcome_mb as entitled_mb,
        {{ add_days('enrolments.enrolled_on', 1) }} as nominal_from,
        {{ add_months(add_days('enrolments.enrolled_on', 1), 1) }} as nominal_until
    from enrolments
),

loyalty as (
    select
        enrolments.subscriber_id,
        quarters.quarter,
        months.month,
        quarters.is_decided,
        case
            when quarters.is_decided and quarters.streak >= 1 then quarters.mb_per_month
            else 0
        end as entitled_mb,
        {{ reward_from('enrolments.enrolled_on', 'quarters.quarter', 'months.month', 'enrolments.settlement_days') }}
            as nominal_from,
        {{ reward_from(
            'enrolments.enrolled_on', 'quarters.quarter', '(months.month + 1)', 'enrolments.settlement_days'
        ) }} as nominal_until
    from enrolments
    inner join priced_quarters as quarters on enrolments.subscriber_id = quarters.subscriber_id
    cross join months
),

entitled as (
    select * from welcome
    union all
    select * from loyalty
),

releases as (
    select
        decisions.subscriber_id,
        decisions.quarter,
        decisions.month,
        max(decisions.allowed_attempts) as allowed_attempts
    from {{ source('ledger', 'decisions') }} as decisions
    where decisions.kind = 'release'
    group by decisions.subscriber_id, decisions.quarter, decisions.month
),

withdrawals as (
    select
        steps.subscriber_id,
        steps.withdrawn_on
    from {{ ref('int_enrolment_steps') }} as steps
    where steps.withdrawn_on is not null
)

select
    entitled.subscriber_id,
    enrolments.wave_id,
    enrolments.terms_id,
    entitled.quarter,
    entitled.month,
    entitled.is_decided,
    cast(entitled.entitled_mb as bigint) as entitled_mb,
    entitled.nominal_from,
    entitled.nominal_until,
    greatest(enrolments.max_attempts, coalesce(releases.allowed_attempts, 0)) as allowed_attempts,
    coalesce(subscribers.status, 'unknown') as status,
    withdrawals.withdrawn_on
from entitled
inner join enrolments on entitled.subscriber_id = enrolments.subscriber_id
left join releases
    on
        entitled.subscriber_id = releases.subscriber_id
        and entitled.quarter = releases.quarter
        and entitled.month = releases.month
left join {{ ref('int_subscribers') }} as subscribers on entitled.subscriber_id = subscribers.subscriber_id
left join withdrawals on entitled.subscriber_id = withdrawals.subscriber_id
