"""What landed subscribers must be: one row per change of a subscriber."""

from expectations.suite import MSISDN, NAME, Suite, landed, matches, not_empty, of_the_feed, one_of

SUBSCRIBERS = Suite(
    "subscribers",
    landed("subscribers", "changed_at"),
    {
        **of_the_feed("subscribers", "changed_at"),
        "every subscriber_id is well formed": matches("subscriber_id", NAME),
        "every msisdn is well formed": matches("msisdn", MSISDN),
        "every subscriber has a brand": f"brand is not null and {not_empty('brand')}",
        "every status is in its list": one_of("status", ["active", "suspended", "terminated"]),
        "every subscriber consents or not": "marketing_consent is not null",
        "an absent email or tariff is null": not_empty("email", "tariff"),
    },
    is_sifted=True,
)
