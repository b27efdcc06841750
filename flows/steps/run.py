"""The run for one business date, as a sequence of steps."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from typing import Any

from flows.errors import CallfreeError, WrongUsage, guarded
from flows.settings import Settings
from flows.steps import crash_points, status
from flows.steps.as_of import keep_ledger
from flows.steps.backups import back_up
from flows.steps.billing_page import write_billing_page
from flows.steps.budget import require_budget
from flows.steps.corrections import find_corrections, know_entitlements
from flows.steps.derivation import derive
from flows.steps.gates import require_batch
from flows.steps.home import lock
from flows.steps.kpis import fill_table, publish_kpis, publish_left_over_kpis
from flows.steps.landing import land, landing_since, last_delivery, require_archive, restore
from flows.steps.ledger import held_open, latest_run, open_ledger, post
from flows.steps.ledger_growth import check_ledger
from flows.steps.marts import publish_marts
from flows.steps.metrics import timed, write_metrics
from flows.steps.new_exceptions import find_exceptions, know_exceptions
from flows.steps.outcome import Outcome
from flows.steps.publish import Published, has_left_over, publish
from flows.steps.start import check_date, check_policy, now
from flows.steps.warehouse import read_through

log = logging.getLogger("callfree")

# What the steps that take time tell whoever watches.
_TOLD = {
    "land": "landing deliveries",
    "derive": "deriving the models and testing them",
    "require_batch": "checking what is about to be posted",
    "post": "posting to the ledger",
    "publish_kpis": "working out the KPIs",
    "publish_marts": "publishing the marts",
}


def plainly(step: Callable[..., Any], *arguments: Any) -> Any:
    """Call a step as it is."""
    if step.__name__ in _TOLD:
        log.info("%s ...", _TOLD[step.__name__])
    with guarded(step.__name__):
        return step(*arguments)


def run_day(
    settings: Settings,
    business_date: date,
    call: Callable[..., Any] = plainly,
    last_known: Callable[[Settings], int] = last_delivery,
) -> Outcome:
    """The run for one business date.

    `call` calls the steps that do the work, be it plainly or as tasks. `last_known` says which delivery was the last
    before the run: it is remembered by whoever may have to try the same run again.
    """
    began_at, seconds = now(), {}
    call = timed(call, seconds)
    with lock(settings, f"callfree run for {business_date}"):
        _require_ledger(settings, business_date, seconds)
        plainly(check_date, settings, business_date)
        try:
            with held_open(settings):
                outcome = _run(settings, business_date, call, last_known, began_at, seconds)
        except Exception as error:
            told = error if isinstance(error, WrongUsage) else _damage_behind(settings, error)
            # On a full disk the error itself matters more than its note in the status.
            with suppress(Exception):
                write_metrics(settings, status.write_failure(settings, business_date, told), seconds, None)
            if told is error:
                raise
            raise told from error
        return outcome


def _run(
    settings: Settings,
    business_date: date,
    call: Callable[..., Any],
    last_known: Callable[[Settings], int],
    began_at: datetime,
    seconds: dict[str, float],
) -> Outcome:
    policy = plainly(check_policy, settings)
    # What an earlier run posted goes out first, whatever becomes of this one.
    left_over = _publish_left_over(settings)
    _make_up_for_kpis(settings)
    before = plainly(last_known, settings)
    call(land, settings, business_date)
    call(derive, settings, policy)
    call(require_batch, settings, business_date)
    plainly(require_budget, settings, business_date)
    posting = call(post, settings, business_date, policy)
    # Nothing goes out of which there is no copy, unless the copy cannot be made: then the run fails below.
    with suppress(CallfreeError):
        plainly(back_up, settings)
    published = left_over + call(publish, settings)
    plainly(keep_ledger, settings)
    kpis = call(publish_kpis, settings, business_date)
    call(publish_marts, settings)
    plainly(write_billing_page, settings)
    corrections, news = plainly(find_corrections, settings), plainly(find_exceptions, settings)
    written = plainly(status.write_status, settings, began_at, now())
    plainly(back_up, settings)
    landing = plainly(landing_since, settings, before)
    plainly(write_metrics, settings, written, seconds, landing.loaded_rows)
    # Last, for a correction and an exception are told by a run that comes to its end.
    plainly(know_exceptions, settings)
    plainly(know_entitlements, settings)
    return Outcome(business_date, landing, posting, published, kpis, news, written, corrections)


def _publish_left_over(settings: Settings) -> Published:
    """What a broken-off run posted and did not hand out. It may have left no copy of the ledger that knows it."""
    if not has_left_over(settings):
        return Published((), ())
    with suppress(CallfreeError):
        plainly(back_up, settings)
    return plainly(publish, settings)


def _make_up_for_kpis(settings: Settings) -> None:
    """The KPI file that a broken-off run owes. Where it cannot be made the run goes on: grants come first."""
    try:
        plainly(publish_left_over_kpis, settings)
    except CallfreeError as error:
        log.warning("The KPI file of the latest run is missing: %s", error)


def _require_ledger(settings: Settings, business_date: date, seconds: dict[str, float]) -> None:
    """The ledger is all there; where it is not, status and metrics tell that the run failed."""
    try:
        plainly(check_ledger, settings)
    except Exception as error:
        with suppress(Exception):
            write_metrics(settings, status.write_refusal(settings, business_date, error), seconds, None)
        raise


def _damage_behind(settings: Settings, error: Exception) -> Exception:
    """The error that names a damaged database, where that is why a step failed: whatever stumbled over it."""
    try:
        for path in (settings.ledger, settings.warehouse):
            if path.is_file():
                read_through(path)
    except CallfreeError as damage:
        return damage
    return error


def rebuild(settings: Settings) -> date | None:
    """The warehouse anew from archive and ledger, and the marts from it. Returns the date it was derived for."""
    with lock(settings, "callfree rebuild"), guarded("rebuild"):
        check_ledger(settings)
        with open_ledger(settings) as connection:
            latest = latest_run(connection)
        policy = check_policy(settings)
        log.info("checking the archive ...")
        # What is about to be deleted may be all that is left of a delivery.
        require_archive(settings)
        for leftover in (settings.warehouse, settings.warehouse.with_name(settings.warehouse.name + ".wal")):
            leftover.unlink(missing_ok=True)
            crash_points.passed("the warehouse is deleted")
        if latest is None:
            return None
        log.info("reading the archive ...")
        with held_open(settings):
            restore(settings, latest)
            log.info("deriving the models ...")
            derive(settings, policy)
            keep_ledger(settings)
            fill_table(settings)
            publish_marts(settings)
            write_billing_page(settings)
            # What a run that failed did not come to tell is told by the next.
            if status.read_status(settings)["failed_run"] is None:
                know_exceptions(settings)
                know_entitlements(settings)
            status.derive_status(settings)
        return latest
