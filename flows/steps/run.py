"""The run for one business date, as a sequence of steps."""

import logging
from collections.abc import Callable
from datetime import date
from typing import Any

from flows.errors import guarded
from flows.settings import Settings
from flows.steps import status
from flows.steps.gates import require_batch
from flows.steps.home import lock
from flows.steps.landing import land, landing_since, last_delivery, restore
from flows.steps.ledger import latest_run, open_ledger, post
from flows.steps.marts import publish_marts
from flows.steps.outcome import Outcome
from flows.steps.publish import publish
from flows.steps.start import check_date, check_policy
from flows.steps.transform import derive

log = logging.getLogger("callfree")


def plainly(step: Callable[..., Any], *arguments: Any) -> Any:
    """Call a step as it is."""
    log.info("%s ...", step.__name__.replace("_", " "))
    with guarded(step.__name__):
        return step(*arguments)


def run_day(settings: Settings, business_date: date, call: Callable[..., Any] = plainly) -> Outcome:
    """The run for one business date. `call` calls each step, be it plainly or as a task."""
    with lock(settings, f"callfree run for {business_date}"):
        call(check_date, settings, business_date)
        try:
            policy = call(check_policy, settings)
            # What an earlier run posted goes out first, whatever becomes of this one.
            left_over = call(publish, settings)
            last_known = call(last_delivery, settings)
            call(land, settings, business_date)
            call(derive, settings, policy)
            call(require_batch, settings, business_date)
            posting = call(post, settings, business_date, policy)
            published = left_over + call(publish, settings)
            news = call(publish_marts, settings)
            written = call(status.write_status, settings)
            landing = call(landing_since, settings, last_known)
        except Exception as error:
            status.write_failure(settings, business_date, error)
            raise
        return Outcome(business_date, landing, posting, published, news, written)


def rebuild(settings: Settings) -> date | None:
    """The warehouse anew from archive and ledger, and the marts from it. Returns the date it was derived for."""
    with lock(settings, "callfree rebuild"), guarded("rebuild"):
        with open_ledger(settings) as connection:
            latest = latest_run(connection)
        policy = check_policy(settings)
        for leftover in (settings.warehouse, settings.warehouse.with_name(settings.warehouse.name + ".wal")):
            leftover.unlink(missing_ok=True)
        if latest is None:
            return None
        log.info("reading the archive ...")
        restore(settings, latest)
        log.info("deriving the models ...")
        derive(settings, policy)
        publish_marts(settings)
        status.write_status(settings)
        return latest
