"""What a delivery and its rows must be, as section 2.2 says it.

Part of the reference (see `reference.py`): plain Python, one obvious step after the other, from the
specification alone. A comment `# open:` marks a place where the specification can be read in two ways.
"""

import gzip
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
ONE_DAY = timedelta(days=1)


# ---------------------------------------------------------------- values

TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)


@lru_cache(maxsize=100_000)
def instant(text: str) -> datetime | None:
    """The timestamp in UTC, or None where it is malformed."""
    found = TIMESTAMP.fullmatch(text)
    if not found:
        return None
    day, time, fraction, sign, hours, minutes = found.groups()
    # open: how far an offset may go is not said; any that a clock could show is taken.
    if sign and (int(hours) > 23 or int(minutes) > 59):
        return None
    offset = timedelta(hours=int(hours), minutes=int(minutes)) if sign else timedelta(0)
    try:
        wall = datetime.fromisoformat(f"{day}T{time}.{(fraction or '')[:6]:0<6}").replace(tzinfo=UTC)
        return wall + offset if sign == "-" else wall - offset
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=100_000)
def local_date(at: datetime) -> date:
    return at.astimezone(BERLIN).date()


def is_timestamp(text: str) -> bool:
    return instant(text) is not None


def is_date(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def is_integer(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}", text))


def is_version(text: str) -> bool:
    return is_integer(text) and int(text) >= 1


def is_any_text(text: str) -> bool:
    return True


def matching(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


def one_of(*values: str) -> Callable[[str], bool]:
    return lambda text: text in values


is_id = matching(r"[A-Za-z0-9_-]{1,32}")
is_event_or_call_id = matching(r"[A-Za-z0-9_.:-]{1,64}")
is_msisdn = matching(r"\+[0-9]{8,15}")
is_grant_id = matching(r"(?s:.{1,64})")
is_true_or_false = one_of("true", "false")


# ---------------------------------------------------------------- feeds


@dataclass(frozen=True)
class Column:
    name: str
    is_well_formed: Callable[[str], bool] = is_any_text
    needs_value: bool = True
    may_be_absent: bool = False


def optional(name: str, is_well_formed: Callable[[str], bool] = is_any_text) -> Column:
    return Column(name, is_well_formed, needs_value=False)


def absent(name: str, is_well_formed: Callable[[str], bool] = is_any_text) -> Column:
    return Column(name, is_well_formed, needs_value=False, may_be_absent=True)


@dataclass(frozen=True)
class Feed:
    timestamp: str
    columns: tuple[Column, ...]

    @property
    def header(self) -> str:
        return ",".join(column.name for column in self.columns) + "\n"


FEEDS = {
    "subscribers": Feed("changed_at", (
        Column("subscriber_id", is_id),
        Column("msisdn", is_msisdn),
        optional("email"),
        Column("brand"),
        absent("tariff"),
        Column("status", one_of("active", "suspended", "terminated")),
        Column("marketing_consent", is_true_or_false),
        absent("activated_on", is_date),
        Column("changed_at", is_timestamp),
    )),
    "app_events": Feed("occurred_at", (
        Column("event_id", is_event_or_call_id),
        Column("subscriber_id", is_id),
        Column("event_type", one_of(
            "app_installed", "portal_login", "video_started", "video_completed", "programme_withdrawn")),
        Column("occurred_at", is_timestamp),
        absent("platform"),
        absent("app_version"),
    )),
    "calls": Feed("started_at", (
        Column("call_id", is_event_or_call_id),
        Column("record_version", is_version),
        optional("subscriber_id", is_id),
        optional("msisdn", is_msisdn),
        Column("direction", one_of("inbound", "outbound")),
        Column("line"),
        Column("started_at", is_timestamp),
        Column("duration_s", is_integer),
        Column("outcome", one_of("answered", "abandoned", "self_service")),
        Column("voided", is_true_or_false),
    )),
    "mail_events": Feed("occurred_at", (
        Column("event_id", is_event_or_call_id),
        Column("subscriber_id", is_id),
        Column("wave_id", is_id),
        Column("event_type", one_of("sent", "delivered", "bounced", "opened")),
        Column("occurred_at", is_timestamp),
    )),
    "grant_acks": Feed("processed_at", (
        Column("grant_id", is_grant_id),
        Column("status", one_of("accepted", "rejected")),
        absent("reason"),
        Column("processed_at", is_timestamp),
    )),
}  # fmt: skip

REQUIRED_FEEDS = ("subscribers", "app_events", "calls")


# ---------------------------------------------------------------- files


class Unreadable(Exception):
    """The delivery is rejected as a whole; the message is the reason."""


def feed_and_date(name: str) -> tuple[str, date] | None:
    """What a delivery's name says, or None where it is malformed."""
    found = re.fullmatch(r"([a-z_]+)_([0-9]{4})([0-9]{2})([0-9]{2})\.(?:csv|csv\.gz|parquet)", name)
    if not found or found[1] not in FEEDS:
        return None
    try:
        return found[1], date(int(found[2]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def is_not_yet(name: str) -> bool:
    return name.startswith(".") or name.endswith((".part", ".tmp", ".filepart"))


@lru_cache(maxsize=2000)
def csv_records(text: str) -> list[list[str]]:
    """All records of a CSV text, the header among them. A blank line outside quotes is no record."""
    # open: a carriage return that no line feed follows is text like any other.
    records, record, value, at = [], [], [], 0
    state = "start"  # of a field: start, bare, quoted, closed

    while at <= len(text):
        end_of_text = at == len(text)
        char = "" if end_of_text else text[at]
        line_end = 1 if char == "\n" else 2 if text.startswith("\r\n", at) else 0
        at += 1
        if state == "quoted":
            if end_of_text:
                raise Unreadable("a quote that never closes")
            if char != '"':
                value.append(char)
            elif text.startswith('"', at):
                value.append('"')
                at += 1
            else:
                state = "closed"
        elif end_of_text or line_end or char == ",":
            if char != "," and state == "start" and not record:
                at += max(line_end - 1, 0)
                continue  # a blank line, or the end after the last line end
            record.append("".join(value))
            value, state = [], "start"
            if char != ",":
                records.append(record)
                record = []
                at += max(line_end - 1, 0)
        elif state == "closed":
            raise Unreadable("text after a closing quote")
        elif char == '"':
            if state == "bare":
                raise Unreadable("a quote in an unquoted field")
            state = "quoted"
        else:
            value.append(char)
            state = "bare"
    return records


@dataclass(frozen=True)
class Row:
    """A loaded row; `order` (business date, record number) settles which of two rows came later."""

    values: dict[str, str]
    at: datetime
    on: date
    order: tuple[date, int]

    def __getitem__(self, column: str) -> str:
        return self.values[column]


def unpacked(name: str, content: bytes, max_bytes: int) -> str:
    if name.endswith(".parquet"):
        raise NotImplementedError("the reference reads no Parquet")
    if name.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(f"the archive is damaged: {error}") from None
    if len(content) > max_bytes:
        raise Unreadable("it unpacks to too many bytes")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8: {error}") from None


def read_row(feed: Feed, header: list[str], record: list[str], business_date: date, number: int) -> Row | None:
    """The row as loaded, or None where it is rejected."""
    if len(record) != len(header):
        return None
    given = dict(zip(header, record, strict=True))
    values = {}
    for column in feed.columns:
        value = given.get(column.name, "")
        if value == "" or not column.is_well_formed(value):
            if column.needs_value:
                return None
            value = ""
        values[column.name] = value
    at = instant(values[feed.timestamp])
    try:
        on = local_date(at)
    except OverflowError:  # the last hours of the year 9999
        return None
    if on > business_date + ONE_DAY:
        return None
    return Row(values, at, on, (business_date, number))


def read_delivery(
    name: str, content: bytes, max_bytes: int, max_rejected_share: Fraction
) -> tuple[list[Row], int, int]:
    """The rows of a delivery, how many of its data rows are rejected, and how many there are."""
    feed_name, business_date = feed_and_date(name)
    feed = FEEDS[feed_name]
    records = csv_records(unpacked(name, content, max_bytes))
    header = records[0] if records else []
    # open: any doubled column is taken for one that is doubled, also one that nobody would load.
    if len(set(header)) < len(header):
        raise Unreadable("a column is doubled")
    for column in feed.columns:
        if column.name not in header and not column.may_be_absent:
            raise Unreadable(f"column {column.name} is missing")
    read = [read_row(feed, header, record, business_date, number) for number, record in enumerate(records[1:], start=1)]
    rows = [row for row in read if row is not None]
    rejected = len(read) - len(rows)
    if rejected > 1 and rejected > max_rejected_share * len(read):
        raise Unreadable(f"{rejected} of {len(read)} rows are rejected")
    return rows, rejected, len(read)
