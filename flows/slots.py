"""The schedule's slot that a run in Prefect is for: it may start after midnight, or after days of downtime."""

from datetime import date, datetime

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from flows.steps.start import date_due, latest_slot, now, yesterday


def slot() -> datetime | None:
    """When the schedule last wanted a run, for a run of the schedule; a person's run has none."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or not context.flow_run.auto_scheduled:
        return None
    return latest_slot(flow_run.scheduled_start_time, now())


def due() -> date:
    """The business date that a run without a date is for: the day before its slot, or before today; local."""
    wanted = slot()
    return date_due(wanted) if wanted else yesterday()
