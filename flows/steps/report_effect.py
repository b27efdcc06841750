"""Does it work, and for whom? The second and the third section of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.steps import report_charts, survival
from flows.steps.effects import (
    Effect,
    adjusted_difference,
    corrected,
    difference,
    heterogeneity_p,
    relative_difference,
)
from flows.steps.experiment import Moments, share
from flows.steps.forecast import DAYS_IN_A_YEAR
from flows.steps.report_facts import Facts, Rows
from flows.steps.report_parts import (
    DASH,
    Figure,
    Section,
    Table,
    Text,
    Tiles,
    between,
    interval_cells,
    number,
    p_value,
    percent,
)

ARMS = ("treatment", "control")
BEFORE_GROUPS = ("No contact before", "1 contact before", "2 contacts before", "3 or more before")


@dataclass(frozen=True)
class Effects:
    """The effects of a wave over its window; each is None where it cannot be said."""

    plain: Effect | None
    adjusted: Effect | None
    relative: Effect | None
    per_enrolled: Effect | None


def planned_variance(calls_per_line_year: float, days: int) -> float:
    """The variance of a member's contacts that was planned for so many days: that of a Poisson count."""
    return calls_per_line_year * days / DAYS_IN_A_YEAR


def moments(row: Mapping[str, Any]) -> Moments:
    """The moments in a row of `kpi_moments`, of `report_cells` or, without x, of `report_months`."""
    names = ("member_count", "contact_sum", "contact_square_sum", "before_sum", "before_square_sum", "product_sum")
    return Moments(*(row.get(name, 0) for name in names))


def effects_of(wave: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]], planned: float) -> Effects:
    """The effects over the window, none of them while it is empty."""
    if not wave["window_days"]:
        return Effects(None, None, None, None)
    pair = moments(arms["treatment"]), moments(arms["control"])
    plain, enrolled = difference(*pair, planned), arms["treatment"]["enrolled_count"]
    return Effects(
        plain,
        adjusted_difference(*pair, planned),
        relative_difference(*pair, planned),
        plain.times(pair[0].n / enrolled) if plain and enrolled else None,
    )


def does_it_work(wave: dict[str, Any], facts: Facts, arms: dict[str, dict[str, Any]], effects: Effects) -> Section:
    """The effect, how it develops, how long nobody calls, and the steps of the ladder."""
    question, wave_id = "Does it work?", wave["wave_id"]
    if effects.plain is None:
        why = "No day of calls after the invitation is complete yet" if not wave["window_days"] else _who_lacks(arms)
        return Section(question, f"That cannot be said. {why}.", [_funnel(arms["treatment"])])
    parts = [_tiles(arms, effects), _effect_table(effects)]
    if effects.plain.low is None:
        parts.append(Text("No member's contacts differ from another's, so there are no intervals and no tests."))
    parts += [
        part
        for part in (
            _survival(facts.of_wave(wave_id, "first_contacts")),
            _quarters(facts.of_wave(wave_id, "quarters")),
            _funnel(arms["treatment"]),
        )
        if part
    ]
    return Section(question, _answer(wave, effects), parts)


def _who_lacks(arms: Mapping[str, Mapping[str, Any]]) -> str:
    lacking = [arm for arm in ARMS if arms[arm]["member_count"] < 2]
    has = "has" if len(lacking) == 1 else "have"
    return f"It takes two members in each arm, and {' and '.join(lacking)} {has} fewer"


def _answer(wave: Mapping[str, Any], effects: Effects) -> str:
    plain = effects.plain
    if plain.value == 0:
        return f"After {wave['window_days']} days both arms call alike."
    way = "fewer" if plain.value < 0 else "more"
    relative = f" ({percent(abs(effects.relative.value))})" if effects.relative else ""
    return (
        f"In {wave['window_days']} days a member of treatment had {number(abs(plain.value), 3)} contacts {way} than "
        f"one of control{relative}."
    )


