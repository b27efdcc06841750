"""A run of callfree step by step, in this process and without Prefect: what each step costs.

    CALLFREE_HOME=... CALLFREE_POLICY=... .venv/bin/python benchmarks/staged.py DATE [--landing]

Prints JSON: for each step, and for all between them as "rest", CPU seconds, wall seconds and peak memory in MB. With
--landing it lands and does nothing more; what imports cost is paid before by landing a file without rows elsewhere.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from deliveries import HEADERS
from flows.settings import Settings
from flows.steps.landing import land
from flows.steps.run import plainly, run_day

REST = "rest"


class Stages:
    """What was used since the last step began or ended, added up by step."""

    def __init__(self) -> None:
        self.costs: dict[str, dict[str, float]] = {}
        self._begin()

    def _begin(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        # Sets the peak of this process back to what it uses now.
        Path("/proc/self/clear_refs").write_text("5")

    def close(self, name: str) -> None:
        """What was used since then is put down to `name`."""
        cost = self.costs.setdefault(name, {"cpu_s": 0.0, "wall_s": 0.0, "peak_mb": 0.0})
        cost["cpu_s"] += time.process_time() - self._cpu
        cost["wall_s"] += time.perf_counter() - self._wall
        cost["peak_mb"] = max(cost["peak_mb"], peak_mb(os.getpid()))
        self._begin()

    def call(self, step: Callable[..., Any], *arguments: Any) -> Any:
        self.close(REST)
        try:
            return plainly(step, *arguments)
        finally:
            self.close(step.__name__)


def peak_mb(process: int) -> float:
    """The most memory that a process has had since its peak was last set back."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peak) / 1024


def run(settings: Settings, day: date) -> None:
    stages = Stages()
    run_day(settings, day, call=stages.call)
    stages.close(REST)
    print(json.dumps(stages.costs))


def land_alone(settings: Settings, day: date) -> None:
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = Settings(home=Path(folder))
        elsewhere.make_folders()
        (elsewhere.inbox / f"calls_{day:%Y%m%d}.csv").write_text(HEADERS["calls"] + "\n")
        land(elsewhere, day)
    stages = Stages()
    landed = stages.call(land, settings, day)
    print(json.dumps({"rows": landed.loaded_rows, **stages.costs["land"]}))


if __name__ == "__main__":
    home = Settings()
    home.make_folders()
    (land_alone if "--landing" in sys.argv else run)(home, date.fromisoformat(sys.argv[1]))
