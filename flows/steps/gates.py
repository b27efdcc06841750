"""The gates at both borders: what landed, what is about to be posted, and the figures that go out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType

from expectations import grant_batch, kpi_file, landing
from expectations.suite import Suite
from flows.errors import GateFailed
from flows.settings import Settings
from flows.steps.lean_imports import imported_lean, left_out_of_great_expectations
from flows.steps.warehouse import connect

# Great Expectations takes longer to import than all else that such a run does.
_IS_ANY_DUE = """
select
    exists (select 1 from posting.grants_due)
    or exists (select 1 from intermediate.int_entitlements where entitlement_state = 'due' and missing_mb > 0)
"""


@dataclass(frozen=True)
class GateResult:
    """How a gate went. `failed` says what does not hold, in sentences without any value of a row."""

    name: str
    passed: bool
    failed: tuple[str, ...]
    page: Path


def check_landing(settings: Settings, feeds: Sequence[str], business_date: date | None = None) -> GateResult:
    """Check the rows of the deliveries in `raw.landing`, which must all be of these feeds.

    The business date names the run on the pages; the pages of a run without one are replaced by the next.
    """
    return _check("landing", landing.suites(tuple(feeds)), settings, business_date)


def check_batch(settings: Settings, business_date: date | None = None) -> GateResult:
    """Check the grants in `posting.grants_due` against the policy, the entitlements and the ledger."""
    return _check("batch", grant_batch.SUITES, settings, business_date, settings.ledger.absolute())


def check_kpis(settings: Settings, business_date: date | None = None) -> GateResult:
    """Check the figures in `marts.kpis` against each other, the sums they are made of, and the ledger."""
    return _check("kpis", kpi_file.SUITES, settings, business_date, settings.ledger.absolute())


def require_batch(settings: Settings, business_date: date) -> None:
    """The gate before posting, which a run that posts no grant and owes none does without. Raises GateFailed."""
    with connect(settings.warehouse) as connection:
        (is_asked,) = connection.execute(_IS_ANY_DUE).fetchone()
    if is_asked:
        _require(check_batch(settings, business_date))


def require_landing(settings: Settings, feeds: Sequence[str], business_date: date) -> None:
    """The gate after landing. Raises GateFailed."""
    _require(check_landing(settings, feeds, business_date))


def require_kpis(settings: Settings, business_date: date) -> None:
    """The gate before the KPI file goes out; by then the grants have. Raises GateFailed."""
    gate = check_kpis(settings, business_date)
    if not gate.passed:
        so = "The grants were posted, the KPI file was not written."
        raise GateFailed(gate.name, gate.failed, gate.page, so)


def _require(gate: GateResult) -> None:
    if not gate.passed:
        raise GateFailed(gate.name, gate.failed, gate.page)


def _check(
    gate: str, suites: tuple[Suite, ...], settings: Settings, business_date: date | None, ledger: Path | None = None
) -> GateResult:
    asking, pages = _great_expectations()
    verdicts = asking.check(suites, settings.warehouse.absolute(), ledger)
    failed = tuple(f"{verdict.suite.name}: {complaint}" for verdict in verdicts for complaint in verdict.complaints)
    # Whoever says nothing has found nothing out.
    answered = {verdict.suite.name for verdict in verdicts}
    failed += tuple(f"{suite.name}: no check was answered" for suite in suites if suite.name not in answered)
    run = business_date.isoformat() if business_date else "latest"
    page = pages.write_page(settings.reports / "data_docs", run, gate, verdicts)
    return GateResult(gate, not failed, failed, page)


@cache
def _great_expectations() -> tuple[ModuleType, ModuleType]:
    """What asks, and what writes down the answers. Great Expectations comes with them, and takes seconds."""
    with imported_lean(left_out_of_great_expectations()):
        from expectations import check, data_docs
    return check, data_docs
