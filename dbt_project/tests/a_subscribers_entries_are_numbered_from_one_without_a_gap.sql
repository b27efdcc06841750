-- A gap would mean that an entry was lost.

select
    grants.subscriber_id,
    grants.quarter,
    grants.month
from {{ ref('grants') }} as grants
group by grants.subscriber_id, grants.quarter, grants.month
having min(grants.entry_no) <> 1 or max(grants.entry_no) <> count(*)
