"""The daily job for a range of dates, as of each date: for histories and rehearsals."""

import logging
from datetime import date

from prefect import flow

from flows import daily
from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps.outcome import Outcome
from flows.steps.start import backfill_dates

log = logging.getLogger("callfree.flow")

_outcomes: list[Outcome] = []


@flow(name="backfill", flow_run_name="backfill {first} to {last}", validate_parameters=False)
def backfill(first: date, last: date, every: int = 1) -> None:
    """Do the daily job for each date in turn; stops where one fails."""
    _run_all(Settings(), backfill_dates(Settings(), first, last, every))


def run(settings: Settings, first: date, last: date, every: int) -> list[Outcome]:
    """Run the flow; where Prefect fails, the dates that are left run without it. Raises what a day raises."""
    dates = backfill_dates(settings, first, last, every)
    _outcomes.clear()
    try:
        backfill(first, last, every)
    except CallfreeError:
        raise
    except Exception as error:
        log.warning("Prefect failed (%s): the backfill goes on without it.", type(error).__name__)
    _run_all(settings, dates[len(_outcomes) :])
    return list(_outcomes)


def _run_all(settings: Settings, dates: list[date]) -> None:
    for business_date in dates:
        outcome = daily.run(settings, business_date)
        _outcomes.append(outcome)
        log.info("%s (exit status %s)", outcome.headline(), outcome.exit_status)
