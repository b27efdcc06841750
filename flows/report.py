"""The report: what the pilot has come to, as a page for those who decide about it."""

import logging
from datetime import date

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from flows.environment import begin_deployed
from flows.settings import Settings
from flows.steps.report_page import Report, report_on
from flows.steps.run import plainly
from flows.steps.status import read_status
from flows.watched import watched_flow

log = logging.getLogger("callfree.flow")


def _run_name() -> str:
    return f"report {flow_run.parameters.get('business_date') or read_status(Settings())['last_run']}"


@flow(name="report", flow_run_name=_run_name)
def report(business_date: date | None = None) -> None:
    """Write what the pilot has come to as one HTML page, for the latest run or for an earlier one.

    It reads the published marts alone, so it works at any time, also while a run goes on.
    """
    begin_deployed()
    _do(Settings(), business_date)


def run(settings: Settings, business_date: date | None = None) -> Report:
    """Write the report as a flow of its own. Where Prefect fails, the page is written without it."""
    name = f"report {business_date or read_status(settings)['last_run']}"
    return watched_flow("report", name, lambda: _do(settings, business_date))


def _do(settings: Settings, business_date: date | None) -> Report:
    written = plainly(report_on, settings, business_date)
    if FlowRunContext.get() is None:
        return written
    try:
        create_markdown_artifact(
            written.markdown(settings), key="pilot-report", description=f"Pilot, {written.business_date}"
        )
    except Exception as error:
        log.warning("Prefect failed (%s) at the report's artifact.", type(error).__name__)
    return written
