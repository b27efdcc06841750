"""Is the pilot healthy, and can it be judged today? The first section of the report, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flows.steps import health, report_charts
from flows.steps.effects import Effect
from flows.steps.experiment import independence_p
from flows.steps.report_facts import Rows
from flows.steps.report_parts import Checks, Figure, Section, Table, Text, between, number, p_value, percent, signed

_ANSWERS = {
    health.GOOD: "Yes. Every check below is in order.",
    health.ODD: "It can be read with care: not every check below is in order.",
    health.BAD: "No. Do not read the effects below as effects of the programme before the red points are cleared.",
}


@dataclass(frozen=True)
class Trust:
    """The health of a wave, and the section that tells it."""

    state: str
    section: Section


def trust(wave: dict[str, Any], arms: dict[str, dict[str, Any]], cells: Rows) -> Trust:
    """`wave` is its row of `kpi_waves` and `report_waves`, `arms` those of `kpi_moments` by arm."""
    treatment, control = arms["treatment"], arms["control"]
    size = {arm: row["member_count"] for arm, row in arms.items()}
    balance, p = health.compare_before(cells)
    checks = [
        health.sample_ratio(size["treatment"], size["control"], wave["treatment_size"], wave["control_size"]),
        health.balance_check(balance, p),
        health.completeness(wave["window_days"], wave["waived_days"], wave["missing_days"]),
    ]
    if wave["window_days"]:
        ended = {arm: row["terminated_count"] for arm, row in arms.items()}
        attrition_p = None
        if min(size.values()):
            attrition_p = independence_p(*((ended[arm], size[arm] - ended[arm]) for arm in ("treatment", "control")))
        checks += [
            health.attrition(ended, size, attrition_p),
            health.identification(wave["counting_call_count"], wave["unattributed_call_count"]),
        ]
    state = health.judge(checks)
    parts = [Checks([(check.state, check.name, _with_p(check)) for check in checks])]
    spread = _spread(wave, treatment, control)
    if spread:
        parts.append(Text(spread))
    if balance:
        parts.append(_balance_figure(balance))
    return Trust(state, Section("Is the pilot healthy?", _ANSWERS[state], parts))


def _with_p(check: health.Check) -> str:
    return check.sentence if check.p is None else f"{check.sentence} (p {_equals(p_value(check.p))})"


def _equals(shown: str) -> str:
    return shown if shown.startswith("<") else f"= {shown}"


def _spread(wave: dict[str, Any], treatment: dict[str, Any], control: dict[str, Any]) -> str | None:
    if not wave["window_days"] or min(treatment["member_count"], control["member_count"]) == 0:
        return None
    means = [row["contact_sum"] / row["member_count"] for row in (treatment, control)]
    found = health.spread_evenly(*means, wave["contact_count"], wave["unattributed_contact_count"], wave["line_count"])
    if found is None:
        return None
    now = means[0] / means[1] - 1 if means[1] else None
    return (
        f"{number(wave['unattributed_contact_count'])} contacts of the window belong to nobody. Spread evenly over all "
        f"{number(wave['line_count'])} lines, each would have {number(found.extra_per_line, 3)} more: the difference "
        f"between the arms would stay, and the relative effect would go from {_share(now)} to "
        f"{_share(found.relative_over_lines)}. Spread as the known contacts fall, the difference would go from "
        f"{signed(means[0] - means[1], 3)} to {signed(found.difference_as_known, 3)} contacts a member."
    )


def _share(value: float | None) -> str:
    return "none" if value is None else f"{signed(100 * value, 1)} %"


def _balance_figure(balance: list[health.Balance]) -> Figure | Table:
    def shown(one: health.Balance, value: float) -> str:
        return percent(value) if one.is_share else number(value, 3 if "Contacts" in one.trait else 0)

    known = [one for one in balance if one.standardised is not None]
    table = Table(
        "The arms before the invitation",
        ["", "Treatment", "Control", "Standardised difference"],
        [
            [one.trait, shown(one, one.treatment), shown(one, one.control), signed(one.standardised, 3)]
            for one in balance
        ],
    )
    if not known:
        return table
    return Figure(
        "The arms before the invitation",
        "Standardised differences, treatment less control, of what was known of the members before the invitation. "
        f"Within the dashed lines, {health.ODD_DIFFERENCE} of a standard deviation, a difference is small.",
        report_charts.dots(
            [{"label": one.trait, "value": one.standardised} for one in known],
            "standardised difference",
            health.ODD_DIFFERENCE,
        ),
        table,
    )


def verdict(wave: dict[str, Any], state: str, effect: Effect | None) -> str:
    """Can the pilot be judged today? One or two sentences."""
    if state == health.BAD:
        return "Not to be judged: the pilot is not healthy."
    if effect is None:
        why = "the window is empty" if not wave["window_days"] else "an arm has fewer than two members"
        return f"Not to be judged: {why}."
    if effect.low is None:
        return "Not to be judged: no member's contacts differ from another's."
    way = "less" if effect.value < 0 else "more"
    if effect.always_excludes_zero:
        return f"Can be judged today: treatment calls {way} than control, and this holds however often one has looked."
    closes_on = wave["window_closes_on"]
    fixed = between(effect.low, effect.high, 3)
    if wave["window_until"] >= closes_on:
        found = f"treatment calls {way}" if effect.excludes_zero else "no difference is shown"
        return f"Can be judged: the window has closed as planned, and {found} (fixed interval {fixed} contacts)."
    if effect.excludes_zero:
        return (
            f"Not yet to be judged: treatment calls {way} by the fixed interval, but that holds for one look on a day "
            f"named beforehand. For those who look every day the always-valid interval counts, and it contains 0. "
            f"The window closes on {closes_on}."
        )
    return f"Not yet to be judged: both intervals contain 0. The window closes on {closes_on}."
