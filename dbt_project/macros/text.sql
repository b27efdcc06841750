{# Whether a spreadsheet would take the text for a formula, at its start or behind what some take for a separator. #}
{% macro is_formula(text) -%}
    coalesce(regexp_matches({{ text }}, '(^|[;\t\r\n])\s*[=+@\-\x{FF1D}\x{FF0B}\x{FF20}\x{FF0D}]'), false)
{%- endmacro %}
