"""Health checks: against published figures, member by member, and over draws that are fair."""

import numpy as np
import pytest
from scipy import stats

from flows.steps import health


def test_a_sample_ratio_that_is_known_to_be_off_is_found():
    # Kohavi, Tang and Xu, Trustworthy Online Controlled Experiments (2020), chapter 3: p = 1.8e-6.
    check = health.sample_ratio(821_588, 815_482, 1, 1)
    assert check.state == health.BAD
    assert check.p == pytest.approx(1.8e-6, rel=0.05)


def test_a_draw_as_planned_is_healthy_even_when_it_is_short_of_members():
    assert health.sample_ratio(1200, 600, 1200, 600).p == pytest.approx(1)
    assert health.sample_ratio(6, 4, 20_000, 10_000).state == health.GOOD


def test_sizes_that_are_odd_are_not_told_as_planned():
    check = health.sample_ratio(1065, 935, 1000, 1000)
    assert health.BAD_P < check.p < health.ODD_P
    assert (check.state, "1,000 to 1,000 were planned" in check.sentence) == (health.ODD, True)


def test_an_arm_without_anybody_is_told_as_such():
    assert "nobody in control" in health.sample_ratio(10, 0, 10, 5).sentence
    assert "none were to be drawn" in health.sample_ratio(10, 0, 10, 0).sentence


def people(rng, n):
    brands, tariffs = rng.choice(["blau", "o2", "fonic"], n), rng.choice(["S", "M"], n)
    x, age = rng.poisson(0.5, n), rng.integers(10, 4000, n)
    age_known = rng.random(n) < 0.9
    return list(zip(brands, tariffs, x.tolist(), np.where(age_known, age, 0).tolist(), age_known.tolist(), strict=True))


def cells(arms):
    found = {}
    for arm, members in arms.items():
        for brand, tariff, x, age, known in members:
            cell = found.setdefault((arm, brand, tariff), dict.fromkeys(
                ("member_count", "before_sum", "before_square_sum", "line_age_count", "line_age_sum",
                 "line_age_square_sum", "line_age_before_sum", "before_known_sum"), 0,
            ))  # fmt: skip
            for name, amount in {
                "member_count": 1, "before_sum": x, "before_square_sum": x * x, "line_age_count": known,
                "line_age_sum": age, "line_age_square_sum": age * age, "line_age_before_sum": age * x,
                "before_known_sum": x * known,
            }.items():  # fmt: skip
                cell[name] += amount
    return [{"arm": arm, "brand": brand, "tariff": tariff, **cell} for (arm, brand, tariff), cell in found.items()]


def person_by_person(arms):
    """The joint test from one row a member."""
    rows, treated = [], []
    for arm, members in arms.items():
        for brand, tariff, x, age, known in members:
            levels = [brand == "blau", brand == "o2", tariff == "S"]
            rows.append([x, age, known, *levels])
            treated.append(arm == "treatment")
    rows, treated = np.array(rows, dtype=float), np.array(treated)
    apart = rows[treated].mean(0) - rows[~treated].mean(0)
    covariance = np.cov(rows.T) * (1 / treated.sum() + 1 / (~treated).sum())
    return float(stats.chi2.sf(apart @ np.linalg.solve(covariance, apart), rows.shape[1]))


def test_the_joint_test_from_sums_is_that_of_the_members():
    rng = np.random.default_rng(3)
    arms = {"treatment": people(rng, 300), "control": people(rng, 150)}
    balance, p = health.compare_before(cells(arms))
    assert p == pytest.approx(person_by_person(arms), rel=1e-6)
    of_x = next(one for one in balance if one.trait.startswith("Contacts"))
    x = {arm: np.array([member[2] for member in members]) for arm, members in arms.items()}
    assert of_x.treatment == pytest.approx(x["treatment"].mean())
    both = np.concatenate([x["treatment"], x["control"]])
    assert of_x.standardised == pytest.approx((x["treatment"].mean() - x["control"].mean()) / both.std(ddof=1))


def test_fair_draws_are_called_unlike_as_often_as_chance_allows():
    rng = np.random.default_rng(8)
    worlds, everybody = 200, people(rng, 300)
    low = 0
    for _ in range(worlds):
        rng.shuffle(everybody)
        low += health.compare_before(cells({"treatment": everybody[:200], "control": everybody[200:]}))[1] < 0.05
    assert stats.binom.ppf(0.0005, worlds, 0.05) <= low <= stats.binom.ppf(0.9995, worlds, 0.05)


def test_arms_that_were_not_alike_are_found():
    rng = np.random.default_rng(5)
    treatment = [(brand, tariff, x + 1, *rest) for brand, tariff, x, *rest in people(rng, 300)]
    balance, p = health.compare_before(cells({"treatment": treatment, "control": people(rng, 150)}))
    check = health.balance_check(balance, p)
    assert check.state == health.BAD
    assert "Contacts, 90 days before" in check.sentence


def test_members_who_are_all_the_same_cannot_differ():
    same = [("o2", "S", 0, 100, True)] * 5
    balance, p = health.compare_before(cells({"treatment": same, "control": same}))
    assert p is None
    assert {one.standardised for one in balance} == {None}


@pytest.mark.parametrize(
    ("window", "waived", "missing", "state"),
    [
        (100, 0, 0, "good"), (100, 4, 0, "odd"), (100, 11, 0, "bad"),
        (100, 0, 1, "odd"), (0, 0, 3, "bad"), (0, 0, 0, "odd"),
    ],
)  # fmt: skip
def test_completeness_is_judged_by_the_days_that_are_not_known(window, waived, missing, state):
    assert health.completeness(window, waived, missing).state == state


def test_callers_nobody_knows_are_judged_by_their_share():
    states = [health.identification(100, unknown).state for unknown in (10, 11, 21)]
    assert states == ["good", "odd", "bad"]
    assert health.identification(0, 0).state == "odd"


def test_lines_that_end_are_judged_by_the_p_of_the_kpi():
    size, ended = {"treatment": 10, "control": 10}, {"treatment": 1, "control": 5}
    assert [health.attrition(ended, size, p).state for p in (0.5, 0.005, 0.0005)] == ["good", "odd", "bad"]


def test_contacts_of_nobody_spread_over_all_lines_leave_the_difference_as_it_is():
    spread = health.spread_evenly(1.0, 2.0, contacts=150, unattributed=50, lines=100)
    assert spread.extra_per_line == 0.5
    assert spread.relative_over_lines == pytest.approx(1.5 / 2.5 - 1)
    assert spread.difference_as_known == pytest.approx(-1.5)
    assert health.spread_evenly(1.0, 2.0, contacts=0, unattributed=0, lines=100) is None
