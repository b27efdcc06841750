"""The page of a run: what it did, as tables and links in Markdown."""

from collections.abc import Iterable
from typing import Any

from flows.settings import Settings
from flows.steps.outcome import KINDS, Outcome

CHECKED = "What Great Expectations checked"


def run_page(settings: Settings, outcome: Outcome) -> str:
    """The story of a run for Prefect's page: counts, names of waves, feeds and files, and nothing of a person."""
    posting, status = outcome.posting, outcome.status
    parts = [
        f"# Run for {outcome.business_date}",
        f"**{posting.grant_count} grants, {posting.volume_mb} MB.**"
        + (f" {outcome.needs()}" if outcome.exit_status else ""),
        _link(settings, outcome),
        _table("Granted", ("wave", "kind", "quarter", "grants", "MB"), (row.values() for row in posting.by_wave)),
        _list("What it did", outcome.lines(names_persons=False)),
        _table("Exceptions, as long as they last", ("what", "count", "MB"), (
            (KINDS.get(row["kind"], row["kind"]), row["item_count"], row["volume_mb"] or "")
            for row in status["exceptions"]
        )),
        _table("Feeds", ("feed", "latest delivery", "complete to", "days missing"), (
            (row["feed"], row["latest_delivery_on"] or "none", row["complete_to"] or "", len(row["missing_days"] or []))
            for row in status["feeds"]
        )),
        _table("Waves", ("wave", "state", "treatment", "control", "enrolled"), (
            (row["wave_id"], row["wave_state"], row["treatment_count"], row["control_count"], row["enrolled_count"])
            for row in status["waves"]
        )),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def url_of_checks(settings: Settings, outcome: Outcome) -> str | None:
    """Where a browser finds what was checked before the posting, where `reports/` is served at all."""
    return settings.url_of(settings.reports / "data_docs" / str(outcome.business_date) / "batch.html")


def _link(settings: Settings, outcome: Outcome) -> str:
    url = url_of_checks(settings, outcome)
    return f"[{CHECKED}]({url})" if url else ""


def _list(title: str, items: Iterable[str]) -> str:
    told = "\n".join(f"- {item}" for item in items)
    return told and f"## {title}\n\n{told}"


def _table(title: str, columns: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> str:
    lines = "\n".join(f"| {' | '.join(str(value) for value in row)} |" for row in rows)
    return lines and f"## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n{lines}"
