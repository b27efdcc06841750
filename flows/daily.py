"""The daily job: land what came, derive what is owed, check it, post the difference once, hand it out."""

from collections.abc import Callable
from datetime import date
from functools import cache
from typing import Any

from prefect import flow, task
from prefect.runtime import flow_run
from prefect.states import Completed, State

from flows import run_page, slots
from flows.alerts import NEEDS_A_PERSON
from flows.environment import begin_deployed
from flows.errors import Passing
from flows.settings import Settings
from flows.steps.landing import last_delivery
from flows.steps.outcome import Outcome
from flows.steps.run import plainly, run_day
from flows.steps.start import is_done_since
from flows.watched import watched, watched_flow


def _run_name() -> str:
    return f"daily {flow_run.parameters.get('business_date') or slots.due()}"


@flow(name="daily", flow_run_name=_run_name)
def daily(business_date: date | None = None) -> State:
    """Land what came, derive what is owed, check it, post the difference once, hand it out.

    Without a date the job is for yesterday, local. A run of the schedule that starts late does what is due by now,
    and nothing where that has been done: of those missed in days of downtime one catches up, and the others pass.
    """
    begin_deployed()
    settings = Settings()
    slot = None if business_date else slots.slot()
    day = business_date or slots.due()
    if slot and is_done_since(settings, day, slot):
        return Completed(name="Passed", message=f"{day} has been run since {slot:%H:%M}: nothing is left to do.")
    return ended(_do(settings, day))


def ended(outcome: Outcome) -> State:
    """The state in which a run ends: whether something needs a person shows, and is told."""
    if outcome.exit_status:
        return Completed(name=NEEDS_A_PERSON, message=outcome.needs())
    return Completed(message=outcome.headline())


def run(settings: Settings, business_date: date) -> Outcome:
    """Run the job as a flow of its own. Nothing that matters depends on Prefect: where it fails, the steps run on."""
    name = f"daily {business_date}"
    # Asked once: what a try that Prefect broke off has landed counts for the next one.
    last_known = cache(last_delivery)
    return watched_flow(
        "daily",
        name,
        lambda: _do(settings, business_date, last_known=last_known),
        plainly=lambda: run_day(settings, business_date, last_known=last_known),
        ended=ended,
    )


def _do(settings: Settings, day: date, last_known: Callable[[Settings], int] = last_delivery) -> Outcome:
    outcome = run_day(settings, day, call=_as_task, last_known=last_known)
    run_page.show(settings, outcome)
    return outcome


def _as_task(step: Callable[..., Any], *arguments: Any) -> Any:
    """Call a step as a Prefect task of its name. What may pass by itself is tried again."""
    return watched(
        lambda job: task(job, name=step.__name__, retries=2, retry_delay_seconds=5, retry_condition_fn=_may_pass),
        lambda: plainly(step, *arguments),
        step.__name__,
    )


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), Passing)
