-- One row per thing that a person should know of, as long as it lasts.

with entitlements as (
    select
        entitlements.*,
        entitlements.subscriber_id
        || case
            when entitlements.quarter = 0 then '.W'
            else '.Q' || entitlements.quarter || 'M' || entitlements.month
        end as entitlement_id
    from {{ ref('entitlements') }} as entitlements
),

calls as (
    select * from {{ ref('int_calls') }} where not is_voided
),

notes as (
    select
        notes.note,
        notes.column_name,
        notes.row_count,
        deliveries.business_date,
        deliveries.file_name
    from {{ source('raw', 'landing_notes') }} as notes
    inner join {{ ref('stg_deliveries') }} as deliveries on notes.delivery_id = deliveries.delivery_id
),

-- Nothing is usual before a week of deliveries, and of few rows any number is.
unusual as (
    select
        sizes.*,
        sizes.record_count < sizes.usual_count as is_smaller
    from (
        select
            deliveries.business_date,
            deliveries.file_name,
            deliveries.record_count,
            count(*) over recently as recent_count,
            median(deliveries.record_count) over recently as usual_count
        from {{ ref('stg_deliveries') }} as deliveries
        window recently as (
            partition by deliveries.feed
            order by deliveries.business_date
            range between interval 14 days preceding and interval 1 day preceding
        )
    ) as sizes
    where {{ is_unusual_size('sizes.record_count', 'sizes.usual_count', 'sizes.recent_count') }}
),

-- A feed starts with its first delivery, whatever date is in the name of that.
starts as (
    select
        days.feed,
        days.day,
        lead(days.day) over by_day as next_on,
        row_number() over by_day = 1 as is_first
    from {{ ref('feed_days') }} as days
    where days.is_delivered
    window by_day as (
        partition by days.feed
        order by days.day
    )
),

-- The day after that of which a draw knew the end.
draws as (
    select
        drawn.wave_id,
        {{ add_days('drawn.drawn_in_run_on', 1) }} as next_day,
        {{ local_midnight(add_days('drawn.drawn_in_run_on', 1)) }} as next_day_begins_at
    from (
        select wave_id, drawn_in_run_on from {{ source('ledger', 'draws') }}
        union all
        select wave_id, drawn_in_run_on from {{ ref('draws_due') }}
    ) as drawn
),

