"""The worlds themselves: much happens in them, and they notice when a rule is got wrong."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from reference import ReferenceHome
from world_comparison import COMPARED, first_difference
from world_mistakes import MISTAKES
from world_strategy import worlds
from world_tally import describe
from worlds import Run, World, play, replayed

WORLDS = 150
# In how many of the worlds each thing happens at least. Some need a long life and much bad luck.
HAPPENS_IN = Counter({
    "a call in the first second of a quarter": 5,
    "a call in the last second of a quarter": 5,
    "a call was found by its number": 20,
    "a call within a second of enrolling": 10,
    "a call-free quarter that earns nothing": 5,
    "a control member": 10,
    "a current run without all calls": 3,
    "a day was waived": 3,
    "a delivery is held": 2,
    "a delivery is refused": 2,
    "a delivery is rejected": 10,
    "a delivery is replaced": 10,
    "a delivery is same": 3,
    "a grant of a later quarter": 10,
    "a grant was posted late": 10,
    "a late call ended a streak": 5,
    "a late call stopped the months still to come": 3,
    "a loyalty grant": 40,
    "a policy in use was changed": 3,
    "a quarter is decided": 40,
    "a quarter with a contact": 20,
    "a rejected grant was posted again": 10,
    "a released grant was posted": 2,
    "a repeat of a date posted another file": 2,
    "a row is rejected": 10,
    "a run exited with 0": 40,
    "a run exited with 3": 40,
    "a run that is not current": 10,
    "a run with contradicting_acks": 3,
    "a run with held": 3,
    "a run with lapsed_enrolments": 3,
    "a run with memberless_waves": 3,
    "a run with overdue_waves": 3,
    "a run with overpaid": 5,
    "a run with parked": 10,
    "a run with unattributed_calls": 10,
    "a run with unknown_acks": 3,
    "a run with waiting_waves": 3,
    "a second entry made good the difference": 1,
    "a streak anew after a contact": 3,
    "a streak of two and more": 10,
    "a voided call": 20,
    "a voided call gave back a streak": 3,
    "a waived day came after all": 1,
    "a wave was drawn": 100,
    "a welcome grant": 40,
    "accept was about nothing": 2,
    "accept was heard": 2,
    "an enrolled subscriber is not active": 5,
    "an enrolment": 60,
    "an enrolment after the 28th": 20,
    "an enrolment on a day of 23 or 25 hours": 5,
    "an enrolment within an hour of midnight": 10,
    "an impossible date was refused": 3,
    "refuse was about nothing": 2,
    "refuse was heard": 2,
    "release was about nothing": 2,
    "release was heard": 2,
    "several waves were drawn": 5,
    "waive was heard": 3,
})  # fmt: skip


@pytest.fixture(scope="module")
def some_worlds() -> list[World]:
    found = []

    @settings(
        max_examples=WORLDS, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(worlds())
    def collect(world):
        found.append(world)

    collect()
    return found


def test_much_happens_in_the_worlds(some_worlds, tmp_path):
    seen_in = Counter()
    for world in some_worlds:
        seen_in += Counter({name: 1 for name, count in describe(world, ReferenceHome(tmp_path)).items() if count})
    too_rare = {name: seen_in[name] for name, least in HAPPENS_IN.items() if seen_in[name] < least}
    assert not too_rare, f"of {len(some_worlds)} worlds, dull ones: {too_rare}"


def test_a_world_can_be_kept_as_text_and_played_again(some_worlds):
    for world in some_worlds[:20]:
        assert replayed(repr(world)) == world


@pytest.fixture(scope="module")
def right_answers(some_worlds, tmp_path_factory) -> list[list[tuple]]:
    folder = tmp_path_factory.mktemp("policy")
    return [list(answers(world, folder)) for world in some_worlds]


class Snapshot:
    """What is compared of a home, as it was after a run."""

    def __init__(self, home: ReferenceHome):
        self.outbox = dict(home.outbox)
        for name in COMPARED:
            value = getattr(home, name)
            setattr(self, name, dict(value) if isinstance(value, dict) else set(value))


def answers(world: World, folder: Path):
    """Of each run its exit code and everything that is compared."""
    home = ReferenceHome(folder)
    for step, (code,) in play(world, folder, home):
        if isinstance(step, Run):
            yield code, Snapshot(home)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_worlds_notice_that(mistake, some_worlds, right_answers, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        MISTAKES[mistake](patch.setattr)
        for world, expected in zip(some_worlds, right_answers, strict=True):
            for (code, snapshot), (right_code, right_snapshot) in zip(answers(world, tmp_path), expected, strict=True):
                if code != right_code or first_difference(right_snapshot, snapshot):
                    return
    pytest.fail(f"{len(some_worlds)} worlds are the same with this mistake: {mistake}")
