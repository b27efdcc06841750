-- One row per row of the published mart.
select * from {{ source('published', 'members') }}
