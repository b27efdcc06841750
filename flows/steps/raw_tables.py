"""The raw tables: what they are, and how the rows of a delivery leave them."""

from collections.abc import Iterator

from flows.steps.feeds import FEEDS, Feed
from flows.steps.warehouse import Connection

_ID_KINDS = ("subscriber_id", "event_id", "grant_id", "msisdn")
SQL_TYPES = {"integer": "integer", "date": "date", "flag": "boolean", "instant": "timestamp"}


def create_raw_tables(connection: Connection) -> None:
    """The raw tables, made on first use."""
    connection.execute("create schema if not exists raw")
    for feed in FEEDS.values():
        columns = ", ".join(f"{name} {kind}{_storage(feed, name)}" for name, kind in columns_of(feed))
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


def columns_of(feed: Feed) -> Iterator[tuple[str, str]]:
    """Name and SQL type of each column of a feed's raw table."""
    yield "delivery_id", "integer"
    yield "record_no", "integer"
    for column in feed.columns:
        yield column.name, SQL_TYPES.get(column.kind, "varchar")
        if column.kind == "instant":
            yield feed.local_date, "date"


def _storage(feed: Feed, name: str) -> str:
    """Ids hardly repeat: to look for a dictionary of them costs more than all other writing, and saves little."""
    kinds = {column.name: column.kind for column in feed.columns}
    return " using compression uncompressed" if kinds.get(name) in _ID_KINDS else ""


def forget(connection: Connection, delivery_ids: set[int]) -> None:
    """Drop the rows of deliveries that are not in force."""
    if not delivery_ids:
        return
    ids = sorted(delivery_ids)
    for table in (*FEEDS, "rejected_rows", "landing_notes", "loaded"):
        connection.execute(f"delete from raw.{table} where list_contains(?, delivery_id)", [ids])
