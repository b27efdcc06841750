"""What landed mail events must be: one row per event of an invitation's mail."""

from expectations.suite import EVENT_ID, NAME, Suite, landed, matches, of_the_feed, one_of

MAIL_EVENTS = Suite(
    "mail_events",
    landed("mail_events", "occurred_at"),
    {
        **of_the_feed("mail_events", "occurred_at"),
        "every event_id is well formed": matches("event_id", EVENT_ID),
        "every subscriber_id is well formed": matches("subscriber_id", NAME),
        "every wave_id is well formed": matches("wave_id", NAME),
        "every event_type is in its list": one_of("event_type", ["sent", "delivered", "bounced", "opened"]),
    },
    is_sifted=True,
)
