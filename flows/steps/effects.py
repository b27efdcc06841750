"""Effects of the programme from sums alone: differences between arms, with intervals that allow looking every day.

Everything here takes the sums of a group and never its members, so a wave of a million costs what one of ten does.
An effect is treatment less control, in contacts per member, with members compared as drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

ALPHA = 0.05
ZERO = 1e-12  # a variance below this is none (spec, chapter 3)


@dataclass(frozen=True)
class Sums:
    """Of a group's members: how many, and the sums of y, y², x, x² and xy.

    y counts a member's contacts in the window, x those in the 90 days before the invitation.
    """

    n: int = 0
    y: float = 0.0
    yy: float = 0.0
    x: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in ("n", "y", "yy", "x", "xx", "xy")))

    @property
    def mean(self) -> float:
        return self.y / self.n

    @property
    def variance(self) -> float:
        """Of y, with n - 1."""
        return _centred(self.n, self.yy, self.y, self.y)

    def adjusted(self, theta: float, mean_x: float) -> Sums:
        """The sums of y - theta (x - mean_x)."""
        shift = theta * mean_x
        y = self.y - theta * self.x + self.n * shift
        yy = (
            self.yy
            - 2 * theta * self.xy
            + theta**2 * self.xx
            + 2 * shift * (self.y - theta * self.x)
            + self.n * shift**2
        )
        return Sums(self.n, y, yy)


def _centred(n: int, sum_ab: float, sum_a: float, sum_b: float) -> float:
    value = (sum_ab - sum_a * sum_b / n) / (n - 1)
    return 0.0 if abs(value) < ZERO else value


@dataclass(frozen=True)
class Estimate:
    """A value with its fixed 95 % interval, the always-valid one, and the fixed test's two-sided p.

    What cannot be said is None: no interval without variance, no estimate at all with fewer than two members.
    """

    value: float
    low: float | None = None
    high: float | None = None
    always_low: float | None = None
    always_high: float | None = None
    p: float | None = None
    n: int = 0

    def times(self, factor: float) -> Estimate:
        """The estimate in another unit; a negative factor turns the bounds round."""
        low, high = (self.low, self.high) if factor >= 0 else (self.high, self.low)
        always = (self.always_low, self.always_high) if factor >= 0 else (self.always_high, self.always_low)
        return replace(
            self,
            value=self.value * factor,
            low=None if low is None else low * factor,
            high=None if high is None else high * factor,
            always_low=None if always[0] is None else always[0] * factor,
            always_high=None if always[1] is None else always[1] * factor,
        )

    def less(self, certain: float) -> Estimate:
        """The estimate less an amount that is certain."""
        moved = {
            name: None if getattr(self, name) is None else getattr(self, name) - certain
            for name in ("value", "low", "high", "always_low", "always_high")
        }
        return replace(self, **moved)

    @property
    def excludes_zero(self) -> bool:
        """Whether the fixed interval leaves no doubt that there is a difference."""
        return self.low is not None and (self.low > 0 or self.high < 0)

    @property
    def always_excludes_zero(self) -> bool:
        """Whether the always-valid interval leaves no doubt, however often one has looked."""
        return self.always_low is not None and (self.always_low > 0 or self.always_high < 0)


def always_valid_factor(clock: float, planned_clock: float, alpha: float = ALPHA) -> float:
    """How many standard errors the always-valid interval reaches to either side.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central
    limit theory and asymptotic confidence sequences", Annals of Statistics 52 (2024), theorem 2.2:
    sqrt(2 (t rho² + 1) / (t rho²) log(sqrt(t rho² + 1) / alpha)) standard errors, with rho² t* = -2 log alpha +
    log(1 - 2 log alpha), which makes it tightest at t*. The members of a wave are fixed by its draw and their
    contacts grow, so `clock` (t) is the variance of contacts per member reached so far, and `planned_clock` (t*)
    the one expected at the planned end. A wrong plan costs width, not validity.
    """
    planned = -2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))
    information = planned * clock / planned_clock
    return math.sqrt(2 * (1 + 1 / information) * math.log(math.sqrt(1 + information) / alpha))


def difference(treatment: Sums, control: Sums, planned_clock: float) -> Estimate | None:
    """Mean difference treatment - control: Welch's interval and p, and the always-valid interval.

    None with fewer than two members in an arm; no intervals when neither arm varies.
    """
    from scipy import special

    if min(treatment.n, control.n) < 2:
        return None
    value, n = treatment.mean - control.mean, treatment.n + control.n
    of_treatment, of_control = treatment.variance / treatment.n, control.variance / control.n
    squared = of_treatment + of_control
    if squared <= 0:
        return Estimate(value, n=n)
    error = math.sqrt(squared)
    freedom = squared**2 / (of_treatment**2 / (treatment.n - 1) + of_control**2 / (control.n - 1))
    fixed = error * float(special.stdtrit(freedom, 1 - ALPHA / 2))
    reach = error * always_valid_factor(_clock(treatment, control, squared), planned_clock)
    p = 2 * float(special.stdtr(freedom, -abs(value) / error))
    return Estimate(value, value - fixed, value + fixed, value - reach, value + reach, p, n)


def _clock(treatment: Sums, control: Sums, squared_error: float) -> float:
    return squared_error / (1 / treatment.n + 1 / control.n)


def adjusted_difference(treatment: Sums, control: Sums, planned_clock: float) -> Estimate | None:
    """The difference adjusted by contacts before the invitation (CUPED: Deng, Xu, Kohavi and Walker, WSDM 2013)."""
    both = treatment + control
    if min(treatment.n, control.n) < 2:
        return None
    variance = _centred(both.n, both.xx, both.x, both.x)
    theta = _centred(both.n, both.xy, both.x, both.y) / variance if variance > 0 else 0.0
    mean_x = both.x / both.n
    return difference(treatment.adjusted(theta, mean_x), control.adjusted(theta, mean_x), planned_clock)


def relative_difference(treatment: Sums, control: Sums, planned_clock: float) -> Estimate | None:
    """Difference / control mean by the delta method, normal quantile (spec, chapter 3). None where that mean is 0."""
    from scipy import stats

    if min(treatment.n, control.n) < 2 or control.y == 0:
        return None
    of_treatment, of_control = treatment.variance / treatment.n, control.variance / control.n
    value, n = treatment.mean / control.mean - 1, treatment.n + control.n
    squared = of_treatment / control.mean**2 + treatment.mean**2 * of_control / control.mean**4
    if squared <= 0:
        return Estimate(value, n=n)
    error = math.sqrt(squared)
    low, high = stats.norm.interval(1 - ALPHA, loc=value, scale=error)
    reach = error * always_valid_factor(_clock(treatment, control, of_treatment + of_control), planned_clock)
    return Estimate(value, float(low), float(high), value - reach, value + reach, n=n)


def corrected(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of a family of p (statsmodels); those that are empty stay empty and count for nothing."""
    from statsmodels.stats.multitest import multipletests

    asked = [p for p in p_values if p is not None]
    if not asked:
        return list(p_values)
    found = iter(multipletests(asked, alpha=ALPHA, method="holm")[1])
    return [None if p is None else float(next(found)) for p in p_values]


def heterogeneity_p(estimates: Iterable[Estimate]) -> float | None:
    """Cochran's Q: the p of "the effect is the same in all groups" (statsmodels). None with fewer than two groups."""
    import numpy as np
    from scipy import stats
    from statsmodels.stats.meta_analysis import combine_effects

    known = [estimate for estimate in estimates if estimate.low is not None]
    if len(known) < 2:
        return None
    quantile = stats.norm.ppf(1 - ALPHA / 2)
    errors = np.array([(estimate.high - estimate.low) / 2 / quantile for estimate in known])
    result = combine_effects(np.array([estimate.value for estimate in known]), errors**2, method_re="dl")
    return float(result.test_homogeneity().pvalue)
