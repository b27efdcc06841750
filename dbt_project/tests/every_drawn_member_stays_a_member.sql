-- The draw is kept as drawn: wave, arm and rank.

select drawn.subscriber_id
from {{ source('ledger', 'members') }} as drawn
left join {{ ref('members') }} as members on drawn.subscriber_id = members.subscriber_id
where
    members.wave_id is distinct from drawn.wave_id
    or members.arm is distinct from drawn.arm
    or members.draw_rank is distinct from drawn.draw_rank
