"""The pipeline does in every world what the reference does, and what is told of subscribers is so.

Each example is a whole life of a home and takes some ten seconds, so few are drawn by default:

    CALLFREE_EXAMPLES=200   as many worlds
    CALLFREE_REDUCE=300     when one fails, look that many seconds for a smaller one
    CALLFREE_WORLD=FILE     plays the world in the file, and no other

A world that fails is told up to the run that went wrong, in a text that `CALLFREE_WORLD` takes.
"""

import os
import shutil
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from reference import ReferenceHome
from story_comparison import story_difference
from world_comparison import difference, first_difference
from world_reduction import reduced
from world_strategy import worlds
from worlds import Run, World, play, replayed

pipeline = pytest.importorskip("pipeline", reason="there is no pipeline to compare with yet")

IS_CI = os.environ.get("CI", "").lower() in ("1", "true")
SECONDS_TO_REDUCE = float(os.environ.get("CALLFREE_REDUCE", "0"))
# Hypothesis does not shrink: a world is made from one number, and a smaller number is no smaller world.
few = settings(
    max_examples=int(os.environ.get("CALLFREE_EXAMPLES", "1")),
    deadline=None,
    derandomize=IS_CI,
    print_blob=True,
    phases=[Phase.generate] if IS_CI else [Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def disagreement(world: World) -> tuple[World, str] | None:
    """The world up to the step after which the two differ, and how; compared after every step and a rebuild."""
    folder = Path(tempfile.mkdtemp(prefix="callfree-world-"))
    try:
        policy_dir = folder / "policy"
        policy_dir.mkdir()
        reference = ReferenceHome(policy_dir)
        home = pipeline.PipelineHome(folder / "home", policy_dir)
        for step, (expected, code) in play(world, policy_dir, reference, home):
            found = None
            if code != expected:
                why = f" ({reference.problem})" if expected == 2 and isinstance(step, Run) else ""
                found = f"exit status is {code}, expected {expected}{why}"
            elif isinstance(step, Run):
                # A run that was refused did nothing, and what operators said since may not show yet.
                found = first_difference(reference, home, with_findings=code != 2)
            if found:
                until = next(n for n, each in enumerate(world.steps) if each is step)
                return replace(world, steps=world.steps[: until + 1]), f"{step!r}: {found}"
        if reference.latest is not None:
            outbox, marts = dict(home.outbox), home.marts()
            home.rebuild()
            found = difference("outbox rebuilt", outbox, home.outbox)
            found = found or difference("marts rebuilt", marts, home.marts())
            found = found or story_difference(home)
            if found:
                return world, found
        return None
    except Exception:  # a crash is a difference too, and its world is worth keeping
        return world, f"crashed: {traceback.format_exc()}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kind(found: str) -> str:
    """What differs, without where: a smaller world must fail alike."""
    return found.split(": ", 1)[-1].split("[")[0].split(" is ")[0].split(":")[0]


def agree_in(world: World) -> None:
    different = disagreement(world)
    if not different:
        return
    world, found = different
    if SECONDS_TO_REDUCE:

        def still_fails(smaller: World) -> bool:
            again = disagreement(smaller)
            return again is not None and kind(again[1]) == kind(found)

        world, found = disagreement(reduced(world, still_fails, SECONDS_TO_REDUCE)) or different
    kept = Path(tempfile.gettempdir()) / f"callfree_failed_world_{os.getpid()}.txt"
    kept.write_text(repr(world))
    pytest.fail(f"{found}\n\nCALLFREE_WORLD={kept} plays it again; the world is\n{world!r}", pytrace=False)


@pytest.mark.skipif("CALLFREE_WORLD" in os.environ, reason="one world is to be played again")
@few
@given(worlds())
def test_the_pipeline_does_what_the_reference_does(world):
    agree_in(world)


@pytest.mark.skipif("CALLFREE_WORLD" not in os.environ, reason="no world is to be played again")
def test_a_world_that_was_kept_goes_right():
    agree_in(replayed(Path(os.environ["CALLFREE_WORLD"]).read_text()))