found as (
    select
        'parked_grant' as kind,
        entitlements.entitlement_id || '.' || entitlements.entry_count as subject,
        entitlements.subscriber_id,
        cast(null as date) as first_on,
        1 as item_count,
        entitlements.missing_mb as volume_mb
    from entitlements
    where entitlements.is_parked

    union all

    select
        'overpaid_grant' as kind,
        entitlements.entitlement_id as subject,
        entitlements.subscriber_id,
        cast(null as date) as first_on,
        1 as item_count,
        entitlements.overpaid_mb as volume_mb
    from entitlements
    where entitlements.overpaid_mb > 0

    union all

    select
        'lapsed_enrolment' as kind,
        enrolments.subscriber_id as subject,
        enrolments.subscriber_id,
        enrolments.enrolled_on as first_on,
        1 as item_count,
        cast(null as bigint) as volume_mb
    from {{ ref('enrolments') }} as enrolments
    where enrolments.is_lapsed

    union all

    select
        case when waves.wave_state = 'overdue' then 'overdue_wave' else 'memberless_wave' end as kind,
        waves.wave_id as subject,
        null as subscriber_id,
        waves.invite_on as first_on,
        1 as item_count,
        null as volume_mb
    from {{ ref('pilot_waves') }} as waves
    where waves.wave_state in ('overdue', 'memberless')

    union all

    select
        'unattributed_calls' as kind,
        cast(calls.started_on as varchar) as subject,
        null as subscriber_id,
        calls.started_on as first_on,
        count(*) as item_count,
        null as volume_mb
    from calls
    where calls.subscriber_id is null
    group by calls.started_on

    union all

    -- A name as a source wrote it is shown only when it looks like one, lest it be a person's.
    select
        'unknown_line' as kind,
        case when {{ is_code('calls.line') }} then calls.line else '(other)' end as subject,
        null as subscriber_id,
        min(calls.started_on) as first_on,
        count(*) as item_count,
        null as volume_mb
    from calls
    where not calls.is_line_known
    group by 2

    union all

    select
        'unknown_outcome' as kind,
        calls.outcome as subject,
        null as subscriber_id,
        min(calls.started_on) as first_on,
        count(*) as item_count,
        null as volume_mb
    from calls
    where not calls.is_outcome_known
    group by calls.outcome

    union all

    select
        'unknown_ack' as kind,
        case
            when
                regexp_full_match(acks.grant_id, '[A-Za-z0-9_-]{1,32}[.](W|Q[0-9]{1,3}M[123])[.][0-9]{1,9}')
                -- As many digits are a phone number.
                and not regexp_matches(acks.grant_id, '[0-9]{10}')
                then acks.grant_id
            else '(other)'
        end as subject,
        null as subscriber_id,
        min(acks.processed_on) as first_on,
        count(*) as item_count,
        null as volume_mb
    from {{ ref('stg_grant_acks') }} as acks
    left join {{ ref('grants') }} as grants on acks.grant_id = grants.grant_id
    where grants.grant_id is null
    group by 2

    union all

    select
        'contradicting_ack' as kind,
        grants.grant_id as subject,
        grants.subscriber_id,
        grants.answered_on as first_on,
        1 as item_count,
        grants.volume_mb
    from {{ ref('grants') }} as grants
    where grants.is_contradicting

    union all

    select
        'rejected_rows' as kind,
        deliveries.file_name as subject,
        null as subscriber_id,
        deliveries.business_date as first_on,
        deliveries.rejected_count as item_count,
        null as volume_mb
    from {{ ref('stg_deliveries') }} as deliveries
    where deliveries.rejected_count > 0

    union all

    select
        notes.note as kind,
        case
            when notes.column_name is null then notes.file_name
            else notes.file_name || ': ' || notes.column_name
        end as subject,
        null as subscriber_id,
        notes.business_date as first_on,
        notes.row_count as item_count,
        null as volume_mb
    from notes

    union all

    select
        case when unusual.is_smaller then 'smaller_than_usual' else 'larger_than_usual' end as kind,
        unusual.file_name as subject,
        null as subscriber_id,
        unusual.business_date as first_on,
        1 as item_count,
        null as volume_mb
    from unusual

    union all

    -- Not named in the invitation file: whoever opens it in a spreadsheet would run the address.
    select
        'withheld_address' as kind,
        members.subscriber_id as subject,
        members.subscriber_id,
        members.invite_on as first_on,
        1 as item_count,
        null as volume_mb
    from {{ ref('members') }} as members
    inner join draws on members.wave_id = draws.wave_id
    inner join {{ ref('int_subscriber_states') }} as as_drawn
        on
            members.subscriber_id = as_drawn.subscriber_id
            and {{ holds_before('as_drawn', 'draws.next_day', 'draws.next_day_begins_at') }}
    where
        members.arm = 'treatment'
        and not members.is_invited
        and as_drawn.status = 'active'
        and as_drawn.has_marketing_consent
        and {{ is_formula('as_drawn.email') }}

    union all

    select
        'waived_but_delivered' as kind,
        days.feed || ' ' || days.day as subject,
        null as subscriber_id,
        days.day as first_on,
        1 as item_count,
        null as volume_mb
    from {{ ref('feed_days') }} as days
    where days.is_waived and days.is_delivered

    union all

    select
        'early_start' as kind,
        starts.feed || ' ' || starts.day as subject,
        null as subscriber_id,
        starts.day as first_on,
        1 as item_count,
        null as volume_mb
    from starts
    where starts.is_first and starts.next_on > {{ add_days('starts.day', 31) }}
)

select
    found.kind,
    found.subject,
    found.subscriber_id,
    found.first_on,
    cast(found.item_count as bigint) as item_count,
    cast(found.volume_mb as bigint) as volume_mb
from found
