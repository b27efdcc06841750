"""Effects from sums, against scipy member by member; and what looking every day does to an interval."""

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from flows.steps.effects import (
    Effect,
    adjusted_difference,
    always_valid_factor,
    corrected,
    difference,
    heterogeneity_p,
    relative_difference,
)
from flows.steps.experiment import Moments


def sums(y, x=None):
    y = np.asarray(y, dtype=int)
    x = np.zeros_like(y) if x is None else np.asarray(x, dtype=int)
    return Moments(len(y), *map(int, (y.sum(), (y * y).sum(), x.sum(), (x * x).sum(), (x * y).sum())))


def world(rng, members, days, effect=0.0):
    """Contacts per member and day in two arms; some people call four times as often as others, for good."""
    rates = np.where(rng.random(2 * members) < 0.6, 0.1, 0.475) / 30.4
    rates = np.concatenate([rates[:members] * (1 + effect), rates[members:]])
    return rng.poisson(rates[:, None], (2 * members, days))


@pytest.fixture
def members():
    rng = np.random.default_rng(4)
    x = rng.poisson(0.8, 900)
    y = rng.poisson(0.5 + 0.7 * x)
    return y[:600], x[:600], y[600:], x[600:]


def test_the_difference_is_welchs(members):
    y_t, _, y_c, _ = members
    found = difference(sums(y_t), sums(y_c), 1.0)
    expected = stats.ttest_ind(y_t, y_c, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (found.value, found.p) == pytest.approx((y_t.mean() - y_c.mean(), expected.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_the_adjusted_difference_is_that_of_adjusted_members(members):
    y_t, x_t, y_c, x_c = members
    y, x = np.concatenate([y_t, y_c]), np.concatenate([x_t, x_c])
    theta = np.cov(y, x)[0, 1] / x.var(ddof=1)
    interval = stats.ttest_ind(
        y_t - theta * (x_t - x.mean()), y_c - theta * (x_c - x.mean()), equal_var=False
    ).confidence_interval(0.95)
    found = adjusted_difference(sums(y_t, x_t), sums(y_c, x_c), 1.0)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_adjusting_takes_away_what_was_there_before(members):
    y_t, x_t, y_c, x_c = members
    plain, adjusted = (f(sums(y_t, x_t), sums(y_c, x_c), 1.0) for f in (difference, adjusted_difference))
    assert adjusted.high - adjusted.low < 0.9 * (plain.high - plain.low)


def test_the_relative_difference_covers_as_a_bootstrap_does(members):
    y_t, _, y_c, _ = members
    rng = np.random.default_rng(7)
    again = [rng.choice(y_t, len(y_t)).mean() / rng.choice(y_c, len(y_c)).mean() - 1 for _ in range(4000)]
    found = relative_difference(sums(y_t), sums(y_c), 1.0)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(again, [0.025, 0.975])), abs=0.02)


def test_what_cannot_be_said_is_not_said():
    none, one, same = sums([]), sums([2]), sums([1, 1, 1])
    assert difference(none, same, 1.0) is None
    assert difference(one, same, 1.0) is None
    assert adjusted_difference(one, none, 1.0) is None
    assert difference(same, same, 1.0) == Effect(0.0, n=6)
    assert relative_difference(same, sums([0, 0]), 1.0) is None


def test_a_negative_factor_turns_the_bounds_round():
    turned = Effect(2.0, 1.0, 3.0, 0.0, 4.0, 0.01, 9).times(-10)
    assert turned == Effect(-20.0, -30.0, -10.0, -40.0, 0.0, 0.01, 9)


def test_an_amount_that_is_certain_moves_all_bounds():
    assert Effect(2.0, 1.0, 3.0).plus(-5) == Effect(-3.0, -4.0, -2.0)


def test_the_always_valid_interval_is_that_of_the_paper():
    # Formula (theorem 2.2) in the paper's own terms: n = 400 observations of variance 2, rho tightest at n = 1000.
    n, sigma, alpha, planned = 400, math.sqrt(2), 0.05, 1000
    rho = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / planned)
    inside = (n * rho**2 + 1) / (n**2 * rho**2) * 2 * math.log(math.sqrt(n * rho**2 + 1) / alpha)
    assert always_valid_factor(n, planned) * sigma / math.sqrt(n) == pytest.approx(sigma * math.sqrt(inside))


