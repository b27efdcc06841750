"""Work that Prefect watches: it shows it and tries again, and where it fails the work goes on without it."""

import logging
from collections.abc import Callable
from typing import TypeVar

from prefect import flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import State

from flows.errors import CallfreeError

log = logging.getLogger("callfree.flow")

T = TypeVar("T")


def watched_flow(
    kind: str,
    name: str,
    job: Callable[[], T],
    plainly: Callable[[], T] | None = None,
    ended: Callable[[T], State | None] = lambda _: None,
) -> T:
    """Do a job as a flow in this process, in the state that `ended` makes of its result. Raises what the job raises."""
    results: list[T] = []

    def kept() -> T:
        results.append(job())
        return results[-1]

    def wrap(job: Callable[[], None]) -> Callable[[], object]:
        def body() -> State | None:
            job()
            return ended(results[-1])

        def call() -> None:
            # Nobody listens for a heartbeat of it, and its end would wait up to a second for the last one.
            with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                flow(body, name=kind, flow_run_name=name)()

        return call

    return watched(wrap, kept, name, plainly)


def watched(
    wrap: Callable[[Callable[[], None]], Callable[[], object]],
    job: Callable[[], T],
    name: str,
    plainly: Callable[[], T] | None = None,
) -> T:
    """Do a job that `wrap` makes a flow or a task. Raises what the job raises.

    Where Prefect fails after the job, the job's result stands; where it fails before, the job is done plainly:
    as `plainly` does it, where the job itself would call on Prefect again.
    """
    results: list[T] = []

    def done() -> None:
        results.append(job())

    try:
        wrap(done)()
    except CallfreeError:
        raise
    except Exception as error:
        log.warning("Prefect failed (%s) at %s: it goes on without it.", type(error).__name__, name)
    return results[-1] if results else (plainly or job)()
