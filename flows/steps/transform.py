"""The one place that calls dbt."""

import os
from contextlib import contextmanager

from flows.errors import CallfreeError
from flows.settings import PROJECT, Settings
from flows.steps.policy import Policy

DBT_PROJECT = PROJECT / "dbt_project"


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
        "--log-level-file", "error",
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
    failed = [
        f"{node.node.name} ({node.status})"
        for node in getattr(result.result, "results", None) or []
        if str(node.status) in ("error", "fail", "runtime error")
    ]
    error = CallfreeError(
        f"dbt failed: {', '.join(failed) or type(result.exception).__name__}. Nothing was posted."
        " The log is in .work/dbt/dbt.log below the home folder."
    )
    # For --debug alone: it may quote values of rows.
    error.__context__ = result.exception
    raise error from None
