-- One row per contact of a member of either arm, under the terms of its wave.

select
    calls.call_id,
    calls.subscriber_id,
    members.wave_id,
    members.arm,
    calls.line,
    calls.started_at,
    calls.started_on,
    calls.duration_s,
    calls.outcome
from {{ ref('int_calls') }} as calls
inner join {{ ref('int_members') }} as members on calls.subscriber_id = members.subscriber_id
where
    not calls.is_voided
    and calls.direction = 'inbound'
    and calls.counts_line
    and calls.counts_outcome
    and calls.duration_s >= members.min_contact_seconds
