"""The report: what the pilot has come to, as a page for those who decide about it."""

import logging
from datetime import date

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps.report_page import Report, report_on
from flows.steps.run import plainly

log = logging.getLogger("callfree.flow")

# Reports that this process has written, whatever became of Prefect's record of them.
_written: dict[date | None, Report] = {}


@flow(name="report", flow_run_name="report {business_date}", validate_parameters=False)
def report(business_date: date | None = None) -> None:
    """Write what the pilot has come to as one HTML page, for the latest run or for an earlier one.

    It reads the published marts alone, so it works at any time, also while a run goes on.
    """
    written = plainly(report_on, Settings(), business_date)
    _written[business_date] = written
    create_markdown_artifact(written.markdown(), key="pilot-report", description=f"Pilot on {written.business_date}")


def run(settings: Settings, business_date: date | None = None) -> Report:
    """Run the flow. Nothing that matters depends on Prefect: where it fails, the page is written without it."""
    _written.pop(business_date, None)
    try:
        report(business_date)
    except CallfreeError:
        raise
    except Exception as error:
        log.warning("Prefect failed (%s): the report is written without it.", type(error).__name__)
    return _written.pop(business_date, None) or plainly(report_on, settings, business_date)
