-- One row per drawn wave: the last on whom the lot fell. Whoever ranks after it was beyond the sizes, whatever was known.

with last_ranks as (
    select
        members.wave_id,
        max(members.draw_rank) as draw_rank
    from {{ ref('int_members') }} as members
    group by members.wave_id
)

select
    members.wave_id,
    members.subscriber_id,
    {{ draw_hash('waves.seed', 'members.subscriber_id') }} as draw_hash
from {{ ref('int_members') }} as members
inner join last_ranks on members.wave_id = last_ranks.wave_id and members.draw_rank = last_ranks.draw_rank
inner join {{ ref('int_waves') }} as waves on members.wave_id = waves.wave_id
