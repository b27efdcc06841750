{{ config(unique_key='subscriber_id') }}
-- One row per contact of a member of either arm, under the terms of its wave, the quarter that it breaks, and its month.

with contacts as (
    select
        calls.call_id,
        calls.subscriber_id,
        members.wave_id,
        members.arm,
        calls.line,
        calls.started_at,
        calls.started_on,
        calls.duration_s,
        calls.outcome,
        members.invite_on,
        enrolments.enrolled_at,
        enrolments.quarters,
        {{ whole_months('members.invite_on', 'calls.started_on') }} + 1 as wave_month,
        {{ whole_months('enrolments.enrolled_on', 'calls.started_on') }} // 3 + 1 as quarter
    from {{ ref('int_calls') }} as calls
    inner join {{ ref('int_members') }} as members on calls.subscriber_id = members.subscriber_id
    left join {{ ref('int_enrolments') }} as enrolments on calls.subscriber_id = enrolments.subscriber_id
    where
        not calls.is_voided
        and calls.direction = 'inbound'
        and calls.counts_line
        and calls.counts_outcome
        and calls.duration_s >= members.min_contact_seconds
)

select
    contacts.call_id,
    contacts.subscriber_id,
    contacts.wave_id,
    contacts.arm,
    contacts.line,
    contacts.started_at,
    contacts.started_on,
    contacts.duration_s,
    contacts.outcome,
    -- By its local date, and only at or after enrolment (rule 1.6).
    cast(
        case
            when contacts.started_at >= contacts.enrolled_at and contacts.quarter <= contacts.quarters
                then contacts.quarter
        end
        as integer
    ) as quarter,
    -- With no regard to enrolment, so that both arms are counted alike.
    cast(case when contacts.started_on >= contacts.invite_on then contacts.wave_month end as integer) as wave_month
from contacts
