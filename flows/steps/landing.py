"""Landing: what lies in the inbox is accepted, held or rejected, and its rows are loaded (2.2).

The order makes a crash harmless at any point: raw rows first, then the gate, then a durable second place for the
file, then the ledger's line that decides, then the claimed file is cleared.
"""

import statistics
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps import arrivals as places
from flows.steps import gates, ledger
from flows.steps.arrivals import Arrival
from flows.steps.feeds import FEEDS, DeliveryName, Feed, parse_name
from flows.steps.files import sha256_of
from flows.steps.ledger import Delivery
from flows.steps.raw_tables import create_raw_tables, forget
from flows.steps.warehouse import Connection, connect, transaction

if TYPE_CHECKING:
    from flows.steps.staging import Stage


@dataclass(frozen=True)
class Landing:
    """What landings did: names of deliveries by verdict, and rows of those accepted."""

    accepted: tuple[str, ...]
    repeated: tuple[str, ...]
    held: tuple[str, ...]
    rejected: tuple[tuple[str, str], ...]
    loaded_rows: int
    rejected_rows: int


def land(settings: Settings, business_date: date) -> Landing:
    """Land every delivery up to the business date. Raises CallfreeError when the gate after landing fails."""
    with ledger.held_open(settings):
        before = last_delivery(settings)
        _settle(settings)
        try:
            # Deliveries that an operator accepted are loaded before the inbox is read.
            _land(settings, business_date, _accepted_by_operator(settings, business_date))
            # Once more for what senders have put there meanwhile.
            while arrivals := places.claim(settings, business_date, last_delivery(settings)):
                _land(settings, business_date, arrivals)
        except Exception:
            _settle(settings)
            raise
        _settle(settings)
        return landing_since(settings, before)


def _land(settings: Settings, business_date: date, arrivals: list[Arrival]) -> None:
    with ledger.open_ledger(settings) as connection:
        history = ledger.deliveries(connection)
    arrivals = sorted(arrivals, key=_processing_order)
    for delivery_id, arrival in enumerate(arrivals, max((row.delivery_id for row in history), default=0) + 1):
        arrival.delivery_id = delivery_id
        places.check_digest(arrival)

    _stage(settings, business_date, history, arrivals)
    landed = {arrival.parsed.feed for arrival in arrivals if arrival.verdict == "accepted"}
    if landed:
        gates.require_landing(settings, sorted(landed), business_date)

    taken = places.names_taken(history)
    news = []
    for arrival in arrivals:
        news.append(places.put_in_place(settings, arrival, taken, business_date))
        taken.add(news[-1].stored_as)
    if news:
        with ledger.open_ledger(settings) as connection:
            ledger.record_deliveries(connection, news)
    for arrival, delivery in zip(arrivals, news, strict=True):
        if arrival.held_delivery_id is None:
            places.clear(arrival.path, delivery, settings)


def _accepted_by_operator(settings: Settings, business_date: date) -> list[Arrival]:
    """Held deliveries that an operator has accepted."""
    with ledger.open_ledger(settings) as connection:
        accepted = ledger.decided(connection, "accept")
        held = ledger.still_held(ledger.deliveries(connection), ledger.decided(connection, "refuse"))
    return [
        Arrival(
            # The word was about these bytes and no others.
            path=_as_it_came(settings, delivery),
            file_name=delivery.file_name,
            parsed=parse_name(delivery.file_name),
            held_delivery_id=delivery.delivery_id,
        )
        for delivery in held
        if delivery.delivery_id in accepted and delivery.business_date <= business_date
    ]


def _settle(settings: Settings) -> None:
    """Bring the folders in line with the ledger, whatever a landing that did not end has left."""
    with ledger.open_ledger(settings) as connection:
        history, refused = ledger.deliveries(connection), ledger.decided(connection, "refuse")
    places.recover_claimed(settings, history)
    places.drop_late_digests(settings, history)
    places.tidy_held(settings, history, refused)


def _processing_order(arrival: Arrival) -> tuple:
    """By business date; names nobody understands last."""
    day = arrival.parsed.business_date if arrival.parsed else date.max
    return (day, arrival.parsed.feed if arrival.parsed else "", arrival.file_name)


def last_delivery(settings: Settings) -> int:
    """The number of the latest delivery in the ledger, 0 before the first."""
    with ledger.open_ledger(settings) as connection:
        return connection.execute("select coalesce(max(delivery_id), 0) from deliveries").fetchone()[0]


