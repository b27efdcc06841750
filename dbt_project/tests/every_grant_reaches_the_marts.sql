-- A join that loses a grant would make it look unpaid, and pay it again.

select grants.grant_id
from (
    select posted.grant_id from {{ source('ledger', 'grants') }} as posted
    union all
    select due.grant_id from {{ ref('grants_due') }} as due
) as grants
anti join {{ ref('grants') }} as shown on grants.grant_id = shown.grant_id
