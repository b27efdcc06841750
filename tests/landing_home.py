"""A home of which only the landing is used, and deliveries for it."""

import csv
import hashlib
import io
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from flows.settings import Settings
from flows.steps import ledger
from flows.steps.landing import Landing, land
from flows.steps.raw_tables import create_raw_tables
from flows.steps.warehouse import connect

DAY = date(2017, 8, 25)
RUN = date(2017, 8, 26)

# A sound row of each feed; a test names only what it is about.
SOUND = {
    "subscribers": {
        "subscriber_id": "anna", "msisdn": "+4917655000001", "email": "anna@example.org", "brand": "o2",
        "tariff": "M", "status": "active", "marketing_consent": "true", "activated_on": "2014-05-01",
        "changed_at": "2017-08-25T08:00:00+02:00",
    },
    "app_events": {
        "event_id": "e1", "subscriber_id": "anna", "event_type": "app_installed",
        "occurred_at": "2017-08-25T08:00:00+02:00", "platform": "ios", "app_version": "1.0",
    },
    "calls": {
        "call_id": "c1", "record_version": "1", "subscriber_id": "anna", "msisdn": "+4917655000001",
        "direction": "inbound", "line": "service", "started_at": "2017-08-25T08:00:00+02:00", "duration_s": "60",
        "outcome": "answered", "voided": "false",
    },
    "mail_events": {
        "event_id": "m1", "subscriber_id": "anna", "wave_id": "pilot", "event_type": "sent",
        "occurred_at": "2017-08-25T08:00:00+02:00",
    },
    "grant_acks": {
        "grant_id": "anna.W.1", "status": "accepted", "reason": "", "processed_at": "2017-08-25T08:00:00+02:00",
    },
}  # fmt: skip


def csv_of(feed: str, *rows: dict[str, str] | str) -> bytes:
    """A delivery: each row tells in what it differs from the sound one, or is a line as it stands."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SOUND[feed])
    for row in rows:
        if isinstance(row, str):
            text.write(row + "\n")
        else:
            writer.writerow((SOUND[feed] | row).values())
    return text.getvalue().encode()


def parquet_of(columns: dict) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def name_of(feed: str, day: date = DAY, form: str = "csv") -> str:
    return f"{feed}_{day:%Y%m%d}.{form}"


class Home:
    """An installation of which only the landing is used."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self.settings = Settings(home=folder, **limits)
        self.settings.make_folders()

    @property
    def inbox(self) -> Path:
        return self.settings.inbox

    def deliver(self, feed: str, *rows: dict[str, str] | str, day: date = DAY) -> str:
        return self.put(name_of(feed, day), csv_of(feed, *rows))

    def put(self, name: str, content: bytes, digest: str | None = None) -> str:
        (self.inbox / name).write_bytes(content)
        if digest is not None:
            (self.inbox / f"{name}.sha256").write_text(digest)
        return name

    def land(self, run: date = RUN) -> Landing:
        return land(self.settings, run)

    def ask(self, sql: str) -> list[tuple]:
        with connect(self.settings.warehouse) as connection:
            create_raw_tables(connection)
            return connection.execute(sql).fetchall()

    @property
    def history(self) -> list[ledger.Delivery]:
        with ledger.open_ledger(self.settings) as connection:
            return ledger.deliveries(connection)

    @property
    def held(self) -> list[ledger.Delivery]:
        with ledger.open_ledger(self.settings) as connection:
            return ledger.still_held(ledger.deliveries(connection), ledger.decided(connection, "refuse"))

    @property
    def in_force(self) -> dict[tuple[str, date], str]:
        """For each feed and date the file in the archive."""
        return {day: delivery.stored_as for day, delivery in ledger.in_force(self.history).items()}

    @property
    def counts(self) -> dict[tuple[str, date], tuple[int, int]]:
        """For each feed and date the rows loaded and the rows rejected, as the raw tables hold them."""
        numbers = {delivery.delivery_id: day for day, delivery in ledger.in_force(self.history).items()}
        loaded = {
            feed: dict(self.ask(f"select delivery_id, count(*) from raw.{feed} group by all"))
            for feed, _ in numbers.values()
        }
        rejected = dict(self.ask("select delivery_id, count(*) from raw.rejected_rows group by all"))
        return {day: (loaded[day[0]].get(number, 0), rejected.get(number, 0)) for number, day in numbers.items()}

    def files(self, folder: str) -> dict[str, bytes]:
        root = self.settings.home / folder
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def names(self, folder: str) -> set[str]:
        """The deliveries in a folder, without what is written beside them."""
        return {name for name in self.files(folder) if not name.endswith((".reason.json", ".sha256"))}


ACKS = csv_of("grant_acks", {})
DIGEST = hashlib.sha256(ACKS).hexdigest()


def calls(count: int, name: str = "c") -> list[dict[str, str]]:
    """Different calls, old enough for a delivery of any day."""
    return [{"call_id": f"{name}{number}", "started_at": "2017-07-01T08:00:00Z"} for number in range(count)]


def held_calls(home: Home) -> str:
    """A day with four calls, and a held replacement with one."""
    home.deliver("calls", *calls(4))
    home.land()
    name = home.deliver("calls", *calls(1, "short"))
    assert home.land().held == (name,)
    return name
