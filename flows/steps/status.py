"""How an installation stands: written after each run and each operator's word, read at any time (2.5)."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flows.settings import Settings
from flows.steps import ledger
from flows.steps.feeds import DAILY_FEEDS, is_not_yet, parse_name
from flows.steps.files import write_whole
from flows.steps.outbox import altered_files
from flows.steps.warehouse import Connection, connect, rows

# Exceptions of which each one counts; of the others a run has many, and their number tells more.
_NAMED_KINDS = (
    "parked_grant", "overpaid_grant", "lapsed_enrolment", "overdue_wave", "memberless_wave", "unknown_line",
    "unknown_outcome", "unknown_ack", "contradicting_ack", "waived_but_delivered", "early_start",
    "smaller_than_usual", "larger_than_usual", "withheld_address",
)  # fmt: skip
_NAMED_LIMIT = 20
# As long as one of these lasts, a run ends with 3.
KINDS_FOR_A_PERSON = ("parked_grant", "overdue_wave", "memberless_wave")


_NOTHING: dict[str, Any] = {
    "last_run": None, "began_at": None, "finished_at": None, "failed_run": None, "held_batch": None, "held": [],
    "rejected": [], "waived": [], "unpublished_files": [], "altered_files": [], "feeds": [], "waves": [], "waiting": [],
    "quarters": None, "grants": [], "unanswered_files": [], "exceptions": [], "exception_subjects": {},
}  # fmt: skip


def write_status(settings: Settings, began_at: datetime, finished_at: datetime) -> dict[str, Any]:
    """Derive the status after a run, write `published/status.json`, and return it."""
    times = {"began_at": _instant(began_at), "finished_at": _instant(finished_at)}
    return _write(settings, _NOTHING | _from_ledger(settings) | _from_marts(settings) | times)


def derive_status(settings: Settings) -> None:
    """Derive the status anew after a rebuild: the last run stays when and how it was."""
    before = read_status(settings)
    of_the_run = {name: before[name] for name in ("began_at", "finished_at", "failed_run")}
    _write(settings, _NOTHING | _from_ledger(settings) | _from_marts(settings) | of_the_run)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def refresh_status(settings: Settings) -> None:
    """Bring what the ledger says up to date. What the marts say, and a failure, stay until a run succeeds."""
    _write(settings, read_status(settings) | _from_ledger(settings))


def write_failure(settings: Settings, business_date: date, error: Exception) -> dict[str, Any]:
    """Add that the latest run failed, and why. Returns the status."""
    return _write(settings, read_status(settings) | _from_ledger(settings) | _failed(business_date, error))


def write_refusal(settings: Settings, business_date: date, error: Exception) -> dict[str, Any]:
    """Add that a run was refused, as there is no ledger to trust: what it said last stays. Returns the status."""
    return _write(settings, read_status(settings) | _failed(business_date, error))


def _failed(business_date: date, error: Exception) -> dict[str, Any]:
    details = getattr(error, "details", ())
    return {"failed_run": {"business_date": business_date, "error": str(error), "details": details}}


def _write(settings: Settings, status: dict[str, Any]) -> dict[str, Any]:
    content = json.dumps(status, indent=2, default=str) + "\n"
    write_whole(settings.status, [content.encode()])
    return status


def read_status(settings: Settings) -> dict[str, Any]:
    """The status as last written; before the first run every key is there and says nothing."""
    written = json.loads(settings.status.read_text()) if settings.status.is_file() else {}
    return _NOTHING | written


def _from_ledger(settings: Settings) -> dict[str, Any]:
    with ledger.open_ledger(settings) as connection:
        history = ledger.deliveries(connection)
        refused = ledger.decided(connection, "refuse")
        accepted = ledger.decided(connection, "accept")
        return {
            "last_run": ledger.latest_run(connection),
            "held_batch": _held_batch(connection),
            "held": [
                {
                    "file": delivery.file_name,
                    "reason": delivery.reason,
                    "accepted": delivery.delivery_id in accepted,
                }
                for delivery in ledger.still_held(history, refused)
            ],
            "rejected": [
                {"file": delivery.stored_as.removeprefix("rejected/"), "reason": delivery.reason}
                for delivery in _rejections_that_matter(history, refused)
            ],
            "waived": rows(
                connection,
                "select feed, business_date, reason from decisions where kind = 'waive' order by feed, business_date",
            ),
            "altered_files": altered_files(settings, connection),
            "unpublished_files": ledger.unpublished_files(connection),
        }


def _held_batch(connection: Connection) -> dict[str, Any] | None:
    found = ledger.held_batch(connection)
    if found is None:
        return None
    _, held = found
    return {
        "business_date": held.business_date,
        "grant_count": held.line_count,
        "volume_mb": held.volume_mb,
        "is_approved": ledger.is_approved(connection, held),
    }


def _rejections_that_matter(history: list[ledger.Delivery], refused: set[int]) -> list[ledger.Delivery]:
    """Rejected deliveries whose day nothing has closed since, and names that nobody understood."""
    closed: dict[tuple, int] = {}
    for delivery in history:
        if delivery.verdict in ("accepted", "repeated"):
            closed[delivery.day] = delivery.delivery_id
    return [
        delivery
        for delivery in history
        if delivery.verdict == "rejected"
        and delivery.delivery_id not in refused
        and delivery.stored_as
        and (delivery.feed is None or closed.get(delivery.day, 0) < delivery.delivery_id)
    ]


def _from_marts(settings: Settings) -> dict[str, Any]:
    with connect(settings.warehouse) as connection:
        return {
            "feeds": rows(
                connection,
                """
                select
                    feeds.feed,
                    min(days.day) as starts_on,
                    max(days.day) filter (where days.is_delivered) as latest_delivery_on,
                    -- Complete from its start to the day before the first gap.
                    coalesce(min(days.day) filter (where not days.is_complete), max(days.day) + 1) - 1 as complete_to,
                    list(days.day order by days.day) filter (where not days.is_complete) as missing_days
                from unnest(?) as feeds(feed)
                left join marts.feed_days as days on feeds.feed = days.feed and not days.is_before_start
                group by feeds.feed
                order by feeds.feed
                """,
                [list(DAILY_FEEDS)],
            ),
            "waves": rows(
                connection,
                "select wave_id, wave_state, invite_on, treatment_count, control_count, enrolled_count"
                " from marts.pilot_waves order by invite_on, wave_id",
            ),
            "waiting": rows(
                connection, "select what, item_count, feed, missing_days from marts.waiting order by what, feed"
            ),
            "quarters": rows(
                connection,
                "select count(*) filter (where is_decided) as decided_count,"
                " count(*) filter (where is_decided and is_call_free) as call_free_count,"
                " count(*) filter (where not is_decided) as open_count from marts.quarters",
            )[0],
            "grants": rows(
                connection,
                "select answer, count(*) as grant_count, sum(volume_mb)::bigint as volume_mb"
                " from marts.grants group by answer order by answer",
            ),
            "unanswered_files": rows(
                connection,
                "select file_name, count(*) as grant_count from marts.grants"
                " where answer = 'unanswered' group by file_name, sequence order by sequence",
            ),
            "exceptions": rows(
                connection,
                "select kind, sum(item_count)::bigint as item_count, sum(volume_mb)::bigint as volume_mb"
                " from marts.exceptions group by kind order by kind",
            ),
            "exception_subjects": _subjects(connection),
        }


def _subjects(connection: Connection) -> dict[str, list[str]]:
    """The first few subjects of the kinds where each one counts."""
    found = rows(
        connection,
        "select kind, list(subject order by subject)[:?] as subjects from marts.exceptions"
        " where list_contains(?, kind) group by kind order by kind",
        [_NAMED_LIMIT, list(_NAMED_KINDS)],
    )
    return {row["kind"]: row["subjects"] for row in found}


def needs_a_person(status: dict[str, Any]) -> bool:
    """Whether something lasts that makes a run end with 3."""
    kinds = {row["kind"] for row in status["exceptions"]}
    return bool(status["held"]) or bool(status["altered_files"]) or any(kind in kinds for kind in KINDS_FOR_A_PERSON)


def is_late(settings: Settings, status: dict[str, Any], feed: str, day: date) -> bool:
    """Whether a day's delivery is neither loaded nor waived nor in the inbox."""
    if (feed, day) in _in_inbox(settings) | _waived(status):
        return False
    if str(status["last_run"]) < day.isoformat() or not status["last_run"]:
        return True
    known = {row["feed"]: row for row in status["feeds"]}.get(feed, {})
    return not known.get("starts_on") or day.isoformat() in (known["missing_days"] or [])


def late(settings: Settings, status: dict[str, Any], today: date) -> list[dict[str, str]]:
    """Deliveries of days after the last run, up to yesterday, that are neither waived nor in the inbox yet."""
    last_run = status["last_run"]
    if not last_run:
        return []
    settled = _in_inbox(settings) | _waived(status)
    first = date.fromisoformat(str(last_run)) + timedelta(days=1)
    days = [first + timedelta(days=number) for number in range((today - first).days)]
    return [
        {"feed": feed, "business_date": day.isoformat()}
        for day in days
        for feed in DAILY_FEEDS
        if (feed, day) not in settled
    ]


def _waived(status: dict[str, Any]) -> set[tuple[str, date]]:
    """The feeds and days of which a delivery will never come."""
    return {(row["feed"], date.fromisoformat(str(row["business_date"]))) for row in status["waived"]}


def _in_inbox(settings: Settings) -> set[tuple[str, date]]:
    """The feeds and days of which a delivery lies in the inbox."""
    there = set()
    if settings.inbox.is_dir():
        for path in settings.inbox.iterdir():
            parsed = None if is_not_yet(path.name) else parse_name(path.name)
            if parsed:
                there.add((parsed.feed, parsed.business_date))
    return there
