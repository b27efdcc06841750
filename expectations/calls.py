"""What landed calls must be: one row per record of a call."""

from expectations.suite import (
    EVENT_ID,
    MSISDN,
    NAME,
    Suite,
    is_counting,
    landed,
    matches,
    not_empty,
    of_the_feed,
    one_of,
)

CALLS = Suite(
    "calls",
    landed("calls", "started_at"),
    {
        **of_the_feed("calls", "started_at"),
        "every call_id is well formed": matches("call_id", EVENT_ID),
        "every record_version is an integer from 1": is_counting("record_version", 1),
        "every subscriber_id is well formed or absent": f"subscriber_id is null or {matches('subscriber_id', NAME)}",
        "every msisdn is well formed or absent": f"msisdn is null or {matches('msisdn', MSISDN)}",
        "every direction is in its list": one_of("direction", ["inbound", "outbound"]),
        "every call names its line": f"line is not null and {not_empty('line')}",
        "every duration_s is an integer from 0": is_counting("duration_s", 0),
        "every outcome is in its list": one_of("outcome", ["answered", "abandoned", "self_service"]),
        "every call is voided or not": "voided is not null",
    },
    is_sifted=True,
)
