"""The table of promises that `make test-faults` ends with, and that docs/reliability.md shows."""

from collections import Counter
from pathlib import Path

PROMISES = {
    1: "Confluence",
    2: "Crash safety",
    3: "Never twice, never lost, never early",
    4: "All or nothing to see",
    5: "One writer",
    6: "Rebuild equals what was",
    7: "Resources",
    8: "Bystanders",
}
BEGIN, END = "<!-- figures: make test-faults writes them -->\n", "<!-- end of figures -->\n"


def table(stats: dict[str, list]) -> str:
    """Promise, what was tried, how often, and how many tests failed; from the reports of a session."""
    cases: Counter = Counter()
    failures: Counter = Counter()
    skipped: Counter = Counter()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, []):
            said = dict(getattr(report, "user_properties", []))
            promise = said.get("promise")
            if promise is None:
                continue
            failures[promise] += outcome in ("failed", "error")
            skipped[promise] += outcome == "skipped"
            if outcome == "passed" and report.when == "call":
                for name, value in report.user_properties:
                    if name == "tried":
                        cases[promise, value[0]] += value[1]
    lines = ["| promise | tried | cases | tests failed |", "|---|---|---:|---:|"]
    for number, name in PROMISES.items():
        rows = sorted((what, count) for (promise, what), count in cases.items() if promise == number)
        for what, count in rows or [("nothing" + (" (skipped)" if skipped[number] else ""), 0)]:
            lines.append(f"| {number}. {name} | {what} | {count} | {failures[number]} |")
    return "\n".join(lines) + "\n"


def write(page: Path, figures: str) -> None:
    """Put the table between its marks on the page."""
    text = page.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(before + BEGIN + "\n" + figures + "\n" + END + after)
