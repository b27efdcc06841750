{{ config(unique_key='subscriber_id') }}
-- One row per member and month since the invitation with a contact: how many.

select
    contacts.subscriber_id,
    contacts.wave_id,
    contacts.arm,
    contacts.wave_month,
    count(*) as contact_count
from {{ ref('int_contacts') }} as contacts
where contacts.wave_month is not null
group by contacts.subscriber_id, contacts.wave_id, contacts.arm, contacts.wave_month
