-- So a run repeated posts nothing. Only what billing has rejected before it was posted is due again at once; and a
-- rebuild posts nothing, so it leaves what is due.

select
    entitlements.subscriber_id,
    entitlements.quarter,
    entitlements.month
from {{ ref('entitlements') }} as entitlements
inner join {{ ref('int_run') }} as run on run.is_posting
where
    entitlements.entitlement_state = 'due'
    and not exists (
        select 1
        from {{ ref('grants_due') }} as due
        inner join {{ ref('grants') }} as grants on due.grant_id = grants.grant_id
        where
            due.subscriber_id = entitlements.subscriber_id
            and due.quarter = entitlements.quarter
            and due.month = entitlements.month
            and grants.answer = 'rejected'
    )
