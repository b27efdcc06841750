{{ config(unique_key='subscriber_id') }}
-- One row per grant that this run posts: the difference between what is entitled and what was issued.

select
    entitlements.subscriber_id
    || case
        when entitlements.quarter = 0 then '.W.'
        else '.Q' || entitlements.quarter || 'M' || entitlements.month || '.'
    end
    || (entitlements.entry_count + 1) as grant_id,
    entitlements.subscriber_id,
    subscribers.msisdn,
    case when entitlements.quarter = 0 then 'welcome' else 'loyalty' end as kind,
    entitlements.quarter,
    entitlements.month,
    cast(entitlements.entry_count + 1 as integer) as entry_no,
    entitlements.missing_mb as volume_mb,
    greatest(entitlements.nominal_from, {{ add_days('run.business_date', 1) }}) as valid_from,
    {{ add_days(
        'greatest(entitlements.nominal_from, ' ~ add_days('run.business_date', 1) ~ ')',
        'entitlements.nominal_until - entitlements.nominal_from'
    ) }} as valid_until,
    entitlements.wave_id,
    entitlements.terms_id,
    entitlements.nominal_from,
    entitlements.nominal_until,
    entitlements.entitled_mb,
    entitlements.issued_mb,
    run.business_date
from {{ ref('int_entitlements') }} as entitlements
inner join {{ ref('int_run') }} as run on run.is_posting
inner join {{ ref('int_subscribers') }} as subscribers on entitlements.subscriber_id = subscribers.subscriber_id
where entitlements.entitlement_state = 'due'
