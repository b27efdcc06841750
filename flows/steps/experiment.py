"""The pilot as an experiment: what the sums of two arms say about means, shares and their difference.

Everything starts from exact sums of integers and stays a fraction until the last step, so that nothing is lost where
large numbers nearly cancel. Distributions are scipy's, from `scipy.special`: the import of `scipy.stats`, for Fisher's
test alone, takes half a second.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import NamedTuple

CONFIDENCE = 0.95
# A variance below this is none, and a number below it in size is written as 0 (spec, chapter 3).
TINY = 1e-12


class Estimate(NamedTuple):
    """A value and its two-sided 95 % interval. Empty is what has no meaning."""

    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None

    def times(self, factor: float) -> "Estimate":
        """The estimate in another unit; a negative factor turns the interval round."""
        bounds = [None if bound is None else bound * factor for bound in (self.ci_low, self.ci_high)]
        return Estimate(self.value * factor, *(bounds if factor >= 0 else reversed(bounds)))

    def plus(self, constant: float) -> "Estimate":
        """The estimate with something certain added to it."""
        return Estimate(*(None if number is None else number + constant for number in self))


@dataclass(frozen=True)
class Sample:
    """An arm as a test sees it: its size, and the mean and the variance (with n - 1) of what is measured."""

    n: int
    mean: Fraction
    variance: Fraction

    @property
    def variance_of_mean(self) -> Fraction:
        return self.variance / self.n


@dataclass(frozen=True)
class Moments:
    """The sums over an arm of `y`, `x`, their squares and their product; all integers."""

    n: int
    y: int
    yy: int
    x: int
    xx: int
    xy: int

    def __add__(self, other: "Moments") -> "Moments":
        mine, others = vars(self), vars(other)
        return Moments(**{name: mine[name] + others[name] for name in mine})

    def sample(self, theta: Fraction = Fraction(0), centre: Fraction = Fraction(0)) -> Sample:
        """The sample of `y - theta (x - centre)`. It takes two members: one has no variance."""
        variance = (
            _covariance(self.n, self.y, self.y, self.yy)
            - 2 * theta * _covariance(self.n, self.x, self.y, self.xy)
            + theta**2 * _covariance(self.n, self.x, self.x, self.xx)
        )
        mean = Fraction(self.y, self.n) - theta * (Fraction(self.x, self.n) - centre)
        return Sample(self.n, mean, variance if variance >= TINY else Fraction(0))


def _covariance(n: int, a: int, b: int, ab: int) -> Fraction:
    return Fraction(n * ab - a * b, n * (n - 1))


def adjusted(treatment: Moments, control: Moments) -> tuple[Sample, Sample]:
    """The arms' `y`, freed of what `x`, known before the experiment, foretells of it (CUPED).

    Deng, Xu, Kohavi, Walker (2013), Improving the sensitivity of online controlled experiments by utilizing
    pre-experiment data, section 3: theta = cov(y, x) / var(x) over both arms together; 0 where x does not vary.
    """
    both = treatment + control
    variance = _covariance(both.n, both.x, both.x, both.xx)
    theta = _covariance(both.n, both.x, both.y, both.xy) / variance if variance >= TINY else Fraction(0)
    centre = Fraction(both.x, both.n)
    return treatment.sample(theta, centre), control.sample(theta, centre)


def share(count: int, n: int) -> Estimate:
    """count / n of n > 0 with the Wilson score interval.

    Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    z = normal_quantile()
    p = count / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Of none and of all the interval ends at the share itself, which rounding would miss.
    return Estimate(p, 0.0 if count == 0 else centre - reach, 1.0 if count == n else centre + reach)


def normal_quantile() -> float:
    """How many standard errors a normal interval reaches to either side."""
    from scipy.special import ndtri

    return float(ndtri((1 + CONFIDENCE) / 2))


def mean(sample: Sample) -> Estimate:
    """The mean with Student's t interval; without an interval where nothing varies."""
    return _by_t(sample.mean, sample.variance_of_mean, sample.n - 1)


def difference(treatment: Sample, control: Sample) -> Estimate:
    """The difference of the means, treatment - control, with Welch's interval; without one where nothing varies."""
    return _by_t(
        treatment.mean - control.mean,
        treatment.variance_of_mean + control.variance_of_mean,
        welch_degrees_of_freedom(treatment, control),
    )


def welch_degrees_of_freedom(treatment: Sample, control: Sample) -> float:
    """Welch (1947), The generalization of Student's problem when several different population variances are involved,
    Biometrika 34, with Satterthwaite's approximation. 0 where nothing varies.
    """
    v_t, v_c = treatment.variance_of_mean, control.variance_of_mean
    spread = v_t**2 / (treatment.n - 1) + v_c**2 / (control.n - 1)
    return float((v_t + v_c) ** 2 / spread) if spread else 0.0


def _by_t(value: Fraction, squared_error: Fraction, degrees_of_freedom: float) -> Estimate:
    from scipy.special import stdtrit

    if not squared_error:
        return Estimate(float(value))
    return _around(value, float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2)) * sqrt(squared_error))


def _around(value: Fraction, reach: float) -> Estimate:
    return Estimate(float(value), float(value) - reach, float(value) + reach)


def welch_p(treatment: Sample, control: Sample) -> float | None:
    """The two-sided p of Welch's test that the means are equal; none where nothing varies."""
    from scipy.special import stdtr

    if not treatment.variance and not control.variance:
        return None
    t = abs(treatment.mean - control.mean) / sqrt(treatment.variance_of_mean + control.variance_of_mean)
    return 2 * float(stdtr(welch_degrees_of_freedom(treatment, control), -t))


def relative(treatment: Sample, control: Sample) -> Estimate:
    """The difference in terms of the control mean, which is not 0, by the delta method.

    Deng, Knoblich, Lu (2018), Applying the delta method in metric analytics, section 3.1:
    se^2 = V_t / m_c^2 + m_t^2 V_c / m_c^4.
    """
    value = (treatment.mean - control.mean) / control.mean
    if not treatment.variance and not control.variance:
        return Estimate(float(value))
    squared_error = (
        treatment.variance_of_mean / control.mean**2 + treatment.mean**2 * control.variance_of_mean / control.mean**4
    )
    return _around(value, normal_quantile() * sqrt(squared_error))


def independence_p(first: tuple[int, int], second: tuple[int, int]) -> float:
    """The p of the test that two arms, neither of them empty, have the same share.

    Each arm is (those who have it, those who have not). Pearson's chi-square without continuity correction; where a
    cell expects fewer than 5, Fisher's exact test: two-sided, the sum of all tables at most as probable. 1 where nobody
    has it, or everybody.
    """
    from scipy.special import chdtrc

    have, have_not = first[0] + second[0], first[1] + second[1]
    arms = sum(first), sum(second)
    n = have + have_not
    if have == 0 or have_not == 0:
        return 1.0
    if min(have, have_not) * min(arms) < 5 * n:
        from scipy import stats

        return float(stats.fisher_exact([first, second]).pvalue)
    apart = first[0] * second[1] - first[1] * second[0]
    return float(chdtrc(1, n * apart**2 / (have * have_not * arms[0] * arms[1])))
