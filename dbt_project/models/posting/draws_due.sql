-- One row per wave that this run draws.

select
    waves.wave_id,
    waves.terms_id,
    waves.invite_on,
    run.business_date as drawn_in_run_on,
    cast(max(draw.eligible_count) as bigint) as eligible_count
from {{ ref('int_draw') }} as draw
inner join {{ ref('int_waves') }} as waves on draw.wave_id = waves.wave_id
inner join {{ ref('int_run') }} as run on run.is_posting
group by waves.wave_id, waves.terms_id, waves.invite_on, run.business_date
