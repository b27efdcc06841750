"""What will be owed: the loyalty volume of the next quarters, from where the enrolled stand on their ladder.

A quarter is call-free with a probability that depends on the quarter before: none before it, call-free, or not. These
three are learned from the quarters that had ended, starting from how many of the enrolled did not call in the 90 days
before the invitation. Of the quarter under way the part that has passed is known: with a constant rate of calls, what
remains is call-free with that probability to the power of the part that remains. Lines end or withdraw at the rate
seen so far. The uncertainty is drawn: of the probabilities (beta), the rate (gamma), and each line's own luck
(normal, since lines are many). Who enrols later is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
from dateutil.relativedelta import relativedelta

PRIOR_WEIGHT = 10  # quarters that the 90 days before the invitation are worth
DRAWS = 1000
MONTHS_IN_A_YEAR, DAYS_IN_A_YEAR = 12, 365.25


@dataclass(frozen=True)
class Ladder:
    """The terms of a wave: MB a month by streak (from 1), quarters, settlement days."""

    mb_per_month: Sequence[int]
    quarters: int
    settlement_days: int


@dataclass(frozen=True)
class Period:
    """Three months of runs after a day: the loyalty volume (MB) that falls due in them."""

    number: int
    first_on: date
    last_on: date
    mb: float
    low: float
    high: float


@dataclass(frozen=True)
class Chances:
    """Draws of the probability that a quarter is call-free by the one before, and of the monthly share that leaves."""

    first: np.ndarray
    after_free: np.ndarray
    after_call: np.ndarray
    loss: np.ndarray

    def of_next(self, quarter: int, streak: int) -> np.ndarray:
        return self.first if quarter == 1 else self.after_free if streak > 0 else self.after_call


@cache
def plus_months(day: date, months: int) -> date:
    """The day so many months later, clamped to the month's last (1.1)."""
    return day + relativedelta(months=months)


def learn(
    rows: Sequence[Mapping[str, Any]],
    ended_quarters: Iterable[Mapping[str, Any]],
    quiet_before: float,
    rng: np.random.Generator,
) -> Chances:
    """The chances by what had happened up to the day looked back on. `quiet_before`: the share that did not call in
    the 90 days before the invitation."""
    ended = {"first": 0, "after_free": 0, "after_call": 0}
    free = dict(ended)
    for row in ended_quarters:
        kind = "first" if row["quarter"] == 1 else "after_free" if row["streak_before"] > 0 else "after_call"
        ended[kind] += row["quarter_count"]
        free[kind] += row["quarter_count"] * row["is_call_free"]
    left = months = 0.0
    for row in rows:
        since = (row["cut_on"] - row["enrolled_on"]).days / DAYS_IN_A_YEAR * MONTHS_IN_A_YEAR
        months += since * row["member_count"]
        if row["has_left"]:
            left += row["member_count"]
    prior = PRIOR_WEIGHT * min(max(quiet_before, 0.01), 0.99)
    chances = {
        kind: rng.beta(free[kind] + prior, ended[kind] - free[kind] + PRIOR_WEIGHT - prior, DRAWS) for kind in free
    }
    return Chances(**chances, loss=np.minimum(rng.gamma(left + 0.5, 1 / (months + 50), DRAWS), 1.0))


def forecast(
    rows: Iterable[Mapping[str, Any]],
    ended_quarters: Iterable[Mapping[str, Any]],
    ladders: Mapping[str, Ladder],
    quiet_before: float,
    periods: int = 4,
) -> list[Period]:
    """The loyalty volume that falls due in each of the next periods, with 95 % intervals.

    `rows` and `ended_quarters` are those of `report_standing` and `report_ended_quarters` for one day; `ladders` by
    wave. The same rows give the same figures.
    """
    rows = [row for row in rows if row["wave_id"] in ladders]
    if not rows:
        return []
    rng = np.random.default_rng(1)
    cut_on = rows[0]["cut_on"]
    chances = learn(rows, [row for row in ended_quarters if row["wave_id"] in ladders], quiet_before, rng)
    ends = [plus_months(cut_on, 3 * number) for number in range(periods + 1)]
    mean, variance = np.zeros((periods, DRAWS)), np.zeros((periods, DRAWS))
    for row in rows:
        if row["has_left"]:
            continue
        count = row["member_count"]
        for period, once, squared in _to_come(
            ladders[row["wave_id"]], chances, cut_on, ends,
            row["enrolled_on"], row["ended_count"], row["streak"], row["has_called_since"],
        ):  # fmt: skip
            mean[period] += count * once
            variance[period] += count * np.maximum(squared - once**2, 0)
    drawn = np.maximum(mean + np.sqrt(variance) * rng.standard_normal((periods, DRAWS)), 0)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    return [
        Period(
            number + 1, ends[number] + timedelta(days=1), ends[number + 1],
            float(mean[number].mean()), float(low[number]), float(high[number]),
        )
        for number in range(periods)
    ]  # fmt: skip


def _to_come(ladder, chances, cut_on, ends, enrolled_on, done, streak, has_called):
    """For one who stands there: period, expected MB and expected MB squared, a quarter's three months at a time."""
    # The distribution of the streak, as draws by streak; what has ended is certain.
    streaks = {streak: np.ones(DRAWS)}
    for quarter in range(max(done, 1), ladder.quarters + 1):
        if quarter > done:
            streaks = _next_quarter(chances, streaks, quarter, _remaining(cut_on, enrolled_on, quarter), has_called)
            has_called = False
        for period, months in _months_by_period(ladder, cut_on, ends, enrolled_on, quarter).items():
            stays = (1 - chances.loss) ** (sum(away for away in months) / len(months))
            once = squared = np.zeros(DRAWS)
            for length, chance in streaks.items():
                mb = len(months) * (ladder.mb_per_month[length - 1] if length else 0)
                once = once + chance * stays * mb
                squared = squared + chance * stays * mb**2
            yield period, once, squared


def _next_quarter(chances, streaks, quarter, remaining, has_called):
    found = {0: np.zeros(DRAWS)}
    for length, chance in streaks.items():
        free = np.zeros(DRAWS) if has_called else chances.of_next(quarter, length) ** remaining
        found[0] = found[0] + chance * (1 - free)
        found[length + 1] = found.get(length + 1, 0) + chance * free
    return found


def _remaining(cut_on: date, enrolled_on: date, quarter: int) -> float:
    """The part of a quarter that lies after the day looked back on."""
    starts, ends = (plus_months(enrolled_on, 3 * number) for number in (quarter - 1, quarter))
    return min(max((ends - cut_on).days - 1, 0) / (ends - starts).days, 1.0)


def _months_by_period(ladder, cut_on, ends, enrolled_on, quarter) -> dict[int, list[float]]:
    """The reward months of a quarter by the period in which they fall due, each as months away from now."""
    found: dict[int, list[float]] = {}
    for month in range(3):
        due_on = plus_months(enrolled_on, 3 * quarter + month) + timedelta(days=ladder.settlement_days - 1)
        for period in range(len(ends) - 1):
            if ends[period] < due_on <= ends[period + 1]:
                found.setdefault(period, []).append((due_on - cut_on).days / DAYS_IN_A_YEAR * MONTHS_IN_A_YEAR)
    return found
