"""The statistics against published numbers, and against a second implementation."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from flows.steps import effects, experiment
from flows.steps.experiment import Estimate, Moments, Sample
from reference_kpis import fisher


def moments(y, x=None) -> Moments:
    y = [int(value) for value in y]
    x = [0] * len(y) if x is None else [int(value) for value in x]
    return Moments(
        n=len(y),
        y=sum(y),
        yy=sum(value * value for value in y),
        x=sum(x),
        xx=sum(value * value for value in x),
        xy=sum(a * b for a, b in zip(x, y, strict=True)),
    )


def sample(values) -> Sample:
    return moments(values).sample()


# --- Published numbers --------------------------------------------------------------------------------------------

# Student (1908), The probable error of a mean: hours of sleep gained by ten patients with two drugs, in tenths.
# R's documentation of its data set `sleep` shows Welch's test of them: t = -1.8608, df = 17.776, p = 0.07939,
# interval -3.3654832 to 0.2054832.
SLEEP_1 = [7, -16, -2, -12, -1, 34, 37, 8, 0, 20]
SLEEP_2 = [19, 8, 11, 1, -1, 44, 55, 16, 46, 34]


def test_the_sleep_of_students_patients_differs_as_r_says():
    first, second = sample(SLEEP_1), sample(SLEEP_2)
    assert experiment.difference(first, second) == pytest.approx((-15.8, -33.654832, 2.054832), abs=5e-6)
    assert experiment.welch_degrees_of_freedom(first, second) == pytest.approx(17.776, abs=5e-4)
    assert experiment.welch_p(first, second) == pytest.approx(0.07939, abs=5e-6)


def test_two_sets_of_screws_weigh_as_the_encyclopedia_says():
    # Wikipedia, Student's t-test, worked examples: unequal variances, t = 1.959, df = 7.031, p = 0.09077.
    first, second = sample([3002, 2999, 3011, 2997, 3001, 2999]), sample([2989, 2993, 2972, 2998, 3002, 2998])
    assert experiment.difference(first, second).value == pytest.approx(9.5)
    assert experiment.welch_p(first, sample([3002, 2999, 3011, 2997, 3001, 2999])) == 1
    assert experiment.welch_degrees_of_freedom(first, second) == pytest.approx(7.031, abs=5e-4)
    assert experiment.welch_p(first, second) == pytest.approx(0.09077, abs=5e-6)


# Newcombe (1998), Two-sided confidence intervals for the single proportion, Statistics in Medicine 17, table I.
@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_what_newcombe_tabulates(count, n, low, high):
    assert experiment.share(count, n) == pytest.approx((count / n, low, high), abs=5e-5)


def test_the_lady_tastes_tea_by_fishers_exact_test():
    # Fisher (1935), The design of experiments: three of four right. R's documentation of fisher.test: p = 0.4857.
    assert experiment.independence_p((3, 1), (1, 3)) == pytest.approx(0.4857, abs=5e-5)
    assert experiment.independence_p((4, 0), (0, 4)) == pytest.approx(2 / 70)


def test_convicts_and_their_twins_by_chi_square_without_correction():
    # Fisher (1934), Statistical methods for research workers, section 21.01: chi-square 13.032, and 10.458 with Yates'
    # correction. The smallest cell expects 5.2.
    assert experiment.independence_p((2, 15), (10, 3)) == pytest.approx(stats.chi2.sf(13.032, 1), rel=5e-4)


def test_chi_square_takes_over_where_each_cell_expects_five():
    assert experiment.independence_p((2, 8), (8, 2)) == pytest.approx(stats.chi2.sf(7.2, 1), rel=1e-12)
    assert experiment.independence_p((2, 8), (7, 3)) == pytest.approx(stats.fisher_exact([(2, 8), (7, 3)]).pvalue)


def test_chi_square_is_that_of_scipy_for_arms_of_any_size():
    chance = np.random.default_rng(1900)
    tables = [
        tuple((int(have), n - int(have)) for n, have in zip(sizes, chance.binomial(sizes, share), strict=True))
        for sizes in ((40, 60), (5_000, 500), (1_000_000, 43_000_000))
        for share in (0.3, 0.5, 0.7)
    ]
    expected = [stats.chi2_contingency(table, correction=False).pvalue for table in tables]
    assert [experiment.independence_p(*table) for table in tables] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("table", [((0, 9), (0, 4)), ((7, 0), (90_000, 0))])
def test_where_nobody_or_everybody_has_left_nothing_speaks_against_chance(table):
    assert experiment.independence_p(*table) == 1 == stats.fisher_exact(table).pvalue


# --- A second implementation --------------------------------------------------------------------------------------


@pytest.fixture
def arms():
    """Contacts of two arms, x before and y after, that hang together."""
    chance = np.random.default_rng(1908)
    taste = chance.gamma(0.8, 1.0, size=900)
    x, y = chance.poisson(taste), chance.poisson(2 * taste)
    y[:600] = chance.binomial(y[:600], 0.8)
    return (x[:600], y[:600]), (x[600:], y[600:])


def test_means_and_differences_are_those_of_statsmodels(arms):
    (_, treatment), (_, control) = arms
    compared = CompareMeans(DescrStatsW(treatment), DescrStatsW(control))
    t, c = sample(treatment), sample(control)
    assert experiment.mean(t)[1:] == pytest.approx(DescrStatsW(treatment).tconfint_mean(0.05), rel=1e-12)
    assert experiment.difference(t, c)[1:] == pytest.approx(compared.tconfint_diff(usevar="unequal"), rel=1e-10)
    assert experiment.welch_p(t, c) == pytest.approx(compared.ttest_ind(usevar="unequal")[1], rel=1e-10)
    assert experiment.welch_degrees_of_freedom(t, c) == pytest.approx(compared.dof_satt(), rel=1e-12)


def test_the_adjusted_difference_compares_the_residuals_of_a_regression_on_x(arms):
    (x_t, y_t), (x_c, y_c) = arms
    x, y = np.concatenate([x_t, x_c]), np.concatenate([y_t, y_c])
    left = OLS(y, np.column_stack([np.ones(len(x)), x])).fit().resid
    compared = CompareMeans(DescrStatsW(left[: len(x_t)]), DescrStatsW(left[len(x_t) :]))
    found = experiment.difference(*experiment.adjusted(moments(y_t, x_t), moments(y_c, x_c)))
    assert found[1:] == pytest.approx(compared.tconfint_diff(usevar="unequal"), rel=1e-9)
    plain = experiment.difference(sample(y_t), sample(y_c))
    assert found.ci_high - found.ci_low < 0.9 * (plain.ci_high - plain.ci_low)


def test_with_arms_alike_before_the_adjusted_difference_is_the_coefficient_of_the_arm(arms):
    # Where x has the same mean in both arms, theta (x - mean x) takes nothing from the difference of the means, and
    # the regression on arm and x says the same.
    (x_t, y_t), (_, y_c) = arms
    x_c = x_t[: len(y_c)]
    x_t = np.concatenate([x_c, x_c])
    by_regression = OLS(
        np.concatenate([y_t, y_c]),
        np.column_stack([np.ones(900), np.repeat([1, 0], [600, 300]), np.concatenate([x_t, x_c])]),
    ).fit()
    found = experiment.difference(*experiment.adjusted(moments(y_t, x_t), moments(y_c, x_c)))
    assert found.value == pytest.approx(by_regression.params[1], rel=1e-10)


def test_the_relative_difference_has_the_error_that_resampling_gives(arms):
    (_, treatment), (_, control) = arms
    chance = np.random.default_rng(7)
    again = [chance.choice(arm, (4000, len(arm))).mean(axis=1) for arm in (treatment, control)]
    found = experiment.relative(sample(treatment), sample(control))
    assert found.value == pytest.approx(treatment.mean() / control.mean() - 1)
    assert (found.ci_high - found.ci_low) / (2 * 1.959964) == pytest.approx(np.std(again[0] / again[1]), rel=0.05)


def test_wilsons_interval_is_that_of_statsmodels():
    for count, n in ((0, 1), (1, 1), (3, 7), (1234, 999_999), (43_000_000, 43_000_000)):
        low, high = proportion_confint(count, n, method="wilson")
        assert experiment.share(count, n)[1:] == pytest.approx((max(low, 0), min(high, 1)), rel=1e-9, abs=1e-15)


def test_wilsons_interval_holds_the_share_of_none_and_of_all_to_the_last_bit():
    for n in (*range(1, 500), 999_999, 43_000_000):
        assert experiment.share(0, n)[:2] == (0.0, 0.0)
        assert experiment.share(n, n)[::2] == (1.0, 1.0)
        assert all(
            bound is not None and 0 < bound < 1 for bound in (experiment.share(0, n)[2], experiment.share(n, n)[1])
        )


def test_fishers_test_is_what_counting_every_table_gives():
    chance = np.random.default_rng(1935)
    for _ in range(300):
        # Arms of the same size have tables that are exactly as probable as each other.
        first = int(chance.integers(1, 60))
        second = first if chance.random() < 0.5 else int(chance.integers(1, 60))
        gone = (int(chance.integers(0, min(first, 5) + 1)), int(chance.integers(0, min(second, 5) + 1)))
        if stats.contingency.expected_freq([(gone[0], first - gone[0]), (gone[1], second - gone[1])]).min() < 5:
            p = experiment.independence_p((gone[0], first - gone[0]), (gone[1], second - gone[1]))
            assert p == pytest.approx(fisher(first, second, sum(gone), gone[0]), rel=1e-9)
    million = 1_000_000
    assert experiment.independence_p((0, million), (3, million - 3)) == pytest.approx(
        2 * comb(million, 3) / comb(2 * million, 3), rel=1e-8
    )


# --- Edges --------------------------------------------------------------------------------------------------------


def test_sums_far_from_zero_lose_nothing():
    far = 10**12
    near, shifted = sample(SLEEP_1), sample([value + far for value in SLEEP_1])
    assert shifted.variance == near.variance
    other = [value + far for value in SLEEP_2]
    assert experiment.difference(shifted, sample(other)) == experiment.difference(near, sample(SLEEP_2))
    assert experiment.welch_p(shifted, sample(other)) == experiment.welch_p(near, sample(SLEEP_2))


def test_where_nothing_varies_there_is_a_value_and_no_interval():
    ones, twos = sample([1, 1, 1]), sample([2, 2])
    assert experiment.mean(twos) == (2, None, None)
    assert experiment.difference(ones, twos) == (-1, None, None)
    assert experiment.welch_p(ones, twos) is None
    assert experiment.relative(ones, twos) == (-0.5, None, None)
    # By its formula a treatment without contacts has an error of 0: a point in the file, and no interval in the report.
    silent, control = Moments(3, 0, 0, 0, 0, 0), Moments(3, 3, 5, 0, 0, 0)
    assert experiment.relative(silent.sample(), control.sample()) == (-1, -1, -1)
    assert effects.relative_difference(silent, control, 1).low is None
    # With one arm that varies there is an interval.
    assert experiment.difference(ones, sample([2, 4])).ci_low is not None


def test_what_x_foretells_in_full_leaves_no_variance():
    treatment, control = moments([0, 3, 6], [0, 1, 2]), moments([3, 9], [1, 3])
    assert experiment.difference(*experiment.adjusted(treatment, control)) == (0, None, None)


def test_where_x_does_not_vary_nothing_is_adjusted():
    treatment, control = moments([0, 3, 6], [1, 1, 1]), moments([3, 8], [1, 1])
    assert experiment.adjusted(treatment, control) == (treatment.sample(), control.sample())


def test_a_variance_too_small_to_be_one_is_none():
    assert Moments(n=2, y=1, yy=1, x=0, xx=0, xy=0).sample().variance == Fraction(1, 2)
    tiny = Moments(n=4 * 10**12, y=1, yy=1, x=0, xx=0, xy=0).sample()
    assert tiny.variance == 0


def test_a_negative_factor_turns_the_interval_round():
    assert Estimate(1, -2, 3).times(-2) == (-2, -6, 4)
    assert Estimate(1, -2, 3).times(2) == (2, -4, 6)
    assert Estimate(1).times(-2) == (-2, None, None)
    assert Estimate(1, -2, 3).plus(10) == (11, 8, 13)
