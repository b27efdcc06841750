{{ config(unique_key='subscriber_id') }}
-- One row per member of either arm: what the arms are compared by, as drawn, enrolled or not.

with members as (
    select * from {{ ref('members') }}
),

waves as (
    select
        waves.*,
        {{ local_midnight('waves.window_until') }} as window_ends_at
    from {{ ref('kpi_waves') }} as waves
),

-- With no regard to enrolment: the arms must be counted alike.
contacts as (
    select
        contacts.subscriber_id,
        count(*) filter (where contacts.started_on >= waves.invite_on) as contact_count,
        count(*) filter (where contacts.started_on < waves.invite_on) as before_contact_count,
        min(contacts.started_on) filter (where contacts.started_on >= waves.invite_on) as first_contact_on,
        -- Terms have at most 100 quarters: what comes after these shares a bit.
        bit_or(cast(1 as hugeint) << least((contacts.wave_month - 1) // 3, 100))
            filter (where contacts.started_on >= waves.invite_on) as called_quarters
    from {{ ref('int_contacts') }} as contacts
    inner join waves
        on
            contacts.wave_id = waves.wave_id
            and contacts.started_on >= waves.before_from
            and contacts.started_on < waves.window_until
    group by contacts.subscriber_id
),

-- Few have left: to look them up costs less than to join a state of each member.
terminated_when_the_window_ends as (
    select members.subscriber_id
    from {{ ref('int_subscriber_states') }} as states
    inner join members on states.subscriber_id = members.subscriber_id
    inner join waves
        on
            members.wave_id = waves.wave_id
            and {{ holds_before('states', 'waves.window_until', 'waves.window_ends_at') }}
    where states.status = 'terminated'
),

terminated as (
    select subscribers.subscriber_id
    from {{ ref('int_subscribers') }} as subscribers
    where subscribers.status = 'terminated'
),

entitlements as (
    select
        entitlements.subscriber_id,
        sum(entitlements.issued_mb) as granted_mb,
        sum(entitlements.missing_mb) filter (where not entitlements.is_parked) as missing_mb
    from {{ ref('entitlements') }} as entitlements
    group by entitlements.subscriber_id
)

select
    members.subscriber_id,
    members.wave_id,
    members.arm,
    as_drawn.brand,
    as_drawn.tariff,
    as_drawn.activated_on,
    members.is_invited,
    members.installed_at is not null as has_installed,
    members.signed_in_at is not null as has_signed_in,
    members.video_watched_at is not null as has_watched,
    members.enrolled_on,
    cast(members.enrolled_on - members.invite_on as integer) as days_to_enrol,
    coalesce(contacts.before_contact_count, 0) as before_contact_count,
    case when waves.window_days > 0 then coalesce(contacts.contact_count, 0) end as contact_count,
    contacts.first_contact_on,
    coalesce(contacts.called_quarters, 0) as called_quarters,
    case
        when waves.window_days > 0
            then members.subscriber_id in (select ended.subscriber_id from terminated_when_the_window_ends as ended)
    end as is_terminated,
    cast(coalesce(entitlements.granted_mb, 0) as bigint) as granted_mb,
    -- Who has left earns no more of what is missing.
    cast(
        case
            when
                members.withdrawn_at is not null
                or members.subscriber_id in (select terminated.subscriber_id from terminated) then 0
            else coalesce(entitlements.missing_mb, 0)
        end as bigint
    ) as owed_mb
from members
left join {{ ref('int_subscriber_states') }} as as_drawn
    on members.subscriber_id = as_drawn.subscriber_id and {{ holds_on_the_eve('as_drawn', 'members') }}
left join contacts on members.subscriber_id = contacts.subscriber_id
left join entitlements on members.subscriber_id = entitlements.subscriber_id
-- Last: after this join DuckDB takes the members for few, and would keep them all in memory for each join to come.
inner join waves on members.wave_id = waves.wave_id
