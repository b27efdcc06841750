"""What landed app events must be: one row per event in the app or the portal."""

from expectations.suite import EVENT_ID, NAME, Suite, landed, matches, not_empty, of_the_feed, one_of

APP_EVENTS = Suite(
    "app_events",
    landed("app_events", "occurred_at"),
    {
        **of_the_feed("app_events", "occurred_at"),
        "every event_id is well formed": matches("event_id", EVENT_ID),
        "every subscriber_id is well formed": matches("subscriber_id", NAME),
        "every event_type is in its list": one_of(
            "event_type",
            ["app_installed", "portal_login", "video_started", "video_completed", "programme_withdrawn"],
        ),
        "an absent platform or app_version is null": not_empty("platform", "app_version"),
    },
    is_sifted=True,
)
