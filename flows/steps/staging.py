"""From batches of text to the raw tables: casting and checking rows, set-wise (2.2)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import Path

import pyarrow as pa

from flows.steps import extracts, plain_rows
from flows.steps.extracts import BadDelivery, Tally
from flows.steps.feeds import PATTERNS, Column, DeliveryName, Feed
from flows.steps.plain_rows import Calendar
from flows.steps.raw_tables import SQL_TYPES, columns_of, forget
from flows.steps.warehouse import Connection, insert


@dataclass
class Candidate:
    """A delivery to stage."""

    delivery_id: int
    path: Path
    name: DeliveryName


@dataclass(frozen=True)
class Staged:
    """What staging a delivery told: its counts, or why the file is bad as a whole."""

    record_count: int
    rejected_count: int
    bad: str | None = None


class Stage:
    """The rows of some deliveries of one feed, cast, checked and put into the raw tables; `keep` says whose stay."""

    def __init__(self, connection: Connection, feed: Feed, candidates: list[Candidate], max_bytes: int):
        self._connection = connection
        self._feed = feed
        self._days = {candidate.delivery_id: candidate.name.business_date for candidate in candidates}
        self._tallies = {candidate.delivery_id: Tally() for candidate in candidates}
        self._bad: dict[int, str] = {}
        self._rejected: Counter[int] = Counter()
        self._emptied: Counter[tuple[int, str]] = Counter()
        pieces = self._read(candidates, max_bytes, _calendars(connection, self._days))
        is_at_end = False
        while not is_at_end:
            # DuckDB draws plain rows until there are enough doubtful ones for their own statement.
            doubtful, is_at_end = self._load_plain(pieces)
            if len(doubtful):
                self._load_doubtful(doubtful)

    def _read(
        self, candidates: list[Candidate], max_bytes: int, calendars: dict[int, Calendar]
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """The plain rows and the doubtful ones, a block at a time."""
        for candidate in candidates:
            number = candidate.delivery_id
            try:
                for batch in extracts.read(
                    candidate.path, candidate.name, self._feed, number, max_bytes, self._tallies[number]
                ):
                    yield plain_rows.split(batch, self._feed, calendars[number])
            except BadDelivery as reason:
                self._bad[number] = str(reason)

    def _load_plain(self, pieces: Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]) -> tuple[pa.Table, bool]:
        """Load plain rows; the doubtful rows met meanwhile, and whether these were all."""
        texts = extracts.batch_schema(self._feed)
        doubtful: list[pa.RecordBatch] = []
        is_at_end = False

        def plain() -> Iterator[pa.RecordBatch]:
            nonlocal is_at_end
            count = 0
            for rows, others in pieces:
                if len(rows):
                    yield rows
                # An empty piece would hold on to its whole block.
                if len(others):
                    doubtful.append(others)
                    count += len(others)
                if count >= _DOUBTFUL_AT_ONCE:
                    return
            is_at_end = True

        batches = pa.RecordBatchReader.from_batches(plain_rows.schema(texts, self._feed), plain())
        self._connection.register("plain", batches)
        names = ", ".join(name for name, _ in columns_of(self._feed))
        casts = ", ".join(_casts(self._feed, are_plain=True))
        self._connection.execute(f"insert into raw.{self._feed.name} ({names}) select {casts} from plain")
        self._connection.unregister("plain")
        return pa.Table.from_batches(doubtful, texts), is_at_end

    def _load_doubtful(self, texts: pa.Table) -> None:
        """Load what is sound after all; reject the rest."""
        execute = self._connection.execute
        days = pa.table({
            "delivery_id": pa.array(list(self._days), pa.int32()),
            "business_date": pa.array(list(self._days.values()), pa.date32()),
        })  # fmt: skip
        self._connection.register("stage_days", days)
        self._connection.register("stage_batches", texts)
        execute(_staging_sql(self._feed))
        self._connection.unregister("stage_batches")
        self._connection.unregister("stage_days")
        names = ", ".join(name for name, _ in columns_of(self._feed))
        casts = ", ".join(_casts(self._feed))
        execute(f"insert into raw.{self._feed.name} ({names}) select {casts} from staged where problem is null")
        fields = ", ".join(column.name for column in self._feed.columns)
        execute(
            f"insert into raw.rejected_rows select delivery_id, ?, record_no, problem, [{fields}] from staged"
            " where problem is not null",
            [self._feed.name],
        )
        for number, *counts in execute(_doubts_sql(self._feed)).fetchall():
            for name, count in zip((None, *_may_be_emptied(self._feed)), counts, strict=True):
                if name is None:
                    self._rejected[number] += count
                elif count:
                    self._emptied[number, name] += count
        execute("drop table staged")

    def counts(self) -> dict[int, Staged]:
        """Records and rejected records of each delivery."""
        return {
            number: Staged(tally.record_count, self._rejected[number] + tally.misfit_count, self._bad.get(number))
            for number, tally in self._tallies.items()
        }

    def reasons(self, delivery_id: int, limit: int = 20) -> list[dict]:
        """Record numbers and reasons of the first rejected rows; never their values. Asked before `keep`."""
        found = self._connection.execute(
            "select record_no, reason from raw.rejected_rows where delivery_id = ?", [delivery_id]
        ).fetchall()
        misfits = islice(self._tallies[delivery_id].misfits(), limit)
        found += [(number, _MISFIT) for number, _ in misfits]
        return [{"record": number, "reason": reason} for number, reason in sorted(found)[:limit]]

    def keep(self, delivery_ids: list[int]) -> None:
        """Let the rows of these deliveries stay in the raw tables, and those of the others go."""
        forget(self._connection, self._tallies.keys() - set(delivery_ids))
        execute = self._connection.execute
        misfits = (
            (number, self._feed.name, record_no, _MISFIT, extracts.fields_of(text))
            for number in delivery_ids
            for record_no, text in self._tallies[number].misfits()
        )
        columns = ("delivery_id", "feed", "record_no", "reason", "fields")
        while piece := list(islice(misfits, _MISFITS_A_PIECE)):
            table = pa.table(dict(zip(columns, map(list, zip(*piece, strict=True)), strict=True)))
            self._connection.register("misfits", table)
            execute("insert into raw.rejected_rows select * from misfits")
            self._connection.unregister("misfits")
        # Values loaded as empty, and columns not loaded: both are reported.
        notes = [
            (number, "emptied_values", name, count)
            for (number, name), count in self._emptied.items()
            if number in delivery_ids
        ]
        notes += [
            (number, "unknown_columns", None, len(self._tallies[number].unknown_columns))
            for number in delivery_ids
            if self._tallies[number].unknown_columns
        ]
        insert(self._connection, "raw.landing_notes", notes)
        counts = self.counts()
        landed = [(number, self._feed.name, self._days[number], counts[number]) for number in delivery_ids]
        insert(
            self._connection,
            "raw.landing",
            [
                (*whose, staged.record_count, staged.record_count - staged.rejected_count, staged.rejected_count)
                for *whose, staged in landed
            ],
        )


_MISFIT = "wrong number of fields"
_MISFITS_A_PIECE = 10_000
# As many doubtful rows are kept in memory until SQL looks at them.
_DOUBTFUL_AT_ONCE = 50_000

# What the calendar of plain rows spans: since then Berlin's clocks have changed neither at midnight nor by less than
# an hour. A row before it is judged by SQL, and so is every row of a delivery so late that its days are no dates.
_CALENDAR_FROM, _CALENDAR_UNTIL = date(2000, 1, 1), date(2100, 1, 1)


def _calendars(connection: Connection, days: dict[int, date]) -> dict[int, Calendar]:
    """For each delivery the local dates that its rows may have."""
    last = max((day for day in days.values() if day < _CALENDAR_UNTIL), default=_CALENDAR_FROM)
    found = connection.execute(
        "select epoch_us(timezone('Europe/Berlin', day)) as midnight"
        " from generate_series(cast(? as timestamp), cast(? as timestamp), interval 1 day) as days (day) order by day",
        [_CALENDAR_FROM, max(last, _CALENDAR_FROM) + timedelta(days=2)],
    ).fetchnumpy()["midnight"]
    return {
        number: Calendar(
            _CALENDAR_FROM,
            found[: max(1, (min(day, last) - _CALENDAR_FROM).days + 3)],
        )
        for number, day in days.items()
    }


# --- The SQL of one feed ------------------------------------------------------------------------------------------


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _is_checked(column: Column) -> bool:
    return column.kind in PATTERNS or column.kind == "list"


def _is_well_formed(column: Column) -> str:
    """A condition over the text of a value that is there."""
    value = column.name
    if column.kind == "list":
        return f"{value} in ({', '.join(map(_literal, column.values))})"
    shape = f"regexp_full_match({value}, {_literal(PATTERNS[column.kind])})"
    if column.kind == "integer" and column.minimum:
        return f"{shape} and try_cast({value} as integer) >= {column.minimum}"
    if column.kind == "date":
        return f"{shape} and {value} >= '0001' and try_cast({value} as date) is not null"
    return shape


def _instant_sql(value: str) -> str:
    """The UTC instant of a well-formed timestamp; null where its date does not exist."""
    fraction = f"rpad(left(regexp_extract({value}, '[.]([0-9]+)', 1), 6), 6, '0')"
    offset = f"right({value}, 6)"
    return f"""case when regexp_full_match({value}, {_literal(PATTERNS["instant"])}) and {value} >= '0001' then
            try_cast(left({value}, 19) as timestamp)
            + case when {value}[20] = '.' then to_microseconds(cast({fraction} as bigint)) else interval 0 second end
            - case
                when right({value}, 1) = 'Z' then interval 0 second
                else to_minutes(
                    cast(left({offset}, 1) || '1' as integer)
                    * (60 * cast({offset}[2:3] as integer) + cast({offset}[5:6] as integer))
                )
            end
        end"""


def _problem(column: Column, feed: Feed) -> str:
    """A `when ... then reason` for a value that must be there."""
    name = column.name
    parts = [f"when coalesce({name}, '') = '' then '{name} is empty'"]
    if column.kind == "instant":
        no_offset = PATTERNS["instant"].removesuffix("(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])")
        parts.append(f"when regexp_full_match({name}, {_literal(no_offset)}) then '{name} has no offset'")
        parts.append(f"when instant is null then '{name} is malformed'")
        parts.append(
            f"when {feed.local_date} > business_date + 1 then '{name} is later than the day after the business date'"
        )
    elif column.kind == "list":
        parts.append(f"when not ({_is_well_formed(column)}) then '{name} is not in its list'")
    elif _is_checked(column):
        parts.append(f"when not ({_is_well_formed(column)}) then '{name} is malformed'")
    return " ".join(parts)


def _staging_sql(feed: Feed) -> str:
    problems = "\n            ".join(_problem(column, feed) for column in feed.columns if column.is_required)
    return f"""
    create or replace temp table staged as
    with instants as (
        select
            batches.*,
            days.business_date,
            {_instant_sql("batches." + feed.instant)} as instant
        from stage_batches as batches
        inner join stage_days as days on batches.delivery_id = days.delivery_id
    ),

    local_dates as (
        select
            instants.*,
            cast(timezone('Europe/Berlin', timezone('UTC', instants.instant)) as date) as {feed.local_date}
        from instants
    )

    select
        local_dates.*,
        case
            {problems}
        end as problem
    from local_dates
    """


def _may_be_emptied(feed: Feed) -> list[str]:
    """The columns of which a malformed value is loaded as empty."""
    return [column.name for column in feed.columns if _is_checked(column) and not column.is_required]


def _doubts_sql(feed: Feed) -> str:
    """For each delivery the rows rejected, and the values loaded as empty of each column that has such."""
    emptied = "".join(
        f", count(*) filter (where problem is null and {column.name} <> '' and not ({_is_well_formed(column)}))"
        for column in feed.columns
        if column.name in _may_be_emptied(feed)
    )
    return f"select delivery_id, count(problem){emptied} from staged group by delivery_id"


def _casts(feed: Feed, are_plain: bool = False) -> Iterator[str]:
    """The typed value of each raw column, for rows that are not rejected. In plain ones nothing is malformed."""
    yield "delivery_id"
    yield "record_no"
    for column in feed.columns:
        name = column.name
        if column.kind == "instant":
            yield "instant"
            yield feed.local_date
            continue
        kind = SQL_TYPES.get(column.kind, "varchar")
        value = f"nullif({name}, '')"
        if _is_checked(column) and not column.is_required and not are_plain:
            value = f"case when {_is_well_formed(column)} then {name} end"
        yield f"cast({value} as {kind})" if kind != "varchar" else value
