-- One row per drawn wave and arm, an empty arm too: counts, and the sums from which means and variances follow.

with arms as (
    select
        waves.wave_id,
        waves.wave_no,
        unnest(['treatment', 'control']) as arm
    from {{ ref('kpi_waves') }} as waves
),

-- Sums of integers are exact, so the variances made of them do not depend on the order of the rows.
summed as (
    select
        members.wave_id,
        members.arm,
        count(*) as member_count,
        count(*) filter (where members.is_invited) as invited_count,
        count(*) filter (where members.has_installed) as installed_count,
        count(*) filter (where members.has_signed_in) as signed_in_count,
        count(*) filter (where members.has_watched) as watched_count,
        count(members.enrolled_on) as enrolled_count,
        median(members.days_to_enrol) as days_to_enrol_median,
        sum(members.contact_count) as contact_sum,
        sum(members.contact_count * members.contact_count) as contact_square_sum,
        sum(members.before_contact_count) as before_sum,
        sum(members.before_contact_count * members.before_contact_count) as before_square_sum,
        sum(members.contact_count * members.before_contact_count) as product_sum,
        count(*) filter (where members.contact_count = 0) as call_free_count,
        count(*) filter (where members.is_terminated) as terminated_count,
        sum(members.granted_mb) as granted_mb,
        sum(members.granted_mb + members.owed_mb) as committed_mb
    from {{ ref('kpi_members') }} as members
    group by members.wave_id, members.arm
)

select
    arms.wave_id,
    arms.wave_no,
    arms.arm,
    coalesce(summed.member_count, 0) as member_count,
    coalesce(summed.invited_count, 0) as invited_count,
    coalesce(summed.installed_count, 0) as installed_count,
    coalesce(summed.signed_in_count, 0) as signed_in_count,
    coalesce(summed.watched_count, 0) as watched_count,
    coalesce(summed.enrolled_count, 0) as enrolled_count,
    summed.days_to_enrol_median,
    coalesce(summed.contact_sum, 0) as contact_sum,
    coalesce(summed.contact_square_sum, 0) as contact_square_sum,
    coalesce(summed.before_sum, 0) as before_sum,
    coalesce(summed.before_square_sum, 0) as before_square_sum,
    coalesce(summed.product_sum, 0) as product_sum,
    coalesce(summed.call_free_count, 0) as call_free_count,
    coalesce(summed.terminated_count, 0) as terminated_count,
    coalesce(summed.granted_mb, 0) as granted_mb,
    coalesce(summed.committed_mb, 0) as committed_mb
from arms
left join summed on arms.wave_id = summed.wave_id and arms.arm = summed.arm
