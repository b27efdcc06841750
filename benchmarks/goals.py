"""What was measured, and the goals beside it: benchmarks/results.json by part and size."""

import json
from collections.abc import Iterator
from typing import Any

from flows.settings import PROJECT

RESULTS = PROJECT / "benchmarks" / "results.json"
TIMES_THE_SCRIPT = 1.5
NOT_MEASURED = "not measured yet"

Results = dict[str, Any]
# What it is about, what is wanted, what was measured, and whether that meets it: unknown where nothing was measured.
Goal = tuple[str, str, str, bool | None]


def read_results() -> Results:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def at(results: Results, part: str, size: int) -> dict[str, Any] | None:
    return results.get(part, {}).get(str(size))


def of_sizes(results: Results, part: str) -> list[tuple[int, dict[str, Any]]]:
    return sorted((int(size), found) for size, found in results.get(part, {}).items())


def largest(results: Results, part: str) -> tuple[int, dict[str, Any] | None]:
    return max(of_sizes(results, part), key=lambda pair: pair[0], default=(0, None))


def millions(size: int) -> str:
    return f"{size // 1_000_000} million" if size >= 1_000_000 else f"{size:,}"


def goals(results: Results) -> Iterator[Goal]:
    """The goals, each beside its figure."""
    for size in (1_000_000, 10_000_000):
        found = at(results, "history", size)
        ratio = found and found["callfree"]["cpu_s"] / found["duckdb"]["cpu_s"]
        yield (
            f"whole history, {millions(size)} subscribers, validation included",
            f"{TIMES_THE_SCRIPT} x the CPU of the DuckDB script",
            f"{ratio:.1f} x ({_s(found['callfree'])} against {_s(found['duckdb'])})" if found else NOT_MEASURED,
            found and ratio <= TIMES_THE_SCRIPT,
        )
    found = at(results, "day", 10_000_000)
    beyond = found and {key: beyond_fixed_cost(results, day) for key, day in days_of(found)}
    yield (
        "one more day at 10 million, beyond the fixed cost",
        "5 CPU s",
        " and ".join(f"{cpu:.1f} ({key} months)" for key, cpu in beyond.items()) if found else NOT_MEASURED,
        found and max(beyond.values()) <= 5,
    )
    yield (
        "the same with 1 and with 18 months of history",
        "within 20 %",
        f"{max(beyond.values()) / min(beyond.values()):.2f} x" if found else NOT_MEASURED,
        found and max(beyond.values()) <= 1.2 * min(beyond.values()),
    )
    for part, size, goal in (("history", 10_000_000, 4), ("invitations", 43_000_000, 12)):
        found = at(results, part, size)
        peak = found and found["callfree" if part == "history" else "run"]["peak_mb"]
        yield (
            f"peak memory at {millions(size)}" + (": invitations to all" if part == "invitations" else ""),
            f"under {goal} GB",
            f"{peak / 1000:.1f} GB" if found else NOT_MEASURED,
            found and peak < 1000 * goal,
        )
    found = at(results, "idle", 0)
    for kind, what, goal in (("embedded", "embedded", 6), ("served", "with a server up", 3)):
        yield (
            f"`callfree run` with nothing to do, {what}",
            f"under {goal} s wall",
            f"{found[kind]['wall_s']:.1f} s wall, {found[kind]['cpu_s']:.1f} CPU s" if found else NOT_MEASURED,
            found and found[kind]["wall_s"] < goal,
        )
    found = at(results, "backfill", 10_000)
    a_day = found and found["backfill"]["wall_s"] / found["days"]
    yield (
        "`callfree backfill` of a year for 10,000 subscribers, daily",
        "under 1.5 s a day",
        f"{a_day:.2f} s a day over {found['days']} days" if found else NOT_MEASURED,
        found and a_day < 1.5,
    )
    size, found = largest(results, "landing")
    rate = found and found["rows"] / found["cpu_s"] / 1e6
    yield (
        "landing of calls from csv.gz, all checks included",
        "2.5 million rows a CPU second",
        f"{rate:.2f} million ({millions(size)} subscribers)" if found else NOT_MEASURED,
        found and rate >= 2.5,
    )
    found = at(results, "report", 1_000_000)
    cpu = found and found["report"]["cpu_s"] + found["kpis_cpu_s"]
    yield (
        "report and KPIs for a wave of 1 million",
        "5 s",
        f"{cpu:.1f} CPU s: `callfree report` {found['report']['cpu_s']:.1f}, KPIs {found['kpis_cpu_s']:.1f}"
        if found
        else NOT_MEASURED,
        found and cpu <= 5,
    )


def days_of(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """One more day, by how much history there was: "after 1", "after 18"."""
    return [(key, day) for key, day in found.items() if key.startswith("after")]


def beyond_fixed_cost(results: Results, day: dict[str, Any]) -> float:
    """The CPU of a day's run beyond that of a run with nothing to do."""
    return day["callfree"]["cpu_s"] - results["idle"]["0"]["embedded"]["cpu_s"]


def _s(cost: dict[str, Any]) -> str:
    return f"{cost['cpu_s']:.1f} CPU s"
