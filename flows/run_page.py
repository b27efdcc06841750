"""The page of a run in Prefect: what it did, as tables and links."""

import logging

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from flows.settings import Settings
from flows.steps.outcome import Outcome
from flows.steps.run_page import CHECKED, run_page, url_of_checks

log = logging.getLogger("callfree.flow")


def show(settings: Settings, outcome: Outcome) -> None:
    """Put the run's story and its links on its page. A page that fails is no reason for a run to fail."""
    day = outcome.business_date
    try:
        create_markdown_artifact(run_page(settings, outcome), key="daily-run", description=f"Run for {day}")
        if url := url_of_checks(settings, outcome):
            create_link_artifact(url, link_text=CHECKED, key="checked", description=f"{CHECKED}: {day}")
    except Exception as error:
        log.warning("Prefect failed (%s) at the run's page.", type(error).__name__)
