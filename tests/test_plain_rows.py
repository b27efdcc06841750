"""The short way for plain rows and the SQL for all others: what is loaded and rejected is the same."""

from datetime import date

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.steps import extracts, plain_rows, raw_tables, staging
from flows.steps.feeds import FEEDS, Feed, parse_name
from flows.steps.plain_rows import Calendar
from flows.steps.staging import Candidate, Stage
from landing_home import SOUND, csv_of, name_of
from test_landing_rows import EMPTIED, LOADED, MISTAKES

DAY = date(2017, 8, 25)
# Values that were thought of, by feed and column.
ODD = {(feed, column): [] for feed in SOUND for column in SOUND[feed]}
for one_feed, one_column, one_value, *_ in MISTAKES + LOADED + EMPTIED:
    ODD[one_feed, one_column].append(one_value)
INSTANTS = [
    f"{day}T{time}{fraction}{offset}"
    for day in ("2017-08-25", "2017-08-26", "2000-02-29", "2017-02-29", "1999-12-31", "0000-01-01")
    for time in ("00:00:00", "23:59:59", "22:00:00", "24:00:00", "23:59:60")
    for fraction in ("", ".5", ".999", ".999999", ".9999999")
    for offset in ("Z", "+00:00", "-00:00", "+02:00", "-23:59", "+24:00", "+01:60")
]
LETTERS = 'aA0159.:,_-+/ TZtz\u0661ä\x00\n\r"'


@st.composite
def damaged(draw, sound: str) -> str:
    """A value with a letter more, less, or other."""
    place, letter = draw(st.integers(0, len(sound))), draw(st.sampled_from(LETTERS))
    return draw(st.sampled_from([sound[:place] + letter, sound[:place]])) + sound[place + draw(st.integers(0, 1)) :]


def values_of(feed: str, column: str) -> st.SearchStrategy[str]:
    sound = SOUND[feed][column]
    kind = next(one.kind for one in FEEDS[feed].columns if one.name == column)
    odd = [*ODD[feed, column], *(INSTANTS if kind == "instant" else []), ""]
    return st.one_of(*[st.just(sound)] * 12, st.sampled_from(odd), damaged(sound))


def rows_of(feed: str) -> st.SearchStrategy[list[dict[str, str]]]:
    row = st.fixed_dictionaries({column: values_of(feed, column) for column in SOUND[feed]})
    return st.lists(row, min_size=1, max_size=40)


def staged(folder, feed: Feed, content: bytes) -> list:
    """All that staging tells and loads of a delivery."""
    path = folder / name_of(feed.name, DAY)
    path.write_bytes(content)
    with duckdb.connect() as connection:
        raw_tables.create_raw_tables(connection)
        stage = Stage(connection, feed, [Candidate(1, path, parse_name(path.name))], 2**30)
        told = [stage.counts(), stage.reasons(1)]
        stage.keep([1])
        tables = (feed.name, "rejected_rows", "landing_notes", "landing")
        return told + [connection.execute(f"select * from raw.{table} order by all").fetchall() for table in tables]


@pytest.mark.parametrize("feed", FEEDS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_the_short_way_loads_is_what_the_sql_says(tmp_path_factory, feed, data):
    content = csv_of(feed, *data.draw(rows_of(feed)))
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "_DOUBTFUL_AT_ONCE", data.draw(st.sampled_from([1, 1000])))
        patch.setattr(extracts, "CHUNK_BYTES", data.draw(st.sampled_from([200, 100_000])))
        short = staged(folder, FEEDS[feed], content)
        # Without a calendar no row is plain.
        nothing = {1: Calendar(DAY, plain_rows.np.zeros(1, "int64"))}
        patch.setattr(staging, "_calendars", lambda *_: nothing)
        assert short == staged(folder, FEEDS[feed], content)


def calendar_until(day: date) -> Calendar:
    [calendar] = staging._calendars(duckdb.connect(), {1: day}).values()
    return calendar


def batch_of(feed: str, row: dict[str, str]) -> pa.RecordBatch:
    values = SOUND[feed] | row
    columns = [pa.array([1], pa.int32())] * 2 + [pa.array([values[column.name]]) for column in FEEDS[feed].columns]
    return pa.record_batch(columns, schema=extracts.batch_schema(FEEDS[feed]))


@pytest.mark.parametrize("feed", FEEDS)
def test_a_sound_row_goes_the_short_way(feed):
    plain, doubtful = plain_rows.split(batch_of(feed, {}), FEEDS[feed], calendar_until(DAY))
    assert (len(plain), len(doubtful)) == (1, 0)


@pytest.mark.parametrize("fraction", ["", ".948", ".948001"])
@pytest.mark.parametrize("offset", ["Z", "+02:00", "-03:30"])
def test_every_usual_timestamp_goes_the_short_way(fraction, offset):
    batch = batch_of("app_events", {"occurred_at": f"2017-08-25T08:00:00{fraction}{offset}"})
    plain, doubtful = plain_rows.split(batch, FEEDS["app_events"], calendar_until(DAY))
    assert (len(plain), len(doubtful)) == (1, 0)


@pytest.mark.parametrize(
    ("instant", "local_date"),
    [
        ("2017-08-26T21:59:59.999999Z", date(2017, 8, 26)),
        ("2017-08-26T22:00:00Z", None),  # two days after the business date, in Berlin
        ("1999-12-31T23:00:00Z", date(2000, 1, 1)),
        ("1999-12-31T22:59:59Z", None),
        ("2017-03-26T00:59:59Z", date(2017, 3, 26)),
        ("2016-10-29T22:00:00Z", date(2016, 10, 30)),
        ("2016-10-30T22:59:59Z", date(2016, 10, 30)),
    ],
)
def test_the_calendar_dates_an_instant_or_leaves_it_to_the_sql(instant, local_date):
    batch = batch_of("app_events", {"occurred_at": instant})
    plain, _ = plain_rows.split(batch, FEEDS["app_events"], calendar_until(DAY))
    assert plain.column("occurred_on").to_pylist() == [local_date] * (local_date is not None)


@pytest.mark.parametrize("day", [date(1, 1, 1), date(1999, 12, 31), date(2000, 1, 1), date(2099, 12, 31), date.max])
def test_a_delivery_of_any_date_has_a_calendar_that_ends_with_the_day_after(day):
    days = len(calendar_until(day).midnights) - 1
    assert days <= max(0, (min(day, date(2100, 1, 1)) - date(2000, 1, 1)).days + 2)
    assert days == (day - date(2000, 1, 1)).days + 2 or not date(1999, 12, 30) < day < date(2100, 1, 1)


def test_a_long_delivery_takes_no_more_memory_than_its_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(extracts, "CHUNK_BYTES", 20_000)
    split, held = plain_rows.split, []

    def watched(*arguments):
        held.append(pa.total_allocated_bytes())
        return split(*arguments)

    monkeypatch.setattr(plain_rows, "split", watched)
    staged(tmp_path, FEEDS["calls"], csv_of("calls", *[{"call_id": f"c{number}"} for number in range(20_000)]))
    assert len(held) > 50
    assert max(held) - held[0] < 1_000_000
