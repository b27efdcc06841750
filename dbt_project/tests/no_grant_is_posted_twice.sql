-- What is due is not in the ledger yet, neither by its id nor by what it is for.

select due.grant_id
from {{ ref('grants_due') }} as due
inner join {{ source('ledger', 'grants') }} as posted on due.grant_id = posted.grant_id

union

select due.grant_id
from {{ ref('grants_due') }} as due
inner join {{ source('ledger', 'grants') }} as posted
    on
        due.subscriber_id = posted.subscriber_id
        and due.quarter = posted.quarter
        and due.month = posted.month
        and due.entry_no = posted.entry_no
