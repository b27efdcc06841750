-- One row per figure of a drawn wave. Here is its form alone: the run fills it by the statistics once it has posted.

select
    cast(null as integer) as figure_no,
    cast(null as varchar) as wave_id,
    cast(null as varchar) as kpi,
    cast(null as varchar) as arm,
    cast(null as integer) as quarter,
    cast(null as double) as value,
    cast(null as double) as ci_low,
    cast(null as double) as ci_high,
    cast(null as bigint) as n
where false
