{{ config(unique_key='call_id') }}
-- One row per known call: whose it is, and whether its line and its outcome count on its day.

with calls as (
    select * from {{ ref('stg_calls') }}
),

named as materialized (
    select
        calls.*,
        coalesce(calls.subscriber_id in (select subscriber_id from {{ ref('int_subscribers') }}), false) as is_known
    from calls
),

-- A call without a known subscriber belongs to the holder of its number when it started.
holders as (
    select
        nameless.call_id,
        first(states.subscriber_id order by states.state_from desc, states.subscriber_id) as subscriber_id
    from named as nameless
    inner join {{ ref('int_subscriber_states') }} as states
        on
            nameless.msisdn = states.msisdn
            and nameless.started_at >= states.state_from
            and (states.state_until is null or nameless.started_at < states.state_until)
    where
        not nameless.is_known
        and states.status <> 'terminated'
    group by nameless.call_id
),

lines as (
    {{ in_periods('hotline_lines', 'line') }}
),

outcomes as (
    {{ in_periods('contact_outcomes', 'outcome') }}
)

select
    calls.call_id,
    case when calls.is_known then calls.subscriber_id else holders.subscriber_id end as subscriber_id,
    calls.direction,
    calls.line,
    calls.started_at,
    calls.started_on,
    calls.duration_s,
    calls.outcome,
    calls.is_voided,
    lines.line is not null as is_line_known,
    coalesce(lines.counts, false) as counts_line,
    outcomes.outcome is not null as is_outcome_known,
    coalesce(outcomes.counts, false) as counts_outcome
from named as calls
left join holders on calls.call_id = holders.call_id
left join lines
    on
        calls.line = lines.line
        and calls.started_on >= lines.valid_from
        and calls.started_on < lines.valid_until
left join outcomes
    on
        calls.outcome = outcomes.outcome
        and calls.started_on >= outcomes.valid_from
        and calls.started_on < outcomes.valid_until
