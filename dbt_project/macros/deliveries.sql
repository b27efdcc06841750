{# The feeds that must come every day (2.2). #}
{% macro daily_feeds() -%}
    'subscribers', 'app_events', 'calls'
{%- endmacro %}

{# Whether a delivery is much smaller or larger than usual: worth a look, and no reason to doubt its rows.
   The usual is the median of the deliveries of the 14 days before, as where calls are held (2.2). #}
{% macro is_unusual_size(record_count, usual_count, recent_count) -%}
    (
        {{ recent_count }} >= 7
        and {{ usual_count }} >= 100
        and ({{ record_count }} < {{ usual_count }} / 4 or {{ record_count }} > {{ usual_count }} * 4)
    )
{%- endmacro %}
