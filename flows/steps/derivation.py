"""What follows from the deliveries, the policy and the ledger, made anew by the queries that dbt has compiled."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from flows.errors import CallfreeError, way_out
from flows.settings import Settings
from flows.steps import concerned, crash_points, last_derivation, transform
from flows.steps.policy import Policy
from flows.steps.stand_ins import StandIns
from flows.steps.transform import Node
from flows.steps.warehouse import Connection, connect, insert, transaction

log = logging.getLogger("callfree")

# Derived before it is known whom a day concerns: each from the rows of a feed that are of changed keys.
_FIRST = {"int_subscriber_states": "subscribers", "int_calls": "calls"}


def derive(settings: Settings, policy: Policy) -> None:
    """Derive every model from the raw rows, the policy and the ledger, and test them: all, or nothing is changed.

    An ordinary day derives what concerns it alone; where that fails, and on all other days, everything is derived anew.
    Unit tests of the models are for `make test`; a run tests its data. Raises CallfreeError naming what failed.
    """
    nodes = transform.compiled(settings)
    rules = last_derivation.rules_of(policy)
    with connect(settings.warehouse, ledger=settings.ledger) as connection:
        try:
            why = last_derivation.why_all(connection, nodes, rules)
            if why is None:
                with transaction(connection):
                    _derive_day(connection, nodes, policy)
                    last_derivation.note(connection, rules, is_whole=False)
                    _require_contracts(connection, nodes)
        except (CallfreeError, duckdb.Error) as error:
            # What failed, without what is left to be done: that is done here.
            why = str(error).partition(". ")[0] if isinstance(error, CallfreeError) else type(error).__name__
        if why is not None:
            log.info("deriving everything anew (%s) ...", why)
            with transaction(connection):
                _derive_whole(connection, nodes, policy)
                last_derivation.note(connection, rules, is_whole=True)
                _require_contracts(connection, nodes)
        crash_points.passed("the models are derived")


def _derive_whole(connection: Connection, nodes: list[Node], policy: Policy) -> None:
    # Also what an earlier version of the models has left.
    for schema in sorted({node.schema for node in nodes if node.kind != "test"}):
        connection.execute(f"drop schema if exists {schema} cascade")
        connection.execute(f"create schema {schema}")
    for node in nodes:
        with _told(node):
            _make(connection, node, policy)


def _derive_day(connection: Connection, nodes: list[Node], policy: Policy) -> None:
    by_name = {node.name: node for node in nodes}
    _make_anew(connection, by_name["stg_deliveries"], policy)
    for model, feed in _FIRST.items():
        node, view = by_name[model], by_name[f"stg_{feed}"]
        changed = StandIns(connection)
        changed.put(f"raw.{feed}", f"from raw.{feed} where {node.unique_key} in (from changed_{feed})")
        changed.put(view, changed.instead(view.sql), "view")
        with _told(node):
            changed.replace_rows(node, f"changed_{feed}")
    log.info("deriving what concerns %d subscribers ...", concerned.find_callers(connection))
    stand_ins = StandIns(connection)
    for relation, rows_of_concerned in concerned.ROWS_OF_CONCERNED.items():
        stand_ins.put(relation, rows_of_concerned)
    for node in nodes:
        # The policy is as it was.
        if node.kind == "seed" or node.name in ("stg_deliveries", *_FIRST):
            continue
        with _told(node):
            if node.kind == "test":
                _test(connection, node, node.sql if node.is_of_all else stand_ins.instead(node.sql))
            elif node.kind == "view":
                if stand_ins.reads(node.sql):
                    stand_ins.put(node, stand_ins.instead(node.sql), "view")
            elif node.unique_key:
                stand_ins.replace_rows(node, "concerned")
            else:
                _make_anew(connection, node, policy)


def _make_anew(connection: Connection, table: Node, policy: Policy) -> None:
    connection.execute(f"drop table {table.relation}")
    _make(connection, table, policy)


@contextmanager
def _told(node: Node) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise _failed(node, type(error).__name__, way_out(error)) from error


def _make(connection: Connection, node: Node, policy: Policy) -> None:
    if node.kind == "test":
        _test(connection, node, node.sql)
    elif node.kind == "seed":
        _load(connection, node, policy)
    elif node.constraints:
        columns = (f'"{name}" {kind} {node.constraints.get(name, "")}' for name, kind in node.columns.items())
        connection.execute(f"create table {node.relation} ({', '.join(columns)})")
        connection.execute(f"insert into {node.relation} {node.sql}")
    else:
        connection.execute(f"create {node.kind} {node.relation} as {node.sql}")


def _test(connection: Connection, node: Node, sql: str) -> None:
    (count,) = connection.execute(f"select count(*) from ({sql}\n)").fetchone()
    if count:
        raise _failed(node, f"{count} rows" if count > 1 else "1 row")


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
