"""Runs suites on the warehouse with Great Expectations, in the database, and lets no value out."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import great_expectations
from great_expectations.core import (
    ExpectationSuite,
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.datasource.fluent import SQLDatasource
from great_expectations.datasource.fluent.interfaces import Batch

from expectations import dialect
from expectations.suite import ROWS_COUNTED, Suite

# Its import sends every warning of the process to the log; that is not its to decide.
logging.captureWarnings(False)
# What it logs quotes the errors of the database, and these quote values of rows.
logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
# This one has a level of its own.
logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.CRITICAL)

# A database error as SQLAlchemy words it: "(_duckdb.ConversionException) Conversion Error: ...".
_DATABASE_ERROR = re.compile(r"\((?:\w+\.)*(\w+)\)")


@dataclass(frozen=True)
class Verdict:
    """What Great Expectations found: `failed` tells for each sentence that does not hold how so."""

    suite: Suite
    # None where no check was answered: a table is gone, the file is locked.
    result: ExpectationSuiteValidationResult | None
    failed: Mapping[str, str]

    @property
    def complaints(self) -> list[str]:
        """A line for each check that fails; where none was answered, one for all."""
        if self.result is None:
            return [f"every check: {fault}" for fault in sorted(set(self.failed.values()))]
        return [f"{sentence}: {fault}" for sentence, fault in self.failed.items()]


def check(suites: tuple[Suite, ...], warehouse: Path, ledger: Path | None = None) -> list[Verdict]:
    """Check the suites. Afterwards the files are closed: others must be able to open them."""
    try:
        bench = _bench(suites, warehouse, ledger)
    except Exception as error:
        return [_unknown(suite, error) for suite in suites]
    try:
        return [_check_one(suite, bench) for suite in suites]
    finally:
        bench.close_files()


@dataclass(frozen=True)
class _Rows:
    """Rows to ask of, and how they are put into a table first."""

    batch: BatchDefinition
    table_sql: str | None = None


@dataclass(frozen=True)
class _Questions:
    """A suite as one question, which is quickly asked, and one by one, for what does not hold."""

    in_one: ExpectationSuite
    one_by_one: ExpectationSuite

    def ask(self, batch: Batch) -> ExpectationSuiteValidationResult:
        """The answer to each check. Where all hold together, each of them does, and need not be asked."""
        together = batch.validate(self.in_one, result_format="SUMMARY")
        if [(outcome.success, _row_count(outcome)) for outcome in together.results] != [(True, 0)]:
            return batch.validate(self.one_by_one, result_format="SUMMARY")
        (outcome,) = together.results
        together.results = [
            ExpectationValidationResult(
                success=True,
                expectation_config=expectation.configuration,
                result=outcome.result,
                exception_info=outcome.exception_info,
                meta=outcome.meta,
            )
            for expectation in self.one_by_one.expectations
        ]
        return together


@dataclass(frozen=True)
class _Bench:
    """What can be used again for the same files: it takes longer to set up than to run."""

    source: SQLDatasource
    # For each suite the rows to ask of, the quickest way first, and what to ask.
    questions: dict[Suite, tuple[list[_Rows], _Questions]] = field(default_factory=dict)

    def execute(self, sql: str) -> None:
        """In the connection that the checks will use."""
        with self.source.get_execution_engine().engine.begin() as connection:
            connection.exec_driver_sql(sql)

    def close_files(self) -> None:
        # The source has two engines: one that tries the connection, and one that works.
        self.source.get_engine().dispose()
        self.source.get_execution_engine().close()


@lru_cache(maxsize=4)
def _bench(suites: tuple[Suite, ...], warehouse: Path, ledger: Path | None) -> _Bench:
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    place = {"database": str(warehouse), "attach": {"ledger": str(ledger)} if ledger else {}}
    bench = _Bench(
        context.data_sources.add_sql(
            "warehouse",
            connection_string=f"{dialect.NAME}://",
            # It would make its tables twice: for a batch, and again to validate it.
            create_temp_table=False,
            kwargs={"connect_args": place},
        )
    )

    def rows(name: str, query: str, table_sql: str | None = None) -> _Rows:
        asset = bench.source.add_query_asset(name, query=query)
        return _Rows(asset.add_batch_definition_whole_table("all"), table_sql)

    try:
        for suite in suites:
            table = f"checked_{suite.name}"
            computed = suite.rows if suite.is_computed else suite.sifted_rows() if suite.is_sifted else None
            ways = []
            if computed:
                make = f"create or replace temp table {table} as {computed}"
                ways.append(rows(suite.name, f"select * from {table}", make))
            if not suite.is_computed:
                ways.append(rows(f"all {suite.name}", suite.rows))
            bench.questions[suite] = ways, _Questions(suite.in_one(), suite.one_by_one())
    except BaseException:
        bench.close_files()
        raise
    return bench


def _check_one(suite: Suite, bench: _Bench) -> Verdict:
    ways, questions = bench.questions[suite]
    for rows in ways:
        try:
            if rows.table_sql:
                bench.execute(rows.table_sql)
            result = questions.ask(rows.batch.get_batch())
        except Exception as error:
            # A check that cannot be judged spoils the sifting for all: then each is asked of all rows.
            verdict = _unknown(suite, error)
        else:
            return _verdict(suite, result)
    return verdict


def _verdict(suite: Suite, result: ExpectationSuiteValidationResult) -> Verdict:
    outcomes: dict[str, list[ExpectationValidationResult]] = {sentence: [] for sentence in suite.checks}
    for outcome in result.results:
        outcomes[outcome.expectation_config.description].append(outcome)
    faults = {sentence: _fault(found) for sentence, found in outcomes.items()}
    is_answered = any(_row_count(outcome) is not None for outcome in result.results)
    return Verdict(
        suite,
        result if is_answered else None,
        {sentence: fault for sentence, fault in faults.items() if fault},
    )


def _unknown(suite: Suite, error: BaseException) -> Verdict:
    while error.__cause__ is not None:
        error = error.__cause__
    return Verdict(suite, None, dict.fromkeys(suite.checks, _not_evaluated(type(error).__name__)))


def _fault(found: list[ExpectationValidationResult]) -> str | None:
    """How a check fails, or None. Only a count of no rows is a pass: silence is not."""
    if len(found) != 1:
        return "was not evaluated"
    outcome = found[0]
    raised = list(_raised(outcome.exception_info or {}))
    if raised:
        fault = _not_evaluated(raised[0])
        # The message and the traceback quote values; this is what the page shows instead.
        outcome.exception_info = {"raised_exception": True, "exception_message": fault, "exception_traceback": ""}
        return fault
    rows = _row_count(outcome)
    if rows is None:
        return "was not evaluated"
    if outcome.success and rows == 0:
        return None
    if rows >= ROWS_COUNTED:
        return f"not so for {rows} rows or more"
    return f"not so for {rows} row{'' if rows == 1 else 's'}"


def _row_count(outcome: ExpectationValidationResult) -> int | None:
    rows = (outcome.result or {}).get("observed_value")
    return rows if isinstance(rows, int) else None


def _raised(exception_info: Mapping[str, Any]) -> Iterator[str]:
    """The kinds of the errors in a result: one by itself, or one for each number it failed to compute."""
    errors = [exception_info] if "raised_exception" in exception_info else exception_info.values()
    for error in errors:
        if error["raised_exception"]:
            found = _DATABASE_ERROR.match(str(error["exception_message"]))
            # Only the name of an error is passed on, so a value that looks like one is not.
            is_known = found is not None and isinstance(getattr(duckdb, found[1], None), type)
            yield found[1] if is_known else "Exception"


def _not_evaluated(kind: str) -> str:
    return f"could not be evaluated: {kind}"
