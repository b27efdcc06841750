{# Whether a state is that as of the end of the day before `day` (rule 1.1). The day begins at the instant `begins_at`:
   reckon that once a day and not once a row, since the calendar of a time zone is slow. #}
{% macro holds_before(states, day, begins_at) -%}
    {{ states }}.state_from_on < {{ day }}
    and ({{ states }}.state_until is null or {{ states }}.state_until >= {{ begins_at }})
{%- endmacro %}

{# Whether a state is that as of the end of the day before the invitation (rule 1.3): of `waves` with `invite_on` and the
   instant `invited_at` at which that day begins. #}
{% macro holds_on_the_eve(states, waves) -%}
    {{ holds_before(states, waves ~ '.invite_on', waves ~ '.invited_at') }}
{%- endmacro %}
