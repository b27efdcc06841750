{{ config(unique_key='subscriber_id') }}
-- One row per treatment member: how far it came on the way to enrolment, by what is known now.

with members as (
    select * from {{ ref('int_members') }} where arm = 'treatment'
),

events as (
    select
        events.subscriber_id,
        events.event_type,
        events.occurred_at,
        events.occurred_on
    from {{ ref('stg_app_events') }} as events
    inner join members on events.subscriber_id = members.subscriber_id
),

installs as (
    select
        events.subscriber_id,
        min(events.occurred_at) as installed_at
    from events
    where events.event_type = 'app_installed'
    group by events.subscriber_id
),

logins as (
    select
        events.subscriber_id,
        min(events.occurred_at) as signed_in_at
    from events
    inner join installs on events.subscriber_id = installs.subscriber_id
    where
        events.event_type = 'portal_login'
        and events.occurred_at >= installs.installed_at
    group by events.subscriber_id
),

videos as (
    select
        events.subscriber_id,
        events.occurred_at,
        events.occurred_on
    from events
    inner join logins on events.subscriber_id = logins.subscriber_id
    inner join members on events.subscriber_id = members.subscriber_id
    where
        events.event_type = 'video_completed'
        and events.occurred_at >= logins.signed_in_at
        and events.occurred_at >= members.invited_at
),

videos_with_status as (
    select
        videos.subscriber_id,
        videos.occurred_at,
        videos.occurred_on,
        states.status
    from videos
    left join {{ ref('int_subscriber_states') }} as states
        on
            videos.subscriber_id = states.subscriber_id
            and videos.occurred_at >= states.state_from
            and videos.occurred_at < coalesce(states.state_until, timestamp 'infinity')
),

watched as (
    select
        videos.subscriber_id,
        min(videos.occurred_at) as video_watched_at,
        min(videos.occurred_at) filter (where videos.status = 'active') as watched_active_at,
        min(videos.occurred_on) filter (where videos.status = 'active') as watched_active_on
    from videos_with_status as videos
    group by videos.subscriber_id
),

withdrawals as (
    select
        events.subscriber_id,
        min(events.occurred_at) as withdrawn_at,
        min(events.occurred_on) as withdrawn_on
    from events
    where events.event_type = 'programme_withdrawn'
    group by events.subscriber_id
),

judged as (
    select
        members.subscriber_id,
        members.wave_id,
        members.terms_id,
        installs.installed_at,
        logins.signed_in_at,
        watched.video_watched_at,
        watched.watched_active_at,
        watched.watched_active_on,
        withdrawals.withdrawn_at,
        withdrawals.withdrawn_on,
        case
            when installs.installed_at is null then 'no_install'
            when logins.signed_in_at is null then 'no_login'
            when watched.video_watched_at is null then 'no_video'
            when watched.watched_active_at is null then 'not_active'
            when watched.watched_active_on >= {{ enrol_until('members') }}
                then 'too_late'
            when withdrawals.withdrawn_at <= watched.watched_active_at then 'withdrawn'
            else 'enrols'
        end as enrolment_outcome
    from members
    left join installs on members.subscriber_id = installs.subscriber_id
    left join logins on members.subscriber_id = logins.subscriber_id
    left join watched on members.subscriber_id = watched.subscriber_id
    left join withdrawals on members.subscriber_id = withdrawals.subscriber_id
)

select
    judged.subscriber_id,
    judged.wave_id,
    judged.terms_id,
    judged.installed_at,
    judged.signed_in_at,
    judged.video_watched_at,
    judged.withdrawn_at,
    judged.withdrawn_on,
    judged.enrolment_outcome,
    case when judged.enrolment_outcome = 'enrols' then judged.watched_active_at end as enrols_at,
    case when judged.enrolment_outcome = 'enrols' then judged.watched_active_on end as enrols_on
from judged
