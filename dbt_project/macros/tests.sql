{# A table is sound when its key is filled and unique, and every rule is true of every row. One query a table, since
   each test costs a run its time. A rule that comes out empty is broken: rules say themselves what may be empty. #}
{% test is_sound(model, key, rules=[]) %}
select 'the key is filled' as broken_rule
from {{ model }}
where {% for column in key %}{{ column }} is null{{ " or " if not loop.last }}{% endfor %}

union all

select 'the key is unique' as broken_rule
from {{ model }}
group by {{ key | join(", ") }}
having count(*) > 1
{% for rule in rules %}
union all

select '{{ rule | replace("'", "''") }}' as broken_rule
from {{ model }}
where ({{ rule }}) is not true
{% endfor %}
{% endtest %}
