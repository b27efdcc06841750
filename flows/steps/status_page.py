"""The status for people, on a terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.steps.doctor import Finding
from flows.steps.outcome import KINDS, quarters_sentence, waiting_sentences
from flows.steps.status import needs_a_person


def show(status: dict[str, Any]) -> None:
    """Print the status: what needs a person first."""
    console = Console(highlight=False)
    if not status["last_run"] and not status["failed_run"]:
        console.print("There has been no run yet. Drop deliveries into the inbox, then: callfree run")
        return
    console.print(f"Last run: [bold]{status['last_run'] or 'none'}[/]")
    console.print(_at_a_glance(status))
    if failed := status["failed_run"]:
        console.print(f"[red]The run for {failed['business_date']} failed:[/] {escape(failed['error'])}")
        for line in failed.get("details", ()):
            console.print(f"  {line}", markup=False)
    if held := status["held_batch"]:
        word = "approved: run its date again" if held["is_approved"] else "callfree approve lets it through"
        console.print(
            f"[red]Batch held[/] for {held['business_date']}: {held['grant_count']} grants,"
            f" {held['volume_mb']} MB; {word}"
        )
    _show_list(console, "[red]Held[/] (callfree accept or refuse)", [
        f"{held['file']}: {held['reason']}" + ("; accepted, the next run loads it" if held["accepted"] else "")
        for held in status["held"]
    ])  # fmt: skip
    _show_list(console, "[red]Rejected[/]", [f"{row['file']}: {row['reason']}" for row in status["rejected"]])
    _show_list(console, "[red]Altered in the outbox[/] (tell who takes it, then callfree republish, or take it away)", [
        f"{row['file']}: {row['problem']}" for row in status["altered_files"]
    ])  # fmt: skip
    _show_list(console, "[yellow]Late[/]", _late_by_feed(status["late"]))
    _show_feeds(console, status["feeds"])
    _show_list(console, "[yellow]Waiting[/]", waiting_sentences(status))
    _show_list(console, "Waived", [
        f"{row['feed']} of {row['business_date']}: {row['reason']}" for row in status["waived"]
    ])  # fmt: skip
    _show_waves(console, status["waves"])
    if status["quarters"]:
        console.print(quarters_sentence(status).capitalize() + "\n")
    _show_grants(console, status)
    _show_exceptions(console, status)


def _at_a_glance(status: dict[str, Any]) -> str:
    if status["failed_run"]:
        return "[bold red]The latest run failed.[/]"
    if needs_a_person(status):
        return "[bold red]Something needs a person.[/]"
    if status["waiting"] or status["late"] or status["rejected"] or status["unpublished_files"]:
        return "[bold yellow]Done as far as the deliveries go.[/]"
    return "[bold green]All is well.[/]"


def show_findings(findings: list[Finding]) -> None:
    """Print what the doctor or an audit found, a line each."""
    console = Console(highlight=False, soft_wrap=True)
    marks = {True: "[green]ok[/]     ", False: "[red]not ok[/] ", None: "[yellow]?[/]      "}
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        console.print(f"{marks[finding.is_well]} [bold]{finding.subject:<{width}}[/] {escape(finding.told)}")


def _late_by_feed(late: list[dict[str, str]]) -> list[str]:
    days: dict[str, list[str]] = {}
    for row in late:
        days.setdefault(row["feed"], []).append(row["business_date"])
    return [
        f"{feed} of {found[0]}" + (f" to {found[-1]}: {len(found)} deliveries" if len(found) > 1 else "")
        for feed, found in days.items()
    ]


def _show_list(console: Console, title: str, lines: list[str], limit: int = 20) -> None:
    if lines:
        console.print(f"\n{title}")
        for line in lines[:limit]:
            console.print(f"  {line}", markup=False)
        if len(lines) > limit:
            console.print(f"  and {len(lines) - limit} more")


def _show_feeds(console: Console, feeds: list[dict]) -> None:
    table = Table("feed", "starts on", "latest delivery", "complete to", "missing", title="Feeds", title_justify="left")
    for feed in feeds:
        missing = feed["missing_days"] or []
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        table.add_row(
            feed["feed"], feed["starts_on"] or "not yet", feed["latest_delivery_on"], feed["complete_to"],
            f"[yellow]{shown}[/]" if missing else "",
        )  # fmt: skip
    console.print()
    console.print(table)


def _show_waves(console: Console, waves: list[dict]) -> None:
    table = Table("wave", "invite on", "state", title="Waves", title_justify="left")
    for column in ("treatment", "control", "enrolled"):
        table.add_column(column, justify="right")
    for wave in waves:
        state = wave["wave_state"].replace("_", " ")
        colour = "red" if state in ("overdue", "memberless") else "default"
        counts = (str(wave[f"{column}_count"]) for column in ("treatment", "control", "enrolled"))
        table.add_row(wave["wave_id"], wave["invite_on"], f"[{colour}]{state}[/]", *counts)
    console.print(table)


def _show_grants(console: Console, status: dict[str, Any]) -> None:
    table = Table("billing's answer", title="Grants", title_justify="left")
    table.add_column("grants", justify="right")
    table.add_column("MB", justify="right")
    for row in status["grants"]:
        table.add_row(row["answer"], str(row["grant_count"]), str(row["volume_mb"]))
    console.print(table)
    _show_list(console, "[yellow]Unpublished files[/]", status["unpublished_files"])
    _show_list(console, "Unanswered files", [
        f"{row['file_name']}: {row['grant_count']} grants" for row in status["unanswered_files"]
    ], limit=5)  # fmt: skip


def _show_exceptions(console: Console, status: dict[str, Any]) -> None:
    subjects = status["exception_subjects"]
    lines = []
    for row in status["exceptions"]:
        named = subjects.get(row["kind"], [])
        shown = f": {', '.join(named[:5])}" + (", ..." if len(named) > 5 else "") if named else ""
        lines.append(f"{row['item_count']} {KINDS.get(row['kind'], row['kind'])}{shown}")
    _show_list(console, "Exceptions", lines)
