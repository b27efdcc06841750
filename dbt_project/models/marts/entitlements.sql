-- One row per entitlement that is decided or was granted, weighed against the ledger once this run has posted.

with grants as (
    {{ answered(ref('int_grants_posted')) }}
)

select * from ({{ balance(ref('int_entitled'), 'grants') }})
