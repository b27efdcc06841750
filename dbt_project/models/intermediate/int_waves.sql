-- One row per wave of the policy: drawn, due in this run, waiting, overdue or still to come?

with waves as (
    select * from {{ ref('waves') }}
),

drawn as (
    select * from {{ source('ledger', 'draws') }}
),

subscriber_feed as (
    select * from {{ ref('int_feeds') }} where feed = 'subscribers'
),

judged as (
    select
        waves.wave_id,
        waves.terms_id,
        waves.invite_on,
        waves.treatment_size,
        waves.control_size,
        waves.seed,
        waves.brands,
        row_number() over (order by waves.invite_on, waves.wave_id) as wave_order,
        drawn.wave_id is not null as is_drawn,
        waves.invite_on > {{ add_days(business_date(), 1) }} as is_to_come,
        {{ business_date() }} > {{ add_days('waves.invite_on', 7) }} as is_past,
        coalesce(subscriber_feed.starts_on < waves.invite_on and subscriber_feed.is_delivered_in_full, false)
            as is_ready
    from waves
    left join drawn on waves.wave_id = drawn.wave_id
    left join subscriber_feed on true
)

select
    judged.wave_id,
    judged.terms_id,
    judged.invite_on,
    judged.treatment_size,
    judged.control_size,
    judged.seed,
    judged.brands,
    judged.wave_order,
    {{ local_midnight('judged.invite_on') }} as invited_at,
    case
        when judged.is_drawn then 'drawn'
        when judged.is_past then 'overdue'
        when judged.is_to_come then 'to_come'
        -- A wave that waits holds back those after it.
        when bool_and(judged.is_ready) filter (where not judged.is_drawn and not judged.is_past) over (
            order by judged.wave_order
            rows between unbounded preceding and current row
        ) then 'due'
        else 'waiting'
    end as wave_state
from judged
