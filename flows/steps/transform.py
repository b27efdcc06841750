"""The one place that calls dbt: it compiles the models, once for each version of them.

A run then executes what dbt has compiled, in one transaction (`derivation`). Building the same hundred nodes by dbt
costs some ten times as much, nearly all of it outside the database: docs/decisions/20-compiled-once.md.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

from flows.errors import CallfreeError
from flows.settings import PROJECT, Settings
from flows.steps.files import sha256_of, write_whole
from flows.steps.warehouse import connect

DBT_PROJECT = PROJECT / "dbt_project"

# What the models are made of; dbt leaves other files beside them when it is called by hand.
_SOURCES = ("dbt_project.yml", "models/**/*.*", "macros/**/*.sql", "tests/**/*.sql")
# What `make` has compiled for this version.
_COMPILED = DBT_PROJECT / "target" / "compiled.json"


@dataclass(frozen=True)
class Node:
    """Something to make: a `seed`, a `view`, a `table`, or a `test`, whose query finds what is wrong."""

    name: str
    kind: str
    schema: str
    sql: str | None
    # Name and type of each column, where the model has a contract; a seed always has one.
    columns: dict[str, str] = field(default_factory=dict)
    # What follows the types in the table's definition, where the contract says more than types.
    constraints: dict[str, str] = field(default_factory=dict)
    # By which column a day replaces the rows of those it concerns (`concerned`). Without one it is made anew.
    unique_key: str = ""
    # A test that compares all rows, and means nothing for those of some subscribers.
    is_of_all: bool = False
    # What the table and its columns say of themselves, where it is published.
    description: str = ""
    descriptions: dict[str, str] = field(default_factory=dict)

    @property
    def relation(self) -> str:
        return f'{self.schema}."{self.name}"'


def compiled(settings: Settings) -> list[Node]:
    """Everything that a run makes, each after what it reads; compiled first, when the models were changed."""
    return _nodes_of(settings.work / "dbt" / "compiled.json", digest_of_models())


# A run asks twice, and a backfill each day.
@lru_cache(maxsize=1)
def _nodes_of(own: Path, digest: str) -> list[Node]:
    for path in (_COMPILED, own):
        nodes = _read(path, digest)
        if nodes is not None:
            return nodes
    nodes = _compile()
    write_whole(own, [_as_json(nodes, digest)])
    return nodes


def digest_of_models() -> str:
    """The hex SHA-256 of the models, and of who compiles them."""
    digest = hashlib.sha256(f"dbt-core {version('dbt-core')}, dbt-duckdb {version('dbt-duckdb')}\n".encode())
    digest.update(f"{sha256_of(Path(__file__))}\n".encode())
    for path in sorted(path for pattern in _SOURCES for path in DBT_PROJECT.glob(pattern)):
        digest.update(f"{path.relative_to(DBT_PROJECT)}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def compile_beforehand() -> None:
    """Compile the models for every home of this installation, unless that has been done."""
    digest = digest_of_models()
    if _read(_COMPILED, digest) is None:
        write_whole(_COMPILED, [_as_json(_compile(), digest)])


def _as_json(nodes: list[Node], digest: str) -> bytes:
    return json.dumps({"digest": digest, "nodes": [asdict(node) for node in nodes]}, indent=1).encode()


def _read(path: Path, digest: str) -> list[Node] | None:
    """What was compiled, None where nothing was, or of another version."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return [Node(**node) for node in found["nodes"]] if found["digest"] == digest else None


def _compile() -> list[Node]:
    with tempfile.TemporaryDirectory(prefix="callfree-dbt-", ignore_cleanup_errors=True) as folder:
        # Their names are those in every home, and dbt wants to open them; it finds them empty.
        warehouse, ledger = Path(folder, "warehouse.duckdb"), Path(folder, "ledger.duckdb")
        with connect(ledger):
            pass
        with _environment({"CALLFREE_WAREHOUSE": str(warehouse), "CALLFREE_LEDGER": str(ledger)}):
            invoke(
                [
                    "compile",
                    "--no-introspect",
                    "--no-populate-cache",
                    "--project-dir", str(DBT_PROJECT),
                    "--profiles-dir", str(DBT_PROJECT),
                    "--target-path", folder,
                    "--log-path", folder,
                    "--quiet",
                    "--log-level", "none",
                    "--log-level-file", "none",
                    "--no-use-colors",
                    "--no-version-check",
                ]
            )  # fmt: skip
        manifest = json.loads(Path(folder, "manifest.json").read_bytes())
    nodes = manifest["nodes"]
    order = TopologicalSorter({name: sorted(nodes[name]["depends_on"].get("nodes", [])) for name in sorted(nodes)})
    made = [_node(nodes[name]) for name in order.static_order() if name in nodes]
    return sorted((node for node in made if node is not None), key=lambda node: node.kind == "test")


def _node(node: dict) -> Node | None:
    config = node["config"]
    if node["resource_type"] == "test":
        is_of_all = config["meta"].get("is_of_all", False)
        return Node(node["name"], "test", node["schema"], node["compiled_code"], is_of_all=is_of_all)
    if config["materialized"] == "ephemeral":
        return None
    columns = node["columns"].values()
    is_enforced = config.get("contract", {}).get("enforced", False)
    is_told = config.get("persist_docs", {}).get("columns", False)
    return Node(
        name=node["alias"],
        kind=config["materialized"],
        schema=node["schema"],
        sql=node.get("compiled_code"),
        columns=config.get("column_types") or ({c["name"]: c["data_type"] for c in columns} if is_enforced else {}),
        constraints={c["name"]: told for c in columns if (told := " ".join(map(_constraint, c["constraints"])))},
        unique_key=config["unique_key"] or "",
        description=node["description"] if is_told else "",
        descriptions={c["name"]: c["description"] for c in columns if c["description"]} if is_told else {},
    )


def _constraint(constraint: dict) -> str:
    if constraint["type"] == "check":
        return f"check ({constraint['expression']})"
    return constraint["type"].replace("_", " ")


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def invoke(arguments: list[str]) -> None:
    """Run dbt in this process, and close its file afterwards. Raises CallfreeError naming what failed."""
    from dbt.adapters.duckdb import connections
    from dbt.cli.main import dbtRunner

    try:
        result = dbtRunner().invoke(arguments)
    finally:
        connections.DuckDBConnectionManager.close_all_connections()
    if result.success:
        return
    failed = [
        node for node in getattr(result.result, "results", None) or [] if str(node.status) not in ("success", "pass")
    ]
    error = CallfreeError(
        f"dbt failed: {', '.join(node.node.name for node in failed) or type(result.exception).__name__}."
        " Run again with --debug to see why."
    )
    # For --debug alone: it may quote values of rows.
    error.__context__ = result.exception or RuntimeError("\n".join(str(node.message) for node in failed))
    raise error from None
