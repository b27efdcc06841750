{{ config(unique_key='subscriber_id') }}
-- One row per enrolled subscriber and quarter that has begun: contacts, streak, and whether it is decided.

with quarters as (
    {{ priced(ref('int_quarters')) }}
)

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
    quarters.streak,
    quarters.mb_per_month,
    quarters.rewarded_from,
    case
        when quarters.is_decided and quarters.is_call_free then 'call_free'
        when quarters.is_decided then 'broken'
        when quarters.decidable_on <= {{ business_date() }} then 'waiting'
        when quarters.is_call_free then 'call_free_so_far'
        else 'broken_so_far'
    end as quarter_state
from quarters
where quarters.quarter_from <= {{ business_date() }}
