-- One row per known call: whose it is, and whether its line and its outcome count on its day.

with calls as (
    select * from {{ ref('stg_calls') }}
),

known_subscribers as (
    select subscriber_id from {{ ref('int_subscribers') }}
),

-- A call without a known subscriber belongs to the holder of its number when it started.
nameless as (
    select
        calls.call_id,
        calls.msisdn,
        calls.started_at
    from calls
    left join known_subscribers on calls.subscriber_id = known_subscribers.subscriber_id
    where
        known_subscribers.subscriber_id is null
        and calls.msisdn is not null
),

holders as (
    select
        nameless.call_id,
        first(states.subscriber_id order by states.state_from desc, states.subscriber_id) as subscriber_id
    from nameless
    inner join {{ ref('int_subscriber_states') }} as states
        on
            nameless.msisdn = states.msisdn
            and nameless.started_at >= states.state_from
            and (states.state_until is null or nameless.started_at < states.state_until)
    where states.status <> 'terminated'
    group by nameless.call_id
),

with_lines as (
    select
        calls.*,
        lines.line is not null as is_line_known,
        coalesce(lines.counts, false) as counts_line
    from calls
    asof left join {{ ref('hotline_lines') }} as lines
        on calls.line = lines.line and calls.started_on >= lines.valid_from
),

with_outcomes as (
    select
        calls.*,
        outcomes.outcome is not null as is_outcome_known,
        coalesce(outcomes.counts, false) as counts_outcome
    from with_lines as calls
    asof left join {{ ref('contact_outcomes') }} as outcomes
        on calls.outcome = outcomes.outcome and calls.started_on >= outcomes.valid_from
)

select
    calls.call_id,
    coalesce(known_subscribers.subscriber_id, holders.subscriber_id) as subscriber_id,
    calls.direction,
    calls.line,
    calls.started_at,
    calls.started_on,
    calls.duration_s,
    calls.outcome,
    calls.is_voided,
    calls.is_line_known,
    calls.counts_line,
    calls.is_outcome_known,
    calls.counts_outcome
from with_outcomes as calls
left join known_subscribers on calls.subscriber_id = known_subscribers.subscriber_id
left join holders on calls.call_id = holders.call_id
