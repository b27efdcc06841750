-- One row per entitlement that is decided or was granted, weighed against the ledger before this run posts.

{{ balance(ref('int_entitled'), ref('int_grants')) }}
