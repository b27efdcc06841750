{# What a quarter is worth: one macro a rule, since the truth and the "what if" must follow the same rules. #}

{# Quarters in a row without a contact up to this one: the distance to the last one with a contact (rule 1.6). With
   `ago` up to an earlier one: 1 is the quarter before. #}
{% macro streak(quarter, has_contact, lives, ago=0) -%}
    cast(
        {{ quarter }} - {{ ago }} - coalesce(
            max(case when {{ has_contact }} then {{ quarter }} end) over (
                partition by {{ lives }}
                order by {{ quarter }}
                rows between unbounded preceding and {{ ago }} preceding
            ),
            0
        ) as integer
    )
{%- endmacro %}

{# A join with the tier that a streak earns: the greatest one that it reaches. An asof join would sort the quarters. #}
{% macro left_join_tiers(quarters) -%}
    left join (
        select
            tiers.*,
            lead(tiers.streak, 1, 2147483647) over (partition by tiers.terms_id order by tiers.streak) as next_streak
        from {{ ref('reward_tiers') }} as tiers
    ) as tiers
        on
            {{ quarters }}.terms_id = tiers.terms_id
            and {{ quarters }}.streak >= tiers.streak
            and {{ quarters }}.streak < tiers.next_streak
{%- endmacro %}

{# The quarters with what a month of their reward is worth. #}
{% macro priced(quarters) %}
select
    quarters.*,
    cast(coalesce(tiers.mb_per_month, 0) as bigint) as mb_per_month
from {{ quarters }} as quarters
{{ left_join_tiers('quarters') }}
{% endmacro %}

{# The first day of a month of a quarter's reward, had it been posted in time (rule 1.7). #}
{% macro reward_from(enrolled_on, quarter, month, settlement_days) -%}
    {{ add_days(add_months(enrolled_on, '3 * ' ~ quarter ~ ' + ' ~ month ~ ' - 1'), settlement_days) }}
{%- endmacro %}
