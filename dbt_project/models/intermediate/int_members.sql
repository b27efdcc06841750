{{ config(unique_key='subscriber_id') }}
-- One row per member of a drawn wave, those drawn in this run included, with the terms it was drawn under.

with members as (
    select
        members.wave_id,
        members.subscriber_id,
        members.arm,
        members.draw_rank
    from {{ source('ledger', 'members') }} as members

    union all

    select
        draw.wave_id,
        draw.subscriber_id,
        draw.arm,
        draw.draw_rank
    from {{ ref('int_draw') }} as draw
    inner join {{ ref('int_run') }} as run on run.is_posting
)

select
    members.subscriber_id,
    members.wave_id,
    members.arm,
    members.draw_rank,
    waves.invite_on,
    waves.invited_at,
    waves.terms_id,
    terms.welcome_mb,
    terms.quarters,
    terms.min_contact_seconds,
    terms.settlement_days,
    terms.enrolment_days,
    terms.max_attempts
from members
inner join {{ ref('int_waves') }} as waves on members.wave_id = waves.wave_id
inner join {{ ref('terms') }} as terms on waves.terms_id = terms.terms_id
