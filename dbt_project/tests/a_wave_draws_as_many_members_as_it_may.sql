-- As many as both sizes together, or all who are eligible, and no arm more than its size.

with waves as (
    select * from {{ ref('pilot_waves') }} where wave_state = 'drawn'
)

select waves.wave_id
from waves
inner join {{ ref('waves') }} as sizes on waves.wave_id = sizes.wave_id
where
    waves.treatment_count > sizes.treatment_size
    or waves.control_count > sizes.control_size
    or waves.treatment_count + waves.control_count
    <> least(waves.eligible_count, sizes.treatment_size + sizes.control_size)
