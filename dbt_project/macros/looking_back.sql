{# The days that a forecast is made on: the business date, and to try it 3, 6 and 9 months before. A quarter has ended
   by one of them when it ends before the next day. #}
{% macro days_looked_back_on() %}
select
    days.cut_on,
    {{ add_days('days.cut_on', 1) }} as next_day,
    {{ local_midnight(add_days('days.cut_on', 1)) }} as next_day_begins_at
from (
    select {{ add_months(business_date(), '-3 * steps.step') }} as cut_on
    from (select unnest([0, 1, 2, 3]) as step) as steps
) as days
{% endmacro %}
