"""Landing: what lies in the inbox is accepted, held or rejected, and put where it belongs (2.2).

The order makes a crash harmless at any point: raw rows first, then the gate, then a durable second place for the
file, then the ledger's line that decides, then the first place is cleared.
"""

import json
import os
import stat
import statistics
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from itertools import chain, count
from pathlib import Path

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps import gates, ledger, staging
from flows.steps.feeds import DIGEST_SUFFIX, FEEDS, DeliveryName, is_not_yet, parse_name
from flows.steps.files import free_name, move, put_beside, sha256_of, write_whole
from flows.steps.ledger import Delivery
from flows.steps.staging import Candidate, Stage
from flows.steps.warehouse import Connection, connect, transaction

REASON_SUFFIX = ".reason.json"


@dataclass
class _Arrival:
    """A file on its way to a verdict."""

    path: Path
    # Its name as it came.
    file_name: str
    parsed: DeliveryName | None
    sha256: str | None = None
    held_delivery_id: int | None = None
    delivery_id: int = 0
    verdict: str = ""
    reason: str | None = None
    record_count: int = 0
    rejected_count: int = 0
    rows: list[dict] = field(default_factory=list)

    @property
    def day(self) -> tuple[str, date] | None:
        return (self.parsed.feed, self.parsed.business_date) if self.parsed else None

    def reject(self, reason: str) -> None:
        self.verdict, self.reason = "rejected", reason


@dataclass(frozen=True)
class Landing:
    """What a landing did: names of deliveries by verdict, and rows."""

    accepted: tuple[str, ...]
    repeated: tuple[str, ...]
    held: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]
    loaded_rows: int
    rejected_rows: int


def land(settings: Settings, business_date: date) -> Landing:
    """Land every delivery up to the business date. Raises CallfreeError when the gate after landing fails."""
    with ledger.open_ledger(settings) as connection:
        history = ledger.deliveries(connection)
        accepted_by_operator = ledger.decided(connection, "accept")
        refused = ledger.decided(connection, "refuse")
    finish_moves(settings, history, refused)

    held = ledger.still_held(history, refused)
    arrivals = [
        _Arrival(
            path=settings.home.absolute() / delivery.stored_as,
            file_name=delivery.file_name,
            parsed=parse_name(delivery.file_name),
            held_delivery_id=delivery.delivery_id,
        )
        for delivery in held
        if delivery.delivery_id in accepted_by_operator and delivery.business_date <= business_date
    ]
    arrivals += _look_into_inbox(settings, business_date)
    arrivals.sort(key=_processing_order)
    for delivery_id, arrival in enumerate(arrivals, max((row.delivery_id for row in history), default=0) + 1):
        arrival.delivery_id = delivery_id
        _check_digest(arrival)

    _stage(settings, business_date, history, arrivals)
    landed = [arrival for arrival in arrivals if arrival.verdict == "accepted"]
    if landed:
        gates.require_landing(settings, sorted({arrival.parsed.feed for arrival in landed}), business_date)

    news = [_put_in_place(settings, arrival, history, business_date) for arrival in arrivals]
    if news:
        with ledger.open_ledger(settings) as connection:
            ledger.record_deliveries(connection, news)
    for arrival, delivery in zip(arrivals, news, strict=True):
        if arrival.held_delivery_id is None:
            _clear(arrival.path, delivery, settings)
    finish_moves(settings, history + news, refused)
    return _summary(arrivals)


# --- What there is ------------------------------------------------------------------------------------------------


def _look_into_inbox(settings: Settings, business_date: date) -> list[_Arrival]:
    """The files of the inbox that this run looks at; those that are bad at first sight already have their verdict."""
    arrivals = []
    for path in sorted(settings.inbox.iterdir()):
        if is_not_yet(path.name) or path.name.endswith(DIGEST_SUFFIX):
            continue
        arrival = _Arrival(path, path.name, parse_name(path.name))
        mode = path.lstat().st_mode
        if arrival.parsed is None:
            if stat.S_ISDIR(mode):
                continue  # subfolders are not read
            arrival.reject("its name is malformed: expected <feed>_<YYYYMMDD>.csv, .csv.gz or .parquet")
        elif arrival.parsed.business_date > business_date:
            continue
        elif not stat.S_ISREG(mode):
            arrival.reject("it is not a regular file")
        arrivals.append(arrival)
    days = [arrival.day for arrival in arrivals if arrival.day]
    for arrival in arrivals:
        if arrival.day and days.count(arrival.day) > 1:
            arrival.reject("the inbox holds another file for the same feed and date")
    return arrivals