def test_the_always_valid_interval_is_that_many_standard_errors(members):
    y_t, x_t, y_c, x_c = members
    for estimate in (difference, adjusted_difference, relative_difference):
        found = estimate(sums(y_t, x_t), sums(y_c, x_c), 3.0)
        fixed = (found.high - found.low) / 2 / stats.norm.ppf(0.975)
        assert (found.always_high - found.always_low) / 2 / fixed == pytest.approx(
            always_valid_factor(y_t.var() / 3 + y_c.var() * 2 / 3, 3.0), rel=0.08
        )
        assert found.always_low + found.always_high == pytest.approx(found.low + found.high)


@pytest.mark.parametrize("size", [2, 3, 5, 50])
def test_the_always_valid_interval_holds_the_fixed_one_however_few_the_members(size):
    few = Moments(size, size + 1, size + 3, 0, 0, 0), Moments(size, 4 * size + 1, 16 * size + 9, 0, 0, 0)
    found = difference(*few, 3.0)
    assert found.always_low < found.low < found.high < found.always_high


def test_the_always_valid_interval_is_tightest_at_the_plan_and_never_within_the_fixed_one():
    reach = {planned: always_valid_factor(1.0, planned) for planned in (0.1, 0.5, 0.8, 1, 1.25, 2, 10)}
    assert min(reach, key=reach.get) == 1
    assert min(reach.values()) > stats.norm.ppf(0.975)


WORLDS = 300


@pytest.mark.parametrize("effect", [0.0, -0.2])
def test_whoever_looks_every_day_is_misled_in_at_most_one_world_of_twenty(effect):
    """A few hundred worlds, a look a day for most of a year: the binomial's 99.9 % quantile bounds the misses."""
    rng = np.random.default_rng(2017)
    days, members, fixed_misses, always_misses = 250, 300, 0, 0
    true_rate = (0.6 * 0.1 + 0.4 * 0.475) / 30.4
    factor = np.vectorize(partial(always_valid_factor, planned_clock=true_rate * 455))
    for _ in range(WORLDS):
        calls = world(rng, members, days, effect).cumsum(axis=1)
        arms = calls[:members], calls[members:]
        # Nobody judges the first two weeks.
        of_means = sum(arm.var(axis=0, ddof=1) / members for arm in arms)[13:]
        off = (arms[0].mean(axis=0) - arms[1].mean(axis=0))[13:] - effect * true_rate * np.arange(14, days + 1)
        errors = np.abs(off) / np.sqrt(of_means)
        fixed_misses += (errors > stats.norm.ppf(0.975)).any()
        always_misses += (errors > factor(of_means / (2 / members))).any()
    assert always_misses <= stats.binom.ppf(0.999, WORLDS, 0.05)
    # The fixed interval does mislead: this is why there are two.
    assert fixed_misses > stats.binom.ppf(0.999, WORLDS, 0.05)


def test_holms_correction_is_the_published_one():
    # Holm (1979) as worked by hand: sorted p times 5, 4, 3, 2, 1, never falling, at most 1.
    assert corrected([0.01, None, 0.04, 0.03, 0.005, 0.6]) == pytest.approx([0.04, None, 0.09, 0.09, 0.025, 0.6])
    assert corrected([None, None]) == [None, None]
    some = [0.001, 0.02, 0.2]
    assert corrected(some) == pytest.approx(list(multipletests(some, method="holm")[1]))


def test_groups_that_differ_are_found_to_differ():
    alike = [Effect(-0.5, -0.7, -0.3), Effect(-0.45, -0.65, -0.25)]
    apart = [Effect(-0.5, -0.7, -0.3), Effect(0.5, 0.3, 0.7)]
    assert heterogeneity_p(alike) > 0.5 > 0.001 > heterogeneity_p(apart)
    assert heterogeneity_p(alike[:1]) is None