def _tiles(arms: Mapping[str, Mapping[str, Any]], effects: Effects) -> Tiles:
    tiles = []
    for arm in ARMS:
        row = arms[arm]
        free = share(row["call_free_count"], row["member_count"])
        tiles.append(
            (
                f"Contacts a member, {arm}",
                number(row["contact_sum"] / row["member_count"], 3),
                f"{percent(free.value)} did not call ({between(free.ci_low, free.ci_high, 1, 100)})",
            )
        )
    value, fixed, always = interval_cells(effects.plain)
    tiles.append(("Difference", value, f"fixed {fixed}; always valid {always}"))
    if effects.relative:
        value, fixed, always = interval_cells(effects.relative, 1, 100)
        tiles.append(("Relative", f"{value} %", f"fixed {fixed}; always valid {always}"))
    return Tiles(tiles)


def _effect_table(effects: Effects) -> Table:
    def row(name: str, effect: Effect | None, digits: int = 3, scale: float = 1) -> list[str]:
        return [name, *interval_cells(effect, digits, scale), p_value(effect.p if effect else None)]

    return Table(
        "Effect on contacts, treatment less control, everybody as drawn",
        ["Effect", "Value", "Fixed 95 %", "Always valid 95 %", "p"],
        [
            row("Contacts a member", effects.plain),
            row("Adjusted by contacts before", effects.adjusted),
            row("In per cent of control", effects.relative, 1, 100),
            row("Contacts per enrolled member", effects.per_enrolled),
        ],
    )


def _survival(rows: Rows) -> Figure | None:
    days = {
        arm: [
            survival.Day(row["day"], row["first_contact_count"], row["left_count"]) for row in rows if row["arm"] == arm
        ]
        for arm in ARMS
    }
    found = {arm: survival.kaplan_meier(days[arm]) for arm in ARMS if days[arm]}
    last = max((row["day"] for row in rows), default=0)
    values = [
        {
            "arm": arm,
            "day": day,
            "share": value,
            "low": max(value - 1.96 * error, 0),
            "high": min(value + 1.96 * error, 1),
        }
        for arm, curve in found.items()
        for day, value, error in survival.at(curve, [*range(0, last, 7), last])
    ]
    if not values:
        return None
    p = survival.log_rank_p(days["treatment"], days["control"])
    by_day: dict[int, dict[str, dict[str, float]]] = {}
    for row in values:
        by_day.setdefault(row["day"], {})[row["arm"]] = row
    return Figure(
        "Until the first contact",
        "Share of members without a contact since the invitation (Kaplan-Meier; a line that ends leaves the count), "
        f"with 95 % intervals. Log-rank test: p {p_value(p) if p is None or p < 0.001 else '= ' + p_value(p)}.",
        report_charts.curves(values, "days since the invitation", "still without a contact"),
        Table(
            "Share without a contact, week by week",
            ["Day", "Treatment", "95 %", "Control", "95 %"],
            [
                [str(day), *(cell for arm in ARMS for cell in _share_cells(of_day.get(arm)))]
                for day, of_day in by_day.items()
            ],
        ),
    )


def _share_cells(row: Mapping[str, float] | None) -> tuple[str, str]:
    return (DASH, DASH) if row is None else (percent(row["share"]), between(row["low"], row["high"], 1, 100))


def _quarters(rows: Rows) -> Figure | None:
    if not rows:
        return None
    size: dict[int, int] = {}
    for row in rows:
        size[row["quarter"]] = size.get(row["quarter"], 0) + row["quarter_count"]

    def step(streak: int) -> str:
        return "a call" if streak == 0 else f"step {streak}"

    values = [
        {
            "label": f"Quarter {row['quarter']}",
            "step": step(row["streak"]),
            "share": row["quarter_count"] / size[row["quarter"]],
        }
        for row in rows
    ]
    return Figure(
        "Quarters without a call, and the step reached",
        "Decided quarters of the enrolled, each counted from its own enrolment. Step 2 is two quarters without a call "
        "in a row, and so on; a call leads back to the start.",
        report_charts.stacks(values, "share of decided quarters"),
        Table(
            "Decided quarters by step reached",
            ["Quarter", "Step", "Quarters", "Share"],
            [
                [
                    f"Quarter {row['quarter']}",
                    step(row["streak"]),
                    number(row["quarter_count"]),
                    percent(value["share"]),
                ]
                for row, value in zip(rows, values, strict=True)
            ],
        ),
    )


