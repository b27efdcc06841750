{# CTEs that end with `one_of_each`: of the rows of the CTE `records` that share an id the first by an order.
   It reads them three times, which costs less than to write their many columns down: let them be `not materialized`.
   Most ids have one record, and need not be sorted. A hash that two ids share only sorts some of these in vain. #}
{% macro one_of_each(id, order) %}
repeated as (
    select hash(records.{{ id }}) as id_hash
    from records
    group by hash(records.{{ id }})
    having count(*) > 1
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
