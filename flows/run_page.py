"""The page of a run in Prefect: what it did, as tables and links."""

import logging

from prefect.artifacts import create_markdown_artifact

from flows.settings import Settings
from flows.steps.outcome import Outcome

log = logging.getLogger("callfree.flow")


def show(settings: Settings, outcome: Outcome) -> None:
    """Put the run's tables and links on its page. A page that fails is no reason for a run to fail."""
    day = outcome.business_date
    try:
        create_markdown_artifact(outcome.markdown(), key="daily-run", description=f"Run for {day}")
    except Exception as error:
        log.warning("Prefect failed (%s) at the run's page.", type(error).__name__)
