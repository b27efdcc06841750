"""The charts of the report: Vega-Lite specifications, made SVG without a browser, coloured by the page's style sheet.

Each takes rows of plain values and gives an SVG that fits a phone. A page may be light or dark, so the colours are
names of the style sheet: what is drawn in a placeholder colour is renamed in the SVG. The specifications are written
as they are: Altair would write the same, and its import costs more than all charts together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 360
# Placeholder and what it becomes.
COLOURS = {
    "#010101": "currentColor",
    "#020202": "var(--grid)",
    "#030303": "var(--treatment)",
    "#040404": "var(--control)",
    "#050505": "var(--faint)",
    "#060606": "var(--step-0)",
    "#070707": "var(--step-1)",
    "#080808": "var(--step-2)",
    "#090909": "var(--step-3)",
}
INK, GRID, TREATMENT, CONTROL, FAINT, *STEPS = COLOURS

_TEXT = {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"}
_LOOK = {
    "font": "system-ui, sans-serif",
    "background": None,
    "view": {"stroke": None},
    "axis": {
        **_TEXT,
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
        "labelLimit": 170,
        "titlePadding": 6,
        "labelOverlap": True,
    },
    "legend": {**_TEXT, "orient": "top", "title": None, "columns": 4, "symbolSize": 120, "symbolOpacity": 1},
}

Rows = Sequence[Mapping[str, Any]]
Spec = dict[str, Any]


def _svg(height: int, rows: Rows, layers: Sequence[Spec]) -> str:
    import vl_convert

    svg = vl_convert.vegalite_to_svg(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "width": WIDTH,
            "height": height,
            "autosize": {"type": "fit", "contains": "padding"},
            "config": _LOOK,
            "data": {"values": [dict(row) for row in rows]},
            "layer": list(layers),
        }
    )
    for placeholder, colour in COLOURS.items():
        svg = svg.replace(placeholder, colour)
    return svg


def _number(field: str, **more: Any) -> Spec:
    return {"field": field, "type": "quantitative", **more}


_NAMES = {"field": "label", "type": "nominal", "sort": None, "title": None}
_LABELS = {**_NAMES, "axis": {"grid": False, "ticks": False, "domain": False, "labelPadding": 6}}


def _line_at(axis: str, at: float, **mark: Any) -> Spec:
    return {"data": {"values": [{}]}, "mark": {"type": "rule", **mark}, "encoding": {axis: {"datum": at}}}


def intervals(rows: Rows, x_title: str) -> str:
    """One line a row: a point, a thick bar for the fixed interval and a thin one for the always-valid.

    Rows: label, value, and low, high, always_low, always_high, which may be None.
    """
    axis = {"title": x_title, "tickCount": 5, "format": "~s"} if _is_large(rows) else {"title": x_title, "tickCount": 5}

    def reach(low: str, high: str, **mark: Any) -> Spec:
        x = {"x": _number(low, axis=axis), "x2": {"field": high}}
        return {"mark": {"type": "rule", **mark}, "encoding": {"y": _LABELS, **x}}

    return _svg(
        60 + 24 * len(rows),
        rows,
        [
            _line_at("x", 0, color=INK, strokeDash=[3, 3]),
            reach("always_low", "always_high", color=FAINT, strokeWidth=2),
            reach("low", "high", color=TREATMENT, strokeWidth=5),
            {
                "mark": {"type": "point", "filled": True, "size": 55, "color": INK, "opacity": 1},
                "encoding": {"y": _LABELS, "x": _number("value", axis=axis)},
            },
        ],
    )


def _is_large(rows: Rows) -> bool:
    return max((abs(row["value"]) for row in rows), default=0) >= 1000


def dots(rows: Rows, x_title: str, limit: float) -> str:
    """One dot a row (label, value), between two lines that it should not cross."""
    reach = max(0.3, *(abs(row["value"]) * 1.1 for row in rows))
    x = _number("value", scale={"domain": [-reach, reach]}, axis={"title": x_title, "tickCount": 3})
    return _svg(
        60 + 20 * len(rows),
        rows,
        [
            *(_line_at("x", at, color=FAINT, strokeDash=[4, 3]) for at in (-limit, limit)),
            {
                "mark": {"type": "point", "filled": True, "size": 60, "color": TREATMENT, "opacity": 1},
                "encoding": {"x": x, "y": _LABELS},
            },
        ],
    )


def curves(rows: Rows, x_title: str, y_title: str) -> str:
    """A step line an arm (rows: arm, day, share, low, high), each with a band for its interval."""
    arms = {"domain": ["treatment", "control"], "range": [TREATMENT, CONTROL]}
    dashes = {"domain": ["treatment", "control"], "range": [[1, 0], [5, 2]]}
    x = _number("day", axis={"title": x_title, "grid": False, "tickCount": 6}, scale={"nice": False})
    y_axis = {"title": y_title, "format": "%", "tickCount": 5}
    colour = {"field": "arm", "type": "nominal", "scale": arms}
    line = {
        "x": x,
        "y": _number("share", axis=y_axis, scale={"domain": [0, 1]}),
        "color": colour,
        "strokeDash": {"field": "arm", "type": "nominal", "scale": dashes},
    }
    band = {
        "x": x,
        "y": _number("low", axis=y_axis, scale={"domain": [0, 1]}),
        "y2": {"field": "high"},
        "color": colour,
    }
    return _svg(
        250,
        rows,
        [
            {"mark": {"type": "area", "opacity": 0.18, "interpolate": "step-after"}, "encoding": band},
            {"mark": {"type": "line", "strokeWidth": 2.5, "interpolate": "step-after"}, "encoding": line},
        ],
    )


def stacks(rows: Rows, x_title: str) -> str:
    """One bar a label, stacked of the shares of its steps of the ladder (rows: label, step, share)."""
    steps = sorted({row["step"] for row in rows})
    colours = [STEPS[min(place, len(STEPS) - 1)] for place in range(len(steps))]
    bar = {
        "y": _LABELS,
        "x": _number("share", stack="zero", axis={"title": x_title, "format": "%", "tickCount": 5}),
        "color": {"field": "step", "type": "nominal", "scale": {"domain": steps, "range": colours}},
        "order": {"field": "step"},
    }
    labels = {row["label"] for row in rows}
    return _svg(85 + 26 * len(labels), rows, [{"mark": {"type": "bar", "height": 16}, "encoding": bar}])


def bars(rows: Rows, y_title: str) -> str:
    """One bar a row (label, value) with its interval (low, high)."""
    x = {**_NAMES, "axis": {"labelAngle": 0, "ticks": False}}
    axis = {"title": y_title, "tickCount": 5}
    return _svg(
        220,
        rows,
        [
            {
                "mark": {"type": "bar", "width": 34, "color": TREATMENT},
                "encoding": {"x": x, "y": _number("value", axis=axis)},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": INK},
                "encoding": {"x": x, "y": _number("low", axis=axis), "y2": {"field": "high"}},
            },
        ],
    )
