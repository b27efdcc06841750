"""What the ladder buys, what it comes to, and what will be owed."""

import itertools
from datetime import date, timedelta

import numpy as np
import pytest
from scipy import stats

from flows.steps import money
from flows.steps.effects import Effect
from flows.steps.forecast import Ladder, forecast, plus_months
from flows.steps.ladder import shadow, tiers_reached

PILOT = {"w1": Ladder([100, 200, 300], 3, 2)}


def step(arm, quarter, streak, total_mb, members, is_enrolled=False):
    return {
        "arm": arm, "quarter": quarter, "streak": streak, "total_mb": total_mb, "member_count": members,
        "is_enrolled": is_enrolled, "earned_mb": 0,
    }  # fmt: skip


# --- The shadow ladder --------------------------------------------------------------------------------------------


def test_what_the_programme_buys_is_treatment_less_control_and_the_rest_is_deadweight():
    found = shadow([
        step("treatment", 1, 1, 300, 60, is_enrolled=True), step("treatment", 1, 0, 0, 40),
        step("control", 1, 1, 300, 20), step("control", 1, 0, 0, 30),
    ])  # fmt: skip
    assert (found.treatment_mean, found.control_mean, found.earned) == (180, 120, 18_000)
    assert found.bought.value == pytest.approx(60 * 100)
    assert found.deadweight.value == pytest.approx(18_000 - 6_000)
    assert found.deadweight.low == pytest.approx(18_000 - found.bought.high)
    interval = stats.ttest_ind([300] * 60 + [0] * 40, [300] * 20 + [0] * 30, equal_var=False).confidence_interval()
    assert (found.per_member.low, found.per_member.high) == pytest.approx((interval.low, interval.high))


def test_only_the_latest_decided_quarter_gives_the_total():
    early = [step(arm, 1, 1, 300, 10) for arm in ("treatment", "control")]
    late = [step(arm, 2, 2, 900, 10) for arm in ("treatment", "control")]
    assert shadow(early + late).treatment_mean == 900


def test_there_is_no_shadow_ladder_without_a_decided_quarter_or_without_an_arm():
    assert shadow([]) is None
    assert shadow([step("treatment", 1, 1, 300, 10)]) is None


def test_the_steps_reached_are_shares_of_an_arm():
    rows = [step("treatment", 1, 1, 300, 3), step("treatment", 1, 1, 0, 3), step("treatment", 1, 0, 0, 2)]
    assert [(row["streak"], row["members"], row["share"]) for row in tiers_reached(rows)] == [
        (0, 2, 0.25),
        (1, 6, 0.75),
    ]


# --- Money --------------------------------------------------------------------------------------------------------

SAVED = Effect(100.0, 50.0, 150.0, 20.0, 180.0)


def test_the_cost_is_certain_and_the_savings_are_not():
    [case] = money.cases(40_000, SAVED, [1.0], [5.0])
    assert (case.cost, case.saved.value, case.net.value) == (40, 500, 460)
    assert (case.net.low, case.net.high, case.net.always_low) == (210, 710, 60)


def test_at_break_even_savings_are_cost():
    price = money.break_even_price(40_000, SAVED, 5.0)
    [case] = money.cases(40_000, SAVED, [price.value], [5.0])
    assert case.net.value == pytest.approx(0)
    contact = money.break_even_contact(40_000, SAVED, 1.0)
    [case] = money.cases(40_000, SAVED, [1.0], [contact.value])
    assert case.net.value == pytest.approx(0)
    assert (contact.low, contact.high) == pytest.approx((40 / 150, 40 / 50))


def test_break_even_has_no_bound_where_perhaps_nothing_is_saved():
    unsure = Effect(10.0, -5.0, 25.0)
    assert money.break_even_contact(40_000, unsure, 1.0).high is None
    assert money.break_even_contact(40_000, Effect(10.0), 1.0) == money.BreakEven(1.0, 4.0, None, None)
    assert money.break_even_contact(40_000, Effect(-1.0, -2.0, 0.5), 1.0) is None
    assert money.break_even_price(0, SAVED, 5.0) is None


def test_a_rollout_is_the_pilot_a_member_times_its_lines():
    [row] = money.rollout([1_000_000], 500.0, Effect(0.1, 0.05, 0.15), 1.0, 5.0)
    assert (row.committed_mb, row.cost) == (500e6, 500_000)
    assert (row.net.value, row.net.low, row.net.high) == pytest.approx((0, -250_000, 250_000))


# --- The forecast -------------------------------------------------------------------------------------------------


