"""Work that Prefect watches: it shows it and tries again, and where it fails the work goes on without it."""

import logging
from collections.abc import Callable
from typing import TypeVar

from flows.errors import CallfreeError

log = logging.getLogger("callfree.flow")

T = TypeVar("T")


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
