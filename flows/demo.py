"""The demo: a year of an invented small world, run as a real one would be."""

import logging
from collections.abc import Callable
from datetime import date, timedelta

from flows.errors import WrongUsage
from flows.settings import Settings
from flows.steps import operator
from flows.steps.demo_files import write_file
from flows.steps.demo_world import DemoWorld
from flows.steps.home import lock
from flows.steps.outcome import Outcome
from flows.steps.start import today

log = logging.getLogger("callfree.flow")


def run(settings: Settings, run_day: Callable[[Settings, date], Outcome]) -> Outcome:
    """Make the world, run its year, answer its grant files as billing would. Returns the last run's outcome.

    Raises WrongUsage when the home has been used.
    """
    if settings.ledger.exists() or (settings.inbox.is_dir() and any(settings.inbox.iterdir())):
        raise WrongUsage(f"{settings.home} is in use: the demo wants an empty CALLFREE_HOME.")
    world = DemoWorld()
    policy = settings.home.absolute() / "policy"
    world.write_policy(policy)
    settings = settings.model_copy(update={"policy": policy})
    previous = world.first_day - timedelta(days=1)
    for number, day in enumerate(world.run_dates, 1):
        outcome = _one_day(settings, world, previous, day, run_day)
        log.info("[%s/%s] %s", number, len(world.run_dates), outcome.headline())
        previous = day
    return outcome


def _one_day(
    settings: Settings, world: DemoWorld, previous: date, day: date, run_day: Callable[[Settings, date], Outcome]
) -> Outcome:
    world.write_deliveries(settings.inbox, previous + timedelta(days=1), day)
    if day == world.waived_in:
        with lock(settings, "callfree demo"):
            log.info(operator.waive(settings, "calls", world.missing_day, world.waive_reason, today()))
    outcome = run_day(settings, day)
    for file_name in outcome.published.grant_files:
        # Billing answers the next morning.
        answer = world.answers((settings.grants_outbox / file_name).read_bytes(), day + timedelta(days=1))
        if answer is not None:
            write_file(settings.inbox, *answer)
    return outcome
