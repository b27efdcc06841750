"""What follows from the deliveries, the policy and the ledger, made anew by the queries that dbt has compiled."""

import duckdb

from flows.errors import CallfreeError, way_out
from flows.settings import Settings
from flows.steps import crash_points, transform
from flows.steps.policy import Policy
from flows.steps.transform import Node
from flows.steps.warehouse import Connection, connect, insert, transaction


def derive(settings: Settings, policy: Policy) -> None:
    """Derive every model from the raw rows, the policy and the ledger, and test them: all, or nothing is changed.

    Unit tests of the models are for `make test`; a run tests its data. Raises CallfreeError naming what failed.
    """
    nodes = transform.compiled(settings)
    with connect(settings.warehouse, ledger=settings.ledger) as connection:
        with transaction(connection):
            # Also what an earlier version of the models has left.
            for schema in sorted({node.schema for node in nodes if node.kind != "test"}):
                connection.execute(f"drop schema if exists {schema} cascade")
                connection.execute(f"create schema {schema}")
            for node in nodes:
                try:
                    _make(connection, node, policy)
                except duckdb.Error as error:
                    raise _failed(node, type(error).__name__, way_out(error)) from error
            _require_contracts(connection, nodes)
        crash_points.passed("the models are derived")


def _make(connection: Connection, node: Node, policy: Policy) -> None:
    if node.kind == "test":
        (count,) = connection.execute(f"select count(*) from ({node.sql}\n)").fetchone()
        if count:
            raise _failed(node, f"{count} rows" if count > 1 else "1 row")
    elif node.kind == "seed":
        _load(connection, node, policy)
    elif node.constraints:
        columns = (f'"{name}" {kind} {node.constraints.get(name, "")}' for name, kind in node.columns.items())
        connection.execute(f"create table {node.relation} ({', '.join(columns)})")
        connection.execute(f"insert into {node.relation} {node.sql}")
    else:
        connection.execute(f"create {node.kind} {node.relation} as {node.sql}")


def _failed(node: Node, how: str, so: str = "Run again with --debug to see more.") -> CallfreeError:
    # What the database says may quote values of rows, so its kind of error is all that is told.
    what = "A test of the data fails" if node.kind == "test" else "A model cannot be derived"
    return CallfreeError(f"{what}: {node.name} ({how}). Nothing was posted. {so}")


def _load(connection: Connection, seed: Node, policy: Policy) -> None:
    """A table of the policy, as it was checked. What is empty is null."""
    definitions = (f'"{name}" {kind}' for name, kind in seed.columns.items())
    connection.execute(f"create table {seed.relation} ({', '.join(definitions)})")
    table = [row.model_dump() for row in getattr(policy, seed.name)]
    rows = [[row[name] if row[name] != "" else None for name in seed.columns] for row in table]
    insert(connection, seed.relation, rows)


def _require_contracts(connection: Connection, nodes: list[Node]) -> None:
    """The tables have the columns and types that they promise."""
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind in connection.execute(
        "select schema_name, table_name, column_name, data_type from duckdb_columns()"
        " where database_name = current_database() and not internal order by table_oid, column_index"
    ).fetchall():
        found.setdefault(f'{schema}."{table}"', {})[column] = kind.lower()
    for node in nodes:
        if node.columns and found[node.relation] != node.columns:
            differing = node.columns.items() ^ found[node.relation].items()
            raise _failed(node, f"its contract: {', '.join(sorted({name for name, _ in differing}))}")
