-- One row, or none: the batch that this run posts. A repeat of a date makes a batch only when it has lines.

with batches as (
    select * from {{ source('ledger', 'batches') }}
),

numbers as (
    select
        run.business_date,
        (select coalesce(max(batches.sequence), 0) + 1 from batches) as sequence,
        (
            select count(*) + 1 from batches where batches.business_date = run.business_date
        ) as batch_no,
        (select count(*) from {{ ref('grants_due') }}) as line_count,
        (select coalesce(sum(grants.volume_mb), 0) from {{ ref('grants_due') }} as grants) as volume_mb
    from {{ ref('int_run') }} as run
    where run.is_posting
)

select
    cast(numbers.sequence as integer) as sequence,
    numbers.business_date,
    cast(numbers.batch_no as integer) as batch_no,
    printf('grants_%s_%02d.csv', strftime(numbers.business_date, '%Y%m%d'), numbers.batch_no) as file_name,
    cast(numbers.line_count as bigint) as line_count,
    cast(numbers.volume_mb as bigint) as volume_mb
from numbers
where numbers.batch_no = 1 or numbers.line_count > 0
