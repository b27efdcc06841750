"""What a command costs: CPU, wall time and memory of all the processes it starts."""

import ctypes
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_EVERY_S = 0.2
_ORPHANS_END_WITHIN_S = 15
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1024**2


@dataclass(frozen=True)
class Cost:
    """CPU is user and system time; the peak is the largest sum of resident memory that was sampled."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    exit_status: int
    output: str
    errors: str


def measured(command: Sequence[str], environment: Mapping[str, str], alone: bool = True) -> Cost:
    """Run a command. `alone`: nothing else that this process started goes on, and orphans of it count too."""
    # Whoever loses its parent, as a server does that outlives its run, becomes a child of this process.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before, began = os.times(), time.perf_counter()
    # Files, not pipes: an orphan that holds a pipe would keep this process waiting.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=errors)
        peak = _watched(process, alone)
        wall = time.perf_counter() - began
        if alone:
            _reap()
        told = [file.seek(0) or file.read() for file in (output, errors)]
    after = os.times()
    cpu = (after.children_user + after.children_system) - (before.children_user + before.children_system)
    return Cost(cpu, wall, peak, process.returncode, *told)


def _watched(process: subprocess.Popen, alone: bool) -> float:
    """Wait for its end. Returns the peak in MB."""
    peak, is_over = 0.0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not is_over.wait(_SAMPLE_EVERY_S):
            peak = max(peak, resident_mb(os.getpid() if alone else process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    process.wait()
    is_over.set()
    sampler.join()
    return peak


def resident_mb(root: int) -> float:
    """The resident memory of all processes below one, and of itself unless it is this process."""
    parents, pages = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            pages[int(folder.name)] = int((folder / "statm").read_text().split()[1])
    wanted = set() if root == os.getpid() else {root}
    tree = {root}
    while found := {process for process, parent in parents.items() if parent in tree} - tree:
        tree |= found
        wanted |= found
    return sum(pages.get(process, 0) for process in wanted) * _PAGE_MB


def _reap() -> None:
    """Wait for orphans, so that their time counts; one that does not end is ended."""
    until = time.monotonic() + _ORPHANS_END_WITHIN_S
    with suppress(ChildProcessError):
        while True:
            ended, _ = os.waitpid(-1, os.WNOHANG)
            if ended:
                continue
            if time.monotonic() > until:
                raise RuntimeError("a process that the command started goes on")
            time.sleep(0.05)
