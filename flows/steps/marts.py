"""The marts for analysts: a file beside the warehouse, of which each run puts another in the place."""

import os
import shutil
from pathlib import Path

import duckdb

from flows.settings import Settings
from flows.steps import crash_points, last_derivation
from flows.steps.files import let_the_group_read, sync_folder
from flows.steps.transform import Node, compiled
from flows.steps.warehouse import Connection, attach, connect, transaction

SCHEMA = "marts"


def has_marts(connection: Connection) -> bool:
    """Whether a run has derived the marts of this warehouse yet."""
    found = connection.execute(
        "select 1 from information_schema.tables where table_schema = ? and table_name = 'exceptions'", [SCHEMA]
    )
    return found.fetchone() is not None


def publish_marts(settings: Settings) -> None:
    """Put every mart into `published/marts.duckdb`; readers keep the copy they have open."""
    beside = settings.marts.with_name(f".{settings.marts.name}.part")
    beside.unlink(missing_ok=True)
    with connect(settings.warehouse) as connection:
        nodes = [node for node in compiled(settings) if node.schema == SCHEMA and node.kind != "test"]
        # Whether it holds what was derived before, and nobody has touched it.
        is_kept = settings.marts.is_file() and last_derivation.follows(
            connection, settings.marts.name, _mark_of(settings.marts)
        )
        if is_kept:
            shutil.copyfile(settings.marts, beside)
        try:
            _write(connection, beside, nodes, is_kept)
        except duckdb.Error:
            if not is_kept:
                raise
            # What was published may be damaged.
            beside.unlink()
            _write(connection, beside, nodes, is_kept=False)
    descriptor = os.open(beside, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    let_the_group_read(beside)
    crash_points.passed("the marts are durable beside their name")
    os.replace(beside, settings.marts)
    crash_points.passed("the marts have their name")
    sync_folder(settings.published)
    with connect(settings.warehouse) as connection:
        last_derivation.note_made(connection, settings.marts.name, _mark_of(settings.marts))


def _mark_of(path: Path) -> str:
    """What changes whenever the file does."""
    found = path.stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _write(connection: Connection, path: Path, nodes: list[Node], is_kept: bool) -> None:
    connection.execute("detach database if exists published")
    attach(connection, path, "published")
    with transaction(connection):
        for node in nodes:
            _publish(connection, node, is_kept)
        connection.execute(
            "create or replace table published.main.run as select business_date, is_current from intermediate.int_run"
        )
        _describe(connection, nodes)
    connection.execute("checkpoint published")
    connection.execute("detach published")


def _publish(connection: Connection, mart: Node, is_kept: bool) -> None:
    if not (is_kept and mart.unique_key):
        connection.execute(f"create or replace table published.main.{mart.name} as from {mart.relation}")
        return
    concerned = f"where {mart.unique_key} in (from raw.concerned)"
    connection.execute(f"delete from published.main.{mart.name} {concerned}")
    connection.execute(f"insert into published.main.{mart.name} from {mart.relation} {concerned}")


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
        said.append((f'table published.main."{node.name}"', node.description))
        said += [(f'column published.main."{node.name}"."{name}"', words) for name, words in node.descriptions.items()]
    connection.execute("".join("comment on {} is '{}';".format(what, words.replace("'", "''")) for what, words in said))