def _processing_order(arrival: _Arrival) -> tuple:
    """By business date; an accepted one before the inbox; names nobody understands last."""
    day = arrival.parsed.business_date if arrival.parsed else date.max
    feed = arrival.parsed.feed if arrival.parsed else ""
    return (arrival.held_delivery_id is None, day, feed, arrival.file_name)


def _check_digest(arrival: _Arrival) -> None:
    """The digest of the file, and whether the one that was sent beside it matches."""
    if not stat.S_ISREG(arrival.path.lstat().st_mode):
        return
    arrival.sha256 = sha256_of(arrival.path)
    beside = arrival.path.with_name(arrival.path.name + DIGEST_SUFFIX)
    if arrival.verdict or not beside.is_file():
        return
    words = beside.read_bytes()[:1024].split()
    if not words or words[0].decode("ascii", "replace").lower() != arrival.sha256:
        arrival.reject("its digest does not match the .sha256 file beside it")


def restore(settings: Settings, business_date: date) -> None:
    """Read the deliveries in force again from the archive, into a warehouse that lost them."""
    with ledger.open_ledger(settings) as connection:
        history = ledger.deliveries(connection)
    _stage(settings, business_date, history, [])


# --- Rows ---------------------------------------------------------------------------------------------------------


def _stage(settings: Settings, business_date: date, history: list[Delivery], arrivals: list[_Arrival]) -> None:
    """Give every arrival its verdict, and put the rows of the accepted ones into the raw tables: one transaction."""
    with connect(settings.warehouse) as connection:
        staging.create_raw_tables(connection)
        with transaction(connection):
            connection.execute("delete from raw.run")
            connection.execute("insert into raw.run values (?)", [business_date])
            connection.execute("delete from raw.landing")
            standing = ledger.in_force(history)
            _restore(settings, connection, standing)
            for feed in FEEDS.values():
                of_feed = [arrival for arrival in arrivals if arrival.parsed and arrival.parsed.feed == feed.name]
                _stage_feed(settings, connection, feed.name, standing, of_feed)
            connection.execute("insert into raw.loaded select * from raw.landing")


def _restore(settings: Settings, connection: Connection, standing: dict[tuple, Delivery]) -> None:
    """Make the raw tables hold the deliveries in force: drop the dust, and read again what was lost."""
    loaded = {row[0] for row in connection.execute("select delivery_id from raw.loaded").fetchall()}
    needed = {delivery.delivery_id: delivery for delivery in standing.values()}
    staging.forget(connection, loaded - needed.keys())
    for feed in FEEDS.values():
        lost = [
            Candidate(number, _archived(settings, delivery), parse_name(delivery.file_name))
            for number, delivery in sorted(needed.items())
            if number not in loaded and delivery.feed == feed.name
        ]
        if not lost:
            continue
        stage = Stage(connection, feed, lost, settings.max_delivery_bytes)
        for number, staged in stage.counts().items():
            if staged.bad:
                raise CallfreeError(f"{needed[number].stored_as} was accepted and cannot be read: {staged.bad}.")
        stage.load([candidate.delivery_id for candidate in lost])
    connection.execute("insert into raw.loaded select * from raw.landing")
    connection.execute("delete from raw.landing")


def _archived(settings: Settings, delivery: Delivery) -> Path:
    path = settings.home.absolute() / delivery.stored_as
    if not path.is_file() or sha256_of(path) != delivery.sha256:
        raise CallfreeError(f"{delivery.stored_as} is missing or was changed: put the delivery back as it came.")
    return path


