"""Do the published marts say what follows from archive and ledger? An ordinary day derives a part of them."""

import tempfile
from pathlib import Path

import duckdb

from flows.errors import CallfreeError, WrongUsage
from flows.settings import Settings
from flows.steps.as_of import PastRun, derive_past, keep_ledger, run_as_of
from flows.steps.doctor import Finding
from flows.steps.home import lock
from flows.steps.ledger_growth import check_ledger
from flows.steps.report_facts import published_for
from flows.steps.warehouse import connect, read_through

_IS_OF_THE_LAST_RUN = """
select exists (
    from raw.derived
    inner join raw.made on derived.derivation = made.derivation
    where made.thing = $marts and derived.is_posting and derived.run_no + 1 = $run_no
)
"""


def audit(settings: Settings) -> list[Finding]:
    """Derive everything that the latest run knew anew, beside the installation, and compare: one finding a table.

    Raises WrongUsage before the first run and where the marts are not those that the latest run has published,
    CallfreeError where a run goes on, or the archive lacks a delivery.
    """
    with lock(settings, "callfree audit"):
        check_ledger(settings)
        day = published_for(settings.marts)
        if not settings.readable_ledger.is_file():
            keep_ledger(settings)
        run = run_as_of(settings, day)
        _require_of(settings, run)
        published = read_through(settings.marts)
    with tempfile.TemporaryDirectory(prefix="audit_", dir=settings.work) as folder:
        marts = Path(folder, "marts.duckdb")
        derive_past(settings, run, marts)
        derived = read_through(marts)
    return [
        _compared(name.removeprefix("main."), published.get(name), derived.get(name))
        for name in sorted(published.keys() | derived.keys())
    ]


def _require_of(settings: Settings, run: PastRun) -> None:
    """The marts are those of the run. A rebuild makes some by today's policy and the latest words of operators."""
    if not settings.warehouse.is_file():
        raise CallfreeError("There is no warehouse.duckdb: callfree rebuild makes it anew, and all that is published.")
    with connect(settings.warehouse) as connection:
        try:
            is_of_the_run = connection.execute(
                _IS_OF_THE_LAST_RUN, {"marts": settings.marts.name, "run_no": run.run_no}
            ).fetchone()[0]
        except duckdb.Error:
            # An earlier version has derived it.
            is_of_the_run = False
    if not is_of_the_run:
        raise WrongUsage(
            "The published marts are not those of the latest run: it did not come to its end, or there was a rebuild,"
            " which derives everything. Audit after the next run."
        )


def _compared(mart: str, published: tuple[int, str] | None, derived: tuple[int, str] | None) -> Finding:
    if published == derived:
        return Finding(mart, True, f"{published[0]} rows")
    if published is None or derived is None:
        return Finding(mart, False, f"is {'not published' if published is None else 'derived no more'}")
    rows = "other rows" if published[0] == derived[0] else f"{derived[0]} rows, where {published[0]} are published"
    return Finding(mart, False, f"derived anew it has {rows}: callfree rebuild puts it right; grants stay as posted")