def stands(enrolled_on, cut_on, done=0, called=(), since=False, left=False, members=100):
    """A row of `report_standing`, and those of `report_ended_quarters` that say how it came to stand there."""
    streaks = [0]
    for quarter in range(1, done + 1):
        streaks.append(0 if quarter in called else streaks[-1] + 1)
    row = {
        "wave_id": "w1", "cut_on": cut_on, "enrolled_on": enrolled_on, "ended_count": done, "streak": streaks[-1],
        "has_called_since": since, "has_left": left, "member_count": members,
    }  # fmt: skip
    ended = [
        {
            "wave_id": "w1", "cut_on": cut_on, "quarter": quarter, "streak_before": before,
            "is_call_free": streak > 0, "quarter_count": members,
        }
        for quarter, (before, streak) in enumerate(itertools.pairwise(streaks), 1)
        if not left
    ]  # fmt: skip
    return row, ended


def foreseen(*stood, quiet_before=0.7):
    rows = [row for row, _ in stood]
    return forecast(rows, [quarter for _, ended in stood for quarter in ended], PILOT, quiet_before)


def test_what_has_ended_is_certain_but_for_lines_that_end():
    # The third quarter has just ended: three months of 300 MB are all that is to come.
    cut_on = date(2018, 4, 17)
    first, *rest = foreseen(stands(date(2017, 7, 18), cut_on, done=3))
    assert first.first_on == date(2018, 4, 18)
    assert first.last_on == date(2018, 7, 17)
    assert 0.93 * 900 * 100 < first.mb <= 900 * 100
    assert [period.mb for period in rest] == [0, 0, 0]


def test_who_has_called_in_the_quarter_earns_nothing_by_it():
    cut_on = date(2017, 10, 1)
    called = foreseen(stands(date(2017, 7, 18), cut_on, since=True))
    silent = foreseen(stands(date(2017, 7, 18), cut_on))
    # The first quarter would be rewarded in the next three months.
    assert called[0].mb == 0
    assert silent[0].mb > 0.8 * 100 * 300 * 0.8
    assert 0 < called[1].mb < silent[1].mb


def test_who_has_left_is_owed_nothing():
    left = stands(date(2017, 7, 18), date(2018, 4, 17), done=3, left=True)
    assert sum(period.mb for period in foreseen(left)) == 0


def test_nobody_is_owed_nothing():
    assert foreseen() == []


def test_the_same_rows_give_the_same_forecast():
    one = stands(date(2017, 7, 18), date(2018, 1, 1), done=1)
    assert foreseen(one) == foreseen(one)


def test_months_clamp_as_the_contract_says():
    assert plus_months(date(2015, 11, 30), 3) == date(2016, 2, 29)
    assert plus_months(date(2015, 11, 30), 6) == date(2016, 5, 30)


def life(rng, enrolled_on, cut_on, is_quiet):
    """Where one subscriber stands on a day, and what it then is owed in the next three months."""
    rate = (0.1 if is_quiet else 0.475) / 30.4
    days = (plus_months(enrolled_on, 9) - enrolled_on).days
    calls = {enrolled_on + timedelta(days=int(day)) for day in np.flatnonzero(rng.random(days) < rate)}
    starts = [plus_months(enrolled_on, 3 * quarter) for quarter in range(4)]
    called = [quarter for quarter in (1, 2, 3) if any(starts[quarter - 1] <= day < starts[quarter] for day in calls)]
    done = sum(starts[quarter] <= cut_on + timedelta(days=1) for quarter in (1, 2, 3))
    since = done < 3 and any(starts[done] <= day <= cut_on for day in calls)
    owed = 0
    for quarter in (1, 2, 3):
        streak = quarter - max((other for other in called if other <= quarter), default=0)
        for month in range(3):
            due_on = plus_months(enrolled_on, 3 * quarter + month) + timedelta(days=1)
            if cut_on < due_on <= plus_months(cut_on, 3) and streak:
                owed += 100 * streak
    known = [quarter for quarter in called if quarter <= done]
    return stands(enrolled_on, cut_on, done, known, since, members=1), owed


def test_the_forecast_covers_what_comes_in_worlds_of_the_demos_kind():
    rng = np.random.default_rng(12)
    worlds, covered, errors = 20, 0, []
    for _ in range(worlds):
        lives = [
            life(
                rng, date(2017, 7, 18) + timedelta(days=int(rng.integers(0, 60))), date(2018, 1, 31), rng.random() < 0.6
            )
            for _ in range(300)
        ]
        first = foreseen(*(stood for stood, _ in lives), quiet_before=0.6)[0]
        actual = sum(owed for _, owed in lives)
        covered += first.low <= actual <= first.high
        errors.append(first.mb / actual - 1)
    assert covered >= stats.binom.ppf(0.001, worlds, 0.95)
    assert abs(np.mean(errors)) < 0.05
