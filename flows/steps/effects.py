"""Effects for people who look every day: each with its fixed interval, and beside it one that is always valid.

The figures are those of `experiment`. Everything takes the sums of a group and never its members, so a wave of a
million costs what one of ten does. An effect is treatment less control, with members compared as drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log, sqrt

from flows.steps import experiment
from flows.steps.experiment import CONFIDENCE, Moments, Sample

ALPHA = 1 - CONFIDENCE


@dataclass(frozen=True)
class Effect:
    """A value with its fixed 95 % interval, the always-valid one, the fixed test's two-sided p, and its members.

    What has no meaning is None.
    """

    value: float
    low: float | None = None
    high: float | None = None
    always_low: float | None = None
    always_high: float | None = None
    p: float | None = None
    n: int = 0

    def times(self, factor: float) -> Effect:
        """The effect in another unit; a negative factor turns the bounds round."""
        bounds = [
            None if bound is None else bound * factor
            for bound in (self.low, self.high, self.always_low, self.always_high)
        ]
        if factor < 0:
            bounds = [bounds[1], bounds[0], bounds[3], bounds[2]]
        return Effect(self.value * factor, *bounds, self.p, self.n)

    def plus(self, constant: float) -> Effect:
        """The effect with something certain added to it."""
        moved = {
            name: None if getattr(self, name) is None else getattr(self, name) + constant
            for name in ("value", "low", "high", "always_low", "always_high")
        }
        return replace(self, **moved)

    @property
    def excludes_zero(self) -> bool:
        """Whether the fixed interval leaves no room for no difference."""
        return self.low is not None and (self.low > 0 or self.high < 0)

    @property
    def always_excludes_zero(self) -> bool:
        """Whether the always-valid interval leaves no room for no difference, however often one has looked."""
        return self.always_low is not None and (self.always_low > 0 or self.always_high < 0)


def always_valid_factor(clock: float, planned_clock: float, alpha: float = ALPHA) -> float:
    """How many standard errors the always-valid interval reaches to either side.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central
    limit theory and asymptotic confidence sequences", Annals of Statistics 52 (2024), theorem 2.2, in standard
    errors: sqrt(2 (t rho² + 1) / (t rho²) log(sqrt(t rho² + 1) / alpha)), with rho² t* = -2 log alpha +
    log(1 - 2 log alpha), which makes it tightest at t*. The members of a wave are fixed by its draw and their
    contacts grow, so `clock` (t) is the variance of contacts per member reached so far, and `planned_clock` (t*)
    the one expected at the planned end. A wrong plan costs width, not validity.
    """
    planned = -2 * log(alpha) + log(1 - 2 * log(alpha))
    information = planned * clock / planned_clock
    return sqrt(2 * (1 + 1 / information) * log(sqrt(1 + information) / alpha))


def _clock(treatment: Sample, control: Sample) -> float:
    """The variance of a member, as the standard error of the difference sees it."""
    squared_error = treatment.variance_of_mean + control.variance_of_mean
    return float(squared_error) / (1 / treatment.n + 1 / control.n)


def _effect(
    estimate: experiment.Estimate, arms: tuple[Sample, Sample], planned_clock: float, p: float | None
) -> Effect:
    n = sum(arm.n for arm in arms)
    # A point is no interval: by its formula one in terms of control has no width where treatment has no contact.
    if estimate.ci_low is None or estimate.ci_low == estimate.ci_high:
        return Effect(estimate.value, n=n)
    # In an arm of few the fixed interval is wide by Student's quantile; the other one is as much wider, never narrower.
    reach = _normal_error(estimate.ci_low, estimate.ci_high) * always_valid_factor(_clock(*arms), planned_clock)
    return Effect(*estimate, estimate.value - reach, estimate.value + reach, p, n)


def _comparable(treatment: Moments, control: Moments) -> bool:
    return min(treatment.n, control.n) >= 2


def difference(treatment: Moments, control: Moments, planned_clock: float) -> Effect | None:
    """The difference of the means, with Welch's interval and p. None with fewer than two members in an arm."""
    return (
        _difference((treatment.sample(), control.sample()), planned_clock) if _comparable(treatment, control) else None
    )


def adjusted_difference(treatment: Moments, control: Moments, planned_clock: float) -> Effect | None:
    """The difference adjusted by contacts before the invitation (CUPED)."""
    return (
        _difference(experiment.adjusted(treatment, control), planned_clock) if _comparable(treatment, control) else None
    )


def _difference(arms: tuple[Sample, Sample], planned_clock: float) -> Effect:
    return _effect(experiment.difference(*arms), arms, planned_clock, experiment.welch_p(*arms))


def relative_difference(treatment: Moments, control: Moments, planned_clock: float) -> Effect | None:
    """The difference in terms of the control mean. None where that is 0, or with fewer than two members in an arm."""
    if not _comparable(treatment, control) or control.y == 0:
        return None
    arms = treatment.sample(), control.sample()
    return _effect(experiment.relative(*arms), arms, planned_clock, None)


def _normal_error(low: float, high: float) -> float:
    """The standard error of a normal interval; of Student's a larger one, as much as few members ask for."""
    return (high - low) / 2 / experiment.normal_quantile()


def corrected(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of a family of p (statsmodels); those that are empty stay empty and count for nothing."""
    from statsmodels.stats.multitest import multipletests

    asked = [p for p in p_values if p is not None]
    if not asked:
        return list(p_values)
    found = iter(multipletests(asked, alpha=ALPHA, method="holm")[1])
    return [None if p is None else float(next(found)) for p in p_values]


def heterogeneity_p(effects: Iterable[Effect]) -> float | None:
    """Cochran's Q: the p of "the effect is the same in all groups" (statsmodels). None with fewer than two groups."""
    import numpy as np
    from statsmodels.stats.meta_analysis import combine_effects

    known = [effect for effect in effects if effect.low is not None]
    if len(known) < 2:
        return None
    errors = np.array([_normal_error(effect.low, effect.high) for effect in known])
    # What it makes of random effects is not asked for, and warns where the effects hardly differ.
    with np.errstate(invalid="ignore", divide="ignore"):
        result = combine_effects(np.array([effect.value for effect in known]), errors**2, method_re="dl")
    return float(result.test_homogeneity().pvalue)
