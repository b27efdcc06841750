-- One row per member that this run draws: the waves that are due, one after another, in order.

with recursive due as (
    select
        waves.*,
        row_number() over (order by waves.wave_order) as turn
    from {{ ref('int_waves') }} as waves
    where waves.wave_state = 'due'
),

brands as (
    select distinct
        due.turn,
        unnest(string_split(due.brands, '|')) as brand
    from due
),

-- Who could be drawn, by the state as of the end of the day before the invitation.
eligible as (
    select
        due.turn,
        due.wave_id,
        due.treatment_size,
        due.control_size,
        states.subscriber_id,
        {{ draw_hash('due.seed', 'states.subscriber_id') }} as draw_hash
    from due
    inner join {{ ref('int_subscriber_states') }} as states
        on {{ holds_on_the_eve('states', 'due.invite_on') }}
    inner join brands on due.turn = brands.turn and brands.brand in ('*', states.brand)
    left join {{ source('ledger', 'members') }} as members on states.subscriber_id = members.subscriber_id
    where
        members.subscriber_id is null
        and states.status = 'active'
        and states.has_marketing_consent
        and states.email is not null
),

-- One step a wave. A member of one wave cannot be drawn for the next, so each step looks at all earlier ones.
-- A marker row a turn keeps the recursion going over a wave without anybody eligible.
drawn(subscriber_id, turn, wave_id, arm, draw_rank, eligible_count) using key (subscriber_id, turn) as (
    select '', 0::bigint, '', '', 0::bigint, 0::bigint

    union

    (
        with this_turn as (
            select max(drawn.turn) + 1 as turn from drawn
        ),

        ranked as (
            select
                eligible.subscriber_id,
                eligible.turn,
                eligible.wave_id,
                eligible.treatment_size,
                eligible.control_size,
                row_number() over (order by eligible.draw_hash, eligible.subscriber_id) as draw_rank,
                count(*) over () as eligible_count
            from eligible
            inner join this_turn on eligible.turn = this_turn.turn
            where not exists (
                select 1 from recurring.drawn as earlier where earlier.subscriber_id = eligible.subscriber_id
            )
        ),

        sized as (
            select
                ranked.*,
                -- Short of members: control gets its share, rounded up, and treatment the rest.
                case
                    when ranked.eligible_count >= ranked.treatment_size + ranked.control_size
                        then ranked.control_size
                    else
                        (
                            ranked.eligible_count * ranked.control_size
                            + ranked.treatment_size + ranked.control_size - 1
                        ) // (ranked.treatment_size + ranked.control_size)
                end as control_count
            from ranked
        )

        select
            sized.subscriber_id,
            sized.turn,
            sized.wave_id,
            case
                when sized.draw_rank
                    <= least(sized.eligible_count, sized.treatment_size + sized.control_size) - sized.control_count
                    then 'treatment'
                else 'control'
            end as arm,
            sized.draw_rank,
            sized.eligible_count
        from sized
        where sized.draw_rank <= sized.treatment_size + sized.control_size

        union all

        select '', this_turn.turn, '', '', 0, 0
        from this_turn
        where this_turn.turn <= (select count(*) from due)
    )
)

select
    drawn.wave_id,
    drawn.subscriber_id,
    drawn.arm,
    drawn.draw_rank,
    drawn.eligible_count
from drawn
where drawn.subscriber_id <> ''
