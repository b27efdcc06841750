"""Worlds: a policy and what happens, step by step, to be told to several homes alike.

A world is plain data with a `repr` that can be evaluated, so that one that went wrong can be kept and played
again (`replayed`). Acks and releases are symbolic: they name grants by what the reference posted, and become
concrete when they are played.
"""

import datetime
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from reference_files import FEEDS, REQUIRED_FEEDS, feed_and_date


@dataclass(frozen=True)
class Deliver:
    name: str
    content: bytes


@dataclass(frozen=True)
class FillDays:
    """A header-only delivery for each of the three feeds and days that has had none, save `missing`."""

    first: date
    last: date
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """Billing's acks of a day: to each grant that has none yet, and contradictions to some that have one."""

    day: date
    seed: int
    accepted_percent: int
    rejected_percent: int
    unlucky: tuple[str, ...] = ()  # subscribers whose grants are all rejected
    contradicted_percent: int = 0
    has_unknown: bool = False
    time: str = "07:00:00Z"


@dataclass(frozen=True)
class Waive:
    feed: str
    day: date


@dataclass(frozen=True)
class Accept:
    name: str


@dataclass(frozen=True)
class Refuse:
    name: str


@dataclass(frozen=True)
class Release:
    """All parked grants, one of them, or one that is not parked at all."""

    which: str  # "all", "one", "wrong"


@dataclass(frozen=True)
class SetPolicy:
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Run:
    day: date


Step = Deliver | FillDays | Answer | Waive | Accept | Refuse | Release | SetPolicy | Run


@dataclass(frozen=True)
class World:
    policy: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        steps = "".join(f"    {step!r},\n" for step in self.steps)
        return f"World(policy=(\n{''.join(f'    {file!r},{chr(10)}' for file in self.policy)}), steps=(\n{steps}))"


def replayed(text: str) -> World:
    """The world that its `repr` says."""
    names = {kind.__name__: kind for kind in (World, *Step.__args__)}
    return eval(text, {"datetime": datetime, "__builtins__": {}}, names)


def write_policy(folder: Path, files: tuple[tuple[str, str], ...]) -> None:
    for name, text in files:
        (folder / name).write_text(text)


def play(world: World, policy_dir: Path, *homes) -> Iterator[tuple[Step, list[int]]]:
    """Tells the world to the homes, the reference first; yields each step that has exit codes, with them."""
    write_policy(policy_dir, world.policy)
    reference = homes[0]
    given: set[tuple[str, date]] = set()
    answered: set[str] = set()
    for step in world.steps:
        match step:
            case Deliver(name, content):
                given.add(feed_and_date(name))
                for home in homes:
                    home.deliver(name, content)
            case FillDays(first, last, missing):
                for n in range((last - first).days + 1):
                    day = first + timedelta(n)
                    for feed in REQUIRED_FEEDS:
                        name = f"{feed}_{day:%Y%m%d}.csv"
                        if (feed, day) not in given and name not in missing:
                            given.add((feed, day))
                            for home in homes:
                                home.deliver(name, FEEDS[feed].header.encode())
            case Answer(day):
                content = acks(step, [(grant.subscriber_id, grant.grant_id) for grant in reference.grants], answered)
                for home in homes:
                    home.deliver(f"grant_acks_{day:%Y%m%d}.csv", content)
            case SetPolicy(files):
                write_policy(policy_dir, files)
            case Waive(feed, day):
                yield step, [home.waive(feed, day, "it is lost") for home in homes]
            case Accept(name):
                yield step, [home.accept(name, "it is right") for home in homes]
            case Refuse(name):
                yield step, [home.refuse(name, "it is wrong") for home in homes]
            case Release("all"):
                yield step, [home.release_all("billing is mended") for home in homes]
            case Release(which):
                grant_id = to_release(reference, is_parked=which == "one")
                if grant_id:
                    yield step, [home.release(grant_id, reason="billing is mended") for home in homes]
            case Run(day):
                yield step, [home.run(day) for home in homes]


def acks(step: Answer, grants: list[tuple[str, str]], answered: set[str]) -> bytes:
    def dice(grant_id: str, what: str) -> int:
        digest = hashlib.sha256(f"{step.seed}:{what}:{grant_id}".encode()).digest()
        return int.from_bytes(digest[:4]) % 100

    lines = []
    for subscriber_id, grant_id in grants:
        if grant_id in answered:
            # One that says the same again or the contrary; which of the two was said before does not matter.
            if dice(grant_id, "contradict") < step.contradicted_percent:
                lines.append((grant_id, "accepted" if dice(grant_id, "how") < 70 else "rejected"))
            continue
        roll = dice(grant_id, "answer")
        if subscriber_id in step.unlucky or roll < step.rejected_percent:
            lines.append((grant_id, "rejected"))
        elif roll < step.rejected_percent + step.accepted_percent:
            lines.append((grant_id, "accepted"))
        else:
            continue
        answered.add(grant_id)
    if step.has_unknown:
        lines.append((f"nobody-{step.seed}.W.1", "rejected"))
    header = "grant_id,status,reason,processed_at\n"
    return (header + "".join(f"{grant_id},{said},,{step.day}T{step.time}\n" for grant_id, said in lines)).encode()


def to_release(reference, is_parked: bool) -> str | None:
    fitting = [grant.grant_id for grant in reference.grants if (grant.key in reference.parked) == is_parked]
    return min(fitting, default=None)
