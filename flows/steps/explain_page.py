"""A subscriber's story on one screen."""

from datetime import date
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from flows.steps.explain import plainly

Row = dict[str, Any]


def show(story: Row) -> None:
    """Print the story for people."""
    console = Console(highlight=False, soft_wrap=False)
    console.print(page(story))


def page(story: Row) -> Group:
    """The story as rich prints it."""
    parts: list[Any] = [_head(story)]
    parts += [Text(f"  {draw['told']}") for draw in story["draws"] + story["waves_not_drawn"]]
    if story["membership"]:
        parts += _membership(story["membership"])
    for quarter in story["quarters"]:
        parts += _quarter(quarter)
    if story["grants"]:
        parts += [Text(), Text("Grants", style="bold"), _grants(story["grants"])]
    if story["coming"]:
        parts += [Text(), Text("What comes next", style="bold")]
        parts += [Text(f"  {plainly(row['comes_on'])}: {row['told']}") for row in story["coming"]]
    if story["missing_deliveries"]:
        parts += [Text(), Text("What it waits for", style="bold yellow")]
        parts += [
            Text(f"  {row['feed']}: {row['missing_days'] or 'has not started'}") for row in story["missing_deliveries"]
        ]
    return Group(*parts)


def _head(story: Row) -> Text:
    line = story["subscriber"]
    asked = story["asked_for"]
    no_run = f" (there was none for {plainly(asked)})" if asked and asked != story["as_of"] else ""
    about = f"{line['brand']}, {line['status']}" if line else "no delivery in force names it any more"
    return Text.assemble(
        (story["subscriber_id"], "bold"), f" ({about}), as known in the run for {plainly(story['as_of'])}{no_run}"
    )


def _membership(member: Row) -> list[Any]:
    parts: list[Any] = [Text(), Text("Enrolment", style="bold"), Text(f"  {member['told']}")]
    if member["arm"] == "treatment" and not member["is_invited"]:
        parts.append(Text("  The invitation file does not name it."))
    parts += [Text(f"  {plainly(step['at'])}  {step['step']}") for step in member["steps"]]
    return parts


def _quarter(quarter: Row) -> list[Any]:
    title = Text.assemble(
        (f"Quarter {quarter['quarter']}", "bold"),
        f"  {plainly(quarter['quarter_from'])} until {plainly(quarter['quarter_until'])}  ",
    )
    parts: list[Any] = [Text(), title, Text(f"  {quarter['told']}")]
    for contact in quarter["contacts"]:
        parts.append(
            Text(
                f"  {plainly(contact['started_at'])}  call to {contact['line']}, {_length(contact['duration_s'])}",
                style="red",
            )
        )
    parts += [Text(f"  {other['told']}", style="cyan") for other in quarter["without_contacts"]]
    return parts


def _grants(grants: list[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for row, months in _alike(grants):
        # Where one entry did all, it says all.
        has_done = row["entitlement_state"] == "granted" and len(row["entries"]) == 1 and not row["overpaid_mb"]
        lines = [] if has_done else [row["told"]]
        lines += [_entry(entry) for entry in row["entries"]]
        table.add_row(f"  {_months(row['quarter'], months)}", Text("\n".join(lines)))
    return table


def _alike(grants: list[Row]) -> list[tuple[Row, list[int]]]:
    """The months of a quarter of which the same is told, together."""
    found: list[tuple[Row, list[int]]] = []
    for row in grants:
        before = found[-1][0] if found else row
        is_alike = (before["quarter"], before["told"]) == (row["quarter"], row["told"])
        if found and is_alike and not before["entries"] and not row["entries"]:
            found[-1][1].append(row["month"])
        else:
            found.append((row, [row["month"]]))
    return found


def _months(quarter: int, months: list[int]) -> str:
    if quarter == 0:
        return "welcome"
    return f"quarter {quarter}, month {months[0]}" + (f" to {months[-1]}" if len(months) > 1 else "")


def _entry(entry: Row) -> str:
    reason = f" ({entry['rejection_reason']})" if entry["rejection_reason"] else ""
    on = f" on {_short(entry['answered_on'])}" if entry["answered_on"] else ""
    return (
        f"{entry['volume_mb']} MB from {_short(entry['valid_from'])}, {entry['told']}{on}{reason}\n"
        f"  {entry['grant_id']} in {entry['file_name']}"
    )


def _short(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def _length(seconds: int) -> str:
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
