"""What becomes of the rows of a delivery (2.2)."""

from datetime import date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reference_files
from flows.steps import gates
from landing_home import DAY, RUN, SOUND, Home, csv_of, name_of, parquet_of
from reference_files import Unreadable, read_delivery

pytestmark = pytest.mark.usefixtures("no_gates")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


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
