"""Synthetic pilots with a known effect: intervals hold the truth, and pilots without one raise no alarm, as promised.

The bounds are binomial: a sound method leaves them in one of a thousand such tests. The pilots come from fixed seeds.
`CALLFREE_PILOTS=4000` draws as many, and narrows the bounds.
"""

import os

import numpy as np
import pytest
from scipy import stats

from flows.settings import Settings
from flows.steps.kpis import Figure, figures_of_wave
from test_kpis import wave

PILOTS = int(os.environ.get("CALLFREE_PILOTS", "400"))
SETTINGS = Settings(eur_per_mb=0, eur_per_contact=5)
TREATED, LEFT_ALONE = 800, 400
ENROLS, STAYS_AWAY, CONTACTS, LEAVES = 0.45, 0.30, 2.0, 0.06


def pilot(chance: np.random.Generator, has_effect: bool) -> dict[str, Figure]:
    """The figures of a pilot: contacts are Poisson around each member's own taste for calling, before and after."""
    n = TREATED + LEFT_ALONE
    taste = chance.gamma(1.5, 1 / 1.5, n)
    x = chance.poisson(0.5 * taste)
    enrolled = (chance.random(n) < ENROLS) & (np.arange(n) < TREATED)
    y = chance.poisson(CONTACTS * taste * np.where(enrolled & has_effect, 1 - STAYS_AWAY, 1))
    gone = chance.random(n) < LEAVES

    def row(of: slice) -> dict:
        a, b = x[of], y[of]
        return {
            "member_count": len(b), "invited_count": 0, "installed_count": 0, "signed_in_count": 0,
            "watched_count": 0, "enrolled_count": int(enrolled[of].sum()), "days_to_enrol_median": 1.0,
            "contact_sum": int(b.sum()), "contact_square_sum": int((b * b).sum()), "before_sum": int(a.sum()),
            "before_square_sum": int((a * a).sum()), "product_sum": int((a * b).sum()),
            "call_free_count": int((b == 0).sum()), "terminated_count": int(gone[of].sum()),
            "granted_mb": 0, "committed_mb": 0,
        }  # fmt: skip

    arms = {"treatment": row(slice(0, TREATED)), "control": row(slice(TREATED, n))}
    found = figures_of_wave(wave(), arms, [], SETTINGS)
    return {figure.kpi + (" of control" if figure.arm == "control" else ""): figure for figure in found}


EFFECT = -CONTACTS * ENROLS * STAYS_AWAY
# A gamma mixture of Poissons without a call: (1 + mean / shape) ** -shape.
FREE, FREE_WHEN_ENROLLED = ((1 + mean / 1.5) ** -1.5 for mean in (CONTACTS, CONTACTS * (1 - STAYS_AWAY)))
TRUTH = {
    "enrolment_rate": ENROLS,
    "contacts_per_member": CONTACTS + EFFECT,
    "contacts_per_member of control": CONTACTS,
    "call_free_share": ENROLS * FREE_WHEN_ENROLLED + (1 - ENROLS) * FREE,
    "call_free_share of control": FREE,
    "itt_contacts": EFFECT,
    "itt_contacts_cuped": EFFECT,
    "itt_contacts_relative": EFFECT / CONTACTS,
    "tot_contacts": -CONTACTS * STAYS_AWAY,
    "saved_contacts": -EFFECT * TREATED,
    "saved_eur": -EFFECT * TREATED * 5,
}


@pytest.fixture(scope="module")
def pilots() -> list[dict[str, Figure]]:
    return [pilot(np.random.default_rng((2017, seed)), has_effect=True) for seed in range(PILOTS)]


@pytest.fixture(scope="module")
def idle_pilots() -> list[dict[str, Figure]]:
    return [pilot(np.random.default_rng((1908, seed)), has_effect=False) for seed in range(PILOTS)]


def is_as_often_as(count: int, probability: float) -> bool:
    low, high = stats.binom.ppf([0.0005, 0.9995], PILOTS, probability)
    return low <= count <= high


@pytest.mark.parametrize("kpi", TRUTH)
def test_nineteen_of_twenty_intervals_hold_the_truth(kpi, pilots):
    estimates = [figures[kpi].estimate for figures in pilots]
    held = sum(estimate.ci_low <= TRUTH[kpi] <= estimate.ci_high for estimate in estimates)
    assert is_as_often_as(held, 0.95), f"{held} of {PILOTS}"
    values = np.array([estimate.value for estimate in estimates])
    assert abs(values.mean() - TRUTH[kpi]) < 4 * values.std() / PILOTS**0.5


@pytest.mark.parametrize("kpi", ["itt_contacts", "itt_contacts_cuped", "itt_contacts_relative", "tot_contacts"])
def test_one_in_twenty_pilots_without_an_effect_seems_to_have_one(kpi, idle_pilots):
    estimates = [figures[kpi].estimate for figures in idle_pilots]
    alarms = sum(not estimate.ci_low <= 0 <= estimate.ci_high for estimate in estimates)
    assert is_as_often_as(alarms, 0.05), f"{alarms} of {PILOTS}"


@pytest.mark.parametrize("kpi", ["itt_contacts_p", "attrition_p"])
def test_without_an_effect_p_is_as_often_small_as_it_says(kpi, idle_pilots):
    values = [figures[kpi].estimate.value for figures in idle_pilots]
    for level in (0.05, 0.2, 0.5):
        assert is_as_often_as(sum(p < level for p in values), level), f"{sum(p < level for p in values)} under {level}"


def test_the_interval_and_p_of_a_pilot_say_the_same(pilots, idle_pilots):
    for figures in pilots + idle_pilots:
        effect = figures["itt_contacts"].estimate
        assert (effect.ci_low <= 0 <= effect.ci_high) == (figures["itt_contacts_p"].estimate.value >= 0.05)


def test_contacts_before_the_invitation_make_the_interval_narrower(pilots):
    def widths(kpi):
        return np.array([figures[kpi].estimate.ci_high - figures[kpi].estimate.ci_low for figures in pilots])

    # What x explains of y: the square of their correlation, here 0.5 * 2 * var(taste) against the variances.
    explained = (0.5 * 2 / 1.5) ** 2 / ((0.5 + 0.25 / 1.5) * (2 + 4 / 1.5))
    narrower = np.mean(widths("itt_contacts_cuped") / widths("itt_contacts"))
    assert narrower == pytest.approx((1 - explained) ** 0.5, abs=0.01)
