{# Rules of draw and enrolment that decide, and that are told: one macro each. #}

{# Whether a subscriber's state is that as of the end of the day before the invitation (rule 1.3). #}
{% macro holds_on_the_eve(states, waves) -%}
    {{ holds_before(states, waves ~ '.invite_on', waves ~ '.invited_at') }}
{%- endmacro %}

{# Whether a state is that as of the end of the day before `day`, which begins at the instant `begins_at`: reckon that
   once a day and not once a row, since the calendar of a time zone is slow. #}
{% macro holds_before(states, day, begins_at) -%}
    {{ states }}.state_from_on < {{ day }}
    and ({{ states }}.state_until is null or {{ states }}.state_until >= {{ begins_at }})
{%- endmacro %}

{# What ranks those who can be drawn; ties by `subscriber_id` (rule 1.3). #}
{% macro draw_hash(seed, subscriber_id) -%}
    sha256(coalesce({{ seed }}, '') || ':' || {{ subscriber_id }})
{%- endmacro %}

{# The first local date on which it is too late to enrol (rule 1.4). #}
{% macro enrol_until(members) -%}
    {{ add_days(members ~ '.invite_on', members ~ '.enrolment_days') }}
{%- endmacro %}
