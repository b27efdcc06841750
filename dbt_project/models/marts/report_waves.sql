-- One row per drawn wave: how many were to be drawn, how complete calls are, and what calls of nobody would add.

with waves as (
    select
        waves.wave_id,
        waves.invite_on,
        waves.window_until,
        waves.window_closes_on,
        terms.terms_id,
        terms.quarters,
        terms.settlement_days,
        terms.enrolment_days,
        terms.min_contact_seconds,
        policy.treatment_size,
        policy.control_size
    from {{ ref('kpi_waves') }} as waves
    inner join {{ ref('terms') }} as terms on waves.terms_id = terms.terms_id
    inner join {{ ref('int_waves') }} as policy on waves.wave_id = policy.wave_id
),

days as (
    select
        waves.wave_id,
        count(*) filter (where days.is_delivered and days.day < waves.window_until) as delivered_days,
        count(*) filter (where not days.is_delivered and days.day < waves.window_until) as waived_days,
        count(*) filter (where not days.is_complete and days.day < waves.window_closes_on) as missing_days
    from waves
    inner join {{ ref('int_feed_days') }} as days on days.feed = 'calls' and days.day >= waves.invite_on
    group by waves.wave_id
),

-- What would be a contact, whosever it is.
contacts as (
    select
        waves.wave_id,
        count(*) as contact_count,
        count(*) filter (where calls.subscriber_id is null) as unattributed_contact_count
    from waves
    inner join {{ ref('int_calls') }} as calls
        on
            calls.started_on >= waves.invite_on
            and calls.started_on < waves.window_until
            and calls.duration_s >= waves.min_contact_seconds
    where
        not calls.is_voided
        and calls.direction = 'inbound'
        and calls.counts_line
        and calls.counts_outcome
    group by waves.wave_id
),

-- A streak earns the greatest tier that it reaches.
streaks as (
    select
        steps.wave_id,
        string_agg(cast(coalesce(tiers.mb_per_month, 0) as varchar), ',' order by steps.streak) as mb_by_streak
    from (
        select
            waves.wave_id,
            waves.terms_id,
            cast(unnest(generate_series(1, waves.quarters)) as integer) as streak
        from waves
    ) as steps
    {{ left_join_tiers('steps') }}
    group by steps.wave_id
),

lines as (
    select count(*) as line_count
    from {{ ref('int_subscribers') }} as subscribers
    where subscribers.status <> 'terminated'
)

select
    waves.wave_id,
    waves.treatment_size,
    waves.control_size,
    waves.quarters,
    waves.settlement_days,
    waves.enrolment_days,
    streaks.mb_by_streak,
    coalesce(days.delivered_days, 0) as delivered_days,
    coalesce(days.waived_days, 0) as waived_days,
    coalesce(days.missing_days, 0) as missing_days,
    coalesce(contacts.contact_count, 0) as contact_count,
    coalesce(contacts.unattributed_contact_count, 0) as unattributed_contact_count,
    lines.line_count
from waves
cross join lines
left join streaks on waves.wave_id = streaks.wave_id
left join days on waves.wave_id = days.wave_id
left join contacts on waves.wave_id = contacts.wave_id
