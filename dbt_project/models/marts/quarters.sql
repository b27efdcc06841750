-- One row per enrolled subscriber and quarter that has begun: contacts, streak, and whether it is decided.

select
    quarters.subscriber_id,
    quarters.wave_id,
    quarters.terms_id,
    quarters.quarter,
    quarters.quarter_from,
    quarters.quarter_until,
    quarters.decidable_on,
    quarters.is_decided,
    quarters.contact_count,
    quarters.first_contact_at,
    quarters.is_call_free,
    quarters.streak
from {{ ref('int_quarters') }} as quarters
where quarters.quarter_from <= {{ business_date() }}
