"""What a page of the report is made of: sentences, tables and charts in sections, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flows.steps.effects import Effect

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


@dataclass(frozen=True)
class Text:
    """A paragraph. `tone` is plain, good, odd or bad."""

    sentence: str
    tone: str = "plain"
    kind: str = "text"


@dataclass(frozen=True)
class Tiles:
    """Figures that are seen first: (what, value, what is around it)."""

    tiles: Sequence[tuple[str, str, str]]
    kind: str = "tiles"


@dataclass(frozen=True)
class Checks:
    """Questions with their verdict: (state, name, sentence)."""

    checks: Sequence[tuple[str, str, str]]
    kind: str = "checks"


@dataclass(frozen=True)
class Table:
    """Rows of cells as they are shown; the first cell of each names it."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "table"


@dataclass(frozen=True)
class Figure:
    """A chart as SVG with what it shows in words, and its data as a table."""

    title: str
    description: str
    svg: str
    table: Table
    kind: str = "figure"


@dataclass(frozen=True)
class Section:
    """One of the questions that the report answers."""

    question: str
    answer: str
    parts: Sequence[Text | Tiles | Checks | Table | Figure]


@dataclass(frozen=True)
class WaveReport:
    """All about one wave: its health (good, odd, bad), whether it can be judged today, and the sections."""

    wave_id: str
    summary: str
    state: str
    verdict: str
    sections: Sequence[Section] = field(default_factory=list)


def number(value: float | None, digits: int = 0) -> str:
    """With commas between thousands, and a real minus sign; a dash where there is none."""
    if value is None:
        return DASH
    shown = f"{value:,.{digits}f}"
    return shown.replace("-", "") if float(shown.replace(",", "")) == 0 else shown.replace("-", MINUS)


def signed(value: float | None, digits: int = 0) -> str:
    """The same, with a plus where it is above zero."""
    shown = number(value, digits)
    return f"+{shown}" if value is not None and value > 0 and shown.strip("0.,") else shown


def percent(share: float | None, digits: int = 1) -> str:
    """A share as per cent."""
    return DASH if share is None else f"{number(100 * share, digits)} %"


def between(low: float | None, high: float | None, digits: int = 0, scale: float = 1) -> str:
    """Two bounds."""
    if low is None or high is None:
        return DASH
    return f"{number(scale * low, digits)} to {number(scale * high, digits)}"


def p_value(p: float | None) -> str:
    """A p, to three digits."""
    return DASH if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def euro(value: float | None) -> str:
    """Whole euro."""
    return DASH if value is None else f"{number(value)} EUR"


def interval_cells(effect: Effect | None, digits: int = 3, scale: float = 1) -> tuple[str, str, str]:
    """Value, fixed interval and always-valid interval."""
    if effect is None:
        return DASH, DASH, DASH
    return (
        signed(scale * effect.value, digits),
        between(effect.low, effect.high, digits, scale),
        between(effect.always_low, effect.always_high, digits, scale),
    )
