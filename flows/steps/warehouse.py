"""The one place that opens DuckDB."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from flows.errors import CallfreeError

Connection = duckdb.DuckDBPyConnection


@contextmanager
def connect(path: Path, ledger: Path | None = None, read_only: bool = False) -> Iterator[Connection]:
    """A connection to a DuckDB file, with the ledger attached as `ledger` where it is named.

    Every file is opened with one configuration only, since a process cannot mix two: what is published is opened to
    read, so that any number of processes may, and all else to write.
    """
    try:
        connection = duckdb.connect(path, read_only=read_only)
    except duckdb.Error as error:
        raise CallfreeError(
            f"{path.name} cannot be opened ({type(error).__name__}): another program holds it, or it is damaged."
            + (" It can be deleted: the next run derives it anew." if path.name == "warehouse.duckdb" else "")
        ) from error
    try:
        connection.execute("set TimeZone = 'UTC'")
        _confine(connection, path.absolute().parent)
        if ledger is not None:
            attach(connection, ledger, "ledger")
        yield connection
    finally:
        connection.close()


def attach(connection: Connection, path: Path, alias: str, read_only: bool = False) -> None:
    """Attach another DuckDB file under a name."""
    connection.execute(f"attach if not exists ? as {alias} {'(read_only)' if read_only else ''}", [str(path)])


def _confine(connection: Connection, folder: Path) -> None:
    """No SQL gets at a file outside the folder, nor at the network. It lasts until the database is closed."""
    (is_open,) = connection.execute("select current_setting('enable_external_access')").fetchone()
    if is_open:
        connection.execute("set allowed_directories = ?", [[str(folder)]])
        connection.execute("set enable_external_access = false")


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All of the block, or nothing of it."""
    connection.execute("begin")
    try:
        yield
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")


def rows(connection: Connection, sql: str, parameters: list | None = None) -> list[dict]:
    """A small result as a list of rows by column name."""
    cursor = connection.execute(sql, parameters or [])
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
