"""The KPI rows of a wave: which are there, in which order, and what stands in them where little is known."""

import pytest

from flows.settings import Settings
from flows.steps.kpis import Figure, figures_of_wave, render
from test_experiment import moments

SETTINGS = Settings(eur_per_mb=0.001, eur_per_contact=5)


def wave(window_days: int = 30, calls: int = 50, unattributed: int = 2) -> dict:
    return {
        "wave_id": "w",
        "window_days": window_days,
        "counting_call_count": calls,
        "unattributed_call_count": unattributed,
    }


def arm(contacts: list[int], before: list[int] | None = None, terminated: int = 0, **more) -> dict:
    """An arm's row of `kpi_moments`; `more` names what is not 0."""
    sums = moments(contacts, before)
    row = dict.fromkeys(("invited", "installed", "signed_in", "watched", "enrolled"), 0)
    return (
        {f"{name}_count": count for name, count in row.items()}
        | {"member_count": sums.n, "terminated_count": terminated, "call_free_count": contacts.count(0)}
        | {"contact_sum": sums.y, "contact_square_sum": sums.yy, "before_sum": sums.x, "before_square_sum": sums.xx}
        | {"product_sum": sums.xy, "days_to_enrol_median": None, "granted_mb": 0, "committed_mb": 0}
        | more
    )


TREATMENT = arm(
    [0, 1, 0, 2], [1, 2, 0, 2], invited_count=4, installed_count=3, signed_in_count=3, watched_count=2,
    enrolled_count=2, days_to_enrol_median=3.5, granted_mb=1200, committed_mb=1300,
)  # fmt: skip
CONTROL = arm([2, 0, 4], [1, 0, 3], terminated=1)
QUARTERS = [
    {"quarter": 1, "decided_count": 2, "call_free_count": 1},
    {"quarter": 2, "decided_count": 1, "call_free_count": 1},
]


def figures(treatment: dict = TREATMENT, control: dict = CONTROL, quarters=(), **about) -> list[Figure]:
    return list(figures_of_wave(wave(**about), {"control": control, "treatment": treatment}, list(quarters), SETTINGS))


def names(found: list[Figure]) -> list[str]:
    return [figure.kpi for figure in found]


def by_name(found: list[Figure]) -> dict[str, Figure]:
    return {figure.kpi + ("" if figure.arm != "control" else " of control"): figure for figure in found}


IN_ORDER = [
    ("members", "treatment", None),
    ("members", "control", None),
    ("invited", "treatment", None),
    ("app_installed", "treatment", None),
    ("signed_in", "treatment", None),
    ("video_watched", "treatment", None),
    ("enrolled", "treatment", None),
    ("enrolment_rate", "treatment", None),
    ("days_to_enrol_median", "treatment", None),
    ("contacts_per_member", "treatment", None),
    ("contacts_per_member", "control", None),
    ("call_free_share", "treatment", None),
    ("call_free_share", "control", None),
    ("itt_contacts", None, None),
    ("itt_contacts_p", None, None),
    ("itt_contacts_cuped", None, None),
    ("itt_contacts_relative", None, None),
    ("tot_contacts", None, None),
    ("attrition_p", None, None),
    ("call_free_quarters_share", "treatment", 1),
    ("call_free_quarters_share", "treatment", 2),
    ("granted_mb", "treatment", None),
    ("committed_mb", "treatment", None),
    ("grant_cost_eur", "treatment", None),
    ("saved_contacts", "treatment", None),
    ("saved_eur", "treatment", None),
    ("net_eur", "treatment", None),
    ("unattributed_share", None, None),
]
OF_THE_WINDOW = {
    "contacts_per_member", "call_free_share", "itt_contacts", "itt_contacts_p", "itt_contacts_cuped",
    "itt_contacts_relative", "tot_contacts", "attrition_p", "saved_contacts", "saved_eur", "net_eur",
    "unattributed_share",
}  # fmt: skip
OF_A_DIFFERENCE = {kpi for kpi in OF_THE_WINDOW if kpi.startswith(("itt_", "tot_", "saved_", "net_"))}


def test_the_rows_come_in_the_order_of_the_specification():
    assert [figure[1:4] for figure in figures(quarters=QUARTERS)] == IN_ORDER


