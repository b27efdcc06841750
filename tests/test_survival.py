"""Survival until the first contact, against published figures and against person by person."""

import random
from collections import Counter

import pytest

from flows.steps.survival import Day, kaplan_meier, log_rank_p

# Weeks in remission of 42 children with leukaemia (Freireich and others, Blood 21, 1963); True: relapsed.
# Textbooks print S(6) = 0.857, S(23) = 0.448 for 6-MP, and a log-rank chi-square of 16.79.
MERCAPTOPURINE = [
    *[(week, True) for week in (6, 6, 6, 7, 10, 13, 16, 22, 23)],
    *[(week, False) for week in (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)],
]
PLACEBO = [(week, True) for week in (1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23)]


def days(people):
    counts = Counter(people)
    return [Day(day, counts[day, True], counts[day, False]) for day in sorted({day for day, _ in people})]


def person_by_person(people):
    """Kaplan-Meier as it is told in words."""
    share, curve = 1.0, {}
    for day in sorted({day for day, called in people if called}):
        at_risk = sum(1 for other, _ in people if other >= day)
        share *= 1 - sum(1 for other, called in people if other == day and called) / at_risk
        curve[day] = share
    return curve


def test_the_curve_is_that_of_the_textbook():
    curve = kaplan_meier(days(MERCAPTOPURINE))
    assert curve.days == [6, 7, 10, 13, 16, 22, 23]
    assert curve.share == pytest.approx([0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], abs=5e-4)
    assert curve.error[0] == pytest.approx(0.0764, abs=5e-4)


def test_the_log_rank_test_is_that_of_the_textbook():
    from scipy.stats import chi2

    assert log_rank_p(days(MERCAPTOPURINE), days(PLACEBO)) == pytest.approx(chi2.sf(16.79, 1), rel=5e-3)


def test_counts_say_what_people_say():
    from statsmodels.duration.survfunc import survdiff

    rng = random.Random(11)
    for _ in range(30):
        people = [(rng.randint(0, 12), rng.random() < 0.7) for _ in range(rng.randint(30, 80))]
        arm = [rng.random() < 0.6 for _ in people]
        groups = [[one for one, mine in zip(people, arm, strict=True) if mine is wanted] for wanted in (True, False)]
        curve = kaplan_meier(days(groups[0]))
        assert dict(zip(curve.days, curve.share, strict=True)) == pytest.approx(person_by_person(groups[0]))
        _, expected = survdiff([day + 1 for day, _ in people], [called for _, called in people], arm)
        assert log_rank_p(days(groups[0]), days(groups[1])) == pytest.approx(expected, rel=1e-9)


def test_where_nobody_calls_there_is_no_curve_and_no_test():
    nobody = [Day(9, 0, 20)]
    assert kaplan_meier(nobody).days == []
    assert log_rank_p(nobody, nobody) is None


def test_where_everybody_calls_on_one_day_the_arms_do_not_differ():
    everybody = [Day(3, 20, 0)]
    assert kaplan_meier(everybody).share == [0.0]
    assert log_rank_p(everybody, everybody) is None
