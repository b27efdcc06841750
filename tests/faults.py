"""Faults: processes that die at a chosen point, and what must stand all the same.

A case runs in a child process, forked so that nothing has to be imported again, and dies by SIGKILL: no cleanup,
no rollback, no closing of files. While it forks the parent has no database open, so that no lock is copied.
"""

import os
import pickle
import random
import select
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.steps import crash_points, ledger, transform
from flows.steps.feeds import FEEDS
from flows.steps.warehouse import connect

# Every choice by chance is made from it, so that a failure can be played again.
SEED = int(os.environ.get("CALLFREE_SEED", "2017"))


def dice(purpose: str) -> random.Random:
    """Chance that is the same whenever the seed is."""
    return random.Random(f"{SEED}:{purpose}")


# --- Processes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ending:
    """How a child process ended: by itself with what it returned or raised, or by a signal."""

    value: Any = None
    error: str | None = None
    signal: int | None = None

    def result(self) -> Any:
        assert self.error is None, self.error
        assert self.signal is None, f"killed by signal {self.signal}"
        return self.value


class Child:
    """A process that does something, forked from this one."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._receiving, sending = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._receiving)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            try:
                ending = Ending(action())
            except BaseException:
                ending = Ending(error=traceback.format_exc())
            with os.fdopen(sending, "wb") as pipe:
                pickle.dump(ending, pipe)
            os._exit(0)
        os.close(sending)

    def kill_after(self, seconds: float) -> None:
        """Let it work for so long, unless it ends by itself."""
        if not select.select([self._receiving], [], [], seconds)[0]:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ending:
        with os.fdopen(self._receiving, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status):
            return Ending(signal=os.WTERMSIG(status))
        return pickle.loads(told)


def in_a_child(action: Callable[[], Any]) -> Ending:
    """What the action returns, done in a process of its own."""
    return Child(action).wait()


def points_of(action: Callable[[], Any]) -> list[str]:
    """The crash points that an undisturbed action passes, in order."""

    def counted() -> list[str]:
        points: list[str] = []
        crash_points.passed = points.append
        action()
        return points

    return in_a_child(counted).result()


def dies_at(number: int, action: Callable[[], Any]) -> bool:
    """Do the action in a process that is killed at its n-th crash point, from 1; false where it was done before."""

    def until_killed() -> None:
        left = number

        def passed(_point: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        crash_points.passed = passed
        action()

    ending = in_a_child(until_killed)
    if ending.signal == signal.SIGKILL:
        return True
    ending.result()
    return False


# --- Homes --------------------------------------------------------------------------------------------------------


class Snapshots:
    """States of one home. A state is brought back to the very same place: dbt keeps what it parsed by path."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "place"
        self._kept = folder / "kept"

    def keep(self, name: str) -> None:
        shutil.copytree(self.place, self._kept / name, symlinks=True, copy_function=_copy)

    def bring_back(self, name: str) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self._kept / name, self.place, symlinks=True, copy_function=_copy)


def _copy(source: str, target: str) -> None:
    if os.path.isfile(source) or os.path.islink(source):
        shutil.copy2(source, target, follow_symlinks=False)
    else:
        os.mkfifo(target)


@contextmanager
def only_what_posting_needs() -> Iterator[None]:
    """The models are derived and not tested: half the time."""
    compiled = transform.compiled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            transform, "compiled", lambda settings: [node for node in compiled(settings) if node.kind != "test"]
        )
        yield


@contextmanager
def every_model() -> Iterator[None]:
    """All is derived and tested, whatever was asked for around."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transform, "compiled", _COMPILED)
        yield


_COMPILED = transform.compiled

# When something was recorded is told by the clock.
_CLOCK = {"recorded_at", "decided_at", "published_at"}
_FOLDERS = ("inbox", "archive", "rejected", "held", "outbox")


def standing(home) -> dict[str, Any]:
    """All that must not depend on how often a home was disturbed: files by their place, the ledger, the raw rows."""
    root = home.settings.home
    found: dict[str, Any] = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            is_file = path.is_file() and not path.is_symlink()
            kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "neither file nor folder"
            if is_file or folder != "archive":
                found[str(path.relative_to(root))] = path.read_bytes() if is_file else kind
    with ledger.open_ledger(home.settings) as connection:
        for table in tables_of(connection):
            columns = [row[0] for row in connection.execute(f"describe {table}").fetchall() if row[0] not in _CLOCK]
            if table == "runs":  # one more for each time that a day was run
                columns = ["business_date"]
            found[f"ledger {table}"] = connection.execute(
                f"select distinct {', '.join(columns)} from {table} order by all"
            ).fetchall()
        in_force = [delivery.delivery_id for delivery in ledger.in_force(ledger.deliveries(connection)).values()]
    with connect(home.settings.warehouse) as connection:
        for table in (*FEEDS, "loaded", "rejected_rows", "landing_notes"):
            # What is not in force is dust, and swept up later.
            found[f"raw {table}"] = connection.execute(
                f"from raw.{table} where list_contains(?, delivery_id) order by all", [in_force]
            ).fetchall()
    return found


def tables_of(connection) -> list[str]:
    found = connection.execute("select table_name from information_schema.tables where table_schema = 'main'")
    return sorted(name for (name,) in found.fetchall())


def assert_same(expected: dict[str, Any], found: dict[str, Any], when: str) -> None:
    """Name the first thing that differs."""
    for name in sorted({*expected, *found}):
        missing = "not there"
        if expected.get(name, missing) != found.get(name, missing):
            ours, theirs = expected.get(name, missing), found.get(name, missing)
            if isinstance(ours, list) and isinstance(theirs, list):
                ours, theirs = (
                    [row for row in ours if row not in theirs],
                    [row for row in theirs if row not in ours],
                )
            pytest.fail(
                f"{when}: {name}\nexpected {ours!r}\n   found {theirs!r}\nCALLFREE_SEED={SEED} plays it again",
                pytrace=False,
            )
