"""The marts for analysts: a copy beside the warehouse, replaced whole after each run."""

import os
from typing import Any

from flows.settings import Settings
from flows.steps import crash_points
from flows.steps.files import let_the_group_read, sync_folder
from flows.steps.transform import Node, compiled
from flows.steps.warehouse import Connection, attach, connect, rows, transaction

SCHEMA = "marts"


def has_marts(connection: Connection) -> bool:
    """Whether a run has derived the marts of this warehouse yet."""
    found = connection.execute(
        "select 1 from information_schema.tables where table_schema = ? and table_name = 'exceptions'", [SCHEMA]
    )
    return found.fetchone() is not None


def publish_marts(settings: Settings) -> tuple[dict[str, Any], ...]:
    """Copy every mart into `published/marts.duckdb`; readers keep the copy they have open.

    Returns the exceptions that are new since the last time: kind, subject, item_count.
    """
    beside = settings.marts.with_name(f".{settings.marts.name}.part")
    beside.unlink(missing_ok=True)
    with connect(settings.warehouse) as connection:
        news = _new_exceptions(connection)
        attach(connection, beside, "published")
        with transaction(connection):
            for (table,) in connection.execute(
                "select table_name from information_schema.tables"
                " where table_catalog = current_database() and table_schema = ? order by table_name",
                [SCHEMA],
            ).fetchall():
                connection.execute(f"create table published.main.{table} as from {SCHEMA}.{table}")
            connection.execute(
                "create table published.main.run as select business_date, is_current from intermediate.int_run"
            )
            _describe(connection, compiled(settings))
        connection.execute("checkpoint published")
        connection.execute("detach published")
    descriptor = os.open(beside, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    let_the_group_read(beside)
    crash_points.passed("the marts are durable beside their name")
    os.replace(beside, settings.marts)
    crash_points.passed("the marts have their name")
    sync_folder(settings.published)
    return tuple(news)


def _describe(connection: Connection, nodes: list[Node]) -> None:
    """Leave what the models say of themselves and of their columns as comments."""
    said = [("table published.main.run", "The run that published these tables.")] + [
        (f"column published.main.run.{name}", words)
        for name, words in {
            "business_date": "The day that the run covers: what was known at the end of it.",
            "is_current": "Whether subscribers and app events were complete, so that the run could enrol and grant.",
        }.items()
    ]
    for node in nodes:
        if node.schema == SCHEMA:
            said.append((f'table published.main."{node.name}"', node.description))
            said += [
                (f'column published.main."{node.name}"."{name}"', words) for name, words in node.descriptions.items()
            ]
    connection.execute("".join("comment on {} is '{}';".format(what, words.replace("'", "''")) for what, words in said))


def _new_exceptions(connection: Connection) -> list[dict[str, Any]]:
    """Kind, subject and number of what the marts published last did not have; then these are the ones known."""
    connection.execute(
        "create table if not exists raw.known_exceptions (kind varchar, subject varchar, item_count bigint)"
    )
    found = rows(
        connection,
        """
        select
            found.kind,
            found.subject,
            found.item_count - coalesce(known.item_count, 0) as item_count
        from marts.exceptions as found
        left join raw.known_exceptions as known on found.kind = known.kind and found.subject = known.subject
        where found.item_count > coalesce(known.item_count, 0)
        order by found.kind, found.subject
        """,
    )
    connection.execute(
        "create or replace table raw.known_exceptions as select kind, subject, item_count from marts.exceptions"
    )
    crash_points.passed("the exceptions are known")
    return found
