"""docs/benchmarks.md and its charts, made from benchmarks/results.json.

.venv/bin/python benchmarks/page.py
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from flows.settings import PROJECT
from goals import Goal, Results, at, beyond_fixed_cost, days_of, goals, of_sizes, read_results

PAGE = PROJECT / "docs" / "benchmarks.md"
IMAGES = PROJECT / "docs" / "images"

CONTENDERS = {"callfree": "callfree", "duckdb": "DuckDB script", "polars": "Polars script"}
STEPS = {
    "land": "land",
    "derive": "derive and test",
    "require_batch": "gate",
    "post": "post",
    "publish": "publish",
    "publish_kpis": "KPIs",
    "publish_marts": "marts",
    "rest": "all else",
}


def write_page(results: Results) -> None:
    """Write the page and the charts that it shows."""
    PAGE.write_text(page(results))
    for name, rows, title in charts(results):
        if rows:
            (IMAGES / f"bench_{name}.svg").write_text(drawn(rows, title))


def page(results: Results) -> str:
    sections = [
        HEAD,
        _table(("what", "goal", "measured", "met"), (_goal_row(goal) for goal in goals(results))),
        _history(results),
        _steps(results),
        _days(results),
        _others(results),
        METHOD,
        _conditions(results),
    ]
    return "\n".join(section.strip("\n") + "\n" for section in sections if section)


# --- Sections -----------------------------------------------------------------------------------------------------


def _history(results: Results) -> str:
    rows = []
    for size, found in of_sizes(results, "history"):
        for name, label in CONTENDERS.items():
            cost = found[name]
            rows.append(
                (
                    f"{size:,}", label, f"{cost['cpu_s']:.1f}", f"{cost['wall_s']:.0f}",
                    f"{cost['peak_mb'] / 1000:.1f}", f"{cost['cpu_s'] / found['duckdb']['cpu_s']:.1f}",
                )
            )  # fmt: skip
    if not rows:
        return ""
    head = ("subscribers", "by", "CPU s", "wall s", "peak GB", "CPU, times the DuckDB script")
    lines = ", ".join(f"{found['lines']:,} at {size:,}" for size, found in of_sizes(results, "history"))
    return f"""
## Whole history

18 months of deliveries, from csv.gz to sorted grant lines: {lines}. All three write the same bytes, or the
measuring ends there.

{_table(head, rows)}
![CPU seconds of the whole history, by contender and size](images/bench_history.svg)

![Peak memory of the whole history, by contender and size](images/bench_memory.svg)
"""


def _steps(results: Results) -> str:
    sizes = of_sizes(results, "steps")
    if not sizes:
        return ""
    rows = []
    for size, found in sizes:
        for run in ("draw", "history"):
            costs = found[run]
            for step, label in STEPS.items():
                if step in costs:
                    cost = costs[step]
                    rows.append(
                        (f"{size:,}", run, label, f"{cost['cpu_s']:.1f}", f"{cost['wall_s']:.1f}",
                         f"{cost['peak_mb'] / 1000:.1f}")
                    )  # fmt: skip
    return f"""
## Where the time goes

The two runs of the same history step by step, in one process and without Prefect: the draw on the day before the
invitation, and all else on the last day. What a run spends between its steps is "all else".

![CPU seconds of callfree by step and size](images/bench_steps.svg)

{_table(("subscribers", "run", "step", "CPU s", "wall s", "peak GB"), rows)}
"""


def _days(results: Results) -> str:
    rows = []
    for size, found in of_sizes(results, "day"):
        for key, day in days_of(found):
            after = f"{key.removeprefix('after ')} months"
            beyond = beyond_fixed_cost(results, day)
            rows.append(
                (
                    f"{size:,}", after, " and ".join(f"{count:,}" for count in day["lines"]), f"{beyond:.1f}",
                    f"{day['callfree']['cpu_s']:.1f}", f"{day['callfree']['wall_s']:.0f}",
                    f"{day['duckdb']['cpu_s']:.1f}", f"{day['callfree']['peak_mb'] / 1000:.1f}",
                    f"{day['first']['cpu_s']:.1f}",
                )
            )  # fmt: skip
    if not rows:
        return ""
    head = (
        "subscribers", "after", "lines of the two days", "callfree beyond its fixed cost, CPU s", "in all, CPU s",
        "wall s", "DuckDB script, CPU s", "callfree's peak GB", "the day before, CPU s",
    )  # fmt: skip
    return f"""
