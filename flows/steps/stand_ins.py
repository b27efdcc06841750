"""Tables and views that stand in for those of the warehouse and the ledger, so that a query reads some rows alone."""

import re

from flows.steps.transform import Node
from flows.steps.warehouse import Connection

# As dbt writes a relation: catalog, schema, name.
_RELATION = re.compile(r'"(\w+)"\."(\w+)"\."(\w+)"')


class StandIns:
    """They last until the connection is closed. Each is called after what it stands in for, like `ledger.grants`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names: set[str] = set()

    def put(self, what: Node | str, sql: str, kind: str = "table") -> None:
        """Make one for a node, or for the table of that name."""
        name = _name(what) if isinstance(what, Node) else what
        self._connection.execute(f'create or replace temp {kind} "{name}" as {sql}')
        self._names.add(name)

    def reads(self, sql: str) -> bool:
        """Whether a query of dbt's reads what has a stand-in."""
        return any(_named(found) in self._names for found in _RELATION.finditer(sql))

    def instead(self, sql: str) -> str:
        """The query as it reads the stand-ins."""

        def stand_in(found: re.Match) -> str:
            name = _named(found)
            return f'temp.main."{name}"' if name in self._names else found[0]

        return _RELATION.sub(stand_in, sql)

    def replace_rows(self, node: Node, keys: str) -> None:
        """Derive a table's rows from the stand-ins, and put them in the place of those whose key is in a table."""
        self.put(node, self.instead(node.sql))
        self._connection.execute(f"delete from {node.relation} where {node.unique_key} in (from {keys})")
        self._connection.execute(f'insert into {node.relation} from temp.main."{_name(node)}"')


def _name(node: Node) -> str:
    return f"{node.schema}.{node.name}"


def _named(found: re.Match) -> str:
    catalog, schema, name = found.groups()
    return f"{catalog}.{name}" if catalog == "ledger" else f"{schema}.{name}"
