{{ config(materialized='view', unique_key='subscriber_id') }}
-- One row per contact of a member of either arm: a call that counts under the terms of its wave.

select
    contacts.call_id,
    contacts.subscriber_id,
    contacts.wave_id,
    contacts.arm,
    contacts.line,
    contacts.started_at,
    contacts.started_on,
    contacts.duration_s,
    contacts.outcome,
    contacts.quarter
from {{ ref('int_contacts') }} as contacts