def _stage_feed(
    settings: Settings,
    connection: Connection,
    feed_name: str,
    standing: dict[tuple, Delivery],
    arrivals: list[_Arrival],
) -> None:
    open_arrivals = [arrival for arrival in arrivals if not arrival.verdict]
    # The bytes of what stands are a repeat, unless an accepted delivery of the day comes in between.
    interposed = {arrival.day for arrival in open_arrivals if arrival.held_delivery_id is not None}
    candidates = [
        Candidate(arrival.delivery_id, arrival.path, arrival.parsed)
        for arrival in open_arrivals
        if arrival.day in interposed or arrival.day not in standing or standing[arrival.day].sha256 != arrival.sha256
    ]
    stage = Stage(connection, FEEDS[feed_name], candidates, settings.max_delivery_bytes) if candidates else None
    counts = stage.counts() if stage else {}
    # Whom a later arrival is measured against: what stands, with what this landing has accepted so far.
    now = dict(standing)
    for arrival in open_arrivals:
        before = now.get(arrival.day)
        if before is not None and before.sha256 == arrival.sha256:
            arrival.verdict = "repeated"
            arrival.record_count, arrival.rejected_count = before.record_count, before.rejected_count
            continue
        staged = counts[arrival.delivery_id]
        arrival.record_count, arrival.rejected_count = staged.record_count, staged.rejected_count
        # As the number was written, not as the nearest float.
        limit = Fraction(str(settings.max_rejected_share))
        if staged.bad:
            arrival.reject(staged.bad)
            arrival.record_count = arrival.rejected_count = 0
        elif staged.rejected_count > 1 and staged.rejected_count > limit * staged.record_count:
            arrival.reject(f"{staged.rejected_count} of its {staged.record_count} rows are rejected")
            arrival.rows = stage.reasons(arrival.delivery_id)
        elif arrival.held_delivery_id is None and (doubt := _doubt(arrival, before, now)):
            arrival.verdict, arrival.reason = "held", doubt
        else:
            arrival.verdict = "accepted"
            now[arrival.day] = _as_delivery(arrival, None, date.min)
    accepted = [arrival.delivery_id for arrival in open_arrivals if arrival.verdict == "accepted"]
    if accepted:
        stage.load(accepted)


def _doubt(arrival: _Arrival, before: Delivery | None, now: dict[tuple, Delivery]) -> str | None:
    """Why a delivery is too small to be believed without an operator's word."""
    feed, day = arrival.day
    count = arrival.record_count
    if before is not None and feed in ("calls", "subscribers") and count < before.record_count / 2:
        return f"it has {count} rows and would replace a delivery of {before.record_count}"
    if feed == "calls":
        days = (now.get((feed, day - timedelta(days=back))) for back in range(1, 15))
        usual = [delivery.record_count for delivery in days if delivery]
        if len(usual) >= 7 and statistics.median(usual) >= 1000 and count < statistics.median(usual) / 10:
            return f"it has {count} rows where {statistics.median(usual):g} are usual"
    return None


# --- Places -------------------------------------------------------------------------------------------------------


def _as_delivery(arrival: _Arrival, stored_as: str | None, run_on: date) -> Delivery:
    return Delivery(
        delivery_id=arrival.delivery_id,
        feed=arrival.parsed.feed if arrival.parsed else None,
        business_date=arrival.parsed.business_date if arrival.parsed else None,
        file_name=_safe_name(arrival.file_name),
        sha256=arrival.sha256,
        verdict=arrival.verdict,
        reason=arrival.reason,
        stored_as=stored_as,
        record_count=arrival.record_count,
        rejected_count=arrival.rejected_count,
        held_delivery_id=arrival.held_delivery_id,
        run_on=run_on,
    )


