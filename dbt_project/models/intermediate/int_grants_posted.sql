{{ config(materialized='ephemeral') }}
-- One row per grant in the ledger once this run has posted.

select
    grants.grant_id,
    grants.sequence,
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
    batches.business_date as posted_in_run_on,
    batches.file_name
from {{ source('ledger', 'grants') }} as grants
inner join {{ source('ledger', 'batches') }} as batches on grants.sequence = batches.sequence

union all

select
    grants.grant_id,
    batch.sequence,
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
    batch.business_date as posted_in_run_on,
    batch.file_name
from {{ ref('grants_due') }} as grants
cross join {{ ref('batch_due') }} as batch
