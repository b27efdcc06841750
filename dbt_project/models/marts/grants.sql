{{ config(unique_key='subscriber_id') }}
-- One row per grant: what was posted, in which file it went out, and what billing said.

with grants as (
    {{ answered(ref('int_grants_posted')) }}
)

select
    grants.grant_id,
    grants.subscriber_id,
    grants.kind,
    grants.quarter,
    grants.month,
    grants.entry_no,
    grants.volume_mb,
    grants.valid_from,
    grants.valid_until,
    grants.wave_id,
    grants.terms_id,
    grants.posted_in_run_on,
    grants.sequence,
    grants.file_name,
    grants.answer,
    grants.is_contradicting,
    grants.rejection_reason,
    grants.answered_on
from grants
