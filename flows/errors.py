"""What can go wrong, told in one line that names the thing and the way out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_ADDRESS = re.compile(r"[^\s/@]*@[^\s/_@]*")
# Six digits and more, however they are parted. A day is no number of a person, nor is what a `_` parts from it.
_DAY_OR_DIGITS = re.compile(
    r"(?<![0-9])(?P<day>(?:19|20)[0-9]{2}-?[0-9]{2}-?[0-9]{2})(?![ ().-]*[0-9])|[+]?\(?[0-9](?:[ ()._-]*[0-9]){5,}"
)


def masked(name: str) -> str:
    """A name that a sender chose, without what may be a mail address or a phone number."""
    name = _ADDRESS.sub("ADDRESS", name)
    return _DAY_OR_DIGITS.sub(lambda found: found["day"] or "NUMBER", name)


class CallfreeError(Exception):
    """The job failed: nothing more was posted. Exit status 1."""

    exit_status = 1
    # What a person needs beside the one line, in sentences.
    details: tuple[str, ...] = ()


class WrongUsage(CallfreeError):
    """Wrong usage, an impossible date, a broken or changed policy: nothing was done. Exit status 2."""

    exit_status = 2


class Passing(CallfreeError):
    """A fault of the machine that may pass by itself, so that a retry makes sense."""


class GateFailed(CallfreeError):
    """Great Expectations found what must not be: nothing was accepted, posted or published."""

    def __init__(self, gate: str, failed: tuple[str, ...], page: object, so: str = "Nothing was posted.") -> None:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        super().__init__(f"The {gate} gate failed: {'; '.join(failed[:3])}{more}. {so} See {page}.")


class BatchHeld(CallfreeError):
    """A batch is above the budget of a run: nothing was posted, and a person has to look at it."""

    def __init__(self, business_date: object, why: str, details: tuple[str, ...]) -> None:
        super().__init__(
            f"The batch for {business_date} is held back, and nothing was posted: {why}."
            f" callfree approve lets exactly this batch through, then callfree run --date {business_date} posts it."
        )
        self.details = details


@contextmanager
def guarded(step: str) -> Iterator[None]:
    """Turn whatever a step raises into one line without any value of a row.

    The messages of databases and parsers quote the data they stumble over, and Prefect keeps what is raised.
    The original stays reachable as the error's context, for `--debug`.
    """
    try:
        yield
    except CallfreeError:
        raise
    except OSError as error:
        where = f" ({masked(str(error.filename))})" if error.filename else ""
        raise Passing(f"{step} failed: {error.strerror or type(error).__name__}{where}.") from None
    except Exception as error:
        raise CallfreeError(f"{step} failed: {type(error).__name__}. {way_out(error)}") from None


def way_out(error: Exception) -> str:
    """What whoever reads of an error can do about it, as a sentence."""
    if type(error).__name__ == "OutOfMemoryException":
        return "Set CALLFREE_MEMORY higher, then run again."
    if type(error).__name__ == "IOException":
        return "Make room where the disk is full, or run again with --debug to see where."
    return "Run again with --debug to see where."
