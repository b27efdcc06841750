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

-- Who could be drawn, by the state as of the end of the day before the invitation. Bytes sort as their digits do, and
-- take half the room.
eligible as (
    select
        due.turn,
        states.subscriber_id,
        unhex({{ draw_hash('due.seed', 'states.subscriber_id') }}) as draw_hash
    from due
    inner join {{ ref('int_subscriber_states') }} as states
        on {{ holds_on_the_eve('states', 'due') }}
    inner join brands on due.turn = brands.turn and brands.brand in ('*', states.brand)
    left join {{ source('ledger', 'members') }} as members on states.subscriber_id = members.subscriber_id
    where
        members.subscriber_id is null
        and states.status = 'active'
        and states.has_marketing_consent
        and states.email is not null
),

-- One step a wave. A member of one wave cannot be drawn for the next, so each step looks at all earlier ones.
-- A marker row a turn, with the number of those eligible for a rank, keeps the recursion going over a wave without
-- anybody. The rows of all turns are in memory together, so they say no more than they must.
drawn(subscriber_id, turn, draw_rank) using key (subscriber_id, turn) as (
    select '', 0::bigint, 0::bigint

    union

    (
        with this_turn as (
            select
                due.turn,
                due.treatment_size + due.control_size as size
            from due
            where due.turn = (select max(drawn.turn) + 1 from drawn)
        ),

        remaining as (
            select
                eligible.subscriber_id,
                eligible.turn,
                eligible.draw_hash
            from eligible
            inner join this_turn on eligible.turn = this_turn.turn
            where not exists (
                select 1 from recurring.drawn as earlier where earlier.subscriber_id = eligible.subscriber_id
            )
        ),

        ranked as (
            select
                remaining.subscriber_id,
                remaining.turn,
                row_number() over (order by remaining.draw_hash, remaining.subscriber_id) as draw_rank
            from remaining
        )

        select
            ranked.subscriber_id,
            ranked.turn,
            ranked.draw_rank
        from ranked
        inner join this_turn on ranked.draw_rank <= this_turn.size

        union all

        select
            '' as subscriber_id,
            this_turn.turn,
            (select count(*) from remaining) as draw_rank
        from this_turn
    )
),

sized as (
    select
        due.turn,
        due.wave_id,
        least(markers.draw_rank, due.treatment_size + due.control_size) as member_count,
        markers.draw_rank as eligible_count,
        -- Short of members: control gets its share, rounded up, and treatment the rest.
        case
            when markers.draw_rank >= due.treatment_size + due.control_size then due.control_size
            else
                (markers.draw_rank * due.control_size + due.treatment_size + due.control_size - 1)
                // (due.treatment_size + due.control_size)
        end as control_count
    from due
    inner join drawn as markers on due.turn = markers.turn and markers.subscriber_id = ''
)

select
    sized.wave_id,
    drawn.subscriber_id,
    case when drawn.draw_rank <= sized.member_count - sized.control_count then 'treatment' else 'control' end as arm,
    drawn.draw_rank,
    sized.eligible_count
from drawn
inner join sized on drawn.turn = sized.turn
where drawn.subscriber_id <> ''
