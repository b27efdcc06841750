"""The one place that calls dbt."""

import os
import re
from contextlib import contextmanager

from flows.errors import CallfreeError
from flows.settings import PROJECT, Settings
from flows.steps.policy import Policy

DBT_PROJECT = PROJECT / "dbt_project"

_FAILED = ("error", "fail", "runtime error")
_ERROR = re.compile(r"^ *([A-Z][A-Za-z-]* Error)(?=:)", re.MULTILINE)


@contextmanager
def _environment(values: dict[str, str]):
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


def derive(settings: Settings, policy: Policy) -> None:
    """Derive every model from the raw rows, the policy and the ledger, and test them.

    Unit tests of the models are for `make test`; a run tests its data. Raises CallfreeError naming what failed.
    """
    seeds = settings.work / "policy"
    policy.write_seeds(seeds)
    arguments = [
        "build",
        "--exclude-resource-type", "unit_test",
        "--project-dir", str(DBT_PROJECT),
        "--profiles-dir", str(DBT_PROJECT),
        "--target-path", str(settings.work / "dbt"),
        "--log-path", str(settings.work / "dbt"),
        "--quiet",
        "--log-level", "none",
        # It would quote values of rows.
        "--log-level-file", "none",
        "--no-use-colors",
        "--no-version-check",
        "--no-write-json",
        "--fail-fast",
    ]  # fmt: skip
    with _environment(
        {
            "CALLFREE_WAREHOUSE": str(settings.warehouse),
            "CALLFREE_LEDGER": str(settings.ledger),
            "CALLFREE_CHECKED_POLICY": str(seeds),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
    ):
        invoke(arguments)


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
    # What the database says may quote values of rows, so its kind of error is all that is told.
    failed = [node for node in getattr(result.result, "results", None) or [] if str(node.status) in _FAILED]
    told = [
        f"{node.node.name} ({', '.join([str(node.status), *_ERROR.findall(node.message or '')[:1]])})"
        for node in failed
    ]
    error = CallfreeError(
        f"dbt failed: {', '.join(told) or type(result.exception).__name__}. Nothing was posted."
        " Run again with --debug to see what the database said."
    )
    # For --debug alone.
    error.__context__ = result.exception or RuntimeError("\n".join(str(node.message) for node in failed))
    raise error from None
