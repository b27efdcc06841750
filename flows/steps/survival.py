"""Until the first contact: what share of an arm has not called yet, day by day, from counts a day.

A member whose line ends leaves the count on that day without having called (it is censored).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Day:
    """A day since the invitation (0 is its own): members of an arm that had their first contact, or left."""

    day: int
    first_contacts: int
    left: int


@dataclass(frozen=True)
class Curve:
    """The share still without a contact after each day on which somebody called, with its standard error."""

    days: list[int]
    share: list[float]
    error: list[float]


def kaplan_meier(days: Sequence[Day]) -> Curve:
    """The Kaplan-Meier estimate (statsmodels), weighted by counts. Everybody must leave or call on some day.

    Greenwood's standard error is reckoned here: with weights statsmodels gives Tsiatis', and of the logarithm.
    """
    from statsmodels.duration.survfunc import SurvfuncRight

    counts = [(day.day, 1, day.first_contacts) for day in days] + [(day.day, 0, day.left) for day in days]
    counts = [row for row in counts if row[2] > 0]
    if not any(called for _, called, _ in counts):
        return Curve([], [], [])
    time, status, weight = (np.array(column, dtype=float) for column in zip(*counts, strict=True))
    found = SurvfuncRight(time, status, freq_weights=weight)
    called, at_risk, share = found.n_events, found.n_risk, found.surv_prob
    remaining = np.where(at_risk > called, at_risk - called, np.inf)
    error = share * np.sqrt(np.cumsum(called / (at_risk * remaining)))
    return Curve([int(day) for day in found.surv_times], share.tolist(), error.tolist())


def log_rank_p(treatment: Sequence[Day], control: Sequence[Day]) -> float | None:
    """The two-sided p of "both arms call their first time alike": the log-rank test.

    It is the Mantel-Haenszel test over one 2 x 2 table a day (arm x called, of those who had not called before),
    so statsmodels does it from counts. None where no day tells anything.
    """
    from statsmodels.stats.contingency_tables import StratifiedTable

    tables = []
    arms = ({day.day: day for day in treatment}, {day.day: day for day in control})
    at_risk = [sum(day.first_contacts + day.left for day in arm.values()) for arm in arms]
    for day in sorted(set(arms[0]) | set(arms[1])):
        here = [arm.get(day, Day(day, 0, 0)) for arm in arms]
        called = [one.first_contacts for one in here]
        still = [risk - count for risk, count in zip(at_risk, called, strict=True)]
        if min(at_risk) > 0 and sum(called) > 0 and sum(still) > 0:
            tables.append([[called[0], still[0]], [called[1], still[1]]])
        at_risk = [risk - one.first_contacts - one.left for risk, one in zip(at_risk, here, strict=True)]
    if not tables:
        return None
    return float(StratifiedTable(np.array(tables, dtype=float).transpose(1, 2, 0)).test_null_odds().pvalue)


def at(curve: Curve, days: Sequence[int]) -> list[tuple[int, float, float]]:
    """The curve's share and standard error at the end of each of the days."""
    places = np.searchsorted(curve.days, days, side="right") - 1
    return [
        (day, 1.0, 0.0) if place < 0 else (day, curve.share[place], curve.error[place])
        for day, place in zip(days, places.tolist(), strict=True)
    ]
