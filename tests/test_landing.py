"""What becomes of the rows and the files of a delivery (2.2), and that a crash in between is harmless."""

import csv
import hashlib
import io
import json
import os
from datetime import date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reference_files
from flows.errors import CallfreeError, GateFailed
from flows.settings import Settings
from flows.steps import arrivals, gates, ledger, operator
from flows.steps.landing import Landing, land
from flows.steps.raw_tables import create_raw_tables
from flows.steps.warehouse import connect
from reference_files import Unreadable, read_delivery

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


@pytest.fixture(autouse=True)
def no_gates(monkeypatch):
    """Great Expectations is the subject elsewhere."""
    monkeypatch.setattr(gates, "require_landing", lambda *_: None)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


# --- Rows ---------------------------------------------------------------------------------------------------------


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# Feed, column, value as it came, and the value as loaded or the reason why the row is rejected.
MISTAKES = [
    # Dates that do not exist, and years at both ends.
    ("calls", "started_at", "2017-02-29T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-04-31T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-13-01T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-00-10T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-00T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "1900-02-29T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "0000-01-01T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "9999-12-31T23:59:59Z", "started_at is later than the day after the business date"),
    # Times.
    ("calls", "started_at", "2017-08-25T24:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T23:60:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T23:59:60Z", "started_at is malformed"),
    # Shapes.
    ("calls", "started_at", "", "started_at is empty"),
    ("calls", "started_at", " 2017-08-25T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00:00Z ", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25 08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25t08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00:00z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-8-25T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "20170825T080000Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00:00.Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00:00,5Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25", "started_at is malformed"),
    ("calls", "started_at", "\u0662017-08-25T08:00:00Z", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00:00Z\n", "started_at is malformed"),
    # Offsets.
    ("calls", "started_at", "2017-08-25T08:00:00", "started_at has no offset"),
    ("calls", "started_at", "2017-08-25T08:00:00.5", "started_at has no offset"),
    ("calls", "started_at", "2017-08-25T08:00:00+2:00", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00:00+0200", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00:00+02", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00:00+02:60", "started_at is malformed"),
    ("calls", "started_at", "2017-08-25T08:00:00 Europe/Berlin", "started_at is malformed"),
    # More than a day after the business date, by the local date.
    ("calls", "started_at", "2017-08-27T00:00:00+02:00", "started_at is later than the day after the business date"),
    ("calls", "started_at", "2017-08-26T22:00:00Z", "started_at is later than the day after the business date"),
    ("calls", "started_at", "2017-08-26T12:00:00-10:00", "started_at is later than the day after the business date"),
    # Integers.
    ("calls", "duration_s", "", "duration_s is empty"),
    ("calls", "duration_s", "1234567890", "duration_s is malformed"),
    ("calls", "duration_s", "0000000001", "duration_s is malformed"),
    ("calls", "duration_s", "-1", "duration_s is malformed"),
    ("calls", "duration_s", "+1", "duration_s is malformed"),
    ("calls", "duration_s", "1.0", "duration_s is malformed"),
    ("calls", "duration_s", " 1", "duration_s is malformed"),
    ("calls", "duration_s", "1 ", "duration_s is malformed"),
    ("calls", "duration_s", "1e3", "duration_s is malformed"),
    ("calls", "duration_s", "1_000", "duration_s is malformed"),
    ("calls", "duration_s", "\u0661", "duration_s is malformed"),
    ("calls", "record_version", "0", "record_version is malformed"),
    ("calls", "record_version", "", "record_version is empty"),
    # Identifiers.
    ("calls", "call_id", "", "call_id is empty"),
    ("calls", "call_id", "c" * 65, "call_id is malformed"),
    ("calls", "call_id", "c/1", "call_id is malformed"),
    ("calls", "call_id", "c 1", "call_id is malformed"),
    ("app_events", "event_id", "e" * 65, "event_id is malformed"),
    ("app_events", "subscriber_id", "", "subscriber_id is empty"),
    ("app_events", "subscriber_id", "s" * 33, "subscriber_id is malformed"),
    ("app_events", "subscriber_id", "anna.1", "subscriber_id is malformed"),
    ("app_events", "subscriber_id", "änna", "subscriber_id is malformed"),
    ("app_events", "subscriber_id", "anna\n", "subscriber_id is malformed"),
    ("mail_events", "wave_id", "w" * 33, "wave_id is malformed"),
    ("mail_events", "wave_id", "a:b", "wave_id is malformed"),
    ("mail_events", "event_id", "m 1", "event_id is malformed"),
    ("grant_acks", "grant_id", "", "grant_id is empty"),
    ("grant_acks", "grant_id", "ä" * 65, "grant_id is malformed"),
    # Numbers.
    ("subscribers", "msisdn", "", "msisdn is empty"),
    ("subscribers", "msisdn", "4917655000001", "msisdn is malformed"),
    ("subscribers", "msisdn", "004917655000001", "msisdn is malformed"),
    ("subscribers", "msisdn", "+1234567", "msisdn is malformed"),
    ("subscribers", "msisdn", "+1234567890123456", "msisdn is malformed"),
    ("subscribers", "msisdn", "+49 17655000001", "msisdn is malformed"),
    ("subscribers", "msisdn", "+4.917655E+12", "msisdn is malformed"),
    # Lists, to the letter.
    ("subscribers", "status", "Active", "status is not in its list"),
    ("subscribers", "status", "active ", "status is not in its list"),
    ("subscribers", "status", "cancelled", "status is not in its list"),
    ("subscribers", "marketing_consent", "TRUE", "marketing_consent is malformed"),
    ("subscribers", "marketing_consent", "1", "marketing_consent is malformed"),
    ("subscribers", "brand", "", "brand is empty"),
    ("subscribers", "changed_at", "2017-08-26T22:00:00Z", "changed_at is later than the day after the business date"),
    ("app_events", "event_type", "Video_Completed", "event_type is not in its list"),
    ("app_events", "occurred_at", "2017-08-25T08:00:00", "occurred_at has no offset"),
    ("mail_events", "event_type", "opened ", "event_type is not in its list"),
    ("mail_events", "occurred_at", "yesterday", "occurred_at is malformed"),
    ("calls", "direction", "INBOUND", "direction is not in its list"),
    ("calls", "outcome", "lost", "outcome is not in its list"),
    ("calls", "voided", "no", "voided is malformed"),
    ("calls", "line", "", "line is empty"),
    ("grant_acks", "status", "ACCEPTED", "status is not in its list"),
    ("grant_acks", "processed_at", "", "processed_at is empty"),
]  # fmt: skip

LOADED = [
    # Instants are loaded as UTC.
    ("calls", "started_at", "2017-08-25T08:00:00Z", at("2017-08-25T08:00:00")),
    ("calls", "started_at", "2017-08-25T08:00:00+00:00", at("2017-08-25T08:00:00")),
    ("calls", "started_at", "2017-08-25T08:00:00-00:00", at("2017-08-25T08:00:00")),
    ("calls", "started_at", "2017-08-25T08:00:00+02:00", at("2017-08-25T06:00:00")),
    ("calls", "started_at", "2017-08-25T08:00:00-03:30", at("2017-08-25T11:30:00")),
    ("calls", "started_at", "2017-08-25T01:00:00+05:45", at("2017-08-24T19:15:00")),
    ("calls", "started_at", "2016-02-29T00:00:00Z", at("2016-02-29T00:00:00")),
    ("calls", "started_at", "0001-01-02T00:00:00Z", at("0001-01-02T00:00:00")),
    # Of a fraction six digits count; they are cut, not rounded.
    ("calls", "started_at", "2017-08-25T08:00:00.5Z", at("2017-08-25T08:00:00.500000")),
    ("calls", "started_at", "2017-08-25T08:00:00.000001Z", at("2017-08-25T08:00:00.000001")),
    ("calls", "started_at", "2017-08-25T08:00:00.9999999Z", at("2017-08-25T08:00:00.999999")),
    ("calls", "started_at", "2017-08-25T08:00:00.00000099999999999999999999Z", at("2017-08-25T08:00:00")),
    # The last instant of the day after the business date.
    ("calls", "started_at", "2017-08-26T23:59:59.9999999+02:00", at("2017-08-26T21:59:59.999999")),
    ("calls", "started_at", "2017-08-27T07:29:59+09:30", at("2017-08-26T21:59:59")),
    ("calls", "duration_s", "0", 0),
    ("calls", "duration_s", "999999999", 999999999),
    ("calls", "duration_s", "000000007", 7),
    ("calls", "record_version", "1", 1),
    ("calls", "line", " ", " "),
    ("calls", "line", "a\rb", "a\rb"),
    ("calls", "line", 'say "hello", twice', 'say "hello", twice'),
    ("calls", "line", "two\nlines", "two\nlines"),
    ("calls", "line", "two\r\nlines", "two\r\nlines"),
    ("calls", "line", "null", "null"),
    ("calls", "line", "NaN", "NaN"),
    ("calls", "line", "\x00", "\x00"),
    ("calls", "call_id", "c" * 64, "c" * 64),
    ("calls", "call_id", "A-z_0.9:", "A-z_0.9:"),
    ("calls", "voided", "true", True),
    ("app_events", "subscriber_id", "s" * 32, "s" * 32),
    ("app_events", "platform", "", None),
    ("mail_events", "wave_id", "w" * 32, "w" * 32),
    ("grant_acks", "grant_id", "ä" * 64, "ä" * 64),
    ("grant_acks", "grant_id", "a\nb", "a\nb"),
    ("grant_acks", "reason", "unknown, number", "unknown, number"),
    ("subscribers", "msisdn", "+12345678", "+12345678"),
    ("subscribers", "msisdn", "+123456789012345", "+123456789012345"),
    ("subscribers", "brand", " o2 ", " o2 "),
    ("subscribers", "email", "", None),
    ("subscribers", "email", " ", " "),
    ("subscribers", "activated_on", "2016-02-29", date(2016, 2, 29)),
    ("subscribers", "activated_on", "0001-01-01", date(1, 1, 1)),
    ("subscribers", "activated_on", "", None),
]  # fmt: skip

# A malformed value in a column that needs none is loaded as empty, and counted.
EMPTIED = [
    ("calls", "subscriber_id", "anna.1"),
    ("calls", "subscriber_id", " "),
    ("calls", "msisdn", "017655000001"),
    ("subscribers", "activated_on", "2017-02-29"),
    ("subscribers", "activated_on", "0000-01-01"),
    ("subscribers", "activated_on", "01.05.2014"),
    ("subscribers", "activated_on", "2014-5-1"),
    ("subscribers", "activated_on", "2014-05-01T00:00:00Z"),
]


def told(case: tuple) -> str:
    return f"{case[0]}-{case[1]}-{case[2]!r:.40}"


class Landed:
    """All the cases above as one delivery a feed, landed at once: a landing costs more than a row."""

    def __init__(self, folder: Path) -> None:
        home = Home(folder, max_rejected_share=1)
        cases: dict[str, list[tuple[str, str]]] = {feed: [] for feed in SOUND}
        for feed, column, value, *_ in MISTAKES + LOADED + EMPTIED:
            cases[feed].append((column, value))
        for feed, found in cases.items():
            home.deliver(feed, *({column: value} for column, value in found))
        home.land()
        self.home, self.cases = home, cases

    def record_no(self, feed: str, column: str, value: str) -> int:
        return self.cases[feed].index((column, value)) + 1

    def loaded(self, feed: str, column: str, value: str) -> list:
        number = self.record_no(feed, column, value)
        return [row[0] for row in self.home.ask(f"select {column} from raw.{feed} where record_no = {number}")]

    def reasons(self, feed: str, column: str, value: str) -> list[str]:
        number = self.record_no(feed, column, value)
        found = self.home.ask(f"select reason from raw.rejected_rows where feed = '{feed}' and record_no = {number}")
        return [row[0] for row in found]


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "require_landing", lambda *_: None)
        return Landed(tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("case", MISTAKES, ids=told)
def test_a_row_with_a_wrong_value_is_rejected_with_its_reason(landed, case):
    *place, reason = case
    assert landed.reasons(*place) == [reason]
    assert landed.loaded(*place) == []


@pytest.mark.parametrize("case", LOADED, ids=told)
def test_a_well_formed_value_is_loaded_as_it_is(landed, case):
    *place, value = case
    assert landed.reasons(*place) == []
    assert landed.loaded(*place) == [value]


@pytest.mark.parametrize("case", EMPTIED, ids=told)
def test_a_malformed_value_that_need_not_be_there_is_loaded_as_empty(landed, case):
    assert landed.reasons(*case) == []
    assert landed.loaded(*case) == [None]


def test_values_loaded_as_empty_are_counted_by_column(landed):
    found = landed.home.ask(
        "select landing.feed, notes.column_name, notes.row_count from raw.landing_notes as notes"
        " inner join raw.loaded as landing on notes.delivery_id = landing.delivery_id order by all"
    )
    assert found == [("calls", "msisdn", 1), ("calls", "subscriber_id", 2), ("subscribers", "activated_on", 5)]


def test_the_reasons_never_quote_a_value(landed):
    reasons = {row[0] for row in landed.home.ask("select reason from raw.rejected_rows")}
    values = {value for _, _, value, _ in MISTAKES if len(value.strip()) > 2}
    assert not [reason for reason in reasons for value in values if value in reason]


def test_the_fields_of_a_rejected_row_are_kept(home):
    line = SOUND["grant_acks"] | {"grant_id": "anna.W.1", "status": "perhaps", "reason": 'a "b", c'}
    home.deliver("grant_acks", line)
    home.land()
    assert home.ask("select feed, record_no, reason, fields from raw.rejected_rows") == [
        ("grant_acks", 1, "status is not in its list", list(line.values()))
    ]


def test_a_row_with_the_wrong_number_of_fields_keeps_its_number_and_its_fields(home):
    sound = [{"grant_id": f"g{number}"} for number in range(60)]
    home.deliver(
        "grant_acks", *sound[:30], "", "\r", "too,few", *sound[30:], '"much ""too""\nmany",,,,,\r', "lone\rreturn"
    )
    home.land()
    assert home.ask("select record_no, reason, fields from raw.rejected_rows order by record_no") == [
        (31, "wrong number of fields", ["too", "few"]),
        (62, "wrong number of fields", ['much "too"\nmany', "", "", "", "", ""]),
        (63, "wrong number of fields", ["lone\rreturn"]),
    ]
    assert home.ask("select count(*), min(record_no), max(record_no) from raw.grant_acks") == [(60, 1, 61)]


def test_a_row_with_the_wrong_number_of_fields_may_be_long(home):
    home.deliver("grant_acks", {}, "long," + "x" * 200_000)
    home.land()
    assert home.ask("select record_no, len(fields[2]) from raw.rejected_rows") == [(2, 200_000)]


@pytest.mark.parametrize(
    ("feed", "business_date", "instant", "is_loaded"),
    [
        # The clocks go forward in the night to the 26th of March, and back in the one to the 29th of October 2017.
        ("calls", date(2017, 3, 24), "2017-03-25T22:59:59Z", True),
        ("calls", date(2017, 3, 24), "2017-03-25T23:00:00Z", False),
        ("calls", date(2017, 3, 25), "2017-03-26T21:59:59Z", True),
        ("calls", date(2017, 3, 25), "2017-03-26T22:00:00Z", False),
        ("calls", date(2017, 10, 27), "2017-10-28T21:59:59Z", True),
        ("calls", date(2017, 10, 27), "2017-10-28T22:00:00Z", False),
        ("calls", date(2017, 10, 28), "2017-10-29T22:59:59Z", True),
        ("calls", date(2017, 10, 28), "2017-10-29T23:00:00Z", False),
        ("app_events", date(2016, 2, 28), "2016-02-29T23:59:59+01:00", True),
        ("app_events", date(2016, 2, 28), "2016-03-01T00:00:00+01:00", False),
    ],
)
def test_a_row_may_be_a_local_day_later_than_its_delivery_and_no_more(home, feed, business_date, instant, is_loaded):
    column = reference_files.FEEDS[feed].timestamp
    home.deliver(feed, {column: instant}, day=business_date)
    home.land(business_date)
    assert home.counts == {(feed, business_date): (1, 0) if is_loaded else (0, 1)}


def test_columns_are_found_by_name_and_an_unknown_one_is_reported(home):
    home.put(name_of("grant_acks"), b"new,processed_at,grant_id,status\nx,2017-08-25T08:00:00Z,anna.W.1,accepted\n")
    home.land()
    assert home.ask("select grant_id, status, reason from raw.grant_acks") == [("anna.W.1", "accepted", None)]
    assert home.ask("select note, row_count from raw.landing_notes") == [("unknown_columns", 1)]


def test_a_parquet_delivery_is_loaded_as_the_csv_delivery_of_the_same_rows_is(home):
    at_once, day_after = datetime(2017, 8, 25, 6), datetime(2017, 8, 26, 22)
    typed = {name: [value] * 3 for name, value in SOUND["calls"].items()} | {
        "call_id": ["c1", "c2", "c3"],
        "record_version": pa.array([1, 2, 0], pa.int16()),
        "started_at": pa.array([at_once, at_once, day_after], pa.timestamp("ns", "Europe/Berlin")),
        "duration_s": [60.0, 60.5, 60.0],
        "voided": [False, True, False],
        "subscriber_id": ["anna", None, "anna"],
    }
    home.put(name_of("calls", form="parquet"), parquet_of(typed))
    home.deliver("calls", {"started_at": "2017-08-25T06:00:00Z"}, day=RUN)
    told = home.land()
    assert told.rejected == (("calls_20170825.parquet", "2 of its 3 rows are rejected"),)
    typed = {name: values[:1] for name, values in typed.items()}
    home.put(name_of("calls", form="parquet"), parquet_of(typed))
    home.land()
    columns = ", ".join(SOUND["calls"])
    of_csv, of_parquet = home.ask(f"select {columns}, started_on from raw.calls order by delivery_id")
    assert of_parquet == of_csv


def test_a_timestamp_of_a_parquet_file_without_a_zone_has_no_offset(home):
    typed = {name: [value] for name, value in SOUND["grant_acks"].items()}
    home.put(
        name_of("grant_acks", form="parquet"), parquet_of(typed | {"processed_at": [datetime(2017, 8, 25, 8, 0, 0, 5)]})
    )
    home.land()
    assert home.ask("select record_no, reason from raw.rejected_rows") == [(1, "processed_at has no offset")]


def odd_or_sound(sound: str) -> st.SearchStrategy[str]:
    odd = st.sampled_from(
        ["", " ", "x", "0", "-1", "2017-08-27T00:00:00+02:00", "2017-08-25", 'a"b', "a,b", "a\nb", "\r"]
    )
    return st.one_of(*[st.just(sound)] * 12, odd)


def files_of(feed: str) -> st.SearchStrategy[bytes]:
    row = st.fixed_dictionaries({column: odd_or_sound(value) for column, value in SOUND[feed].items()})
    line = st.sampled_from(["", "", "\r", "a", '""', "a,b,c,d,e,f,g,h,i,j,k", '"a\n"', "\r\r"])
    return st.lists(st.one_of(*[row] * 9, line), max_size=60).map(lambda rows: csv_of(feed, *rows))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_rows_in_are_rows_loaded_and_rows_rejected_by_an_independent_count(tmp_path_factory, data):
    home = Home(tmp_path_factory.mktemp("counts"), max_rejected_share=0.25)
    expected = {}
    for number in range(4):
        for feed in SOUND:
            day, content = DAY + timedelta(days=number), data.draw(files_of(feed))
            home.put(name_of(feed, day), content)
            try:
                rows, rejected, _ = read_delivery(name_of(feed, day), content, 2**30, Fraction(1, 4))
            except Unreadable:
                continue
            expected[feed, day] = (len(rows), rejected)
    home.land(DAY + timedelta(days=3))
    assert home.counts == expected


# --- Files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "calls.csv", "calls_2017-08-25.csv", "calls_20170832.csv", "calls_20170229.csv", "calls_00000825.csv",
        "calls_20170825.CSV", "Calls_20170825.csv", "calls_20170825.csv.zip", "calls_20170825", "calls_20170825.csv.2",
        "calls_20170825.parquet.gz", "call_20170825.csv", "calls__20170825.csv", " calls_20170825.csv",
        "calls_20170825.csv\n", "calls_٢٠١٧٠٨٢٥.csv", "\udcff.csv", "x" * 250,
    ],
    ids=lambda name: ascii(name[:30]),
)  # fmt: skip
def test_a_malformed_name_is_rejected(home, name):
    home.put(os.fsencode(name).decode(errors="surrogateescape"), csv_of("calls", {}))
    ((_, reason),) = home.land().rejected
    assert reason == "its name is malformed: expected <feed>_<YYYYMMDD>.csv, .csv.gz or .parquet"
    assert home.files("inbox") == {}
    assert len(home.names("rejected")) == 1
    assert home.in_force == {}


@pytest.mark.parametrize(
    "name",
    [
        ".calls_20170825.csv",
        "calls_20170825.csv.part",
        "calls_20170825.csv.tmp",
        "calls_20170825.csv.filepart",
        "x.part",
    ],
)
def test_a_file_that_is_still_being_written_is_not_read(home, name):
    home.put(name, b"half of a delive")
    assert home.land() == Landing((), (), (), (), 0, 0)
    assert set(home.files("inbox")) == {name}


def test_a_delivery_of_a_later_day_stays_in_the_inbox_unread(home):
    later = home.put(name_of("calls", RUN + timedelta(days=1)), b"not even a delivery")
    assert home.land().rejected == ()
    assert set(home.files("inbox")) == {later}


def test_a_subfolder_is_not_read(home):
    (home.inbox / "backup").mkdir()
    (home.inbox / "backup" / name_of("calls")).write_bytes(csv_of("calls"))
    assert home.land() == Landing((), (), (), (), 0, 0)
    assert set(home.files("inbox")) == {"backup/calls_20170825.csv"}


def make_link(path: Path) -> None:
    target = path.parent.parent / "elsewhere.csv"
    target.write_bytes(csv_of("calls", {}))
    path.symlink_to(target)


@pytest.mark.parametrize("make", [make_link, os.mkfifo, Path.mkdir], ids=["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_rejected_under_the_name_of_a_delivery(home, make):
    make(home.inbox / name_of("calls"))
    assert home.land().rejected == ((name_of("calls"), "it is not a regular file"),)
    assert os.listdir(home.inbox) == []
    assert os.path.lexists(home.settings.rejected / name_of("calls"))
    assert (home.settings.rejected / f"{name_of('calls')}.reason.json").is_file()


def test_two_files_for_a_feed_and_a_date_are_both_rejected(home):
    home.deliver("grant_acks", {})
    home.put(name_of("grant_acks", form="parquet"), b"")
    home.deliver("grant_acks", {}, day=RUN)
    told = home.land()
    assert told.rejected == (
        ("grant_acks_20170825.csv", "the inbox holds another file for the same feed and date"),
        ("grant_acks_20170825.parquet", "the inbox holds another file for the same feed and date"),
    )
    assert told.accepted == ("grant_acks_20170826.csv",)


ACKS = csv_of("grant_acks", {})
DIGEST = hashlib.sha256(ACKS).hexdigest()


@pytest.mark.parametrize(
    "digest", [DIGEST, DIGEST.upper(), f"{DIGEST}  grant_acks_20170825.csv\n", f"{DIGEST}\r\n", f"{DIGEST}\tany\nmore"]
)
def test_a_digest_that_matches_lets_the_delivery_in_and_goes(home, digest):
    name = home.put(name_of("grant_acks"), ACKS, digest)
    assert home.land().accepted == (name,)
    assert home.files("inbox") == {}


@pytest.mark.parametrize("digest", ["", "\n", DIGEST[:-1], DIGEST[::-1], f"grant_acks_20170825.csv {DIGEST}", "\udcff"])
def test_a_digest_that_does_not_match_rejects_the_delivery_and_is_kept_with_it(home, digest):
    name = home.put(name_of("grant_acks"), ACKS)
    (home.inbox / f"{name}.sha256").write_bytes(os.fsencode(digest))
    assert home.land().rejected == ((name, "its digest does not match the .sha256 file beside it"),)
    assert home.files("inbox") == {}
    assert set(home.files("rejected")) == {name, f"{name}.sha256", f"{name}.reason.json"}


def test_a_digest_waits_for_its_delivery(home):
    (home.inbox / f"{name_of('grant_acks')}.sha256").write_text(DIGEST)
    home.land()
    assert set(home.files("inbox")) == {"grant_acks_20170825.csv.sha256"}


def test_a_replacement_takes_the_place_of_the_delivery_whole_and_both_are_kept(home):
    contents = [csv_of("grant_acks", {"grant_id": f"g{number}"}) for number in range(3)]
    for content in contents:
        home.put(name_of("grant_acks"), content)
        home.land()
    archive = home.files("archive/grant_acks")
    assert archive == {
        "grant_acks_20170825.csv": contents[0],
        "grant_acks_20170825.csv.2": contents[1],
        "grant_acks_20170825.csv.3": contents[2],
    }
    assert home.in_force == {("grant_acks", DAY): "archive/grant_acks/grant_acks_20170825.csv.3"}
    home.land()
    assert home.ask("select grant_id from raw.grant_acks") == [("g2",)]


def test_the_same_bytes_again_change_nothing(home):
    home.put(name_of("grant_acks"), ACKS)
    home.land()
    home.put(name_of("grant_acks"), ACKS)
    told = home.land()
    assert (told.accepted, told.repeated, told.loaded_rows) == ((), ("grant_acks_20170825.csv",), 0)
    assert home.files("inbox") == {}
    assert set(home.files("archive/grant_acks")) == {"grant_acks_20170825.csv"}
    assert home.counts == {("grant_acks", DAY): (1, 0)}


def test_what_was_replaced_may_come_again(home):
    other = csv_of("grant_acks", {}, {"grant_id": "bert.W.1"})
    for content in (ACKS, other, ACKS):
        home.put(name_of("grant_acks"), content)
        assert home.land().accepted == ("grant_acks_20170825.csv",)
    assert home.counts == {("grant_acks", DAY): (1, 0)}


def test_a_rejected_replacement_leaves_the_earlier_one_in_force(home):
    home.put(name_of("grant_acks"), ACKS)
    home.land()
    home.put(name_of("grant_acks"), b"no header of ours\n")
    assert home.land().rejected == (("grant_acks_20170825.csv", "a column is missing: grant_id, status, processed_at"),)
    assert home.in_force == {("grant_acks", DAY): "archive/grant_acks/grant_acks_20170825.csv"}
    assert home.counts == {("grant_acks", DAY): (1, 0)}


def test_a_bad_delivery_does_not_keep_the_others_out(home):
    home.put(name_of("calls"), b'call_id\n"')
    home.deliver("grant_acks", {})
    told = home.land()
    assert (told.accepted, [name for name, _ in told.rejected]) == (
        ("grant_acks_20170825.csv",),
        ["calls_20170825.csv"],
    )


@pytest.mark.parametrize(
    ("row_count", "bad", "is_loaded"),
    [(1, 1, True), (2, 1, True), (2, 2, False), (40, 2, True), (39, 2, False), (60, 3, True), (60, 4, False)],
)
def test_a_delivery_is_rejected_with_more_than_one_and_more_than_five_percent_of_its_rows(
    home, row_count, bad, is_loaded
):
    home.deliver("grant_acks", *[{}] * (row_count - bad), *[{"status": "perhaps"}] * bad)
    told = home.land()
    if is_loaded:
        assert home.counts == {("grant_acks", DAY): (row_count - bad, bad)}
    else:
        assert told.rejected == (("grant_acks_20170825.csv", f"{bad} of its {row_count} rows are rejected"),)


def test_how_many_rows_may_be_rejected_can_be_set(tmp_path):
    for share, is_loaded in ((0.29, True), (0.28, False)):
        home = Home(tmp_path / str(share), max_rejected_share=share)
        home.deliver("grant_acks", *[{}] * 71, *["too,few"] * 29)
        assert bool(home.land().accepted) == is_loaded


def test_the_reason_is_written_beside_the_file_without_any_value_of_it(home):
    secret = {"subscriber_id": "SECRET-ID", "email": "SECRET@example.org", "msisdn": "+49SECRET", "brand": "SECRET"}
    name = home.deliver("subscribers", secret, "SECRET,SECRET")
    home.land()
    text = (home.settings.rejected / f"{name}.reason.json").read_text()
    reason = json.loads(text)
    assert "SECRET" not in text
    assert reason["reason"] == "2 of its 2 rows are rejected"
    assert reason["first_rejected_rows"] == [
        {"record": 1, "reason": "msisdn is malformed"},
        {"record": 2, "reason": "wrong number of fields"},
    ]
    assert (reason["feed"], reason["business_date"], reason["record_count"]) == ("subscribers", "2017-08-25", 2)


# --- Held ---------------------------------------------------------------------------------------------------------


def calls(count: int, name: str = "c") -> list[dict[str, str]]:
    """Different calls, old enough for a delivery of any day."""
    return [{"call_id": f"{name}{number}", "started_at": "2017-07-01T08:00:00Z"} for number in range(count)]


@pytest.mark.parametrize("feed", ["calls", "subscribers"])
@pytest.mark.parametrize(
    ("before", "after", "is_held"), [(4, 2, False), (5, 3, False), (5, 2, True), (1, 0, True), (0, 0, False)]
)
def test_a_replacement_with_fewer_than_half_the_rows_is_held(home, feed, before, after, is_held):
    home.deliver(feed, *[{}] * before)
    home.land()
    name = home.put(name_of(feed), csv_of(feed, *[{}] * after).replace(b"08:00:00", b"09:00:00") + b"\n")
    told = home.land()
    assert told.held == ((name,) if is_held else ())
    assert home.names("held") == ({name} if is_held else set())
    assert home.counts == {(feed, DAY): (before if is_held else after, 0)}
    assert home.files("inbox") == {}


def test_a_replacement_of_events_may_be_as_short_as_it_likes(home):
    home.deliver("app_events", *[{}] * 5)
    home.land()
    home.deliver("app_events")
    assert home.land().accepted == ("app_events_20170825.csv",)


def test_rejected_rows_count_for_the_half(home):
    home.deliver("calls", *calls(4))
    home.land()
    home.deliver("calls", *calls(1), "too,few")
    assert home.land().held == ()


def usual_days(home: Home, counts: list[int]) -> None:
    """Calls on the days before DAY, the latest first."""
    for back, count in enumerate(counts, 1):
        home.deliver("calls", *calls(count), day=DAY - timedelta(days=back))


@pytest.mark.parametrize(
    ("usual", "count", "is_held"),
    [
        ([1000] * 7, 99, True),
        ([1000] * 7, 100, False),
        ([1000] * 6, 0, False),
        ([999] * 7, 0, False),
        ([0] * 3 + [1000] * 4, 99, True),
        ([100] * 4 + [1000] * 4, 50, False),
        ([1000] * 4 + [1010] * 4, 100, True),
        ([10] * 14 + [1000] * 20, 0, False),
    ],
    ids=[
        "99 of 1000",
        "a tenth",
        "6 days",
        "median 999",
        "median over zeros",
        "median 550",
        "median 1005",
        "15 days ago",
    ],
)
def test_calls_with_fewer_than_a_tenth_of_the_usual_rows_are_held(home, usual, count, is_held):
    usual_days(home, usual)
    home.land(DAY - timedelta(days=1))
    name = home.deliver("calls", *calls(count))
    assert home.land(DAY).held == ((name,) if is_held else ())


def test_the_usual_is_known_from_deliveries_that_came_in_the_same_run(home):
    usual_days(home, [1000] * 7)
    name = home.deliver("calls", *calls(3))
    assert home.land().held == (name,)


def held_calls(home: Home) -> str:
    """A day with four calls, and a held replacement with one."""
    home.deliver("calls", *calls(4))
    home.land()
    name = home.deliver("calls", *calls(1, "short"))
    assert home.land().held == (name,)
    return name


def test_an_accepted_delivery_is_loaded_in_the_next_run(home):
    name = held_calls(home)
    operator.accept(home.settings, name, "a quiet day")
    assert home.counts == {("calls", DAY): (4, 0)}
    assert home.land().accepted == (name,)
    assert home.counts == {("calls", DAY): (1, 0)}
    assert home.in_force == {("calls", DAY): "archive/calls/calls_20170825.csv.2"}
    assert home.files("held") == {}
    assert home.land() == Landing((), (), (), (), 0, 0)


def test_an_accepted_delivery_that_was_changed_since_is_not_loaded(home):
    name = held_calls(home)
    operator.accept(home.settings, name, "a quiet day")
    with (home.settings.held / name).open("ab") as held:
        held.write(b"\n")
    with pytest.raises(CallfreeError, match=f"held/{name} is missing or was changed"):
        home.land()
    assert home.counts == {("calls", DAY): (4, 0)}


def test_an_accepted_delivery_is_loaded_before_the_inbox_is_read(home):
    name = held_calls(home)
    operator.accept(home.settings, name, "a quiet day")
    home.deliver("calls", *calls(2, "later"))
    assert home.land().accepted == (name, name)
    assert home.counts == {("calls", DAY): (2, 0)}
    assert home.in_force == {("calls", DAY): "archive/calls/calls_20170825.csv.3"}
    assert home.files("held") == {}


def test_a_refused_delivery_lies_in_rejected_and_is_never_loaded(home):
    name = held_calls(home)
    operator.refuse(home.settings, name, "half is missing")
    assert home.files("held") == {}
    assert set(home.files("rejected")) == {name, f"{name}.reason.json"}
    home.land()
    assert home.counts == {("calls", DAY): (4, 0)}


def test_a_later_delivery_moves_the_held_one_to_rejected(home):
    name = held_calls(home)
    home.deliver("calls", *calls(3, "whole"))
    assert home.land().accepted == (name,)
    assert (home.names("held"), home.names("rejected"), home.held) == (set(), {name}, [])


def test_the_same_bytes_as_in_force_move_the_held_one_to_rejected(home):
    name = held_calls(home)
    home.deliver("calls", *calls(4))
    assert home.land().repeated == (name,)
    assert (home.names("held"), home.names("rejected"), home.held) == (set(), {name}, [])


def test_a_rejected_delivery_leaves_the_held_one_where_it_is(home):
    name = held_calls(home)
    home.put(name, b"damaged")
    home.land()
    assert home.names("held") == {name}
    assert [delivery.file_name for delivery in home.held] == [name]


def test_what_is_held_lies_in_held_however_often_it_comes(home):
    name = held_calls(home)
    for number in range(3):
        short = csv_of("calls", {"call_id": f"again{number}"})
        home.put(name, short)
        assert home.land().held == (name,)
        (delivery,) = home.held
        assert list(home.names("held")) == [Path(delivery.stored_as).name]
        assert (home.settings.home / delivery.stored_as).read_bytes() == short
    operator.accept(home.settings, name, "a quiet day")
    assert home.land().accepted == (name,)
    assert home.counts == {("calls", DAY): (1, 0)}
    assert home.files("archive/calls")[f"{name}.2"] == short


def test_what_was_refused_may_be_held_again_and_accepted(home):
    name = held_calls(home)
    operator.refuse(home.settings, name, "a mistake")
    home.deliver("calls", *calls(1, "short"))
    assert home.land().held == (name,)
    assert len(home.names("held")) == 1
    operator.accept(home.settings, name, "it was right")
    assert home.land().accepted == (name,)
    assert home.counts == {("calls", DAY): (1, 0)}


# --- When something breaks in between ------------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


def crash_before(module, name):
    def crash(*_arguments):
        raise Crash

    return module, name, crash


def crash_after(module, name):
    original = getattr(module, name)

    def crash(*arguments, **options):
        original(*arguments, **options)
        raise Crash

    return module, name, crash


def crash_at_the_inbox(on_digest: bool):
    """Ends when a file, or a digest, is about to leave the inbox."""
    unlink = Path.unlink

    def crash(path, missing_ok=False):
        if path.parent.name in ("inbox", ".claimed") and (path.suffix == ".sha256") == on_digest:
            raise Crash
        unlink(path, missing_ok)

    return Path, "unlink", crash


CRASHES = {
    "after the first file was claimed": crash_after(Path, "rename"),
    "before the gate": crash_before(gates, "require_landing"),
    "before the first file has its second place": crash_before(arrivals, "put_beside"),
    "after the first file has its second place": crash_after(arrivals, "put_beside"),
    "before a reason is written": crash_before(arrivals, "_write_reason"),
    "before the line in the ledger": crash_before(ledger, "record_deliveries"),
    "after the line in the ledger": crash_after(ledger, "record_deliveries"),
    "before a digest leaves the inbox": crash_at_the_inbox(on_digest=True),
    "before a file leaves the inbox": crash_at_the_inbox(on_digest=False),
    "after the first file left the inbox": crash_after(arrivals, "clear"),
    "when something is moved": crash_before(arrivals, "move"),
    "after something was moved": crash_after(arrivals, "move"),
}


def busy_home(folder: Path) -> Home:
    """A home whose inbox holds a delivery for every verdict, each with its digest."""
    home = Home(folder)
    home.deliver("calls", *calls(4))
    home.deliver("subscribers", {}, {}, {}, {})
    home.deliver("grant_acks", {})
    home.land()
    home.deliver("subscribers", {})
    home.land()  # is held
    arriving = {
        name_of("calls"): csv_of("calls", *calls(1, "held")),
        name_of("subscribers"): csv_of("subscribers", {}, {}, {}),
        name_of("grant_acks"): ACKS,
        name_of("mail_events"): csv_of("mail_events", {}),
        name_of("app_events"): b"damaged",
        "malformed.csv": b"anything",
    }
    for name, content in arriving.items():
        home.put(name, content, hashlib.sha256(content).hexdigest())
    return home


def what_stands(home: Home) -> dict:
    return {
        "in force": {day: home.files(Path(place).parent)[Path(place).name] for day, place in home.in_force.items()},
        "counts": home.counts,
        "held": [(delivery.file_name, delivery.stored_as) for delivery in home.held],
        "inbox": home.files("inbox"),
        "archive": home.files("archive"),
        "files held": home.files("held"),
        "files rejected": home.files("rejected"),
    }


@pytest.fixture(scope="module")
def without_a_crash(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "require_landing", lambda *_: None)
        home = busy_home(tmp_path_factory.mktemp("calm"))
        told = home.land()
        assert (len(told.accepted), len(told.repeated), len(told.held), len(told.rejected)) == (2, 1, 1, 2)
        home.land()
        return what_stands(home)


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_is_mended_by_the_next_landing(tmp_path, monkeypatch, without_a_crash, crash):
    home = busy_home(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*CRASHES[crash])
        with pytest.raises(Crash):
            home.land()
    home.land()
    assert what_stands(home) == without_a_crash


def test_a_digest_left_by_a_crash_does_not_reject_a_later_delivery_of_that_name(home, monkeypatch):
    home.put(name_of("grant_acks"), ACKS, DIGEST)
    with monkeypatch.context() as patch:
        patch.setattr(*crash_after(ledger, "record_deliveries"))
        with pytest.raises(Crash):
            home.land()
    home.land()
    assert home.files("inbox") == {}
    home.deliver("grant_acks", {}, {"grant_id": "bert.W.1"})
    assert home.land().accepted == ("grant_acks_20170825.csv",)


def test_a_gate_that_fails_accepts_nothing_and_leaves_the_inbox_as_it_was(home, monkeypatch):
    home.put(name_of("grant_acks"), ACKS, DIGEST)
    home.put("malformed.csv", b"")
    before = home.files("inbox")

    def fail(settings, *_):
        raise GateFailed("landing", ("grant_acks: every row has its id: not so for 1 row",), "page.html")

    with monkeypatch.context() as patch:
        patch.setattr(gates, "require_landing", fail)
        with pytest.raises(GateFailed, match="every row has its id"):
            home.land()
    assert home.files("inbox") == before
    assert (home.history, home.files("archive"), home.files("rejected")) == ([], {}, {})
    assert home.land().accepted == ("grant_acks_20170825.csv",)
    assert home.counts == {("grant_acks", DAY): (1, 0)}


def test_a_warehouse_that_is_lost_is_read_again_from_the_archive(home):
    home.deliver("calls", *calls(4))
    home.deliver("grant_acks", {}, "too,few")
    home.land()
    home.settings.warehouse.unlink()
    home.land()
    assert home.counts == {("calls", DAY): (4, 0), ("grant_acks", DAY): (1, 1)}


def test_an_archive_that_was_changed_is_not_read_again(home):
    home.deliver("grant_acks", {})
    home.land()
    (home.settings.archive / "grant_acks" / name_of("grant_acks")).write_bytes(csv_of("grant_acks"))
    home.settings.warehouse.unlink()
    with pytest.raises(Exception, match="missing or was changed: put the delivery back as it came"):
        home.land()


def test_a_file_that_a_crash_left_claimed_keeps_its_digest_when_another_of_its_name_has_come(home):
    name = name_of("grant_acks")
    home.settings.claimed.mkdir()
    (home.settings.claimed / name).write_bytes(ACKS)
    (home.settings.claimed / f"{name}.sha256").write_text("0" * 64)
    home.put(name, csv_of("grant_acks", {}, {"grant_id": "bert.W.1"}))
    told = home.land()
    assert [rejected for rejected, _ in told.rejected] == [name]
    assert told.accepted == (name,)
    assert home.counts == {("grant_acks", DAY): (2, 0)}
    assert home.files("inbox") == {}
