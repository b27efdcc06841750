"""Where billing and the programme stand with each other, as one page that opens offline: `reports/billing.html`."""

from html import escape
from typing import Any

from flows.settings import Settings
from flows.steps.files import write_whole
from flows.steps.warehouse import Connection, connect, rows

_COUNTS = """
    sum(grant_count)::bigint as sent,
    sum(volume_mb)::bigint as sent_mb,
    coalesce(sum(grant_count) filter (where answer = 'accepted'), 0)::bigint as accepted,
    coalesce(sum(volume_mb) filter (where answer = 'accepted'), 0)::bigint as accepted_mb,
    coalesce(sum(grant_count) filter (where answer = 'rejected'), 0)::bigint as rejected,
    coalesce(sum(volume_mb) filter (where answer = 'rejected'), 0)::bigint as rejected_mb,
    coalesce(sum(grant_count) filter (where answer = 'unanswered'), 0)::bigint as unanswered,
    coalesce(sum(volume_mb) filter (where answer = 'unanswered'), 0)::bigint as unanswered_mb
"""
_HEADINGS = ("Sent", "MB", "Accepted", "MB", "Rejected", "MB", "Unanswered", "MB")
_LATEST_FILES = 60

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
dl div { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .75rem; }
dt { font-size: .85rem; } dd { margin: 0; font-size: 1.3rem; font-weight: 600; } dd small { font-weight: 400; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; text-align: right; white-space: nowrap; }
tr { border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th:last-child, td:last-child { padding-right: 0; }
th { font-size: .85rem; vertical-align: bottom; }
tbody tr:hover { background: var(--soft); } small { font-size: .8rem; }
"""


def write_billing_page(settings: Settings) -> None:
    """Write the page anew from the marts. It shows counts, volumes and names of files, and nobody.

    It reads those of the warehouse: the published ones may be held by a reader.
    """
    with connect(settings.warehouse) as warehouse:
        warehouse.execute("set schema = 'marts'")
        content = _page(warehouse)
    write_whole(settings.reports / "billing.html", [content.encode()])


def _page(marts: Connection) -> str:
    day = rows(marts, "select business_date from intermediate.int_run")[0]["business_date"]
    total = rows(marts, f"select {_COUNTS} from reconciliation")[0]
    months = rows(
        marts, f"select strftime(posted_month, '%Y-%m'), {_COUNTS} from reconciliation group by 1 order by 1 desc"
    )
    reasons = rows(
        marts,
        "select reason, sum(grant_count)::bigint, sum(volume_mb)::bigint from reconciliation"
        " where answer = 'rejected' group by 1 order by 2 desc, 1",
    )
    ages = rows(
        marts,
        "select age_bucket, sum(grant_count)::bigint, sum(volume_mb)::bigint, count(distinct sequence)"
        " from reconciliation where answer = 'unanswered' group by 1 order by min(age_days)",
    )
    files = rows(
        marts,
        f"select file_name, sequence, {_COUNTS} from reconciliation group by 1, 2 order by 2 desc"
        f" limit {_LATEST_FILES}",
    )
    file_count = rows(marts, "select count(distinct sequence) as files from reconciliation")[0]["files"]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Billing, {day}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>What billing was sent, and what it said</h1>
<p>As known in the run for {day}. {_number(file_count)} grant files. A rejected grant is sent again under a new id.</p>
<dl>
{"".join(_tile(name, total) for name in ("sent", "accepted", "rejected", "unanswered"))}
</dl>
<h2>By month of posting</h2>
{_table(("Month", *_HEADINGS), months)}
<h2>Rejected, by reason</h2>
{_table(("Reason", "Grants", "MB"), reasons)}
<h2>Unanswered, by age</h2>
{_table(("Age", "Grants", "MB", "Files"), ages)}
<h2>{f"The latest {_LATEST_FILES} files" if file_count > _LATEST_FILES else "By file"}</h2>
{_table(("File", "Sequence", *_HEADINGS), files)}
</body>
</html>
"""


def _tile(name: str, total: dict[str, Any]) -> str:
    count, volume = total[name] or 0, total[f"{name}_mb"] or 0
    return f"<div><dt>{name.capitalize()}</dt><dd>{_number(count)} <small>{_number(volume)} MB</small></dd></div>\n"


def _table(headings: tuple[str, ...], lines: list[dict[str, Any]]) -> str:
    if not lines:
        return "<p>None.</p>"
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_number(value))}</td>" for value in line.values()) + "</tr>\n" for line in lines
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
