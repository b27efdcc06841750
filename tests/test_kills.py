"""Killed at random moments, any number of times: what is published is what an undisturbed run publishes."""

import os
import subprocess
import sys
from datetime import date
from time import monotonic

import pytest

from fault_stage import Scene, run_for
from fault_world import BUSY, FaultHome
from faults import SEED, Child, assert_same, dice, standing
from flows.settings import PROJECT
from promises import broken_promises

WHOLE = Scene("busy_morning", run_for(BUSY), run_for(BUSY))
KILLS_IN_A_ROW = (1, 2, 3)


pytestmark = pytest.mark.promise(2)


@pytest.fixture(scope="module")
def calm(stage):
    """What stands after an undisturbed run, and the seconds that it took."""
    stage.bring(WHOLE.state)
    started = monotonic()
    found = stage.do(lambda home: (WHOLE.action(home), standing(home))[1])
    return found, monotonic() - started


@pytest.mark.faults
@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("kills", KILLS_IN_A_ROW)
def test_killed_at_random_moments_and_run_again_nothing_differs(stage, calm, kills, turn, tried):
    """A real run with every model and its tests: dies between two writes of any library."""
    expected, seconds = calm
    chance = dice(f"{kills} kills, turn {turn}")
    stage.bring(WHOLE.state)
    moments = []
    for _ in range(kills):
        moments.append(round(chance.uniform(0, seconds), 3))
        child = Child(lambda: WHOLE.action(stage.home))
        child.kill_after(moments[-1])
        ending = child.wait()
        assert ending.error is None, ending.error
    found, broken = stage.do(lambda home: (WHOLE.recovery(home), standing(home), broken_promises(home))[1:])
    assert_same(expected, found, f"killed after {moments} s")
    assert broken == []
    tried("kills at random moments of a run", kills)


def cli(home: FaultHome, day: date = BUSY) -> subprocess.Popen:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CALLFREE_"))}
    return subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", "run", "--date", str(day)],
        cwd=PROJECT,
        env=own
        | {
            "CALLFREE_HOME": str(home.settings.home),
            "CALLFREE_POLICY": str(home.settings.policy),
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.faults
def test_callfree_run_itself_killed_twice_and_said_again_nothing_differs(stage, calm, tried):
    stage.bring(WHOLE.state)
    home, chance = stage.home, dice("the command line")
    for step in ("landing deliveries", "posting to the ledger"):
        process = cli(home)
        for line in process.stderr:
            if line.startswith(step):
                break
        try:
            process.wait(chance.uniform(0, 1))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        process.stderr.close()
    last = cli(home)
    _, told = last.communicate()
    assert last.returncode in (0, 3), told
    found, broken = stage.do(lambda home: (standing(home), broken_promises(home)))
    assert_same(calm[0], found, f"killed by CALLFREE_SEED={SEED}")
    assert broken == []
    tried("kills of callfree run with Prefect", 2)
