"""The short way for plain rows and the SQL for all others: what is loaded and rejected is the same."""

from datetime import date

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.steps import extracts, plain_rows, staging
from flows.steps.feeds import FEEDS, Feed, parse_name
from flows.steps.plain_rows import Calendar
from flows.steps.staging import Candidate, Stage
from test_landing import EMPTIED, LOADED, MISTAKES, SOUND, csv_of, name_of

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
        staging.create_raw_tables(connection)
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


@pytest.mark.parametrize("feed", FEEDS)
def test_a_sound_row_goes_the_short_way(feed):
    batch = pa.record_batch(
        [pa.array([1], pa.int32()), pa.array([1], pa.int32())]
        + [pa.array([SOUND[feed].get(column.name, "")]) for column in FEEDS[feed].columns],
        schema=extracts.batch_schema(FEEDS[feed]),
    )
    [calendar] = staging._calendars(duckdb.connect(), {1: DAY}).values()
    plain, doubtful = plain_rows.split(batch, FEEDS[feed], calendar)
    assert (len(plain), len(doubtful)) == (1, 0)
