"""Is the pilot healthy? What must hold before an effect is worth a look, each with a verdict in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BAD_P = 0.001  # Fabijan and others, KDD 2019, warn of a sample ratio mismatch from here on
ODD_P = 0.01
ODD_DIFFERENCE = 0.1  # of a standardised difference (Austin, Statistics in Medicine 28, 2009)
BAD_DAYS, ODD_DAYS = 0.10, 0.03  # the share of days of the window without calls
BAD_CALLS, ODD_CALLS = 0.20, 0.10  # the share of calls that belong to nobody

GOOD, ODD, BAD = "good", "odd", "bad"


@dataclass(frozen=True)
class Check:
    """One question of health: `state` is good, odd (look closer) or bad (the pilot cannot be trusted)."""

    name: str
    state: str
    sentence: str
    p: float | None = None


@dataclass(frozen=True)
class Balance:
    """Of one trait before the invitation: mean or share in each arm, and their standardised difference."""

    trait: str
    treatment: float
    control: float
    standardised: float | None
    is_share: bool = False


def judge(checks: Sequence[Check]) -> str:
    """The health of a wave: that of its worst check."""
    states = {check.state for check in checks}
    return BAD if BAD in states else ODD if ODD in states else GOOD


def judge_p(p: float | None) -> str:
    """Health by a p: a healthy pilot shows p < 0.001 once in a thousand looks."""
    return GOOD if p is None or p >= ODD_P else ODD if p >= BAD_P else BAD


def sample_ratio(treatment: int, control: int, treatment_size: int, control_size: int) -> Check:
    """Are the arms as large as they were to be (chi-square, one degree of freedom)?"""
    from scipy import stats

    name, drawn = "Sizes of the arms", treatment + control
    if min(treatment, control) == 0:
        lacking = "treatment" if treatment == 0 else "control"
        wanted = treatment_size if treatment == 0 else control_size
        why = "none were to be drawn" if wanted == 0 else f"{wanted:,} were to be drawn"
        return Check(name, BAD, f"There is nobody in {lacking} ({why}): there is nothing to compare.")
    share = treatment_size / (treatment_size + control_size)
    p = float(stats.chisquare([treatment, control], [drawn * share, drawn * (1 - share)]).pvalue)
    planned = f"but {treatment_size:,} to {control_size:,} were planned"
    said = {
        GOOD: "in the proportion that was planned.",
        ODD: f"{planned}: further off than chance often brings.",
        BAD: f"{planned}: members were lost or added after the draw.",
    }[judge_p(p)]
    return Check(name, judge_p(p), f"{treatment:,} in treatment to {control:,} in control, {said}", p)


def compare_before(cells: Sequence[Mapping[str, Any]]) -> tuple[list[Balance], float | None]:
    """Each trait's standardised difference, and the p of all of them together.

    Traits are contacts before, the age of the line, whether it is known, each brand and each tariff. The joint test
    is d' S⁻ d, with d the differences of the means and S their covariance under the draw: chi-square with as many
    degrees of freedom as S has ranks (Hansen and Bowers, Statistical Science 23, 2008). It takes the cells' sums.
    """
    from scipy import stats

    traits = _traits(cells)
    size, totals, squares = {}, {}, np.zeros((len(traits), len(traits)))
    for arm in ("treatment", "control"):
        mine = [cell for cell in cells if cell["arm"] == arm]
        size[arm] = sum(cell["member_count"] for cell in mine)
        totals[arm] = sum((_cell_sums(cell, traits) for cell in mine), np.zeros(len(traits)))
        squares += sum((_cell_products(cell, traits) for cell in mine), np.zeros_like(squares))
    if min(size.values()) < 2:
        return [], None
    n = sum(size.values())
    means = {arm: totals[arm] / size[arm] for arm in size}
    together = (totals["treatment"] + totals["control"]) / n
    covariance = (squares - n * np.outer(together, together)) / (n - 1)
    apart = means["treatment"] - means["control"]
    spread = np.sqrt(np.clip(np.diag(covariance), 0, None))
    balance = [
        Balance(
            _told(kind, level),
            float(means["treatment"][i]),
            float(means["control"][i]),
            float(apart[i] / spread[i]) if spread[i] > 1e-9 else None,
            is_share=kind in ("brand", "tariff", "age known"),
        )
        for i, (kind, level) in enumerate(traits)
    ]
    # In units of their spread, so that days and shares weigh alike when ranks are counted.
    useful = spread > 1e-9
    if not useful.any():
        return balance, None
    correlation = covariance[np.ix_(useful, useful)] / np.outer(spread[useful], spread[useful])
    scaled = apart[useful] / spread[useful]
    inverse = np.linalg.pinv(correlation, rcond=1e-8, hermitian=True)
    rank = int(np.linalg.matrix_rank(correlation, tol=1e-8, hermitian=True))
    statistic = scaled @ inverse @ scaled / (1 / size["treatment"] + 1 / size["control"])
    return balance, float(stats.chi2.sf(statistic, rank))


def _traits(cells: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    levels = [(kind, level) for kind in ("brand", "tariff") for level in sorted({cell[kind] for cell in cells})]
    unknown = any(cell["line_age_count"] < cell["member_count"] for cell in cells)
    return [("before", ""), ("age", ""), *([("age known", "")] if unknown else []), *levels]


def _told(kind: str, level: str) -> str:
    return {
        "before": "Contacts, 90 days before",
        "age": "Age of the line in days",
        "age known": "Age of the line known",
        "brand": f"Brand {level}",
        "tariff": f"Tariff {level}",
    }[kind]


def _cell_sums(cell: Mapping[str, Any], traits: list[tuple[str, str]]) -> np.ndarray:
    amount = {"before": cell["before_sum"], "age": cell["line_age_sum"], "age known": cell["line_age_count"]}
    return np.array([float(_in_cell(cell, trait, amount, cell["member_count"])) for trait in traits])


def _in_cell(cell: Mapping[str, Any], trait: tuple[str, str], amount: Mapping[str, Any], everybody: int) -> int:
    kind, level = trait
    if kind in ("brand", "tariff"):
        return everybody if cell[kind] == level else 0
    return amount[kind]


def _cell_products(cell: Mapping[str, Any], traits: list[tuple[str, str]]) -> np.ndarray:
    """The sums of the products of each two traits over a cell's members. Brand and tariff are the same for all."""
    products = {
        "before": {"before": "before_square_sum", "age": "line_age_before_sum"},
        "age": {"before": "line_age_before_sum", "age": "line_age_square_sum", "age known": "line_age_sum"},
        "age known": {"age": "line_age_sum", "age known": "line_age_count", "before": "before_known_sum"},
    }
    products["before"]["age known"] = "before_known_sum"
    sums = _cell_sums(cell, traits)
    found = np.zeros((len(traits), len(traits)))
    for i, (kind, level) in enumerate(traits):
        for j, (other, _) in enumerate(traits):
            if kind in ("brand", "tariff"):
                found[i, j] = sums[j] if cell[kind] == level else 0
            elif other in ("brand", "tariff"):
                found[i, j] = sums[i] if cell[other] == traits[j][1] else 0
            else:
                found[i, j] = float(cell[products[kind][other]])
    return found


