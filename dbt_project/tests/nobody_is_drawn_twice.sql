-- Whom this run draws was never drawn before.

select due.subscriber_id
from {{ ref('members_due') }} as due
inner join {{ source('ledger', 'members') }} as drawn on due.subscriber_id = drawn.subscriber_id

union all

select due.subscriber_id
from {{ ref('members_due') }} as due
group by due.subscriber_id
having count(*) > 1
