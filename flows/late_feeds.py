"""The watch for late feeds: at a feed's hour its delivery for yesterday should be there."""

from prefect import flow
from prefect.states import Completed, State

from flows.alerts import FEED_LATE
from flows.environment import begin_deployed
from flows.settings import Settings
from flows.slots import due
from flows.steps.status import is_late, read_status


@flow(name="late-feeds", flow_run_name="late-feeds {feed}")
def late_feeds(feed: str) -> State:
    """Say whether a feed's delivery of the day before has not come; its hour is the schedule's."""
    begin_deployed()
    settings, day = Settings(), due()
    if is_late(settings, read_status(settings), feed, day):
        return Completed(name=FEED_LATE, message=f"{feed} of {day} has not come by its hour.")
    return Completed(message=f"{feed} of {day} is there.")