def balance_check(balance: Sequence[Balance], p: float | None) -> Check:
    """Were the arms alike before the invitation?"""
    name = "Alike before the invitation"
    if p is None:
        return Check(name, ODD, "Too few members to say.")
    odd = [one.trait for one in balance if one.standardised is not None and abs(one.standardised) > ODD_DIFFERENCE]
    named = f" More than {ODD_DIFFERENCE} of a standard deviation apart: {', '.join(odd)}." if odd else ""
    said = {
        GOOD: "Contacts, brand, tariff and age of the line differ no more than chance allows.",
        ODD: "The arms differ more than chance often allows.",
        BAD: "The arms were not alike before the invitation: the draw did not do its work.",
    }[judge_p(p)]
    return Check(name, judge_p(p), said + named, p)


def attrition(ended: Mapping[str, int], size: Mapping[str, int], p: float | None) -> Check:
    """Does either arm lose more lines? `p` is that of the KPI `attrition_p`."""
    name = "Lines that ended"
    if min(size.values()) == 0:
        return Check(name, ODD, "One arm has no member.")
    shares = {arm: ended[arm] / size[arm] for arm in size}
    said = f"{shares['treatment']:.1%} in treatment, {shares['control']:.1%} in control."
    found = {
        GOOD: " The arms lose lines alike.",
        ODD: " The arms lose lines at different rates: whoever is gone does not call either.",
        BAD: " The arms lose lines at very different rates: whoever is gone does not call either.",
    }[judge_p(p)]
    return Check(name, judge_p(p), said + found, p)


def completeness(window_days: int, waived_days: int, missing_days: int) -> Check:
    """Are the days of the window there, and does the window reach the business date?"""
    name = "Calls are complete"
    if window_days == 0:
        why = "the wave has just been drawn" if missing_days == 0 else f"{missing_days:,} days of calls are missing"
        return Check(name, BAD if missing_days else ODD, f"The window is empty: {why}.")
    share = waived_days / window_days
    state = BAD if share > BAD_DAYS else ODD if share > ODD_DAYS or missing_days else GOOD
    said = f"{window_days - waived_days:,} of {window_days:,} days of the window were delivered."
    if waived_days:
        said += f" {waived_days:,} will never come: what happened then is known of neither arm."
    if missing_days:
        said += f" The window cannot go on before {missing_days:,} missing days have come, or are waived."
    return Check(name, state, said)


def identification(calls: int, unattributed: int) -> Check:
    """Is it known who calls? Of the inbound calls on counting lines in the window, of any outcome and length."""
    name = "Callers are known"
    if calls == 0:
        return Check(name, ODD, "There was no call in the window.")
    share = unattributed / calls
    state = BAD if share > BAD_CALLS else ODD if share > ODD_CALLS else GOOD
    return Check(name, state, f"{1 - share:.1%} of {calls:,} calls belong to a subscriber.")


@dataclass(frozen=True)
class Spread:
    """Contacts per member, had those of nobody been spread evenly: over all lines, or as the known ones fall."""

    extra_per_line: float
    relative_over_lines: float | None
    difference_as_known: float | None


def spread_evenly(
    treatment_mean: float, control_mean: float, contacts: int, unattributed: int, lines: int
) -> Spread | None:
    """What would change? Over all lines: both arms gain alike, so the difference stays and its share of the control
    mean shrinks. As the known ones fall: both arms grow by the same factor, so the share stays and the difference
    grows. None where nothing is known to spread."""
    if lines == 0 or contacts == 0 or contacts == unattributed:
        return None
    extra = unattributed / lines
    control = control_mean + extra
    return Spread(
        extra,
        (treatment_mean + extra) / control - 1 if control > 0 else None,
        (treatment_mean - control_mean) * contacts / (contacts - unattributed),
    )
