"""Measure callfree against what somebody would write by hand, and keep the figures: `make bench` says this.

    .venv/bin/python benchmarks/bench.py [--sizes 100000,1000000] [--parts idle,history,day] [--folder build/bench]

Writes into benchmarks/results.json what it measured, in place of what stood there for the same part and size, and
docs/benchmarks.md anew from it. Grant lines of callfree and the scripts must agree to the byte, or it ends with 1.
CPU is user and system time of the process and all below it; of several runs the median is kept, with all of them.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cost import Cost, measured
from deliveries import FIRST_DAY, WAVE, deliver_base, last_day, write_policy
from flows.settings import PROJECT
from goals import RESULTS, read_results
from lines import Difference, require_equal
from page import PAGE, write_page

MONTHS = 18
HERE = Path(__file__).parent
CALLFREE = str(Path(sys.executable).with_name("callfree"))
LAST_DAY = last_day(MONTHS)
ALL_PARTS = ("idle", "history", "day", "steps", "landing", "backfill", "report", "invitations")
USUAL_PARTS = ("idle", "history", "day", "steps", "landing", "backfill")


class World:
    """The deliveries of one size, and the homes that they go into."""

    def __init__(self, folder: Path, size: int, months: int = MONTHS):
        self.size = size
        self.folder = folder / str(size)
        self.inbox = self.folder / "inbox"
        self.policy = self.folder / "policy"
        self.months = months
        if not (self.folder / "whole").exists():
            # A process of its own: what it leaves running would be taken for a part of what is measured.
            made = [sys.executable, HERE / "deliveries.py", str(size), self.folder, "--months", str(months)]
            subprocess.run(made, check=True)
            (self.folder / "whole").touch()

    def path(self, name: str) -> Path:
        """A place beside the deliveries, empty."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        return path

    def home(self, name: str, which: Callable[[Path], bool] = lambda path: True) -> Path:
        """A new home with the deliveries in its inbox: as links, since callfree only ever reads and moves them."""
        home = self.path(name)
        (home / "inbox").mkdir(parents=True)
        for path in filter(which, self.inbox.iterdir()):
            os.link(path, home / "inbox" / path.name)
        return home


# --- Contenders ---------------------------------------------------------------------------------------------------


def environment(home: Path, policy: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("CALLFREE_", "PREFECT_"))}
    # Millions of grants in one batch want more of it than the default.
    memory = {name: os.environ[name] for name in ("CALLFREE_MEMORY",) if name in os.environ}
    return ours | memory | {"CALLFREE_HOME": str(home), "CALLFREE_POLICY": str(policy)}


def require(cost: Cost, what: str, allowed: Iterable[int] = (0,)) -> Cost:
    if cost.exit_status not in allowed:
        raise RuntimeError(f"{what} ended with {cost.exit_status}:\n{cost.output}\n{cost.errors}")
    return cost


def callfree(home: Path, policy: Path, *arguments: str, alone: bool = True) -> Cost:
    return require(measured([CALLFREE, *arguments], environment(home, policy), alone), " ".join(arguments), (0, 3))


def run_on(home: Path, policy: Path, day: date, alone: bool = True) -> Cost:
    return callfree(home, policy, "run", "--date", str(day), alone=alone)


def script(name: str, world: World, day: date, *arguments: str) -> tuple[Cost, Path]:
    """Run one of the hand-written scripts. Returns its cost and its lines."""
    grants = world.path(f"grants_by_{name}.csv")
    command = [sys.executable, HERE / f"by_{name}.py", world.inbox, grants, "--date", str(day), *arguments]
    return require(measured([str(part) for part in command], os.environ), name), grants


def staged(home: Path, policy: Path, day: date, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "staged.py"), str(day), *arguments]
    return json.loads(require(measured(command, environment(home, policy)), "staged").output)


def grant_file(home: Path, day: date) -> Path:
    return home / "outbox" / "grants" / f"grants_{day:%Y%m%d}_01.csv"


# --- Parts --------------------------------------------------------------------------------------------------------


