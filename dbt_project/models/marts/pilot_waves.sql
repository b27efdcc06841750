-- One row per wave of the policy: where it stands, and how its members and its mails fare.

with waves as (
    select * from {{ ref('int_waves') }}
),

members as (
    select
        members.wave_id,
        count(*) filter (where members.arm = 'treatment') as treatment_count,
        count(*) filter (where members.arm = 'control') as control_count
    from {{ ref('int_members') }} as members
    group by members.wave_id
),

draws as (
    select draws.wave_id, draws.drawn_in_run_on, draws.eligible_count from {{ source('ledger', 'draws') }} as draws
    union all
    select draws.wave_id, draws.drawn_in_run_on, draws.eligible_count from {{ ref('draws_due') }} as draws
),

enrolments as (
    select
        enrolments.wave_id,
        count(*) as enrolled_count
    from {{ ref('int_enrolments') }} as enrolments
    group by enrolments.wave_id
),

eligible as (
    select distinct draw.wave_id from {{ ref('int_draw') }} as draw
),

mails as (
    select
        mails.wave_id,
        count(distinct mails.subscriber_id) filter (where mails.event_type = 'sent') as mail_sent_count,
        count(distinct mails.subscriber_id) filter (where mails.event_type = 'delivered') as mail_delivered_count,
        count(distinct mails.subscriber_id) filter (where mails.event_type = 'bounced') as mail_bounced_count,
        count(distinct mails.subscriber_id) filter (where mails.event_type = 'opened') as mail_opened_count
    from {{ ref('stg_mail_events') }} as mails
    group by mails.wave_id
)

select
    waves.wave_id,
    waves.terms_id,
    waves.invite_on,
    waves.brands,
    case
        when draws.wave_id is not null then 'drawn'
        when waves.wave_state = 'due' and eligible.wave_id is null then 'memberless'
        else waves.wave_state
    end as wave_state,
    draws.drawn_in_run_on,
    draws.eligible_count,
    coalesce(members.treatment_count, 0) as treatment_count,
    coalesce(members.control_count, 0) as control_count,
    coalesce(enrolments.enrolled_count, 0) as enrolled_count,
    coalesce(mails.mail_sent_count, 0) as mail_sent_count,
    coalesce(mails.mail_delivered_count, 0) as mail_delivered_count,
    coalesce(mails.mail_bounced_count, 0) as mail_bounced_count,
    coalesce(mails.mail_opened_count, 0) as mail_opened_count
from waves
left join draws on waves.wave_id = draws.wave_id
left join eligible on waves.wave_id = eligible.wave_id
left join members on waves.wave_id = members.wave_id
left join enrolments on waves.wave_id = enrolments.wave_id
left join mails on waves.wave_id = mails.wave_id