## One more day

The run of a day after one month and after 18 months of history. Before it lies one day after the history, which was
run at once: that day concerns everybody to whom the history has granted something, and stands in the last column. The
DuckDB script keeps its tables in a file, reads the new day, derives everything again and writes what was not granted
before; its lines are callfree's, to the byte. The fixed cost is that of a run with nothing to do, below. After one
month many enrol each day; after 18 months nothing falls due any more, and the day is all reading.

{_table(head, rows)}
![CPU seconds of one more day](images/bench_day.svg)
"""


def _others(results: Results) -> str:
    told = []
    if found := at(results, "idle", 0):
        told.append(
            f"- **A run with nothing to do:** {_whole(found['embedded'])} embedded; {_whole(found['served'])} on the"
            " server of `callfree up` (the run's own process; the server's part is not in the CPU seconds)."
        )
    if found := at(results, "backfill", 10_000):
        told.append(
            f"- **Backfill for 10,000 subscribers:** {found['days']} daily runs in one process,"
            f" {_whole(found['backfill'])}, with start and end"
            + ("." if found["days"] >= 365 else ", after six months of history; the goal speaks of a year.")
        )
    for size, found in of_sizes(results, "landing"):
        told.append(
            f"- **Landing the calls of {size:,} subscribers:** {found['rows']:,} rows, a file a day, in"
            f" {found['cpu_s']:.1f} CPU s and {found['wall_s']:.1f} s wall, {found['rows'] / found['cpu_s'] / 1e6:.2f}"
            f" million a CPU second; peak {found['peak_mb'] / 1000:.1f} GB."
        )
    for size, found in of_sizes(results, "report"):
        told.append(
            f"- **A wave of {size:,} in two arms:** `callfree report` {_whole(found['report'])}, Prefect"
            f" included; its KPIs {found['kpis_cpu_s']:.1f} CPU s, models and figures (`benchmarks/kpis.py`)."
        )
    for size, found in of_sizes(results, "invitations"):
        told.append(
            f"- **Invitations to all {size:,}:** {found['invitations']:,} lines, {_whole(found['run'])}, and"
            f" {found['disk_mb'] / 1000:.1f} GB of disk."
        )
    return "## Other figures\n\n" + "\n".join(told) + "\n" if told else ""


def _conditions(results: Results) -> str:
    rows = []
    for part in ("idle", "history", "day", "steps", "landing", "backfill", "report", "invitations"):
        for size, found in of_sizes(results, part):
            on = found["on"]
            rows.append(
                (
                    part, f"{size:,}" if size else "", on["measured_on"], f"`{on['commit']}`",
                    f"{on['cores']} cores, {on['memory_gb']} GB", on.get("callfree_memory", "the default"),
                    str(on["load_before"]),
                    ", ".join(f"{name} {number}" for name, number in sorted(on["versions"].items())),
                )
            )  # fmt: skip
    if not rows:
        return ""
    head = ("part", "subscribers", "on", "commit", "machine", "CALLFREE_MEMORY", "load before", "versions")
    return "## What was measured on what\n\n" + _table(head, rows)


HEAD = """
<!-- Written by `make bench` from benchmarks/results.json. -->

# Benchmarks

What callfree costs, beside what somebody would write by hand for the same job. `make bench` measures it again on your
machine and writes this page; the figures and the machine are at the end. CPU seconds count more than wall time here.
"""

METHOD = """
## How it is measured

- **Deliveries** come from `benchmarks/deliveries.py`, the same for the same seed: 0.25 calls a subscriber and month
  (0.1 for three in five, 0.475 for two in five), a few late, corrected, voided or with a number only; 42 % enrol;
  18 months; one wave that invites all. One csv.gz a day and feed.
- **The same job:** `benchmarks/by_duckdb.py` and `benchmarks/by_polars.py` follow the same rules from the same files to
  the same lines. They are written for these data: they validate nothing, draw nobody (all are invited), know that
  offsets are Berlin's, keep no archive and no ledger, and test nothing. What callfree does beyond them is in its
  figures.
