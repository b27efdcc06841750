"""DuckDB for Great Expectations: results that outlive their connection, and no configuration of its own.

Great Expectations closes its connection and fetches afterwards. A DuckDB result is gone by then, so every
expectation fails, and it looks like bad data. Here a result is fetched whole when it is made; the queries of
the suites give few rows.
"""

import atexit
import os
from typing import Any

import duckdb
import duckdb_sqlalchemy
from duckdb_sqlalchemy import ConnectionWrapper, Dialect, DuckDBExecutionContext
from sqlalchemy import URL, pool
from sqlalchemy.dialects import registry
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

NAME = "callfree_duckdb"


class _EagerContext(DuckDBExecutionContext):
    def post_exec(self) -> None:
        super().post_exec()
        if self.cursor.description is not None:
            self.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(
                self.cursor, self.cursor.description, self.cursor.fetchall()
            )


class EagerDuckDB(Dialect):
    """Takes `connect_args={"database": path, "attach": {alias: path}}`; what is attached is read only."""

    # SQLAlchemy looks for it in the class itself.
    supports_statement_cache = True
    execution_ctx_cls = _EagerContext

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        # A temporary table lives in its connection, so there is one, until the engine is disposed of.
        return pool.StaticPool

    def connect(self, *_: Any, database: str, attach: dict[str, str] | None = None, **__: Any) -> ConnectionWrapper:
        # Not the parent's: it signs itself into the configuration, and a process opens a file with one only.
        connection = duckdb.connect(database)
        try:
            connection.execute("set TimeZone = 'UTC'")
            (is_open,) = connection.execute("select current_setting('enable_external_access')").fetchone()
            if is_open:
                # No check gets at a file that lies elsewhere.
                folders = [os.path.dirname(path) for path in (database, *(attach or {}).values())]
                connection.execute("set allowed_directories = ?", [folders])
                connection.execute("set enable_external_access = false")
            there = {row[0] for row in connection.execute("select database_name from duckdb_databases()").fetchall()}
            for alias, path in (attach or {}).items():
                # It is there already where this process holds the home open.
                if alias not in there:
                    connection.execute(f"attach ? as {alias} (read_only)", [path])
        except BaseException:
            connection.close()
            raise
        return ConnectionWrapper(connection)


registry.register(NAME, __name__, EagerDuckDB.__name__)

# Great Expectations holds on to SQLAlchemy when the process ends, and through it to DuckDB, which then complains
# of leaks on standard error, where people look for what went wrong.
atexit.register(vars(duckdb_sqlalchemy).clear)
