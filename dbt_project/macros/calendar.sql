{# What a month, a day and a local midnight are: one macro each, dispatched, so that another engine can have its own. #}

{# The day of the month is kept and clamped to the month's last day (rule 1.1). `months` is an integer expression. #}
{% macro add_months(day, months) -%}
    {{ return(adapter.dispatch('add_months', 'callfree')(day, months)) }}
{%- endmacro %}

{% macro default__add_months(day, months) -%}
    cast({{ day }} + to_months(cast({{ months }} as integer)) as date)
{%- endmacro %}

{# Adds whole days to a date. #}
{% macro add_days(day, days) -%}
    {{ return(adapter.dispatch('add_days', 'callfree')(day, days)) }}
{%- endmacro %}

{% macro default__add_days(day, days) -%}
    ({{ day }} + cast({{ days }} as integer))
{%- endmacro %}

{# How many whole months lie between two dates: the most that can be added to the first without passing the second.
   Where the second is before the first, the result means nothing. #}
{% macro whole_months(first, second) -%}
    {{ return(adapter.dispatch('whole_months', 'callfree')(first, second)) }}
{%- endmacro %}

{% macro default__whole_months(first, second) -%}
    datesub('month', {{ first }}, {{ second }})
{%- endmacro %}

{# The UTC instant at which a local day begins in Europe/Berlin. #}
{% macro local_midnight(day) -%}
    {{ return(adapter.dispatch('local_midnight', 'callfree')(day)) }}
{%- endmacro %}

{% macro default__local_midnight(day) -%}
    timezone('UTC', timezone('Europe/Berlin', cast({{ day }} as timestamp)))
{%- endmacro %}

{# The run's business date. It comes from a one-row table and not from a dbt variable: a variable that changes
   every day would make dbt parse the whole project anew every day. #}
{% macro business_date() -%}
    (select run.business_date from {{ source('run', 'run') }} as run)
{%- endmacro %}

{# The rows of a policy table, each with the day until which it holds: the first of the next row of its key. #}
{% macro in_periods(seed, key) -%}
    select
        rows_of.*,
        lead(rows_of.valid_from, 1, date '9999-12-31') over (
            partition by rows_of.{{ key }}
            order by rows_of.valid_from
        ) as valid_until
    from {{ ref(seed) }} as rows_of
{%- endmacro %}
