"""The feeds of the interface (2.2) as values: their columns, and what makes a value well formed."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

Kind = Literal[
    "text", "subscriber_id", "wave_id", "event_id", "grant_id", "msisdn", "list", "integer", "date", "flag", "instant"
]

# What a value of a kind looks like, as a regular expression over the whole value.
PATTERNS: dict[str, str] = {
    "subscriber_id": "[A-Za-z0-9_-]{1,32}",
    "wave_id": "[A-Za-z0-9_-]{1,32}",
    "event_id": "[A-Za-z0-9_.:-]{1,64}",
    "grant_id": "(?s:.{1,64})",
    "msisdn": "[+][0-9]{8,15}",
    "integer": "[0-9]{1,9}",
    "date": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "flag": "true|false",
    "instant": (
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]+)?"
        "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    ),
}


@dataclass(frozen=True)
class Column:
    """One column of a feed."""

    name: str
    kind: Kind = "text"
    # A row without a well-formed value is rejected.
    is_required: bool = False
    # The whole column may be absent.
    may_be_absent: bool = False
    values: tuple[str, ...] = ()
    minimum: int = 0


@dataclass(frozen=True)
class Feed:
    """One feed; `instant` names the column whose local date the business date bounds."""

    name: str
    columns: tuple[Column, ...]
    instant: str
    # A daily feed must come every day before anything is decided on it.
    is_daily: bool = True

    @property
    def local_date(self) -> str:
        return self.instant.removesuffix("_at") + "_on"


def _required(name: str, kind: Kind = "text", values: tuple[str, ...] = (), minimum: int = 0) -> Column:
    return Column(name, kind, is_required=True, values=values, minimum=minimum)


FEEDS: dict[str, Feed] = {
    feed.name: feed
    for feed in (
        Feed(
            "subscribers",
            (
                _required("subscriber_id", "subscriber_id"),
                _required("msisdn", "msisdn"),
                Column("email"),
                _required("brand"),
                Column("tariff", may_be_absent=True),
                _required("status", "list", ("active", "suspended", "terminated")),
                _required("marketing_consent", "flag"),
                Column("activated_on", "date", may_be_absent=True),
                _required("changed_at", "instant"),
            ),
            instant="changed_at",
        ),
        Feed(
            "app_events",
            (
                _required("event_id", "event_id"),
                _required("subscriber_id", "subscriber_id"),
                _required(
                    "event_type",
                    "list",
                    ("app_installed", "portal_login", "video_started", "video_completed", "programme_withdrawn"),
                ),
                _required("occurred_at", "instant"),
                Column("platform", may_be_absent=True),
                Column("app_version", may_be_absent=True),
            ),
            instant="occurred_at",
        ),
        Feed(
            "calls",
            (
                _required("call_id", "event_id"),
                _required("record_version", "integer", minimum=1),
                Column("subscriber_id", "subscriber_id"),
                Column("msisdn", "msisdn"),
                _required("direction", "list", ("inbound", "outbound")),
                _required("line"),
                _required("started_at", "instant"),
                _required("duration_s", "integer"),
                _required("outcome", "list", ("answered", "abandoned", "self_service")),
                _required("voided", "flag"),
            ),
            instant="started_at",
        ),
        Feed(
            "mail_events",
            (
                _required("event_id", "event_id"),
                _required("subscriber_id", "subscriber_id"),
                _required("wave_id", "wave_id"),
                _required("event_type", "list", ("sent", "delivered", "bounced", "opened")),
                _required("occurred_at", "instant"),
            ),
            instant="occurred_at",
            is_daily=False,
        ),
        Feed(
            "grant_acks",
            (
                _required("grant_id", "grant_id"),
                _required("status", "list", ("accepted", "rejected")),
                Column("reason", may_be_absent=True),
                _required("processed_at", "instant"),
            ),
            instant="processed_at",
            is_daily=False,
        ),
    )
}

DAILY_FEEDS = tuple(feed.name for feed in FEEDS.values() if feed.is_daily)

_NAME = re.compile(rf"({'|'.join(FEEDS)})_([0-9]{{8}})\.(csv|csv\.gz|parquet)", re.ASCII)
_NOT_YET = (".part", ".tmp", ".filepart")
DIGEST_SUFFIX = ".sha256"


@dataclass(frozen=True)
class DeliveryName:
    """What the name of a delivery says."""

    feed: str
    business_date: date
    form: str


def is_not_yet(name: str) -> bool:
    """A sender is still writing this file."""
    return name.startswith(".") or name.endswith(_NOT_YET)


def parse_name(name: str) -> DeliveryName | None:
    """What the name of a delivery says, or None when it is malformed."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        day = date(int(match[2][:4]), int(match[2][4:6]), int(match[2][6:]))
    except ValueError:
        return None
    return DeliveryName(match[1], day, match[3])