def test_the_figures_of_a_small_wave_are_those_worked_out_by_hand():
    found = by_name(figures(quarters=QUARTERS[:1]))
    values = {name: figure.estimate.value for name, figure in found.items()}
    by_hand = {
        "members": (4, 4), "members of control": (3, 3), "invited": (4, 4), "app_installed": (3, 4),
        "signed_in": (3, 4), "video_watched": (2, 4), "enrolled": (2, 4), "enrolment_rate": (0.5, 4),
        "days_to_enrol_median": (3.5, 2), "contacts_per_member": (0.75, 4), "contacts_per_member of control": (2, 3),
        "call_free_share": (0.5, 4), "call_free_share of control": (1 / 3, 3), "itt_contacts": (-1.25, 7),
        # Variances 0.9167 and 4: t = -1.25 / sqrt(0.22917 + 1.33333) = -1, 2.7 degrees of freedom.
        "itt_contacts_p": (0.3984980, 7),
        # theta = (20 - 9 * 9 / 7) / (19 - 9 * 9 / 7) = 59 / 52; the means of x are 5 / 4 and 4 / 3.
        "itt_contacts_cuped": (-1.25 + 59 / 52 / 12, 7),
        "itt_contacts_relative": (-0.625, 7), "tot_contacts": (-2.5, 7),
        # Of seven members one is terminated, in the smaller arm: all tables are at most as probable as 3/7 or 4/7.
        "attrition_p": (3 / 7, 7), "call_free_quarters_share": (0.5, 2), "granted_mb": (1200, 2),
        "committed_mb": (1300, 2), "grant_cost_eur": (1.3, 2), "saved_contacts": (5, 4), "saved_eur": (25, 4),
        "net_eur": (23.7, 4), "unattributed_share": (0.04, 50),
    }  # fmt: skip
    assert values == pytest.approx({name: value for name, (value, _) in by_hand.items()}, rel=1e-4)
    assert {name: figure.n for name, figure in found.items()} == {name: n for name, (_, n) in by_hand.items()}


def test_intervals_in_another_unit_keep_their_order():
    found = by_name(figures())
    low, high = found["itt_contacts"].estimate[1:]
    assert low < found["itt_contacts"].estimate.value < high
    assert found["tot_contacts"].estimate[1:] == pytest.approx((2 * low, 2 * high))
    assert found["saved_contacts"].estimate[1:] == pytest.approx((-4 * high, -4 * low))
    assert found["saved_eur"].estimate[1:] == pytest.approx((-20 * high, -20 * low))
    assert found["net_eur"].estimate[1:] == pytest.approx((-20 * high - 1.3, -20 * low - 1.3))
    for kpi in ("itt_contacts_p", "attrition_p", "unattributed_share", "grant_cost_eur", "days_to_enrol_median"):
        assert found[kpi].estimate[1:] == (None, None)


def test_an_empty_window_says_nothing_of_contacts():
    found = names(figures(quarters=QUARTERS, window_days=0, calls=0, unattributed=0))
    assert found == [kpi for kpi, _, _ in IN_ORDER if kpi not in OF_THE_WINDOW]


def test_one_member_in_an_arm_has_a_share_and_no_mean():
    found = by_name(figures(control=arm([1])))
    assert not OF_A_DIFFERENCE & set(found)
    assert "contacts_per_member" in found
    assert "contacts_per_member of control" not in found
    assert found["call_free_share of control"].estimate.value == 0
    assert "attrition_p" in found


def test_an_arm_without_members_is_counted_and_no_more():
    found = by_name(figures(treatment=arm([])))
    assert (found["members"].estimate.value, found["members"].n) == (0, 0)
    assert (found["granted_mb"].estimate.value, found["grant_cost_eur"].estimate.value) == (0, 0)
    assert not {"enrolment_rate", "days_to_enrol_median", "call_free_share", "attrition_p"} & set(found)
    assert not OF_A_DIFFERENCE & set(found)
    alone = by_name(figures(control=arm([])))
    assert "contacts_per_member" in alone
    assert not {"attrition_p", "call_free_share of control"} & set(alone)


def test_while_nobody_has_enrolled_there_is_no_median_and_no_effect_on_the_enrolled():
    found = by_name(figures(treatment=arm([0, 1, 0, 2])))
    assert found["enrolment_rate"].estimate[:2] == (0, 0)
    assert not {"days_to_enrol_median", "tot_contacts"} & set(found)


def test_without_a_contact_in_control_there_is_no_relative_difference():
    found = by_name(figures(control=arm([0, 0])))
    assert "itt_contacts_relative" not in found
    assert found["itt_contacts"].estimate.ci_low is not None
    assert found["contacts_per_member of control"].estimate == (0, None, None)


def test_where_nothing_varies_there_are_values_and_no_intervals():
    found = by_name(figures(treatment=arm([1, 1], enrolled_count=1, days_to_enrol_median=0.0), control=arm([2, 2])))
    for kpi in OF_A_DIFFERENCE - {"itt_contacts_p"}:
        assert found[kpi].estimate.value is not None
        assert found[kpi].estimate[1:] == (None, None), kpi
    assert found["itt_contacts_p"].estimate == (None, None, None)


def test_a_window_without_calls_has_no_share_of_them():
    assert "unattributed_share" not in names(figures(calls=0, unattributed=0))


def test_numbers_are_written_with_ten_digits_and_dust_as_zero():
    def written(value, low=None, high=None, n=3, quarter=None):
        from flows.steps.experiment import Estimate

        lines = b"".join(render((Figure("w", "kpi", None, quarter, Estimate(value, low, high), n),))).decode()
        assert lines.startswith("wave_id,kpi,arm,quarter,value,ci_low,ci_high,n\nw,kpi,,")
        assert lines.endswith("\n")
        return lines.splitlines()[1].removeprefix("w,kpi,,")

    assert written(1 / 3) == ",0.3333333333,,,3"
    assert written(-1e-13, -9.9e-13, 1e-12) == ",0,0,1e-12,3"
    assert written(-0.0) == ",0,,,3"
    assert written(12345678901.5, n=1_000_000) == ",1.23456789e+10,,,1000000"
    assert written(None, quarter=2) == "2,,,,3"
