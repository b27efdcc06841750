{{ config(unique_key='subscriber_id') }}
-- One row per enrolled subscriber and quarter of its terms: contacts, streak, and whether it is decided.

with enrolments as (
    select * from {{ ref('int_enrolments') }}
),

numbered as (
    select
        enrolments.*,
        cast(unnest(generate_series(1, enrolments.quarters)) as integer) as quarter
    from enrolments
),

quarters as (
    select
        numbered.subscriber_id,
        numbered.wave_id,
        numbered.terms_id,
        numbered.quarter,
        numbered.enrolled_on,
        numbered.settlement_days,
        numbered.quarter = numbered.quarters as is_last,
        {{ add_months('numbered.enrolled_on', '3 * (numbered.quarter - 1)') }} as quarter_from,
        {{ add_months('numbered.enrolled_on', '3 * numbered.quarter') }} as quarter_until
    from numbered
),

counted as (
    select
        contacts.subscriber_id,
        contacts.quarter,
        count(*) as contact_count,
        min(contacts.started_at) as first_contact_at
    from {{ ref('int_contacts') }} as contacts
    where contacts.quarter is not null
    group by contacts.subscriber_id, contacts.quarter
),

calls_days as (
    select * from {{ ref('int_feed_days') }} where feed = 'calls'
)

select
    quarters.subscriber_id,
    quarters.wave_id,
    quarters.terms_id,
    quarters.quarter,
    quarters.is_last,
    quarters.enrolled_on,
    quarters.quarter_from,
    quarters.quarter_until,
    {{ reward_from('quarters.enrolled_on', 'quarters.quarter', '1', 'quarters.settlement_days') }} as rewarded_from,
    -- The day to which calls must be complete, so the first on which a run can decide the quarter.
    {{ add_days('quarters.quarter_until', 'quarters.settlement_days - 1') }} as decidable_on,
    coalesce(
        calls_days.complete_until > {{ add_days('quarters.quarter_until', 'quarters.settlement_days - 1') }},
        false
    ) as is_decided,
    coalesce(counted.contact_count, 0) as contact_count,
    counted.first_contact_at,
    counted.contact_count is null as is_call_free,
    {{ streak('quarters.quarter', 'counted.contact_count is not null', 'quarters.subscriber_id') }} as streak,
    {{ streak('quarters.quarter', 'counted.contact_count is not null', 'quarters.subscriber_id', ago=1) }}
        as streak_before
from quarters
left join counted
    on quarters.subscriber_id = counted.subscriber_id and quarters.quarter = counted.quarter
left join calls_days on quarters.enrolled_on = calls_days.day