def landing_since(settings: Settings, delivery_id: int) -> Landing:
    """What landings did since a delivery, by the ledger: true even where a landing was tried more than once."""
    with ledger.open_ledger(settings) as connection:
        news = ledger.deliveries(connection, after=delivery_id)

    def names(verdict: str) -> tuple[str, ...]:
        return tuple(delivery.file_name for delivery in news if delivery.verdict == verdict)

    accepted = [delivery for delivery in news if delivery.verdict == "accepted"]
    return Landing(
        accepted=names("accepted"),
        repeated=names("repeated"),
        held=names("held"),
        rejected=tuple((delivery.file_name, delivery.reason) for delivery in news if delivery.verdict == "rejected"),
        loaded_rows=sum(delivery.record_count - delivery.rejected_count for delivery in accepted),
        rejected_rows=sum(delivery.rejected_count for delivery in accepted),
    )


def require_archive(settings: Settings) -> None:
    """Every delivery in force lies in the archive as it came. Raises CallfreeError naming one that does not."""
    with ledger.open_ledger(settings) as connection:
        standing = ledger.in_force(ledger.deliveries(connection))
    for delivery in standing.values():
        _as_it_came(settings, delivery)


def restore(settings: Settings, business_date: date) -> None:
    """Read the deliveries in force again from the archive, into a warehouse that lost them. Nothing is posted."""
    with ledger.open_ledger(settings) as connection:
        history = ledger.deliveries(connection)
    _stage(settings, business_date, history, [], is_posting=False)


# --- Rows ---------------------------------------------------------------------------------------------------------


def _stage(
    settings: Settings,
    business_date: date,
    history: list[Delivery],
    arrivals: list[Arrival],
    is_posting: bool = True,
) -> None:
    """Give every arrival its verdict, and put the rows of the accepted ones into the raw tables: one transaction."""
    with connect(settings.warehouse) as connection:
        create_raw_tables(connection)
        with transaction(connection):
            connection.execute("delete from raw.run")
            connection.execute("insert into raw.run values (?, ?)", [business_date, is_posting])
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
    forget(connection, loaded - needed.keys())
    for feed in FEEDS.values():
        lost = [
            (number, _as_it_came(settings, delivery), parse_name(delivery.file_name))
            for number, delivery in sorted(needed.items())
            if number not in loaded and delivery.feed == feed.name
        ]
        if not lost:
            continue
        # What was accepted under another limit stays accepted.
        stage = _read(connection, feed, lost, sys.maxsize)
        for number, staged in stage.counts().items():
            if staged.bad:
                raise CallfreeError(f"{needed[number].stored_as} was accepted and cannot be read: {staged.bad}.")
        stage.keep([number for number, *_ in lost])
    connection.execute("insert into raw.loaded select * from raw.landing")
    connection.execute("delete from raw.landing")


def _read(
    connection: Connection, feed: Feed, candidates: list[tuple[int, Path, DeliveryName]], max_bytes: int
) -> "Stage":
    """The rows of some deliveries, each with its number and what its name says."""
    # Arrow and NumPy come with it: a run to which nothing came does without them.
    from flows.steps.staging import Candidate, Stage

    return Stage(connection, feed, [Candidate(*candidate) for candidate in candidates], max_bytes)


def _as_it_came(settings: Settings, delivery: Delivery) -> Path:
    path = settings.home.absolute() / delivery.stored_as
    if not path.is_file() or sha256_of(path) != delivery.sha256:
        or_refuse = f", or callfree refuse {delivery.file_name}" if delivery.verdict == "held" else ""
        raise CallfreeError(
            f"{delivery.stored_as} is missing or was changed: put the delivery back as it came{or_refuse}."
        )
    return path


def _stage_feed(
    settings: Settings,
    connection: Connection,
    feed_name: str,
    standing: dict[tuple, Delivery],
    arrivals: list[Arrival],
) -> None:
    open_arrivals = [arrival for arrival in arrivals if not arrival.verdict]
    candidates = [
        (arrival.delivery_id, arrival.path, arrival.parsed)
        for arrival in open_arrivals
        if arrival.day not in standing or standing[arrival.day].sha256 != arrival.sha256
    ]
    stage = _read(connection, FEEDS[feed_name], candidates, settings.max_delivery_bytes) if candidates else None
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
            now[arrival.day] = arrival.as_delivery(None, date.min)
    if stage:
        stage.keep([arrival.delivery_id for arrival in open_arrivals if arrival.verdict == "accepted"])


def _doubt(arrival: Arrival, before: Delivery | None, now: dict[tuple, Delivery]) -> str | None:
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
