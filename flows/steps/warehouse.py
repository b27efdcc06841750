"""The one place that opens DuckDB, but for the checks of Great Expectations (`expectations/dialect.py`)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from flows.errors import CallfreeError
from flows.steps import crash_points

Connection = duckdb.DuckDBPyConnection

# As many rows are put into a table by one statement.
_ROWS_AT_ONCE = 200

# What helps when a file is damaged.
_WAYS_OUT = {
    "warehouse.duckdb": " callfree rebuild makes it anew.",
    "ledger.duckdb": " If it is damaged, callfree restore brings back the latest good copy (with --replace where it"
    " finds the ledger whole).",
}


@contextmanager
def connect(path: Path, ledger: Path | None = None, read_only: bool = False) -> Iterator[Connection]:
    """A connection to a DuckDB file, with the ledger attached as `ledger` where it is named.

    Every file is opened with one configuration only, since a process cannot mix two: what is published is opened to
    read, so that any number of processes may, and all else to write.
    """
    is_in_another = path in _attached
    try:
        connection = duckdb.connect(_attached.get(path, path), read_only=read_only)
    except duckdb.Error as error:
        raise CallfreeError(
            f"{path.name} cannot be opened ({type(error).__name__}): another program holds it, or it is damaged."
            + _WAYS_OUT.get(path.name, "")
        ) from error
    try:
        # It would draw a bar over what the command says.
        connection.execute("set enable_progress_bar = false")
        # What is held open has been prepared.
        if not (is_in_another or path in _attached.values()):
            _prepare(connection, path.absolute().parent)
        if is_in_another:
            connection.execute("use ledger")
        elif ledger is not None:
            attach(connection, ledger, "ledger")
        yield connection
    except duckdb.Error as error:
        # Damage to an index shows only where it is used.
        if "Corrupt database file" not in str(error):
            raise
        names = [path.name, *([ledger.name] if ledger else [])]
        raise CallfreeError(
            f"{' or '.join(names)} is damaged.{''.join(_WAYS_OUT.get(name, '') for name in names)}"
        ) from error
    finally:
        connection.close()
    if not read_only:
        crash_points.passed("a database is closed")


# The ledger of a home that is held open, and the warehouse that it is attached to.
_attached: dict[Path, Path] = {}


@contextmanager
def kept_open(path: Path, ledger: Path, memory: str) -> Iterator[None]:
    """Both files stay open for the block: opening one costs more than most of what a step asks it.

    `memory` is what they may use of it, like 3GB. Within another such block it changes nothing.
    """
    if ledger in _attached:
        yield
        return
    with connect(path, ledger=ledger) as connection:
        connection.execute("set memory_limit = ?", [memory])
        _attached[ledger] = path
        try:
            yield
        finally:
            # It is gone where a copy of it could not attach it again.
            _attached.pop(ledger, None)


def is_held_open(ledger: Path) -> bool:
    """Whether the ledger of this file is held open."""
    return ledger in _attached


@contextmanager
def closed(ledger: Path) -> Iterator[None]:
    """The ledger's file is closed for the block, and holds all that was written, so that it can be copied.

    To read a file that is open here would also give up DuckDB's lock on it, which belongs to the whole process.
    """
    path = _attached.pop(ledger, None)
    if path is None:
        yield
        return
    with connect(path) as connection:
        connection.execute("detach ledger")
        try:
            yield
        finally:
            attach(connection, ledger, "ledger")
            _attached[ledger] = path


def attach(connection: Connection, path: Path, alias: str, read_only: bool = False) -> None:
    """Attach another DuckDB file under a name."""
    connection.execute(f"attach if not exists ? as {alias} {'(read_only)' if read_only else ''}", [str(path)])


def _prepare(connection: Connection, folder: Path) -> None:
    """Set what lasts until the database is closed: no SQL gets at a file outside the folder, nor at the network."""
    connection.execute("set global TimeZone = 'UTC'")
    (is_open,) = connection.execute("select current_setting('enable_external_access')").fetchone()
    if is_open:
        connection.execute("set allowed_directories = ?", [[str(folder)]])
        connection.execute("set enable_external_access = false")


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All of the block, or nothing of it."""
    connection.execute("begin")
    crash_points.passed("a transaction has begun")
    try:
        yield
    except BaseException:
        connection.execute("rollback")
        raise
    crash_points.passed("a transaction is about to be committed")
    connection.execute("commit")
    crash_points.passed("a transaction is committed")


def insert(connection: Connection, relation: str, table: Sequence[Sequence[Any]]) -> None:
    """Put rows into a table, by place; some hundred at once, since each statement takes as long as they do."""
    for start in range(0, len(table), _ROWS_AT_ONCE):
        piece = table[start : start + _ROWS_AT_ONCE]
        places = ", ".join(f"({', '.join('?' * len(row))})" for row in piece)
        connection.execute(f"insert into {relation} values {places}", [value for row in piece for value in row])


def rows(connection: Connection, sql: str, parameters: list | None = None) -> list[dict]:
    """A small result as a list of rows by column name."""
    cursor = connection.execute(sql, parameters or [])
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


@contextmanager
def connect_to_read(path: Path) -> Iterator[Connection]:
    """A connection that cannot change the file. Raises CallfreeError when the file is damaged, whenever that shows."""
    try:
        with connect(path, read_only=True) as connection:
            yield connection
    except duckdb.Error as error:
        raise CallfreeError(
            f"{path.name} is damaged or cannot be read ({type(error).__name__}).{_WAYS_OUT.get(path.name, '')}"
        ) from error


def read_through(path: Path) -> dict[str, tuple[int, str]]:
    """Every table of a file by its full name: its rows, and a checksum over them. Every byte in use is read.

    The checksum has a meaning only within one version of DuckDB. Raises CallfreeError when the file is damaged.
    """
    with connect_to_read(path) as connection:
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables()"
            " where database_name = current_database() and not internal order by all"
        ).fetchall()
        found = {}
        for schema, table in tables:
            count, checksum = connection.execute(
                f'select count(*), coalesce(bit_xor(hash(rows_of)), 0) from "{schema}"."{table}" as rows_of'
            ).fetchone()
            found[f"{schema}.{table}"] = (count, str(checksum))
        return found
