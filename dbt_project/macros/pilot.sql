{# Rules of draw and enrolment that decide, and that are told: one macro each. #}

{# What ranks those who can be drawn; ties by `subscriber_id` (rule 1.3). #}
{% macro draw_hash(seed, subscriber_id) -%}
    sha256(coalesce({{ seed }}, '') || ':' || {{ subscriber_id }})
{%- endmacro %}

{# The first local date on which it is too late to enrol (rule 1.4). #}
{% macro enrol_until(members) -%}
    {{ add_days(members ~ '.invite_on', members ~ '.enrolment_days') }}
{%- endmacro %}
