"""What does it cost, and what is owed? The fourth and the fifth section of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from flows.steps import ladder, money, report_charts
from flows.steps.effects import Effect
from flows.steps.forecast import DAYS_IN_A_YEAR, Ladder, Period, forecast
from flows.steps.report_effect import Effects
from flows.steps.report_facts import Facts, Rows
from flows.steps.report_parts import (
    DASH,
    Figure,
    Section,
    Table,
    Text,
    Tiles,
    between,
    euro,
    number,
    percent,
    signed,
)


@dataclass(frozen=True)
class Prices:
    """What money is reckoned with: EUR a GB of data, EUR a contact, contacts a line and year, lines of a rollout.

    Where one answer is given, it is for the expected price and cost, which are those of the KPIs.
    """

    eur_per_gb: tuple[float, ...]
    eur_per_contact: tuple[float, ...]
    eur_per_gb_expected: float
    eur_per_contact_expected: float
    calls_per_line_year: float
    lines: tuple[int, ...]


def what_does_it_cost(
    wave: dict[str, Any], arms: dict[str, dict[str, Any]], effects: Effects, ladder_rows: Rows, prices: Prices
) -> Section:
    """Cost, savings, break-even, rollout, and how much of the volume the programme buys."""
    treatment = arms["treatment"]
    volume, members = treatment["committed_mb"], treatment["member_count"]
    question = "What does it cost?"
    gigabytes = f"{number(volume / money.MB_PER_GB, 1)} GB are granted or owed"
    parts: list[Any] = []
    if effects.plain is None:
        answer = f"{gigabytes}. What it saves cannot be said, since the arms cannot be compared."
        parts.append(_cost_alone(volume, prices))
    else:
        saved = effects.plain.times(-members)
        found = money.cases(volume, saved, prices.eur_per_gb, prices.eur_per_contact)
        [expected] = money.cases(volume, saved, [prices.eur_per_gb_expected], [prices.eur_per_contact_expected])
        answer = (
            f"{gigabytes}. At {expected.eur_per_gb:.2f} EUR a GB and {expected.eur_per_contact:.2f} EUR a contact the "
            f"programme comes to {signed(expected.net.value)} EUR net "
            f"(95 %: {between(expected.net.low, expected.net.high)})."
        )
        parts += [_net_figure(found), _break_even(volume, saved, prices), _rollout(wave, arms, effects, prices)]
    shadow = ladder.shadow(ladder_rows)
    if shadow is None:
        parts.append(Text("The shadow ladder has no decided quarter yet."))
    else:
        parts += _shadow(shadow, ladder_rows, prices)
    return Section(question, answer, parts)


def _cost_alone(volume: float, prices: Prices) -> Table:
    return Table(
        "Cost of the volume granted or owed",
        ["EUR a GB", "Cost"],
        [[f"{price:.2f}", euro(volume / money.MB_PER_GB * price)] for price in prices.eur_per_gb],
    )


def _net_figure(cases: list[money.Case]) -> Figure:
    def label(case: money.Case) -> str:
        return f"{case.eur_per_contact:.2f} a contact, {case.eur_per_gb:.2f} a GB"

    return Figure(
        "Net of cost and savings",
        "Savings less cost in EUR, over the window, for each cost of a contact and price of a GB: thick the fixed 95 % "
        "interval, thin the always-valid one. The cost is taken as certain.",
        report_charts.intervals(
            [
                {
                    "label": label(case), "value": case.net.value, "low": case.net.low, "high": case.net.high,
                    "always_low": case.net.always_low, "always_high": case.net.always_high,
                }
                for case in cases
            ],
            "EUR, net",
        ),
        Table(
            "Cost, savings and net in EUR",
            ["EUR a contact", "EUR a GB", "Cost", "Saved", "Saved, 95 %", "Net", "Net, 95 %", "Net, always valid"],
            [
                [
                    f"{case.eur_per_contact:.2f}", f"{case.eur_per_gb:.2f}", number(case.cost),
                    number(case.saved.value), between(case.saved.low, case.saved.high), signed(case.net.value),
                    between(case.net.low, case.net.high), between(case.net.always_low, case.net.always_high),
                ]
                for case in cases
            ],
        ),
    )  # fmt: skip


def _break_even(volume: float, saved: Effect, prices: Prices) -> Table:
    rows = []
    for contact in prices.eur_per_contact:
        found = money.break_even_price(volume, saved, contact)
        if found is None:
            continue
        shown = f"{number(found.value, 2)} EUR a GB" if found.value > 0 else "at no price"
        rows.append([f"At {contact:.2f} EUR a contact it pays up to", shown, between(found.low, found.high, 2)])
    for price in prices.eur_per_gb:
        found = money.break_even_contact(volume, saved, price)
        if found is None:
            rows.append([f"At {price:.2f} EUR a GB it pays from", "at no cost: no contact is saved", DASH])
            continue
        high = "no bound" if found.high is None and saved.low is not None else number(found.high, 2)
        low = DASH if found.low is None else number(found.low, 2)
        rows.append(
            [f"At {price:.2f} EUR a GB it pays from", f"{number(found.value, 2)} EUR a contact", f"{low} to {high}"]
        )
    return Table("Break-even", ["", "Value", "95 %"], rows)


def _rollout(wave: dict[str, Any], arms: dict[str, dict[str, Any]], effects: Effects, prices: Prices) -> Table:
    treatment, control = arms["treatment"], arms["control"]
    price, contact = prices.eur_per_gb_expected, prices.eur_per_contact_expected
    volume = treatment["committed_mb"] / treatment["member_count"]
    years = wave["window_days"] / DAYS_IN_A_YEAR
    own_rate = control["contact_sum"] / control["member_count"] / years
    bases = [(f"as in the pilot, {own_rate:.2f}", effects.plain.times(-1))]
    if effects.relative:
        planned = prices.calls_per_line_year
        bases.append((f"as planned, {planned:.2f}", effects.relative.times(-planned * years)))
    rows = [
        [
            number(row.lines), basis, number(row.committed_mb / 1e6), number(row.saved_contacts.value / 1e6, 2),
            number(row.cost / 1e6, 2), signed(row.net.value / 1e6, 2), between(row.net.low, row.net.high, 2, 1e-6),
        ]
        for basis, per_member in bases
        for row in money.rollout(prices.lines, volume, per_member, price, contact)
    ]  # fmt: skip
    return Table(
        f"Rollout to N lines, over {wave['window_days']} days, at {price:.2f} EUR a GB and {contact:.2f} EUR a contact",
        ["Lines", "Contacts a line and year", "TB", "Contacts saved, million", "Cost, million EUR", "Net", "Net, 95 %"],
        rows,
    )


def _shadow(shadow: ladder.Shadow, rows: Rows, prices: Prices) -> list[Any]:
    share = shadow.share_of_earned(shadow.deadweight)
    unsure = "" if shadow.bought.excludes_zero else " That it buys anything is not shown: the interval contains 0."
    told = (
        f"Had the ladder run for everybody from the invitation on, a member of control, who does not know of it, would "
        f"have earned {number(shadow.control_mean)} MB over {shadow.quarters} quarters, and one of treatment "
        f"{number(shadow.treatment_mean)} MB. The difference is what the programme buys: "
        f"{signed(shadow.per_member.value)} MB a member ({between(shadow.per_member.low, shadow.per_member.high)})."
        f"{unsure} The rest of what the enrolled earn is deadweight: they would have earned it without the programme. "
        "This assumes that the invitation changes nothing for those who do not enrol. The welcome volume is left out: "
        "no behaviour earns it."
    )
    bounds = [("Earned by the enrolled", None), ("Bought", shadow.bought), ("Deadweight", shadow.deadweight)]

    def money_cells(mb: float | None) -> list[str]:
        return [number(mb / money.MB_PER_GB * price) if mb is not None else DASH for price in prices.eur_per_gb]

    table = Table(
        "Shadow ladder: volume and its worth in EUR, by price of a GB",
        ["", "MB", "95 %", "Share", *(f"EUR at {price:.2f}" for price in prices.eur_per_gb)],
        [
            [
                name,
                number(effect.value if effect else shadow.earned),
                between(effect.low, effect.high) if effect else DASH,
                percent((effect.value if effect else shadow.earned) / shadow.earned) if shadow.earned else DASH,
                *money_cells(effect.value if effect else shadow.earned),
            ]
            for name, effect in bounds
        ],
    )
    steps = ladder.tiers_reached(rows)
    values = [
        {
            "label": f"Q{row['quarter']} {row['arm']}",
            "step": "a call" if row["streak"] == 0 else f"step {row['streak']}",
            "share": row["share"],
        }
        for row in steps
    ]
    figure = Figure(
        "Steps of the shadow ladder",
        "Share of members on each step at the end of each quarter since the invitation, by arm, enrolled or not."
        + (f" Deadweight is {percent(share.value)} of what the enrolled earn." if share else ""),
        report_charts.stacks(values, "share of members"),
        Table(
            "Members by step of the shadow ladder",
            ["Quarter and arm", "Step", "Members", "Share"],
            [
                [value["label"], value["step"], number(row["members"]), percent(row["share"])]
                for row, value in zip(steps, values, strict=True)
            ],
        ),
    )
    return [Text(told), table, figure]


# --- What is owed -------------------------------------------------------------------------------------------------


def what_is_owed(wave: dict[str, Any], facts: Facts, arms: dict[str, dict[str, Any]], prices: Prices) -> Section:
    """What is granted, due and to come, and what the next four quarters will bring."""
    wave_id, question = wave["wave_id"], "What is owed?"
    volumes = next(iter(facts.of_wave(wave_id, "volumes")), None)
    standing = facts.of_wave(wave_id, "standing")
    quiet = _quiet_before(facts.of_wave(wave_id, "cells"))
    if volumes is None or not standing or quiet is None:
        return Section(question, "Nothing: nobody has enrolled yet.", [])
    terms = {
        wave_id: Ladder([int(mb) for mb in wave["mb_by_streak"].split(",")], wave["quarters"], wave["settlement_days"])
    }
    ended = facts.of_wave(wave_id, "ended_quarters")
    by_cut: dict[date, list[Period]] = {
        cut_on: forecast(_of_day(standing, cut_on), _of_day(ended, cut_on), terms, quiet)
        for cut_on in sorted({row["cut_on"] for row in standing})
    }
    now = by_cut.pop(facts.business_date, [])
    coming = sum(period.mb for period in now)
    owed = arms["treatment"]["committed_mb"] - arms["treatment"]["granted_mb"]
    answer = (
        f"{number(owed / money.MB_PER_GB, 1)} GB are earned and not yet granted. In the next four quarters "
        f"{number(coming / money.MB_PER_GB, 1)} GB will fall due, "
        f"{euro(coming / money.MB_PER_GB * prices.eur_per_gb_expected)} at {prices.eur_per_gb_expected:.2f} EUR a GB."
    )
    tiles = [
        ("Welcome volume granted", f"{number(volumes['welcome_mb'] / 1000, 1)} GB", "each enrolled member, once"),
        ("Loyalty volume granted", f"{number(volumes['loyalty_mb'] / 1000, 1)} GB", "rejected grants left out"),
        ("Earned, to come", f"{number(volumes['to_come_mb'] / 1000, 1)} GB", "its months have not begun"),
        ("Parked", f"{number(volumes['parked_mb'] / 1000, 1)} GB", "rejected too often, waits for a release"),
    ]
    parts: list[Any] = [Tiles(tiles), _forecast_figure(now, prices)]
    if _still_enrolling(wave, facts.business_date):
        parts.append(Text("Members can still enrol. Who enrols later comes on top of the forecast.", "odd"))
    back = _back_test(by_cut, facts.of_wave(wave_id, "fell_due"))
    parts.append(back or Text("There is no past quarter yet on which the forecast could prove itself."))
    return Section(question, answer, parts)


def _of_day(rows: Rows, cut_on: date) -> Rows:
    return [row for row in rows if row["cut_on"] == cut_on]


def _still_enrolling(wave: Mapping[str, Any], day: date) -> bool:
    return (day - wave["invite_on"]).days < wave["enrolment_days"]


def _quiet_before(cells: Rows) -> float | None:
    enrolled = sum(cell["enrolled_count"] for cell in cells)
    quiet = sum(cell["enrolled_count"] for cell in cells if cell["before_group"] == 0)
    return quiet / enrolled if enrolled else None


def _forecast_figure(periods: list[Period], prices: Prices) -> Figure:
    return Figure(
        "Loyalty volume that falls due",
        "Forecast for the next four quarters in GB, with 95 % intervals, for those who are enrolled today.",
        report_charts.bars(
            [
                {
                    "label": f"to {period.last_on:%d %b %y}",
                    "value": period.mb / 1000, "low": period.low / 1000, "high": period.high / 1000,
                }
                for period in periods
            ],
            "GB",
        ),
        Table(
            "Forecast of loyalty volume that falls due",
            ["From", "To", "GB", "95 %", *(f"EUR at {price:.2f}" for price in prices.eur_per_gb)],
            [
                [
                    f"{period.first_on}", f"{period.last_on}", number(period.mb / 1000, 1),
                    between(period.low, period.high, 1, 1 / 1000),
                    *(number(period.mb / 1000 * price) for price in prices.eur_per_gb),
                ]
                for period in periods
            ],
        ),
    )  # fmt: skip


def _back_test(by_cut: Mapping[date, list[Period]], fell_due: Rows) -> Table | None:
    rows = []
    for cut_on, periods in by_cut.items():
        actual = {row["period"]: row["due_mb"] for row in fell_due if row["cut_on"] == cut_on}
        for period in periods:
            if period.number not in actual:
                continue
            due = actual[period.number]
            rows.append(
                [
                    f"{cut_on}", f"{period.first_on} to {period.last_on}", number(period.mb / 1000, 1),
                    between(period.low, period.high, 1, 1 / 1000), number(due / 1000, 1),
                    percent(period.mb / due - 1 if due else None), "yes" if period.low <= due <= period.high else "no",
                ]
            )  # fmt: skip
    if not rows:
        return None
    return Table(
        "Back-test: what the forecast would have said, and what fell due, in GB",
        ["Made on", "Quarter", "Forecast", "95 %", "Fell due", "Error", "Within"],
        rows,
    )
