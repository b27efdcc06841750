"""The stage of the faults: states of the small world, what is done in one, and how a disturbed home recovers."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from fault_world import BUSY, FaultHome, without_gates
from faults import (
    Snapshots,
    assert_same,
    dies_at,
    in_a_child,
    only_what_posting_needs,
    points_of,
    standing,
)
from flows.steps import gates
from flows.steps.derivation import derive
from flows.steps.home import lock
from flows.steps.landing import land
from flows.steps.run import plainly, run_day
from flows.steps.start import check_policy

Action = Callable[[FaultHome], object]

# Each begins where the one before has ended, save those that name another.
STATES = {
    "until_the_draw": None,
    "enrolled": "until_the_draw",
    "until_the_busy_day": "enrolled",
    "busy_morning": "until_the_busy_day",
    "landed_and_derived": "busy_morning",
}


@dataclass(frozen=True)
class Scene:
    """What is done in a state of the home and dies in it, and what is done then to recover."""

    state: str
    action: Action
    recovery: Action


class Stage:
    """One home, brought into a state again and again."""

    def __init__(self, folder: Path, kind: type[FaultHome] = FaultHome) -> None:
        self._kind = kind
        self.snapshots = Snapshots(folder)
        self._made: set[str] = set()
        self._points: dict[Scene, list[str]] = {}
        self._undisturbed: dict[Scene, dict] = {}

    @property
    def home(self) -> FaultHome:
        return self._kind(self.snapshots.place)

    def bring(self, state: str) -> None:
        """Bring the home into a state, made when it is first asked for."""
        if state not in self._made:
            before = STATES[state]
            if before:
                self.bring(before)
                self.do(lambda home: prepare(state, home))
            else:
                # Here, so that the children inherit all that is imported and built on first use.
                prepare(state, self.home)
            self.snapshots.keep(state)
            self._made.add(state)
        self.snapshots.bring_back(state)

    def do(self, action: Action) -> object:
        """Do it in a process of its own; what it raises, raises here."""
        return in_a_child(lambda: action(self.home)).result()

    def stands_after(self, action: Action) -> dict:
        return self.do(lambda home: (quickly(action)(home), standing(home))[1])

    def undisturbed(self, scene: Scene) -> dict:
        """What stands when the action was not disturbed, and the recovery found nothing to do."""
        if scene not in self._undisturbed:
            self.bring(scene.state)
            self.do(quickly(scene.action))
            self._undisturbed[scene] = self.stands_after(scene.recovery)
        return self._undisturbed[scene]

    def points(self, scene: Scene) -> list[str]:
        if scene not in self._points:
            self.bring(scene.state)
            self._points[scene] = points_of(lambda: quickly(scene.action)(self.home))
        return self._points[scene]

    def crash(self, scene: Scene, number: int) -> None:
        """The scene's action, killed at its n-th crash point."""
        self.bring(scene.state)
        assert dies_at(number, lambda: quickly(scene.action)(self.home)), f"no point {number} was passed"

    def crash_and_compare(self, scene: Scene, expected: dict, points: list[str], numbers: list[int]) -> None:
        """Killed at each of these points and recovered, the home stands as if nothing had happened."""
        for number in numbers:
            self.crash(scene, number)
            found = self.stands_after(scene.recovery)
            assert_same(expected, found, f"killed at point {number} of {len(points)}, {points[number - 1]}")


def quickly(action: Action) -> Action:
    def act(home: FaultHome) -> None:
        with only_what_posting_needs():
            action(home)

    return act


def prepare(state: str, home: FaultHome) -> None:
    if state == "landed_and_derived":
        quickly(landed_and_derived)(home)
    elif state == "enrolled":
        quickly(type(home).enrolled)(home)
    else:
        # The marts are needed: by every later run, and by the release of what is parked.
        getattr(home, state)()


# --- What is done -------------------------------------------------------------------------------------------------


def run_for(day: date) -> Action:
    return lambda home: run_day(home.settings, day)


def landing(home: FaultHome) -> None:
    with lock(home.settings, "a landing"):
        plainly(land, home.settings, BUSY)


def landing_without_gates(home: FaultHome) -> None:
    with without_gates():
        landing(home)


def landed_and_derived(home: FaultHome) -> None:
    landing(home)
    derive(home.settings, check_policy(home.settings))
    gates.require_batch(home.settings, BUSY)


def posting(home: FaultHome) -> None:
    """A run from the posting on."""

    def only_from_there(step: Callable, *arguments: object) -> object:
        return None if step.__name__ in ("land", "derive", "require_batch") else plainly(step, *arguments)

    run_day(home.settings, BUSY, only_from_there)
