-- One row per drawn wave, arm, brand, tariff and contacts before the invitation (3 stands for 3 and more): the sums
-- of which the balance of the arms and the effects in groups are made.

with members as (
    select
        members.*,
        coalesce(members.contact_count, 0) as contacts,
        waves.invite_on - members.activated_on as line_age_days
    from {{ ref('kpi_members') }} as members
    inner join {{ ref('kpi_waves') }} as waves on members.wave_id = waves.wave_id
)

select
    members.wave_id,
    members.arm,
    coalesce(members.brand, '(none)') as brand,
    coalesce(members.tariff, '(none)') as tariff,
    cast(least(members.before_contact_count, 3) as integer) as before_group,
    count(*) as member_count,
    count(members.enrolled_on) as enrolled_count,
    sum(members.contacts) as contact_sum,
    sum(members.contacts * members.contacts) as contact_square_sum,
    sum(members.before_contact_count) as before_sum,
    sum(members.before_contact_count * members.before_contact_count) as before_square_sum,
    sum(members.contacts * members.before_contact_count) as product_sum,
    count(members.line_age_days) as line_age_count,
    cast(coalesce(sum(members.line_age_days), 0) as hugeint) as line_age_sum,
    cast(coalesce(sum(members.line_age_days * members.line_age_days), 0) as hugeint) as line_age_square_sum,
    cast(coalesce(sum(members.line_age_days * members.before_contact_count), 0) as hugeint) as line_age_before_sum,
    cast(
        coalesce(sum(members.before_contact_count) filter (where members.line_age_days is not null), 0) as hugeint
    ) as before_known_sum
from members
group by all
