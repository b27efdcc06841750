"""Killed at any point and run again, what is published is what an undisturbed run publishes."""

import pytest

from fault_stage import Scene, Stage, landing, posting, run_for
from fault_world import BUSY, EVE
from faults import dice

# The landing is followed by another one, the posting by a whole run: what is derived between the two depends on
# nothing but what stands after the landing.
SCENES = {
    "a landing of deliveries of every kind": Scene("busy_morning", landing, landing),
    "a posting that enrols, grants, draws and invites": Scene("landed_and_derived", posting, run_for(BUSY)),
}
WHOLE_RUNS = {
    "a run that draws a wave": Scene("until_the_draw", run_for(EVE), run_for(EVE)),
    "a run in which much happens": Scene("busy_morning", run_for(BUSY), run_for(BUSY)),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Stage(tmp_path_factory.mktemp("stage"))


@pytest.mark.faults
@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_every_point_and_run_again_nothing_differs(stage, scene):
    points, expected = stage.points(SCENES[scene]), stage.undisturbed(SCENES[scene])
    stage.crash_and_compare(SCENES[scene], expected, points, list(range(1, len(points) + 1)))


@pytest.mark.parametrize("scene", WHOLE_RUNS)
def test_killed_anywhere_in_a_run_and_run_again_nothing_differs(stage, scene):
    points, expected = stage.points(WHOLE_RUNS[scene]), stage.undisturbed(WHOLE_RUNS[scene])
    numbers = sorted(dice(scene).sample(range(1, len(points) + 1), 6))
    stage.crash_and_compare(WHOLE_RUNS[scene], expected, points, numbers)