- **callfree** is the command line as anybody runs it: one run for the draw and one for all the history.
  Both are in the sum.
- **CPU** is user and system time of the process and of all it started, orphans included. **Peak** is the largest sum of
  resident memory, sampled five times a second; pages that two processes share count twice.
- Up to 100,000 subscribers three runs, the contenders in turn, and the median; above that one.
- Files lie in the page cache, as they do just after they came.

```
make bench                                       # 100,000 and 1 million
make bench SIZES=10000000 PARTS=history          # some 25 GB of disk
CALLFREE_MEMORY=9GB make bench SIZES=43000000 PARTS=invitations
make bench SIZES=1000000 PARTS=report            # KPIs and report of a wave with two arms
make bench PARTS=backfill DAYS=365
```

A test in `make test` plays 2,000 subscribers through all three and compares the bytes.
"""


def _goal_row(goal: Goal) -> Sequence[str]:
    what, wanted, figure, is_met = goal
    return what, wanted, figure, "" if is_met is None else "yes" if is_met else "**no**"


# --- Parts of the page --------------------------------------------------------------------------------------------


def _whole(cost: dict[str, Any]) -> str:
    return f"{cost['wall_s']:.1f} s wall, {cost['cpu_s']:.1f} CPU s, peak {cost['peak_mb'] / 1000:.1f} GB"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def charts(results: Results) -> Iterator[tuple[str, list[dict[str, Any]], str]]:
    """Name, rows and title of each chart."""

    def bars(part: str, of: Callable[[dict[str, Any]], dict[str, float]]) -> list[dict[str, Any]]:
        return [
            {"size": f"{size:,} subscribers", "label": label, "value": value}
            for size, found in of_sizes(results, part)
            for label, value in of(found).items()
        ]

    yield (
        "history",
        bars("history", lambda found: {label: found[name]["cpu_s"] for name, label in CONTENDERS.items()}),
        "CPU seconds",
    )
    yield (
        "memory",
        bars("history", lambda found: {label: found[name]["peak_mb"] / 1000 for name, label in CONTENDERS.items()}),
        "peak memory, GB",
    )
    yield (
        "steps",
        bars(
            "steps",
            lambda found: {
                label: sum(found[run].get(step, {}).get("cpu_s", 0) for run in ("draw", "history"))
                for step, label in STEPS.items()
            },
        ),
        "CPU seconds of callfree",
    )

    def of_days(found: dict[str, Any]) -> dict[str, float]:
        values = {}
        for key, day in days_of(found):
            values[f"callfree beyond its fixed cost, {key} months"] = beyond_fixed_cost(results, day)
            values[f"DuckDB script, {key} months"] = day["duckdb"]["cpu_s"]
        return values

    yield "day", bars("day", of_days), "CPU seconds of one more day"


def drawn(rows: Sequence[dict[str, Any]], title: str) -> str:
    """Bars by label as SVG, a panel for each size, each with a scale of its own."""
    import vl_convert

    labels, sizes = (list(dict.fromkeys(row[key] for row in rows)) for key in ("label", "size"))
    bar = {
        "mark": {"type": "bar", "height": {"band": 0.7}},
        "encoding": {
            "y": {"field": "label", "type": "nominal", "sort": labels, "title": None},
            "x": {"field": "value", "type": "quantitative", "title": title},
            "color": {"field": "label", "type": "nominal", "sort": labels, "legend": None},
        },
    }
    number = {
        "mark": {"type": "text", "align": "left", "dx": 4},
        "encoding": {
            "y": bar["encoding"]["y"],
            "x": bar["encoding"]["x"],
            "text": {"field": "value", "type": "quantitative", "format": ".1f"},
        },
    }
    return vl_convert.vegalite_to_svg(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "config": {"font": "system-ui, sans-serif", "background": "white", "axis": {"labelLimit": 260}},
            "data": {"values": list(rows)},
            "facet": {"row": {"field": "size", "type": "ordinal", "sort": sizes, "title": None}},
            "spec": {"width": 460, "height": {"step": 20}, "layer": [bar, number]},
            "resolve": {"scale": {"x": "independent"}},
        }
    )


if __name__ == "__main__":
    write_page(read_results())
