"""The daily job for a range of dates, as of each date: for histories and rehearsals."""

from datetime import date

from prefect import flow
from prefect.states import State

from flows import daily
from flows.environment import begin_deployed
from flows.settings import Settings
from flows.steps.outcome import Outcome
from flows.steps.start import backfill_dates
from flows.unwatched import run_dates
from flows.watched import watched_flow


@flow(name="backfill", flow_run_name="backfill {first} to {last}")
def backfill(first: date, last: date, every: int = 1) -> State | None:
    """Do the daily job for each date in turn; stops where one fails."""
    begin_deployed()
    settings = Settings()
    outcomes: list[Outcome] = []
    run_dates(settings, backfill_dates(settings, first, last, every), outcomes, daily.run)
    return ended(outcomes)


def ended(outcomes: list[Outcome]) -> State | None:
    """The state of the latest day that needs a person, as of the exit status."""
    return next((daily.ended(outcome) for outcome in reversed(outcomes) if outcome.exit_status), None)


def run(settings: Settings, first: date, last: date, every: int) -> list[Outcome]:
    """Run the dates as a flow of its own; where Prefect fails, those left run without it. Raises what a day raises."""
    dates = backfill_dates(settings, first, last, every)
    outcomes: list[Outcome] = []
    name = f"backfill {first} to {last}"
    watched_flow(
        "backfill", name, lambda: run_dates(settings, dates, outcomes, daily.run), ended=lambda _: ended(outcomes)
    )
    return outcomes
