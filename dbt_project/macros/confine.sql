{# No SQL gets at a file outside the home, nor at the network, but for the policy that dbt loads. It lasts until dbt
   closes the database. #}
{% macro confine() -%}
    {%- set home = modules.re.sub('[^/]*$', '', target.path) or '.' -%}
    {%- set policy = env_var('CALLFREE_CHECKED_POLICY', 'seeds') -%}
    {%- if execute and run_query("select current_setting('enable_external_access')").columns[0].values()[0] -%}
        {%- do run_query(
            "set allowed_directories = ['" ~ home | replace("'", "''") ~ "', '" ~ policy | replace("'", "''") ~ "']"
        ) -%}
        set enable_external_access = false
    {%- else -%}
        select 1
    {%- endif -%}
{%- endmacro %}
