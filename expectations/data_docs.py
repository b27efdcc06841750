"""Data Docs that open anywhere: Great Expectations renders what was checked, a page of our own holds it.

Its own pages fetch styles, scripts and a logo from seven hosts, and its index is empty without them. Ours need
nothing but themselves, and say no time of day, so the same result gives the same page.
"""

import re
import shutil
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import Template

from expectations.check import Verdict

GATES = ("landing", "batch", "kpis")

# A page for each gate of a run. A year of them would be read by nobody.
RUNS_KEPT = 60

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; }
th { border-bottom: 2px solid #bbb; } td { border-bottom: 1px solid #ddd; vertical-align: top; }
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; white-space: pre-wrap; }
i { font-style: normal; font-weight: bold; }
.fa-check-circle::before { content: "holds"; } .fa-times::before { content: "fails"; }
.fa-exclamation-triangle::before { content: "unknown"; }
.passed, .text-success { color: #17663a; } .failed, .text-danger, .text-warning { color: #a32020; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{{ title }}</title><style>{{ style | safe }}</style></head>
<body>
<p><a href="../index.html">all runs</a></p>
<h1 class="{{ outcome }}">{{ title }}</h1>
{% for suite in suites %}
<h2>{{ suite.name }}</h2>
{% for complaint in suite.complaints %}<p class="failed">{{ complaint }}</p>
{% endfor %}
{% if suite.table %}{{ suite.table | render_content_block(content_block_id=suite.name) | safe }}{% endif %}
{% if suite.queries %}<p>To see the rows, in the warehouse with the ledger attached:</p>
<pre>{% for query in suite.queries %}{{ query }};
{% endfor %}</pre>{% endif %}
{% endfor %}
</body>
</html>
"""

_TITLE = re.compile(r"<title>.* (passed|failed)</title>")


def write_page(folder: Path, run: str, gate: str, verdicts: Sequence[Verdict]) -> Path:
    """Write the page of one gate of a run, and the index of the runs that are kept."""
    outcome = "failed" if any(verdict.complaints for verdict in verdicts) else "passed"
    html = _template().render(
        title=f"{gate.capitalize()}, {run}: {outcome}",
        style=_STYLE,
        outcome=outcome,
        suites=[_section(verdict) for verdict in verdicts],
    )
    page = _write(folder / run / f"{gate}.html", html)
    _write(folder / "index.html", _index(folder, _runs_kept(folder, run)))
    return page


def _section(verdict: Verdict) -> dict:
    """One suite on a page."""
    return {
        "name": verdict.suite.name,
        "complaints": verdict.complaints,
        "table": _table(verdict.result) if verdict.result is not None else None,
        "queries": verdict.suite.queries(verdict.failed) if verdict.complaints else [],
    }


def _table(result: ExpectationSuiteValidationResult) -> dict | None:
    # The first section is an overview, with links into a site that is not there; the other, if any, the results.
    _, *sections = ValidationResultsPageRenderer().render(result).to_json_dict()["sections"]
    blocks = [block for section in sections for block in section["content_blocks"]]
    table = next((block for block in blocks if block["content_block_type"] == "table"), None)
    for row in table["table"] if table else []:
        for cell in row:
            if isinstance(cell, list):
                # A traceback to unfold: it needs a script, it is empty here, and its anchor is random.
                cell[:] = [block for block in cell if block["content_block_type"] != "collapse"]
    return table


@cache
def _template() -> Template:
    # The view brings Great Expectations' own templates for tables and texts; it takes longer to make than to use.
    return DefaultJinjaPageView().env.from_string(_PAGE)


def _runs_kept(folder: Path, current: str) -> list[str]:
    """The latest runs, newest first; the pages of the others are deleted."""
    runs = sorted({page.parent.name for page in folder.glob("*/*.html")}, reverse=True)
    kept = [run for place, run in enumerate(runs) if place < RUNS_KEPT or run == current]
    for run in set(runs) - set(kept):
        shutil.rmtree(folder / run, ignore_errors=True)
    return kept


def _index(folder: Path, runs: Sequence[str]) -> str:
    lines = "".join(
        f"<tr><td>{escape(run)}</td>{''.join(_link(folder, run, gate) for gate in GATES)}</tr>\n" for run in runs
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Data Docs</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>Data Docs</h1>\n"
        "<p>What Great Expectations was asked: about each landing, each batch of grants before it is posted, and the"
        " KPIs before they go out. Where a run let out nothing, there was nothing to ask.</p>\n"
        f"<table>\n<tr><th>run</th>{''.join(f'<th>{gate}</th>' for gate in GATES)}</tr>\n{lines}</table>\n"
        "</body>\n</html>\n"
    )


def _link(folder: Path, run: str, gate: str) -> str:
    page = folder / run / f"{gate}.html"
    if not page.exists():
        return "<td></td>"
    # The pages themselves say how it went, so there is no second record to keep.
    with page.open(encoding="utf-8") as text:
        found = _TITLE.search(text.read(1000))
    outcome = found[1] if found else "unknown"
    return f'<td><a class="{outcome}" href="{escape(run)}/{gate}.html">{outcome}</a></td>'


def _write(path: Path, text: str) -> Path:
    """A page appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
    return path
