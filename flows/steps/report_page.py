"""The pilot report as one HTML file: facts from a file of marts, sections of each wave, no need of a network."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from flows.settings import Settings
from flows.steps.as_of import marts_as_of
from flows.steps.files import write_whole
from flows.steps.lean_imports import imported_lean, left_out_of_statsmodels
from flows.steps.money import MB_PER_GB
from flows.steps.report_effect import does_it_work, effects_of, for_whom, planned_variance
from flows.steps.report_facts import Facts, published_for, read_facts
from flows.steps.report_money import Prices, what_does_it_cost, what_is_owed
from flows.steps.report_parts import WaveReport, number
from flows.steps.report_trust import trust, verdict

# The longest month since an invitation, for which a month's contacts are planned.
_DAYS_IN_A_MONTH = 31
WORDS = {"good": "healthy", "odd": "look closer", "bad": "not healthy"}


@dataclass(frozen=True)
class Report:
    """The page that was written, and what it comes to in a sentence a wave."""

    path: Path
    business_date: date
    waves: tuple[WaveReport, ...]

    def lines(self) -> list[str]:
        """A line a wave: its health, and whether it can be judged today."""
        told = [f"{wave.wave_id}: {WORDS[wave.state]}. {wave.verdict}" for wave in self.waves]
        return told or ["No wave has been drawn yet."]

    def markdown(self, settings: Settings) -> str:
        """The same for Prefect's page, with a link to the report where a browser finds it."""
        told = "\n".join(f"- {line}" for line in self.lines())
        url = settings.url_of(self.path)
        link = f"[{self.path.name}]({url})" if url else f"`{self.path.name}`"
        return f"# Pilot report for {self.business_date}\n\n{told}\n\n{link}"


def report_on(settings: Settings, business_date: date | None) -> Report:
    """Write the report for the latest run, or as it would have been after the latest run up to a date.

    Raises WrongUsage when there had been no run by then.
    """
    if business_date is None or business_date == published_for(settings.marts):
        return write_report(settings, settings.marts)
    return write_report(settings, marts_as_of(settings, business_date))


def write_report(settings: Settings, marts: Path) -> Report:
    """Write `reports/pilot_<YYYYMMDD>.html` from a file of published marts; a repeat replaces it.

    Raises WrongUsage when there has been no run yet.
    """
    facts = read_facts(marts)
    # Whatever asks for it later has it then.
    with imported_lean(left_out_of_statsmodels()):
        import statsmodels.stats  # noqa: F401
    prices = report_prices(settings)
    waves = tuple(report_wave(wave, facts, prices) for wave in facts.waves)
    path = settings.reports / f"pilot_{facts.business_date:%Y%m%d}.html"
    write_whole(path, [render(facts.business_date, waves, prices.calls_per_line_year).encode()])
    return Report(path, facts.business_date, waves)


def report_prices(settings: Settings) -> Prices:
    """What the installation reckons with."""
    return Prices(
        eur_per_gb=settings.report_eur_per_gb,
        eur_per_contact=settings.report_eur_per_contact,
        eur_per_gb_expected=settings.eur_per_mb * MB_PER_GB,
        eur_per_contact_expected=settings.eur_per_contact,
        calls_per_line_year=settings.report_calls_per_line_year,
        lines=settings.report_lines,
    )


def report_wave(wave: dict, facts: Facts, prices: Prices) -> WaveReport:
    """All sections of one wave."""
    wave_id = wave["wave_id"]
    arms = {row["arm"]: row for row in facts.of_wave(wave_id, "moments")}
    cells = facts.of_wave(wave_id, "cells")
    days = (wave["window_closes_on"] - wave["invite_on"]).days
    planned = planned_variance(prices.calls_per_line_year, days)
    effects = effects_of(wave, arms, planned)
    trusted = trust(wave, arms, cells)
    return WaveReport(
        wave_id,
        _summary(wave, arms),
        trusted.state,
        verdict(wave, trusted.state, effects.plain),
        [
            trusted.section,
            does_it_work(wave, facts, arms, effects),
            for_whom(
                wave, cells, facts.of_wave(wave_id, "months"), planned,
                planned_variance(prices.calls_per_line_year, _DAYS_IN_A_MONTH),
            ),
            what_does_it_cost(wave, arms, effects, facts.of_wave(wave_id, "ladder"), prices),
            what_is_owed(wave, facts, arms, prices),
        ],
    )  # fmt: skip


def _summary(wave: dict, arms: dict[str, dict]) -> str:
    drawn = ", ".join(f"{number(row['member_count'])} in {arm}" for arm, row in arms.items())
    last_day = wave["window_until"] - timedelta(days=1)
    followed = f"{wave['window_days']} days, to {last_day}" if wave["window_days"] else "not a day yet"
    return f"Invited on {wave['invite_on']}: {drawn}. Calls are complete for {followed}. Terms: {wave['terms_id']}."


def render(business_date: date, waves: tuple[WaveReport, ...], calls_per_line_year: float) -> str:
    """The page's HTML. Every value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("flows.steps", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["labelled"] = _labelled
    page = environment.get_template("report.html.j2")
    return page.render(
        business_date=business_date, waves=waves, words=WORDS, calls_per_line_year=f"{calls_per_line_year:g}"
    )


def _labelled(svg: str, key: str, title: str, description: str) -> str:
    """A chart with a name and a description for those who do not see it, and no names of its own in the page."""
    from markupsafe import Markup

    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()
    inner = svg[svg.index(">") + 1 :]
    # Parts of a picture that has a name need none.
    inner = re.sub(r' (role|aria-\w+)="[^"]*"', "", inner)
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{key}-t {key}-d" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{key}-t">{html.escape(title)}</title><desc id="{key}-d">{html.escape(description)}</desc>{inner}'
    )
