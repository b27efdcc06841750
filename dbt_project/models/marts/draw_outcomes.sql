{{ config(unique_key='subscriber_id') }}
-- One row per subscriber and drawn wave: drawn, or the first rule that kept it out, by what is known now.

with waves as (
    select
        pilot_waves.wave_id,
        pilot_waves.invite_on,
        pilot_waves.eligible_count,
        pilot_waves.treatment_count + pilot_waves.control_count as drawn_count,
        waves.wave_order,
        waves.invited_at,
        waves.seed,
        waves.brands
    from {{ ref('pilot_waves') }} as pilot_waves
    inner join {{ ref('int_waves') }} as waves on pilot_waves.wave_id = waves.wave_id
    where pilot_waves.wave_state = 'drawn'
),

members as (
    select
        members.subscriber_id,
        members.wave_id,
        members.draw_rank,
        waves.wave_order
    from {{ ref('int_members') }} as members
    inner join waves on members.wave_id = waves.wave_id
),

pairs as (
    select
        subscribers.subscriber_id,
        waves.*
    from (
        select subscribers.subscriber_id from {{ ref('int_subscribers') }} as subscribers
        union
        select members.subscriber_id from members
    ) as subscribers
    cross join waves
),

eves as (
    select
        waves.wave_id,
        states.subscriber_id,
        states.status,
        states.has_marketing_consent,
        states.email is not null as has_email,
        waves.brands = '*' or list_contains(string_split(waves.brands, '|'), states.brand) as is_of_brand
    from waves
    inner join {{ ref('int_subscriber_states') }} as states
        on {{ holds_on_the_eve('states', 'waves') }}
)

select
    pairs.subscriber_id,
    pairs.wave_id,
    pairs.invite_on,
    pairs.eligible_count,
    cast(pairs.drawn_count as bigint) as drawn_count,
    case when members.wave_id = pairs.wave_id then members.draw_rank end as draw_rank,
    case
        when members.wave_id = pairs.wave_id then 'drawn'
        when eves.subscriber_id is null then 'not_in_base'
        when eves.status <> 'active' then 'not_active'
        when not eves.has_marketing_consent then 'no_consent'
        when not eves.has_email then 'no_email'
        when not eves.is_of_brand then 'other_brand'
        when members.wave_order < pairs.wave_order then 'member_before'
        when
            pairs.drawn_count < pairs.eligible_count
            and ({{ draw_hash('pairs.seed', 'pairs.subscriber_id') }}, pairs.subscriber_id)
            > (last_drawn.draw_hash, last_drawn.subscriber_id)
            then 'ranked_beyond'
        else 'known_later'
    end as draw_outcome
from pairs
left join members on pairs.subscriber_id = members.subscriber_id
left join eves on pairs.subscriber_id = eves.subscriber_id and pairs.wave_id = eves.wave_id
inner join {{ ref('int_last_drawn') }} as last_drawn on pairs.wave_id = last_drawn.wave_id