def history(world: World, runs: int) -> dict[str, Any]:
    """The whole history, by every contender, from the same files to the same lines.

    callfree draws on the day before the invitation and does the rest in one run on the last day.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in ("callfree, draw", "callfree, history", "duckdb", "polars")}
    for _ in range(runs):
        home = world.home("home")
        costs["callfree, draw"].append(run_on(home, world.policy, FIRST_DAY))
        costs["callfree, history"].append(run_on(home, world.policy, LAST_DAY))
        lines = {}
        for name in ("duckdb", "polars"):
            cost, lines[name] = script(name, world, LAST_DAY)
            costs[name].append(cost)
        count = require_equal(grant_file(home, LAST_DAY), *lines.values())
    whole = [both(*pair) for pair in zip(costs["callfree, draw"], costs["callfree, history"], strict=True)]
    return {
        "lines": count,
        "delivered": {"files": len(list(world.inbox.iterdir())), "mb": folder_mb(world.inbox)},
        "disk_mb": folder_mb(home),
        "callfree": told(whole),
        **{name: told(values) for name, values in costs.items()},
    }


def steps(world: World) -> dict[str, Any]:
    """The same two runs step by step, in one process each and without Prefect."""
    home = world.home("home_staged")
    found = {"draw": staged(home, world.policy, FIRST_DAY), "history": staged(home, world.policy, LAST_DAY)}
    shutil.rmtree(home)
    return found


def day(world: World, runs: int) -> dict[str, Any]:
    """One more day after one month and after the whole history: callfree, and the DuckDB script deriving again."""
    found = {}
    for months in (1, world.months):
        last = last_day(months)
        is_whole = months == world.months
        home = world.folder / "home"
        if not (is_whole and grant_file(home, LAST_DAY).exists()):
            home = world.home("home" if is_whole else "home_young")
            run_on(home, world.policy, FIRST_DAY)
            run_on(home, world.policy, last)
        state = world.path("state.duckdb")
        script("duckdb", world, last, "--database", str(state))
        costs = {}
        counts = []
        # The day after all the history at once concerns whomever that has granted something: it is told apart.
        for later, which in ((1, "first"), (2, "usual")):
            on = last + timedelta(days=later)
            costs[f"{which}_callfree"] = run_on(home, world.policy, on)
            costs[f"{which}_duckdb"], lines = script("duckdb", world, on, "--database", str(state))
            counts.append(require_equal(grant_file(home, on), lines))
        found[f"after {months}"] = {
            "lines": counts,
            "first": told([costs["first_callfree"]]),
            "callfree": told([costs["usual_callfree"]]),
            "duckdb": told([costs["usual_duckdb"]]),
        }
        state.unlink()
        shutil.rmtree(home)
    return found


def idle(folder: Path, runs: int) -> dict[str, Any]:
    """A run with nothing to do: on a home without deliveries, embedded, and on the server of `callfree up`."""
    home, policy = folder / "idle" / "home", folder / "idle" / "policy"
    shutil.rmtree(folder / "idle", ignore_errors=True)
    write_policy(policy, 1000)
    run_on(home, policy, FIRST_DAY)
    embedded = [run_on(home, policy, FIRST_DAY) for _ in range(runs)]
    with up(home, policy):
        run_on(home, policy, FIRST_DAY, alone=False)
        served = [run_on(home, policy, FIRST_DAY, alone=False) for _ in range(runs)]
    return {"embedded": told(embedded), "served": told(served)}


@contextmanager
def up(home: Path, policy: Path):
    """`callfree up` in the background."""
    with subprocess.Popen([CALLFREE, "up"], env=environment(home, policy), stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 180
            while not (home / ".work" / "up.url").exists():
                if time.monotonic() > until or process.poll() is not None:
                    raise RuntimeError("callfree up did not come up")
                time.sleep(0.5)
            yield
        finally:
            process.send_signal(signal.SIGTERM)


def backfill(folder: Path, days: int) -> dict[str, Any]:
    """Daily runs for 10,000 subscribers: the whole year, or so many days of it after six months."""
    world = World(folder, 10_000)
    home = world.home("home")
    first = FIRST_DAY
    if days < 365:
        run_on(home, world.policy, FIRST_DAY)
        run_on(home, world.policy, last_day(6))
        first = last_day(6) + timedelta(days=1)
    last = first + timedelta(days=days - 1)
    cost = callfree(home, world.policy, "backfill", "--from", str(first), "--to", str(last))
    return {"days": days, "backfill": told([cost])}


def landing(world: World) -> dict[str, Any]:
    """The calls of the whole history alone, landed with all checks."""
    home = world.home("home_calls", lambda path: path.name.startswith("calls"))
    landed = staged(home, world.policy, LAST_DAY, "--landing")
    shutil.rmtree(home)
    return landed


def report(world: World) -> dict[str, Any]:
    """The report on a wave with half the subscribers in each arm, and the KPIs of a wave of that size alone."""
    policy = world.path("policy_of_halves")
    write_policy(policy, world.size, control_size=world.size // 2)
    home = world.home("home_of_halves")
    for day_of_run in (FIRST_DAY, LAST_DAY):
        staged(home, policy, day_of_run)
    cost = callfree(home, policy, "report")
    shutil.rmtree(home)
    printed = require(
        measured([sys.executable, str(HERE / "kpis.py"), str(world.size)], dict(os.environ)), "kpis"
    ).output
    of_kpis = {what: float(cpu) for cpu, what in re.findall(r"^ *[\d.]+ +([\d.]+) +(.+)$", printed, re.MULTILINE)}
    # The same once more shows what an import costs, and is no part of a run.
    return {
        "report": told([cost]),
        "kpis_cpu_s": round(sum(cpu for what, cpu in of_kpis.items() if not what.endswith("once more")), 2),
    }


def invitations(folder: Path, size: int) -> dict[str, Any]:
    """The draw of one wave and its invitation file, to all."""
    base = folder / f"base_{size}"
    deliver_base(size, base)
    home = base / "home"
    (home / "inbox").mkdir(parents=True)
    for path in (base / "inbox").iterdir():
        path.rename(home / "inbox" / path.name)
    cost = run_on(home, base / "policy", FIRST_DAY)
    with open(home / "outbox" / "invitations" / f"invitations_{WAVE}.csv", "rb") as file:
        count = sum(1 for _ in file) - 1
    mb = folder_mb(home)
    shutil.rmtree(base)
    return {"invitations": count, "disk_mb": mb, "run": told([cost])}


# --- Figures ------------------------------------------------------------------------------------------------------


def both(first: Cost, second: Cost) -> Cost:
    return Cost(first.cpu_s + second.cpu_s, first.wall_s + second.wall_s, max(first.peak_mb, second.peak_mb), 0, "", "")


def told(costs: list[Cost]) -> dict[str, Any]:
    """Medians, and every run's CPU."""
    return {
        "cpu_s": round(statistics.median(cost.cpu_s for cost in costs), 2),
        "wall_s": round(statistics.median(cost.wall_s for cost in costs), 2),
        "peak_mb": round(max(cost.peak_mb for cost in costs)),
        "cpu_s_of_each": [round(cost.cpu_s, 2) for cost in costs],
    }


