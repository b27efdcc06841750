"""The invented hotline calls of the demo, as the call system reports them: late, twice, or without a name."""

import random
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import accumulate

from flows.steps.demo_lives import BERLIN, DAYS_IN_A_MONTH, STRANGERS_NUMBERS, Life, moment, stream

QUIET_CALLS_A_MONTH, BUSY_CALLS_A_MONTH = 0.1, 0.475
QUIET_SHARE = 0.6
STRANGERS_SHARE = 0.05  # as many calls again come from people who are no subscribers

WEEKDAY_WEIGHTS = (1.30, 1.15, 1.10, 1.05, 1.10, 0.80, 0.50)  # Monday first; they add up to 7
CALL_HOURS = (1, 0, 0, 0, 0, 0, 2, 9, 30, 62, 74, 70, 58, 52, 54, 60, 66, 70, 58, 40, 24, 12, 5, 2)

LINES = {"service": 42, "tech": 26, "app-help": 8, "sim-block": 8, "sales": 16}
OUTCOMES = {"answered": 68, "self_service": 22, "abandoned": 10}
MEAN_SECONDS = {"answered": 280, "self_service": 95, "abandoned": 45}
CUT_OFF = 0.04  # of the answered: the line drops within seconds
NAME_WITHHELD = 0.08  # the call carries a number and no subscriber
NUMBER_WITHHELD = 0.04
CALLED_BACK = 0.04

LATE, VERY_LATE = 0.02, 0.004
VOIDED, CORRECTED = 0.015, 0.01


@dataclass(frozen=True)
class Call:
    started_at: datetime
    duration_s: int
    line: str
    outcome: str
    subscriber_id: str
    msisdn: str
    direction: str = "inbound"


def calls_a_month(seed: int, life: Life) -> float:
    is_quiet = stream(seed, "temper", life.subscriber_id).random() < QUIET_SHARE
    return QUIET_CALLS_A_MONTH if is_quiet else BUSY_CALLS_A_MONTH


def calls_of(seed: int, life: Life, first_day: date, last_day: date, spared_share: float) -> Iterator[Call]:
    """One line's calls. `spared_share` of those after the enrolment are spared: the app did it."""
    rng = stream(seed, "calls", life.subscriber_id)
    for day in _days_of_calls(rng, calls_a_month(seed, life), first_day, last_day):
        call = _call(rng, day)
        is_spared = rng.random() < spared_share
        name_withheld, number_withheld = rng.random() < NAME_WITHHELD, rng.random() < NUMBER_WITHHELD
        called_back_after = timedelta(hours=rng.uniform(0.2, 3)) if rng.random() < CALLED_BACK else None
        state = life.state_at(call.started_at)
        if state is None or state.status == "terminated":
            continue
        if is_spared and life.enrolled_at and call.started_at >= life.enrolled_at:
            continue
        call = replace(
            call,
            subscriber_id="" if name_withheld else life.subscriber_id,
            msisdn="" if number_withheld and not name_withheld else state.msisdn,
        )
        yield call
        if called_back_after is not None:
            yield replace(
                call, started_at=call.started_at + called_back_after, direction="outbound", outcome="answered"
            )


def calls_of_strangers(seed: int, subscriber_count: int, first_day: date, last_day: date) -> Iterator[Call]:
    """Calls that belong to nobody: a number that no line has, no number at all, or a name unknown here."""
    rng = stream(seed, "strangers")
    mean = QUIET_SHARE * QUIET_CALLS_A_MONTH + (1 - QUIET_SHARE) * BUSY_CALLS_A_MONTH
    for day in _days_of_calls(rng, subscriber_count * mean * STRANGERS_SHARE, first_day, last_day):
        msisdn, name = rng.choice(STRANGERS_NUMBERS), f"X{rng.randrange(10**6):06d}"
        [who] = rng.choices((("", msisdn), ("", ""), (name, msisdn)), (60, 30, 10))
        yield replace(_call(rng, day), subscriber_id=who[0], msisdn=who[1])


def _days_of_calls(rng: random.Random, monthly: float, first_day: date, last_day: date) -> Iterator[date]:
    """A Poisson process whose clock runs faster on busy weekdays."""
    days = [first_day + timedelta(days=i) for i in range((last_day - first_day).days + 1)]
    passed = list(accumulate(WEEKDAY_WEIGHTS[day.weekday()] for day in days))
    clock = rng.expovariate(monthly / DAYS_IN_A_MONTH)
    while clock <= passed[-1]:
        yield days[bisect_left(passed, clock)]
        clock += rng.expovariate(monthly / DAYS_IN_A_MONTH)


def _call(rng: random.Random, day: date) -> Call:
    [line] = rng.choices(tuple(LINES), tuple(LINES.values()))
    [outcome] = rng.choices(tuple(OUTCOMES), tuple(OUTCOMES.values()))
    seconds = 3 + int(rng.expovariate(1 / MEAN_SECONDS[outcome]))
    if outcome == "answered" and rng.random() < CUT_OFF:
        seconds = rng.randrange(10)
    return Call(moment(rng, day, CALL_HOURS), seconds, line, outcome, "", "")


def call_records(seed: int, calls: Iterable[Call]) -> Iterator[tuple[date, tuple[str, ...]]]:
    """Business date and row of every record: most calls the same day, some late, some again when voided."""
    rng = stream(seed, "records")
    in_order = sorted(calls, key=lambda call: (call.started_at, call.subscriber_id, call.msisdn, call.line))
    for number, call in enumerate(in_order, start=1):
        local = call.started_at.astimezone(BERLIN)
        day, fate, size = local.date(), rng.random(), rng.random()
        if fate < VERY_LATE:
            day += timedelta(days=20 + int(size * 25))  # after the settlement days: streaks were judged
        elif fate < VERY_LATE + LATE:
            day += timedelta(days=2 + int(size * 8))
        call_id = f"C{local:%y%m%d}-{number:06d}"
        yield day, _row(call_id, 1, call, is_voided=False)
        fate, again = rng.random(), day + timedelta(days=1 + rng.randrange(20))
        if fate < VOIDED:
            yield again, _row(call_id, 2, call, is_voided=True)
        elif fate < VOIDED + CORRECTED:
            corrected = replace(call, duration_s=max(0, call.duration_s - rng.randrange(1, 60)))
            yield again, _row(call_id, 2, corrected, is_voided=False)


def _row(call_id: str, record_version: int, call: Call, *, is_voided: bool) -> tuple[str, ...]:
    return (
        call_id,
        str(record_version),
        call.subscriber_id,
        call.msisdn,
        call.direction,
        call.line,
        call.started_at.astimezone(BERLIN).isoformat(timespec="seconds"),
        str(call.duration_s),
        call.outcome,
        "true" if is_voided else "false",
    )
