-- One row per drawn wave, arm, enrolled or not, shadow quarter, streak and volume: how many members the ladder would
-- have given it, had it run from the invitation on for everybody.

with waves as (
    select
        waves.wave_id,
        waves.invite_on,
        waves.window_until,
        terms.terms_id,
        terms.settlement_days,
        cast(unnest(generate_series(1, terms.quarters)) as integer) as quarter
    from {{ ref('kpi_waves') }} as waves
    inner join {{ ref('terms') }} as terms on waves.terms_id = terms.terms_id
),

-- The quarters of the programme, counted from the invitation, that are decided.
quarters as (
    select
        waves.wave_id,
        waves.terms_id,
        waves.quarter,
        {{ add_days(add_months('waves.invite_on', '3 * waves.quarter'), 'waves.settlement_days') }} as decided_from
    from waves
    where {{ add_days(add_months('waves.invite_on', '3 * waves.quarter'), 'waves.settlement_days') }}
        <= waves.window_until
),

-- Members with the same quarters called in and the same end of their line climb alike.
climbers as (
    select
        members.wave_id,
        members.arm,
        members.enrolled_on is not null as is_enrolled,
        members.called_quarters,
        exits.left_on,
        count(*) as member_count
    from {{ ref('kpi_members') }} as members
    left join {{ ref('int_exits') }} as exits on members.subscriber_id = exits.subscriber_id
    group by all
),

steps as (
    select
        climbers.*,
        quarters.terms_id,
        quarters.quarter,
        quarters.decided_from,
        {{ streak(
            'quarters.quarter',
            '((climbers.called_quarters >> (quarters.quarter - 1)) & 1) = 1',
            'climbers.wave_id, climbers.arm, climbers.is_enrolled, climbers.called_quarters, climbers.left_on',
        ) }} as streak
    from climbers
    inner join quarters on climbers.wave_id = quarters.wave_id
),

-- Three months of the tier that the streak reaches, for lines that have not ended when it is decided.
priced as (
    select
        steps.*,
        case
            when steps.left_on < steps.decided_from then 0
            else 3 * coalesce(tiers.mb_per_month, 0)
        end as earned_mb
    from steps
    {{ left_join_tiers('steps') }}
),

added_up as (
    select
        priced.*,
        sum(priced.earned_mb) over (
            partition by
                priced.wave_id, priced.arm, priced.is_enrolled, priced.called_quarters, priced.left_on
            order by priced.quarter
        ) as total_mb
    from priced
)

select
    added_up.wave_id,
    added_up.arm,
    added_up.is_enrolled,
    added_up.quarter,
    added_up.streak,
    cast(added_up.earned_mb as bigint) as earned_mb,
    cast(added_up.total_mb as bigint) as total_mb,
    cast(sum(added_up.member_count) as bigint) as member_count
from added_up
group by all
