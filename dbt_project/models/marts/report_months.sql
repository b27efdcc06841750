-- One row per drawn wave, arm and month since the invitation that the window covers: the sums of contacts in it.

with months as (
    select
        numbered.wave_id,
        numbered.month,
        {{ add_months('numbered.invite_on', 'numbered.month - 1') }} as month_from,
        {{ add_months('numbered.invite_on', 'numbered.month') }} as month_until
    from (
        select
            waves.*,
            cast(unnest(generate_series(1, datediff('month', waves.invite_on, waves.window_until))) as integer)
                as month
        from {{ ref('kpi_waves') }} as waves
    ) as numbered
    where {{ add_months('numbered.invite_on', 'numbered.month') }} <= numbered.window_until
),

arms as (
    select
        members.wave_id,
        members.arm,
        count(*) as member_count
    from {{ ref('kpi_members') }} as members
    group by members.wave_id, members.arm
),

summed as (
    select
        counts.wave_id,
        counts.arm,
        counts.wave_month,
        sum(counts.contact_count) as contact_sum,
        sum(counts.contact_count * counts.contact_count) as contact_square_sum
    from {{ ref('int_contact_months') }} as counts
    group by counts.wave_id, counts.arm, counts.wave_month
)

select
    months.wave_id,
    arms.arm,
    months.month,
    months.month_from,
    months.month_until,
    arms.member_count,
    coalesce(summed.contact_sum, 0) as contact_sum,
    coalesce(summed.contact_square_sum, 0) as contact_square_sum
from months
inner join arms on months.wave_id = arms.wave_id
left join summed
    on months.wave_id = summed.wave_id and arms.arm = summed.arm and months.month = summed.wave_month
