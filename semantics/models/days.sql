{{ config(materialized='table') }}
-- One row per day of the pilot's time.
select cast(unnest(generate_series(date '2015-01-01', date '2035-12-31', interval 1 day)) as date) as day
