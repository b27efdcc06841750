"""What landed acknowledgements must be: one row per answer of billing to a grant."""

from expectations.suite import Suite, landed, not_empty, of_the_feed, one_of

GRANT_ACKS = Suite(
    "grant_acks",
    landed("grant_acks", "processed_at"),
    {
        **of_the_feed("grant_acks", "processed_at"),
        "every grant_id has 1 to 64 characters": "length(grant_id) between 1 and 64",
        "every status is in its list": one_of("status", ["accepted", "rejected"]),
        "an absent reason is null": not_empty("reason"),
    },
    is_sifted=True,
)
