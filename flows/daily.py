"""The daily job: land what came, derive what is owed, check it, post the difference once, hand it out."""

import logging
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.errors import CallfreeError, Passing
from flows.settings import Settings
from flows.steps.outcome import Outcome
from flows.steps.run import plainly, run_day
from flows.steps.start import today

log = logging.getLogger("callfree.flow")

# Runs that this process has finished, whatever became of Prefect's record of them.
_finished: dict[date, Outcome] = {}


@flow(name="daily", flow_run_name="daily {business_date}", validate_parameters=False)
def daily(business_date: date | None = None) -> None:
    """Land what came, derive what is owed, check it, post the difference once, hand it out.

    Without a date the job is for yesterday, local.
    """
    day = business_date or today() - timedelta(days=1)
    outcome = run_day(Settings(), day, call=_as_task)
    _finished[day] = outcome
    create_markdown_artifact(outcome.markdown(), key="daily-run", description=f"Run for {day}")


def run(settings: Settings, business_date: date) -> Outcome:
    """Run the flow. Nothing that matters depends on Prefect: where it fails, the steps run without it."""
    _finished.pop(business_date, None)
    try:
        daily(business_date)
    except CallfreeError:
        raise
    except Exception as error:
        log.warning("Prefect failed (%s): the run goes on without it.", type(error).__name__)
    return _finished.pop(business_date, None) or run_day(settings, business_date)


def _as_task(step: Callable[..., Any], *arguments: Any) -> Any:
    """Call a step as a Prefect task of its name. What may pass by itself is tried again.

    Where Prefect fails around it, the step's result stands; a step that was not reached is called plainly.
    """
    results: list[Any] = []

    def call_step() -> None:
        results.append(plainly(step, *arguments))

    as_task = task(call_step, name=step.__name__, retries=2, retry_delay_seconds=5, retry_condition_fn=_may_pass)
    try:
        as_task()
    except CallfreeError:
        raise
    except Exception as error:
        log.warning("Prefect failed (%s) at %s: the run goes on without it.", type(error).__name__, step.__name__)
    return results[-1] if results else plainly(step, *arguments)


def _may_pass(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), Passing)
