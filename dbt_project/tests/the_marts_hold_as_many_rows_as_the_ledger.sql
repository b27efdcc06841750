{{ config(meta={'is_of_all': true}) }}
-- A day derives the rows of those whom it concerns; nobody else's may be lost.

with counted as (
    select
        (select count(*) from {{ source('ledger', 'members') }}) + (select count(*) from {{ ref('members_due') }})
            as drawn_count,
        (select count(*) from {{ ref('members') }}) as member_count,
        (select count(*) from {{ source('ledger', 'enrolments') }})
        + (select count(*) from {{ ref('enrolments_due') }}) as recorded_count,
        (select count(*) from {{ ref('enrolments') }}) as enrolment_count,
        (select count(*) from {{ source('ledger', 'grants') }}) + (select count(*) from {{ ref('grants_due') }})
            as posted_count,
        (select count(*) from {{ ref('grants') }}) as grant_count
)

select *
from counted
where
    counted.drawn_count <> counted.member_count
    or counted.recorded_count <> counted.enrolment_count
    or counted.posted_count <> counted.grant_count
