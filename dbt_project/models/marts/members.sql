{{ config(unique_key='subscriber_id') }}
-- One row per member of a drawn wave: its arm, and how far it came on the way to enrolment.

with invited as (
    select members.subscriber_id
    from {{ source('ledger', 'members') }} as members
    where members.invitation_email is not null

    union all

    select members.subscriber_id
    from {{ ref('members_due') }} as members
    where members.invitation_email is not null
)

select
    members.subscriber_id,
    members.wave_id,
    members.terms_id,
    members.arm,
    members.draw_rank,
    members.invite_on,
    members.invited_at,
    {{ enrol_until('members') }} as enrol_until,
    invited.subscriber_id is not null as is_invited,
    steps.installed_at,
    steps.signed_in_at,
    steps.video_watched_at,
    steps.withdrawn_at,
    enrolments.enrolled_at,
    enrolments.enrolled_on,
    case
        when members.arm = 'control' then 'control'
        when enrolments.subscriber_id is not null then 'enrolled'
        when steps.enrolment_outcome = 'enrols' then 'waiting'
        else steps.enrolment_outcome
    end as enrolment_state
from {{ ref('int_members') }} as members
left join invited on members.subscriber_id = invited.subscriber_id
left join {{ ref('int_enrolment_steps') }} as steps on members.subscriber_id = steps.subscriber_id
left join {{ ref('int_enrolments') }} as enrolments on members.subscriber_id = enrolments.subscriber_id