def _put_in_place(settings: Settings, arrival: _Arrival, history: list[Delivery], run_on: date) -> Delivery:
    """Give the file its durable second place by its verdict. What cannot be linked or copied is moved later."""
    if arrival.verdict == "repeated":
        return _as_delivery(arrival, None, run_on)
    folder = {
        "accepted": settings.archive / (arrival.parsed.feed if arrival.parsed else ""),
        "rejected": settings.rejected,
        "held": settings.held,
    }[arrival.verdict]
    # A place in the ledger is never given away again, or two deliveries would be taken for each other.
    stored = (settings.home.absolute() / row.stored_as for row in history if row.stored_as)
    taken = {path.name for path in stored if path.parent == folder}
    target = folder / _free_or_same(folder, _safe_name(arrival.file_name), taken, arrival.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    if arrival.sha256 is not None:
        put_beside(arrival.path, target)
    if arrival.verdict != "accepted":
        _write_reason(target, arrival)
    return _as_delivery(arrival, str(target.relative_to(settings.home.absolute())), run_on)


def _free_or_same(folder: Path, name: str, taken: set[str], sha256: str | None) -> str:
    """A name that no delivery has. A file that a crash left there before the ledger knew it is the same."""
    candidates = chain([name], (f"{name}.{number}" for number in count(2)))
    return next(
        candidate
        for candidate in candidates
        if candidate not in taken
        and (not os.path.lexists(folder / candidate) or _has_digest(folder / candidate, sha256))
    )


def _has_digest(path: Path, sha256: str | None) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _safe_name(name: str) -> str:
    """A name that can be written down: printable, and short enough for a suffix."""
    printable = "".join(letter if letter.isprintable() and letter.isascii() else "_" for letter in name)
    return printable[:180]


def _write_reason(target: Path, arrival: _Arrival) -> None:
    reason = {
        "file": _safe_name(arrival.file_name),
        "feed": arrival.parsed.feed if arrival.parsed else None,
        "business_date": arrival.parsed.business_date.isoformat() if arrival.parsed else None,
        "verdict": arrival.verdict,
        "reason": arrival.reason,
        "sha256": arrival.sha256,
        "record_count": arrival.record_count,
        "rejected_count": arrival.rejected_count,
        "first_rejected_rows": arrival.rows,
    }
    content = json.dumps(reason, indent=2) + "\n"
    write_whole(target.with_name(target.name + REASON_SUFFIX), [content.encode()])


def _clear(path: Path, delivery: Delivery, settings: Settings) -> None:
    """Take a file out of the inbox, now that the ledger knows it."""
    # The digest goes first: alone it would contradict a later delivery of that name.
    beside = path.with_name(path.name + DIGEST_SUFFIX)
    target = settings.home.absolute() / (delivery.stored_as or "")
    if os.path.isfile(beside):  # Path.is_file stops at a name that is too long
        if delivery.verdict in ("accepted", "repeated"):
            beside.unlink()
        else:
            move(beside, target.with_name(target.name + DIGEST_SUFFIX))
    if delivery.sha256 is None:
        move(path, target)
    else:
        path.unlink(missing_ok=True)


def finish_moves(settings: Settings, history: list[Delivery], refused: set[int]) -> None:
    """Bring the folders in line with the ledger: what a crash left in the inbox, and what is no longer held."""
    home = settings.home.absolute()
    by_name = {delivery.file_name: delivery for delivery in history if delivery.stored_as}
    for path in list(settings.inbox.iterdir()):
        delivery = by_name.get(path.name)
        stored = home / delivery.stored_as if delivery else path
        if delivery and path.is_file() and stored.is_file() and path.samefile(stored):
            _clear(path, delivery, settings)
    waiting = {delivery.delivery_id for delivery in ledger.still_held(history, refused)}
    judged = {delivery.held_delivery_id for delivery in history}
    for delivery in history:
        if delivery.verdict != "held" or delivery.delivery_id in waiting:
            continue
        place = home / delivery.stored_as
        suffixes = ("", REASON_SUFFIX, DIGEST_SUFFIX)
        leftovers = [suffix for suffix in suffixes if place.with_name(place.name + suffix).is_file()]
        name = free_name(settings.rejected, place.name)
        for suffix in leftovers:
            source = place.with_name(place.name + suffix)
            if delivery.delivery_id in judged:
                source.unlink()
            else:
                move(source, settings.rejected / (name + suffix))


def _summary(arrivals: list[_Arrival]) -> Landing:
    def names(verdict: str) -> tuple[str, ...]:
        return tuple(arrival.file_name for arrival in arrivals if arrival.verdict == verdict)

    landed = [arrival for arrival in arrivals if arrival.verdict == "accepted"]
    return Landing(
        accepted=names("accepted"),
        repeated=names("repeated"),
        held=names("held"),
        rejected=tuple(
            (_safe_name(arrival.file_name), arrival.reason) for arrival in arrivals if arrival.verdict == "rejected"
        ),
        loaded_rows=sum(arrival.record_count - arrival.rejected_count for arrival in landed),
        rejected_rows=sum(arrival.rejected_count for arrival in landed),
    )
