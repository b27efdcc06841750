"""Killed at any point and run again, what is published is what an undisturbed run publishes."""

import contextlib
from collections.abc import Callable
from functools import partial

import pytest

from fault_stage import Action, Scene, Stage, landing_without_gates, posting, run_for
from fault_world import BUSY, EVE, FaultHome, held_days
from faults import dice, every_model
from flows.errors import WrongUsage
from flows.steps import backups, operator, restoring
from flows.steps.run import rebuild
from flows.steps.status import refresh_status
from promises import broken_promises

pytestmark = pytest.mark.promise(2)


def word(say: Callable[[FaultHome], object]) -> Action:
    """An operator's word as the command line takes it; said again after it was heard, it is about nothing."""

    def act(home: FaultHome) -> None:
        with contextlib.suppress(WrongUsage):
            say(home)
        refresh_status(home.settings)
        backups.back_up(home.settings)

    return act


def refuse(home: FaultHome) -> None:
    operator.refuse(home.settings, f"subscribers_{held_days()[1]:%Y%m%d}.csv", "a mistake")


def back_up_anew(home: FaultHome) -> None:
    """With nothing that it could lean on."""
    for copy in backups.copies(home.settings):
        copy.path.with_suffix(".json").unlink()
    backups.back_up(home.settings)


def rebuilding(home: FaultHome) -> None:
    """With every model: a rebuild has to make the marts."""
    with every_model():
        rebuild(home.settings)


def restore_an_old_copy(home: FaultHome) -> None:
    """Grants were posted since, deliveries landed, one was accepted; then the run that goes on from there."""
    if home.settings.restoring.exists() or len(backups.copies(home.settings)) > 1:
        oldest = backups.copies(home.settings)[-1].path.name
        restoring.restore(home.settings, oldest, is_replacing=True, is_voiding=True)


# A landing is followed by another one, a posting by a whole run: what is derived between the two depends on nothing
# but what stands after the landing.
SCENES = {
    "a landing of deliveries of every kind": Scene("busy_morning", landing_without_gates, landing_without_gates),
    "a posting that enrols, grants, draws and invites": Scene("landed_and_derived", posting, run_for(BUSY)),
    "an operator's word": Scene("until_the_busy_day", word(refuse), word(refuse)),
    "a backup": Scene("enrolled", back_up_anew, back_up_anew),
    "a restore of an old copy": Scene("enrolled", restore_an_old_copy, restore_an_old_copy),
}
WHOLE_RUNS = {
    "a run that draws a wave": Scene("until_the_draw", run_for(EVE), run_for(EVE)),
    "a run in which much happens": Scene("busy_morning", run_for(BUSY), run_for(BUSY)),
    "a rebuild": Scene("enrolled", rebuilding, rebuilding),
}
# These need no model.
WITH_BOOK_STAGE = {
    "a landing of deliveries of every kind",
    "an operator's word",
    "a backup",
    "a restore of an old copy",
}
SHARDS = 4


def crash(stage: Stage, scene: Scene, numbers: Callable[[int], list[int]]) -> int:
    points, expected = stage.points(scene), stage.undisturbed(scene)
    chosen = numbers(len(points))
    stage.crash_and_compare(scene, expected, points, chosen)
    assert stage.do(broken_promises) == [] or "restore" in scene.action.__name__
    return len(chosen)


def every(shard: int, count: int) -> list[int]:
    return list(range(1 + shard, count + 1, SHARDS))


@pytest.mark.faults
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_every_point_and_run_again_nothing_differs(request, tried, scene, shard):
    stage = request.getfixturevalue("book_stage" if scene in WITH_BOOK_STAGE else "stage")
    tried(f"crash points of {scene}", crash(stage, SCENES[scene], partial(every, shard)))


def some(scene: str, number: int, count: int) -> list[int]:
    return sorted(dice(scene).sample(range(1, count + 1), number))


@pytest.mark.faults
@pytest.mark.parametrize("scene", WHOLE_RUNS)
def test_killed_anywhere_in_a_run_and_run_again_nothing_differs(stage, tried, scene):
    tried(f"crash points of {scene}, by chance", crash(stage, WHOLE_RUNS[scene], partial(some, scene, 6)))


def test_a_landing_killed_at_some_points_is_mended_by_the_next(book_stage):
    scene = "a landing of deliveries of every kind"
    crash(book_stage, SCENES[scene], partial(some, scene, 8))
