{# Whether a spreadsheet would take the text for a formula, at its start or behind what some take for a separator. #}
{% macro is_formula(text) -%}
    coalesce(regexp_matches({{ text }}, '(^|[;\t\r\n])\s*[=+@\-\x{FF1D}\x{FF0B}\x{FF20}\x{FF0D}]'), false)
{%- endmacro %}

{# Whether a text that a source wrote freely looks like a code: it could be a person's name, or hold a number. #}
{% macro is_code(text) -%}
    (regexp_full_match({{ text }}, '[A-Za-z][A-Za-z0-9_-]{0,31}') and not regexp_matches({{ text }}, '[0-9]{5}'))
{%- endmacro %}
