"""A smaller world that still goes wrong: whole subscribers go first, then steps, then single rows."""

import re
import time
from collections.abc import Callable, Hashable
from dataclasses import replace

from worlds import Deliver, World


def reduced(world: World, still_fails: Callable[[World], bool], seconds: float) -> World:
    """The smallest world found in that time by leaving things out. What is left out is never put back."""
    until = time.monotonic() + seconds

    def fails(smaller: World) -> bool:
        return time.monotonic() < until and still_fails(smaller)

    for parts, without in ((subscribers, without_subscribers), (steps, without_steps), (rows, without_rows)):
        world = leave_out(world, parts(world), without, fails)
    return world


def leave_out(world: World, parts: list, without: Callable, fails: Callable[[World], bool]) -> World:
    """Leaves out ever smaller lots of the parts, each as long as it still fails."""
    gone: set[Hashable] = set()
    lot = max(len(parts) // 2, 1)
    while parts:
        left = [part for part in parts if part not in gone]
        for at in range(0, len(left), lot):
            more = gone | set(left[at : at + lot])
            if fails(without(world, more)):
                gone = more
        if lot == 1:
            break
        lot = max(lot // 2, 1)
    return without(world, gone)


def lines_of(step: Deliver) -> list[bytes]:
    return step.content.split(b"\n") if step.name.endswith(".csv") else []


def keeping(world: World, is_kept: Callable[[int, int, bytes], bool]) -> World:
    """The world with the lines of its deliveries that are kept; a delivery that loses all its rows stays."""
    kept = []
    for n, step in enumerate(world.steps):
        if isinstance(step, Deliver) and lines_of(step):
            lines = [line for m, line in enumerate(lines_of(step)) if is_kept(n, m, line)]
            step = replace(step, content=b"\n".join(lines))
        kept.append(step)
    return replace(world, steps=tuple(kept))


def subscribers(world: World) -> list[bytes]:
    found = {
        each for step in world.steps if isinstance(step, Deliver) for each in re.findall(rb"\bs\d\d\b", step.content)
    }
    return sorted(found)


def without_subscribers(world: World, gone: set[bytes]) -> World:
    return keeping(world, lambda n, m, line: not gone & set(line.split(b",")))


def steps(world: World) -> list[int]:
    return list(range(len(world.steps)))


def without_steps(world: World, gone: set[int]) -> World:
    return replace(world, steps=tuple(step for n, step in enumerate(world.steps) if n not in gone))


def rows(world: World) -> list[tuple[int, int]]:
    return [
        (n, m)
        for n, step in enumerate(world.steps)
        if isinstance(step, Deliver)
        for m, line in enumerate(lines_of(step))
        if m and line
    ]


def without_rows(world: World, gone: set[tuple[int, int]]) -> World:
    return keeping(world, lambda n, m, line: (n, m) not in gone)
