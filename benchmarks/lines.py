"""Whether the contenders wrote the same grant lines."""

from itertools import zip_longest
from pathlib import Path


class Difference(Exception):
    """Two contenders wrote different lines."""


def require_equal(first: Path, *others: Path) -> int:
    """The number of grant lines that all have, equal to the byte. Raises Difference naming the first that is not."""
    number = 0
    for other in others:
        with open(first, "rb") as ours, open(other, "rb") as theirs:
            for number, (our, their) in enumerate(zip_longest(ours, theirs), 1):
                if our != their:
                    raise Difference(f"line {number} of {first.name} is not that of {other.name}:\n{our}\n{their}")
    return number - 1
