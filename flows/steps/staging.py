"""From batches of text to the raw tables: casting and checking rows, set-wise (2.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from flows.steps import extracts
from flows.steps.extracts import BadDelivery, Tally
from flows.steps.feeds import FEEDS, PATTERNS, Column, DeliveryName, Feed
from flows.steps.warehouse import Connection

_SQL_TYPES = {"integer": "integer", "date": "date", "flag": "boolean", "instant": "timestamp"}


def create_raw_tables(connection: Connection) -> None:
    """The raw tables, made on first use."""
    connection.execute("create schema if not exists raw")
    for feed in FEEDS.values():
        columns = ", ".join(f"{name} {kind}" for name, kind in _raw_columns(feed))
        connection.execute(f"create table if not exists raw.{feed.name} ({columns})")
    counts = (
        "delivery_id integer, feed varchar, business_date date,"
        " record_count bigint, loaded_count bigint, rejected_count bigint"
    )
    connection.execute(f"""
        create table if not exists raw.run (business_date date, is_posting boolean);
        create table if not exists raw.loaded ({counts});
        create table if not exists raw.landing ({counts});
        create table if not exists raw.rejected_rows
            (delivery_id integer, feed varchar, record_no integer, reason varchar, fields varchar[]);
        create table if not exists raw.landing_notes
            (delivery_id integer, note varchar, column_name varchar, row_count bigint);
    """)


def _raw_columns(feed: Feed) -> Iterator[tuple[str, str]]:
    yield "delivery_id", "integer"
    yield "record_no", "integer"
    for column in feed.columns:
        yield column.name, _SQL_TYPES.get(column.kind, "varchar")
        if column.kind == "instant":
            yield feed.local_date, "date"


def forget(connection: Connection, delivery_ids: set[int]) -> None:
    """Drop the rows of deliveries that are not in force."""
    if not delivery_ids:
        return
    ids = sorted(delivery_ids)
    for table in (*FEEDS, "rejected_rows", "landing_notes", "loaded"):
        connection.execute(f"delete from raw.{table} where list_contains(?, delivery_id)", [ids])


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
    """The rows of some deliveries of one feed, cast and checked, but not yet in the raw table."""

    def __init__(self, connection: Connection, feed: Feed, candidates: list[Candidate], max_bytes: int):
        self._connection = connection
        self._feed = feed
        self._candidates = candidates
        self._tallies = {candidate.delivery_id: Tally() for candidate in candidates}
        self._bad: dict[int, str] = {}
        days = pa.table(
            {
                "delivery_id": pa.array([candidate.delivery_id for candidate in candidates], pa.int32()),
                "business_date": pa.array([candidate.name.business_date for candidate in candidates], pa.date32()),
            }
        )
        batches = pa.RecordBatchReader.from_batches(extracts.batch_schema(feed), self._read(max_bytes))
        connection.register("stage_days", days)
        connection.register("stage_batches", batches)
        connection.execute(_staging_sql(feed))
        connection.unregister("stage_batches")
        connection.unregister("stage_days")

    def _read(self, max_bytes: int) -> Iterator[pa.RecordBatch]:
        for candidate in self._candidates:
            tally = self._tallies[candidate.delivery_id]
            try:
                yield from extracts.read(
                    candidate.path, candidate.name, self._feed, candidate.delivery_id, max_bytes, tally
                )
            except BadDelivery as reason:
                self._bad[candidate.delivery_id] = str(reason)

    def counts(self) -> dict[int, Staged]:
        """Records and rejected records of each delivery."""
        rejected = dict(
            self._connection.execute(
                "select delivery_id, count(problem) from staged group by delivery_id having count(problem) > 0"
            ).fetchall()
        )
        return {
            number: Staged(tally.record_count, rejected.get(number, 0) + tally.misfit_count, self._bad.get(number))
            for number, tally in self._tallies.items()
        }

    def reasons(self, delivery_id: int, limit: int = 20) -> list[dict]:
        """Record numbers and reasons of the first rejected rows; never their values."""
        found = self._connection.execute(
            "select record_no, problem from staged where delivery_id = ? and problem is not null", [delivery_id]
        ).fetchall()
        misfits = islice(self._tallies[delivery_id].misfits(), limit)
        found += [(number, _MISFIT) for number, _ in misfits]
        return [{"record": number, "reason": reason} for number, reason in sorted(found)[:limit]]

    def load(self, delivery_ids: list[int]) -> None:
        """Put the rows of these deliveries into the raw tables."""
        names = ", ".join(name for name, _ in _raw_columns(self._feed))
        casts = ", ".join(_casts(self._feed))
        execute = self._connection.execute
        execute(
            f"insert into raw.{self._feed.name} ({names}) select {casts} from staged"
            " where problem is null and list_contains(?, delivery_id) order by delivery_id, record_no",
            [delivery_ids],
        )
        fields = ", ".join(column.name for column in self._feed.columns)
        execute(
            f"insert into raw.rejected_rows select delivery_id, ?, record_no, problem, [{fields}] from staged"
            " where problem is not null and list_contains(?, delivery_id)",
            [self._feed.name, delivery_ids],
        )
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
        self._note(delivery_ids)
        counts = self.counts()
        days = {candidate.delivery_id: candidate.name.business_date for candidate in self._candidates}
        for number in delivery_ids:
            staged = counts[number]
            loaded = staged.record_count - staged.rejected_count
            row = [number, self._feed.name, days[number], staged.record_count, loaded, staged.rejected_count]
            execute("insert into raw.landing values (?, ?, ?, ?, ?, ?)", row)

    def _note(self, delivery_ids: list[int]) -> None:
        """Values loaded as empty, and columns not loaded: both are reported."""
        for column in self._feed.columns:
            if _is_checked(column) and not column.is_required:
                self._connection.execute(
                    "insert into raw.landing_notes select delivery_id, 'emptied_values', ?, count(*) from staged"
                    f" where problem is null and {column.name} <> '' and not ({_is_well_formed(column)})"
                    " and list_contains(?, delivery_id) group by delivery_id",
                    [column.name, delivery_ids],
                )
        for number in delivery_ids:
            unknown = len(self._tallies[number].unknown_columns)
            if unknown:
                self._connection.execute(
                    "insert into raw.landing_notes values (?, 'unknown_columns', null, ?)", [number, unknown]
                )


_MISFIT = "wrong number of fields"
_MISFITS_A_PIECE = 10_000


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


def _casts(feed: Feed) -> Iterator[str]:
    """The typed value of each raw column, for rows that are not rejected."""
    yield "delivery_id"
    yield "record_no"
    for column in feed.columns:
        name = column.name
        if column.kind == "instant":
            yield "instant"
            yield feed.local_date
            continue
        kind = _SQL_TYPES.get(column.kind, "varchar")
        value = f"nullif({name}, '')"
        if _is_checked(column) and not column.is_required:
            value = f"case when {_is_well_formed(column)} then {name} end"
        yield f"cast({value} as {kind})" if kind != "varchar" else value
