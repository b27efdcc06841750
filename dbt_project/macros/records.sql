{# The hashes of the ids that several rows share: few, so that the rows of all others need not be sorted. Where two ids
   have one hash, their rows are sorted in vain and no more. #}
{% macro ids_of_several(rows_of, id) -%}
    select hash({{ rows_of }}.{{ id }}) as id_hash
    from {{ rows_of }}
    group by hash({{ rows_of }}.{{ id }})
    having count(*) > 1
{%- endmacro %}

{# CTEs that end with `one_of_each`: of the rows of the CTE `records` that share an id the first by an order.
   It reads them three times, which costs less than to write their many columns down: let them be `not materialized`. #}
{% macro one_of_each(id, order) %}
repeated as (
    {{ ids_of_several('records', id) }}
),

once as (
    select records.*
    from records
    anti join repeated on hash(records.{{ id }}) = repeated.id_hash
),

first_of_several as (
    select records.*
    from records
    semi join repeated on hash(records.{{ id }}) = repeated.id_hash
    qualify row_number() over (partition by records.{{ id }} order by {{ order }}) = 1
),

one_of_each as (
    select * from once
    union all
    select * from first_of_several
)
{% endmacro %}