def folder_mb(folder: Path) -> int:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    (memory,) = [line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line]
    with suppress(OSError, StopIteration):
        cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=PROJECT, capture_output=True, text=True)
    return {
        "measured_on": str(date.today()),
        "commit": commit.stdout.strip(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu.partition(":")[2].strip(),
        "memory_gb": round(int(memory) / 1024**2),
        "callfree_memory": os.environ.get("CALLFREE_MEMORY", "the default"),
        "load_before": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("duckdb", "polars", "dbt-core", "prefect", "great-expectations")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--parts", default=",".join(USUAL_PARTS), help=f"of {', '.join(ALL_PARTS)}")
    parser.add_argument("--runs", type=int, default=0, help="of each contender (default: 3, from a million on 1)")
    parser.add_argument("--days", type=int, default=10, help="of the backfill; 365 for the goal")
    parser.add_argument("--folder", type=Path, default=PROJECT / "build" / "bench")
    given = parser.parse_args()
    folder, parts = given.folder.absolute(), given.parts.split(",")
    if unknown := set(parts) - set(ALL_PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")

    results = read_results()
    if "day" in parts and "idle" not in [*parts, *results]:
        parser.error("a day is told beyond the cost of an idle run: measure idle too")

    def measure(part: str, size: int, work: Callable[[], dict[str, Any]]) -> None:
        print(f"{part}, {size:,} ...", flush=True)
        on = machine()
        results.setdefault(part, {})[str(size)] = {"on": on, **work()}
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        # The page is written after each part, so that a measuring that is broken off has not been in vain.
        write_page(results)

    if "idle" in parts:
        measure("idle", 0, partial(idle, folder, given.runs or 3))
    for size in map(int, given.sizes.split(",")):
        runs = given.runs or (3 if size < 1_000_000 else 1)
        if "invitations" in parts:
            measure("invitations", size, partial(invitations, folder, size))
        if set(parts) & {"history", "day", "steps", "landing", "report"}:
            world = World(folder, size)
        if "history" in parts:
            measure("history", size, partial(history, world, runs))
        if "day" in parts:
            measure("day", size, partial(day, world, runs))
        if "steps" in parts:
            measure("steps", size, partial(steps, world))
        if "landing" in parts:
            measure("landing", size, partial(landing, world))
        if "report" in parts:
            measure("report", size, partial(report, world))
    if "backfill" in parts:
        measure("backfill", 10_000, partial(backfill, folder, given.days))
    print(f"{PAGE.relative_to(PROJECT)} says it all.")


if __name__ == "__main__":
    try:
        main()
    except Difference as difference:
        sys.exit(f"The contenders disagree: {difference}")
