"""Metrics of an installation, as a text file for Prometheus: node_exporter's textfile collector reads it."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from flows.settings import Settings
from flows.steps.files import write_whole


def timed(call: Callable[..., Any], seconds: dict[str, float]) -> Callable[..., Any]:
    """Call steps as `call` does, and keep what each took, under its name."""

    def call_timed(step: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(step, *arguments)
        finally:
            seconds[step.__name__] = seconds.get(step.__name__, 0.0) + time.perf_counter() - began

    return call_timed


def write_metrics(
    settings: Settings, status: Mapping[str, Any], seconds: Mapping[str, float], landed_rows: int | None
) -> None:
    """Write `published/metrics.prom`: a status as numbers, what each step took, and the rows landed (None: unknown)."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()

    def gauge(name: str, what: str, value: float | None = None, label: str = "", **values: float) -> None:
        labelled = Gauge(f"callfree_{name}", what, [label] if label else [], registry=registry)
        if value is not None:
            labelled.set(value)
        for key, amount in values.items():
            labelled.labels(key).set(amount)

    gauge("run_failed", "1 when the latest run failed, 0 when it did not.", int(bool(status["failed_run"])))
    if status["finished_at"]:
        finished = datetime.fromisoformat(status["finished_at"]).timestamp()
        gauge("last_success_timestamp_seconds", "When a run last succeeded.", finished)
    if status["last_run"]:
        gauge("business_date_timestamp_seconds", "The latest date run, at 00:00 UTC.", _midnight(status["last_run"]))
    if landed_rows is not None:
        gauge("landed_rows", "Rows loaded by the latest run.", landed_rows)
    gauge("step_seconds", "What each step of the latest run took.", label="step", **seconds)
    for name, column, what in (("grants", "grant_count", "Grants"), ("granted_mb", "volume_mb", "Megabytes granted")):
        by_answer = {row["answer"]: row[column] for row in status["grants"]}
        gauge(name, f"{what} by the ledger, by billing's answer.", label="answer", **by_answer)
    gauge("exceptions", "What is reported as long as it lasts, by kind.", label="kind", **{
        row["kind"]: row["item_count"] for row in status["exceptions"]
    })  # fmt: skip
    gauge("waiting", "What waits for deliveries.", label="what", **_summed(status["waiting"]))
    for name in ("held", "rejected"):
        gauge(f"{name}_deliveries", f"Deliveries that are {name}, as long as it matters.", len(status[name]))
    gauge("unpublished_files", "Files posted and not yet in the outbox.", len(status["unpublished_files"]))
    gauge("unanswered_files", "Grant files that billing has not answered in full.", len(status["unanswered_files"]))
    gauge("complete_to_timestamp_seconds", "The day to which each feed is complete, at 00:00 UTC.", label="feed", **{
        row["feed"]: _midnight(row["complete_to"]) for row in status["feeds"] if row["complete_to"]
    })  # fmt: skip
    write_whole(settings.metrics, [generate_latest(registry)])


def _midnight(day: Any) -> float:
    return datetime.fromisoformat(str(day)).replace(tzinfo=UTC).timestamp()


def _summed(waiting: list[dict[str, Any]]) -> dict[str, float]:
    """A thing that waits for several feeds waits once for each: the greatest number is that of the things."""
    counts: dict[str, float] = {}
    for row in waiting:
        counts[row["what"]] = max(counts.get(row["what"], 0), row["item_count"])
    return counts
