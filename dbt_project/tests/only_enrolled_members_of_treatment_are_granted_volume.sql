-- Every grant belongs to an enrolment, and none to a member of the control arm.

select grants.grant_id
from {{ ref('grants') }} as grants
left join {{ ref('members') }} as members on grants.subscriber_id = members.subscriber_id
where (members.arm = 'treatment' and members.enrolment_state = 'enrolled') is not true
