"""Two homes that lived through the same world must agree; the first thing on which they do not is named."""

import difflib
from datetime import UTC, datetime

from reference_kpis import difference_of_files

COMPARED = (
    "in_force", "held", "rejected", "row_counts", "draws", "enrolments", "quarters", "parked", "overpaid",
    "lapsed_enrolments", "unknown_acks", "contradicting_acks", "overdue_waves", "memberless_waves", "waiting_waves",
    "unattributed_calls",
)  # fmt: skip
FOLDERS = ("grants/", "invitations/")


def first_difference(reference, other, with_findings: bool = True) -> str | None:
    """In the files out or, with findings, in anything the run decided."""
    ours, theirs = (
        {name: content for name, content in home.outbox.items() if name.startswith(FOLDERS)}
        for home in (reference, other)
    )
    found = difference("outbox", ours, theirs) or difference_of_kpis(reference, other)
    for name in COMPARED if with_findings else ():
        found = found or difference(name, getattr(reference, name), getattr(other, name))
    return found


def difference_of_kpis(reference, other) -> str | None:
    """In the KPI files, which two kinds of arithmetic have written."""
    ours, theirs = (
        {name: content for name, content in home.outbox.items() if name.startswith("kpis/")}
        for home in (reference, other)
    )
    if sorted(ours) != sorted(theirs):
        return difference("outbox", ours, theirs)
    found = {name: difference_of_files(content, theirs[name]) for name, content in ours.items()}
    return next((f"outbox[{name!r}] differs in {what}" for name, what in found.items() if what), None)


def difference(name: str, expected, found) -> str | None:
    expected, found = plain(expected), plain(found)
    if expected == found:
        return None
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted({*expected, *found}, key=repr):
            if key not in found:
                return f"{name}[{key!r}] is missing, expected\n{shown(expected[key])}"
            if key not in expected:
                return f"{name}[{key!r}] is not expected, found\n{shown(found[key])}"
            if expected[key] != found[key]:
                return f"{name}[{key!r}] differs:\n{compared(expected[key], found[key])}"
    if isinstance(expected, frozenset) and isinstance(found, frozenset):
        missing, unexpected = sorted(expected - found, key=repr), sorted(found - expected, key=repr)
        return f"{name}: missing {missing[:5]}, not expected {unexpected[:5]}"
    return f"{name} differs:\n{compared(expected, found)}"


def plain(value):
    """Sequences as tuples, instants in UTC: how a mart happens to be read is no difference."""
    match value:
        case dict():
            return {plain(key): plain(each) for key, each in value.items()}
        case set() | frozenset():
            return frozenset(map(plain, value))
        case list() | tuple():
            return tuple(map(plain, value))
        case datetime():
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value


def compared(expected, found) -> str:
    if isinstance(expected, bytes) and isinstance(found, bytes):
        lines = difflib.unified_diff(
            expected.decode().splitlines(), found.decode().splitlines(), "expected", "found", lineterm="", n=0
        )
        return "\n".join(list(lines)[:12]) or "in their line ends"
    return f"expected {expected!r}\n   found {found!r}"


def shown(value) -> str:
    return value.decode() if isinstance(value, bytes) else repr(value)
