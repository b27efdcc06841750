-- Every table of the report counts each member once, and shows each key once.

with moments as (
    select * from {{ ref('kpi_moments') }} where member_count > 0
),

cells as (
    select
        cells.wave_id,
        cells.arm,
        sum(cells.member_count) as member_count,
        sum(cells.contact_sum) as contact_sum,
        sum(cells.contact_square_sum) as contact_square_sum,
        sum(cells.product_sum) as product_sum
    from {{ ref('report_cells') }} as cells
    group by cells.wave_id, cells.arm
),

months as (
    select
        months.wave_id,
        months.arm,
        count(*) as row_count,
        max(months.month) as month_count,
        sum(months.contact_sum) as contact_sum,
        min(months.member_count) as member_count,
        max(months.month_until) as month_until
    from {{ ref('report_months') }} as months
    group by months.wave_id, months.arm
),

first_contacts as (
    select
        days.wave_id,
        days.arm,
        sum(days.first_contact_count + days.left_count) as member_count,
        sum(days.first_contact_count) as first_contact_count
    from {{ ref('report_first_contacts') }} as days
    group by days.wave_id, days.arm
),

ladder as (
    select
        ladder.wave_id,
        ladder.arm,
        ladder.quarter,
        sum(ladder.member_count) as member_count,
        bool_and(ladder.earned_mb >= 0 and ladder.total_mb >= ladder.earned_mb and ladder.streak >= 0) as is_sound
    from {{ ref('report_ladder') }} as ladder
    group by ladder.wave_id, ladder.arm, ladder.quarter
),

standing as (
    select
        standing.wave_id,
        sum(standing.member_count) as enrolled_count
    from {{ ref('report_standing') }} as standing
    where standing.cut_on = (select max(run.business_date) from {{ ref('int_run') }} as run)
    group by standing.wave_id
),

ended as (
    select
        standing.cut_on,
        standing.wave_id,
        sum(standing.member_count * standing.ended_count) as quarter_count
    from {{ ref('report_standing') }} as standing
    where not standing.has_left and standing.ended_count > 0
    group by standing.cut_on, standing.wave_id
),

ended_quarters as (
    select
        ended.cut_on,
        ended.wave_id,
        sum(ended.quarter_count) as quarter_count
    from {{ ref('report_ended_quarters') }} as ended
    group by ended.cut_on, ended.wave_id
)

select 'a drawn wave is there once' as broken_rule
from {{ ref('kpi_waves') }} as waves
left join {{ ref('report_waves') }} as report on waves.wave_id = report.wave_id
group by waves.wave_id, waves.window_days
having
    count(report.wave_id) <> 1
    or max(report.delivered_days + report.waived_days) <> waves.window_days
    or max(report.unattributed_contact_count) > max(report.contact_count)

union all

select 'the cells hold each member and contact once' as broken_rule
from moments
full join cells on moments.wave_id = cells.wave_id and moments.arm = cells.arm
where
    (moments.member_count, moments.contact_sum, moments.contact_square_sum, moments.product_sum)
    is distinct from (cells.member_count, cells.contact_sum, cells.contact_square_sum, cells.product_sum)

union all

select 'the months hold no more than the window' as broken_rule
from months
left join moments on months.wave_id = moments.wave_id and months.arm = moments.arm
left join {{ ref('kpi_waves') }} as waves on months.wave_id = waves.wave_id
where
    (
        months.row_count = months.month_count
        and months.member_count = moments.member_count
        and months.contact_sum <= moments.contact_sum
        and months.month_until <= waves.window_until
    ) is not true

union all

select 'each member has a first contact or leaves the count, once' as broken_rule
from first_contacts
left join moments on first_contacts.wave_id = moments.wave_id and first_contacts.arm = moments.arm
where
    (
        first_contacts.member_count = moments.member_count
        and first_contacts.first_contact_count = moments.member_count - moments.call_free_count
    ) is not true

union all

select 'each member stands on one step of a shadow quarter' as broken_rule
from ladder
left join moments on ladder.wave_id = moments.wave_id and ladder.arm = moments.arm
where (ladder.is_sound and ladder.member_count = moments.member_count) is not true

union all

select 'each enrolled subscriber stands somewhere' as broken_rule
from standing
left join moments on standing.wave_id = moments.wave_id and moments.arm = 'treatment'
where standing.enrolled_count is distinct from moments.enrolled_count

union all

select 'whoever has not left has ended as many quarters as it stands behind' as broken_rule
from ended
full join ended_quarters on ended.cut_on = ended_quarters.cut_on and ended.wave_id = ended_quarters.wave_id
where ended.quarter_count is distinct from ended_quarters.quarter_count