def _funnel(treatment: Mapping[str, Any]) -> Table:
    members = treatment["member_count"]
    steps = {
        "Drawn": members,
        "In the invitation file": treatment["invited_count"],
        "App installed": treatment["installed_count"],
        "Signed in": treatment["signed_in_count"],
        "Video watched": treatment["watched_count"],
        "Enrolled": treatment["enrolled_count"],
    }
    return Table(
        "The way to enrolment (treatment)",
        ["Step", "Members", "Share of drawn"],
        [[name, number(count), percent(count / members if members else None)] for name, count in steps.items()],
    )


# --- For whom -----------------------------------------------------------------------------------------------------


def for_whom(wave: dict[str, Any], cells: Rows, months: Rows, planned: float, planned_month: float) -> Section:
    """The effect by month, brand and contacts before, all p of them corrected together."""
    question = "For whom does it work?"
    groups: dict[str, list[tuple[str, Effect]]] = {"By month since the invitation": _by_month(months, planned_month)}
    if wave["window_days"]:
        groups["By brand"] = _by(cells, "brand", lambda level: f"Brand {level}", planned)
        groups["By contacts before the invitation"] = _by(
            cells, "before_group", lambda level: BEFORE_GROUPS[level], planned
        )
    groups = {title: found for title, found in groups.items() if found}
    if not groups:
        return Section(question, "There is no group with two members in each arm to compare.", [])
    holm = iter(corrected([effect.p for found in groups.values() for _, effect in found]))
    parts: list[Any] = []
    shown: list[str] = []
    for title, found in groups.items():
        ps = [next(holm) for _ in found]
        shown += [label for (label, _), p in zip(found, ps, strict=True) if p is not None and p < 0.05]
        parts.append(_group_figure(title, found, ps))
    count = sum(map(len, groups.values()))
    answer = (
        f"Of {count} comparisons, {len(shown)} show a difference once corrected for being many: {', '.join(shown)}."
        if shown
        else f"None of {count} comparisons shows a difference once corrected for being many."
    )
    answer += " The tests are for one look, on a day named beforehand."
    return Section(question, answer, parts)


def _by_month(rows: Rows, planned: float) -> list[tuple[str, Effect]]:
    found = []
    for month in sorted({row["month"] for row in rows}):
        arms = {row["arm"]: moments(row) for row in rows if row["month"] == month}
        effect = difference(arms["treatment"], arms["control"], planned) if len(arms) == 2 else None
        if effect:
            found.append((f"Month {month}", effect))
    return found


def _by(cells: Rows, trait: str, told: Any, planned: float) -> list[tuple[str, Effect]]:
    found = []
    for level in sorted({cell[trait] for cell in cells}):
        nobody = Moments(0, 0, 0, 0, 0, 0)
        arms = [
            sum((moments(cell) for cell in cells if cell["arm"] == arm and cell[trait] == level), nobody)
            for arm in ARMS
        ]
        effect = difference(*arms, planned)
        if effect:
            found.append((told(level), effect))
    return found


def _group_figure(title: str, found: Sequence[tuple[str, Effect]], holm: Sequence[float | None]) -> Figure:
    q = heterogeneity_p(effect for _, effect in found)
    alike = "" if q is None else (
        f" That the effect is the same in all of them has p {'' if q < 0.001 else '= '}{p_value(q)} (Cochran's Q)."
    )  # fmt: skip
    return Figure(
        title,
        "Difference in contacts a member, treatment less control: thick the fixed 95 % interval, thin the always-valid "
        f"one.{alike}",
        report_charts.intervals(
            [
                {
                    "label": label, "value": effect.value, "low": effect.low, "high": effect.high,
                    "always_low": effect.always_low, "always_high": effect.always_high,
                }
                for label, effect in found
            ],
            "contacts a member",
        ),
        Table(
            title,
            ["Group", "Members", "Difference", "Fixed 95 %", "Always valid 95 %", "p", "p, corrected (Holm)"],
            [
                [label, number(effect.n), *interval_cells(effect), p_value(effect.p), p_value(p)]
                for (label, effect), p in zip(found, holm, strict=True)
            ],
        ),
    )  # fmt: skip
