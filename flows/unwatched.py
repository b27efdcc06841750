"""The jobs by themselves, where no Prefect server watches: the same steps, and no server is started for them."""

import logging
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from flows.settings import Settings
from flows.steps.outcome import Outcome
from flows.steps.run import plainly, run_day
from flows.steps.start import backfill_dates

if TYPE_CHECKING:
    from flows.steps.report_page import Report

log = logging.getLogger("callfree.flow")


def daily(settings: Settings, business_date: date) -> Outcome:
    """The job for a business date."""
    return run_day(settings, business_date)


def backfill(settings: Settings, first: date, last: date, every: int) -> list[Outcome]:
    """The job for each date of a range. Raises what a day raises."""
    outcomes: list[Outcome] = []
    run_dates(settings, backfill_dates(settings, first, last, every), outcomes, run_day)
    return outcomes


def run_dates(
    settings: Settings, dates: list[date], outcomes: list[Outcome], run: Callable[[Settings, date], Outcome]
) -> None:
    """Run the dates that have no outcome yet."""
    for business_date in dates[len(outcomes) :]:
        outcome = run(settings, business_date)
        outcomes.append(outcome)
        log.info("%s (exit status %s)", outcome.headline(), outcome.exit_status)
        for line in outcome.to_know(names_persons=False):
            log.info("  %s", line)


def report(settings: Settings, business_date: date | None = None) -> "Report":
    """The page for the latest run or an earlier one."""
    # Charts and statistics come with it.
    from flows.steps.report_page import report_on

    return plainly(report_on, settings, business_date)
