"""`callfree`: the one entry point for people, schedulers and containers."""

import atexit
import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from datetime import date, timedelta
from functools import wraps
from typing import Any

import click

from flows import logs
from flows.environment import silence
from flows.errors import CallfreeError, WrongUsage


def _settings():
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from flows.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongUsage(f"CALLFREE_{str(first['loc'][0]).upper()}: {first['msg']}.") from None
    except SettingsError as error:
        (name,) = re.findall(r'field "(\w+)"', str(error))
        raise WrongUsage(f"CALLFREE_{name.upper()}: write it as a list in JSON, like [5, 2.50].") from None


class _Day(click.ParamType):
    name = "date"

    def convert(self, value: Any, parameter: Any, context: Any) -> date:
        if isinstance(value, date):
            return value
        try:
            day = date.fromisoformat(value)
            # Python knows more ways to write a date.
            if day.isoformat() == value:
                return day
        except ValueError:
            pass
        self.fail(f"{value!r} is not a date like 2017-12-30", parameter, context)


DAY = _Day()


def _told(command: Callable[..., int | None]) -> Callable[..., None]:
    """One clear line on standard error for whatever goes wrong; a traceback only with --debug."""

    @wraps(command)
    @click.pass_context
    def run(context: click.Context, *arguments: Any, **options: Any) -> None:
        def tell(error: str) -> None:
            logs.tell_error(error, context.obj["json"])

        try:
            status = command(*arguments, **options) or 0
        except CallfreeError as error:
            if context.obj["debug"]:
                _unsuppress(error)
                traceback.print_exception(error)
            for line in error.details:
                click.echo(line)
            tell(str(error))
            status = error.exit_status
        except KeyboardInterrupt:
            tell("interrupted; run again, nothing is posted twice.")
            status = 1
        except Exception as error:
            if context.obj["debug"]:
                traceback.print_exception(error)
            tell(f"{type(error).__name__}; run again with --debug to see where.")
            status = 1
        context.exit(status)

    return run


def _unsuppress(error: BaseException | None) -> None:
    while error is not None:
        error.__suppress_context__ = False
        error = error.__context__


class _Commands(click.Group):
    """Wrong usage is told in one line too."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        try:
            status = super().main(*arguments, **options | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            status = error.exit_code
        except click.ClickException as error:
            told = " ".join(error.format_message().split()).rstrip(".")
            where = (
                f" See {error.ctx.command_path} --help." if isinstance(error, click.UsageError) and error.ctx else ""
            )
            context = getattr(error, "ctx", None) or click.get_current_context(silent=True)
            logs.tell_error(f"{told}.{where}", bool(context and (context.find_root().obj or {}).get("json")))
            status = error.exit_code
        except click.Abort:
            status = 1
        sys.exit(status or 0)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show a traceback when something goes wrong. It may quote rows.")
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="CALLFREE_LOG",
    help="What goes to standard error, as lines for people or as one JSON object a line.",
)
@click.version_option(package_name="callfree")
@click.pass_context
def main(context: click.Context, debug: bool, log: str) -> None:
    """Pay subscribers in data volume for solving their problems without the hotline.

    Senders drop daily extracts into CALLFREE_HOME/inbox; `callfree run` lands them, derives what every subscriber
    should have, posts the difference to the ledger once, and puts the grant file for billing into outbox/grants.

    \b
    The usual day:
      callfree run                           the job for yesterday
      callfree status                        what is missing, held, rejected; what waits and for what
      callfree explain S000123               why this subscriber has what it has
      callfree waive calls 2017-09-11 --reason "switch was down"

    \b
    Settings:
      CALLFREE_HOME                 the folder of the installation (default: data/ beside the project)
      CALLFREE_POLICY               a folder with the five policy files (default: the pilot's)
      CALLFREE_MAX_DELIVERY_BYTES   a delivery may unpack to so much (default: 8 GiB)
      CALLFREE_MAX_REJECTED_SHARE   a delivery may have so many bad rows (default: 0.05)
      CALLFREE_MAX_GRANTS_PER_RUN   a run with more grants posts nothing until callfree approve
                                    (default: all that the policy can ever owe to those drawn)
      CALLFREE_MAX_MB_PER_RUN       likewise for the volume
      CALLFREE_MEMORY               what the databases may hold in memory; the rest goes to disk (default: 3GB)
      CALLFREE_GROUP                who may use inbox, outbox and published besides the owner (default: nobody)
      CALLFREE_EUR_PER_MB           what a granted MB costs, for the KPIs (default: 0.001)
      CALLFREE_EUR_PER_CONTACT      what a contact costs that does not happen (default: 5)
      CALLFREE_LOG                  text, or json for one object a line on standard error (default: text)
      CALLFREE_PAGES_URL            where a browser finds reports/, for the links on a run's page (default: none)
      CALLFREE_ALERT_WEBHOOK        alerts of the schedule are posted there, as JSON (default: nowhere)
      CALLFREE_ALERT_EMAIL          and mailed there: mailto://mail.example?from=a@example&to=b@example
      CALLFREE_BACKUPS              where copies of the ledger are kept (default: backups/ in the home)
      CALLFREE_KEEP_BACKUPS         so many of them (default: 14)

    \b
    What the report reckons with; lists as JSON:
      CALLFREE_REPORT_EUR_PER_GB            prices of data (default: [0.20, 1, 5.20])
      CALLFREE_REPORT_EUR_PER_CONTACT       costs of a contact (default: [5, 2.50])
      CALLFREE_REPORT_CALLS_PER_LINE_YEAR   contacts that were planned (default: 2.5)
      CALLFREE_REPORT_LINES                 lines of a rollout (default: 1, 10 and 43 million)

    \b
    Exit status: 0 done; 1 failed, the next run goes on; 2 wrong usage, nothing was done;
    3 done, but something needs a person.
    """
    # Registered first, it runs after all else.
    atexit.register(silence)
    os.umask(0o077)
    context.obj = {"debug": debug, "json": log == "json"}
    logs.set_up(log == "json")


@main.command()
@click.option("--date", "business_date", type=DAY, help="The business date (default: yesterday, local).")
@_told
def run(business_date: date | None) -> int:
    """Do the daily job for one business date.

    It may be repeated for the latest date at any time: what is granted is not granted again. Dates may be left
    out; then one run for the latest date does all that is due.
    """
    from flows.steps.start import today

    settings = _settings()
    day = business_date or today() - timedelta(days=1)
    outcome = _job("daily", settings)(settings, day)
    click.echo(f"Run for {day}")
    for line in outcome.lines():
        click.echo(f"  {line}")
    return outcome.exit_status


@main.command()
@click.option("--from", "first", type=DAY, required=True, help="The first business date.")
@click.option("--to", "last", type=DAY, required=True, help="The last business date.")
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="Days from run to run.")
@_told
def backfill(first: date, last: date, every: int) -> int:
    """Do the daily job for a range of dates, as of each date, in one process.

    For histories and rehearsals. The day before each wave's invitation is run too, so that every wave is drawn
    in time. Goes on where a run ends with 3, stops where one ends with 1 or 2.
    """
    settings = _settings()
    outcomes = _job("backfill", settings)(settings, first, last, every)
    grants = sum(outcome.posting.grant_count for outcome in outcomes)
    volume = sum(outcome.posting.volume_mb for outcome in outcomes)
    click.echo(f"{len(outcomes)} runs from {first} to {last}: posted {grants} grants, {volume} MB")
    return 3 if any(outcome.exit_status == 3 for outcome in outcomes) else 0


@main.command()
@_told
def demo() -> int:
    """Make a small world, run a year of it, and say where to look.

    A few thousand invented subscribers in both arms, with late calls, voided calls, rejected grants and a missing
    day. It wants a home of its own: CALLFREE_HOME must be empty.
    """
    from flows import demo

    settings = _settings()
    outcome = demo.run(settings, _job("daily", settings))
    report = _job("report", settings)(settings)
    status = outcome.status
    grants = sum(row["grant_count"] for row in status["grants"])
    volume = sum(row["volume_mb"] for row in status["grants"])
    enrolled = sum(wave["enrolled_count"] for wave in status["waves"])
    members = sum(wave["treatment_count"] + wave["control_count"] for wave in status["waves"])
    click.echo(
        f"\nA year of the pilot: {members} members drawn, {enrolled} enrolled, {grants} grants of {volume} MB.\n\n"
        f"Where to look, below {settings.home}:\n"
        "  outbox/grants/            the grant files that billing takes, each with its manifest\n"
        "  outbox/invitations/       who is invited\n"
        f"  outbox/kpis/              the figures of the pilot, a file a run; the latest is {outcome.kpis.file_name}\n"
        "  published/marts.duckdb    the marts for analysts\n"
        f"  reports/{report.path.name}  the pilot report: open it in a browser\n"
        "  reports/data_docs/        what Great Expectations checked\n"
        "  rejected/                 the delivery that came damaged, and why\n\n"
        f"How it stands: CALLFREE_HOME={settings.home} callfree status\n"
        f"To run it on, say CALLFREE_POLICY={settings.home}/policy too: the demo has a policy of its own."
    )
    return 0


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@_told
def status(as_json: bool) -> None:
    """Say how the installation stands: what is missing, late, held, rejected; what waits and for what."""
    from flows.steps import status as steps
    from flows.steps.start import today

    settings = _settings()
    found = steps.read_status(settings)
    found["late"] = steps.late(settings, found, today())
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        from flows.steps.status_page import show

        show(found)


@main.command()
@_told
def doctor() -> int:
    """Look whether the installation is sound, and say the way out where it is not.

    Exit status: 0 sound, 1 not.
    """
    from flows.steps.doctor import examine
    from flows.steps.start import today
    from flows.steps.status_page import show_findings

    findings = examine(_settings(), today())
    show_findings(findings)
    return 1 if any(finding.is_well is False for finding in findings) else 0


@main.command()
@click.argument("feed")
@click.argument("business_date", metavar="DATE", type=DAY)
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@_told
def waive(feed: str, business_date: date, reason: str) -> None:
    """Declare that a delivery of subscribers, app_events or calls will never come.

    Its day then counts as complete. If it comes after all it is loaded, and reported.
    """
    from flows.steps import operator
    from flows.steps.start import today

    _word(lambda settings: operator.waive(settings, feed, business_date, reason, today()))


@main.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@_told
def accept(name: str, reason: str) -> None:
    """Let the next run load a held delivery.

    NAME is its file, as callfree status shows it.
    """
    from flows.steps import operator

    _word(lambda settings: operator.accept(settings, name, reason))


@main.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@_told
def refuse(name: str, reason: str) -> None:
    """Move a held delivery to rejected/, or take a rejected one out of account for the start of its feed.

    NAME is its file, as callfree status shows it.
    """
    from flows.steps import operator

    _word(lambda settings: operator.refuse(settings, name, reason))


@main.command()
@click.argument("grant_ids", metavar="GRANT_ID ...", nargs=-1)
@click.option("--all", "release_all", is_flag=True, help="Every parked grant.")
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@_told
def release(grant_ids: tuple[str, ...], release_all: bool, reason: str) -> None:
    """Allow one more attempt for parked grants.

    Each GRANT_ID as callfree status shows it.
    """
    from flows.steps import operator

    if bool(grant_ids) == release_all:
        raise WrongUsage("Name the grants to release, or say --all.")
    _word(lambda settings: operator.release(settings, grant_ids, release_all, reason))


@main.command()
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@_told
def approve(reason: str) -> None:
    """Let the batch through that is held back for being above the budget.

    The word is for that very batch: its business date and its bytes. Run its date again to post it: callfree run
    --date DATE, with the date that callfree status shows. Where something has come meanwhile that changes the batch,
    the new one is judged anew.
    """
    from flows.steps import operator

    _word(lambda settings: operator.approve(settings, reason))


@main.command()
@click.argument("name")
@_told
def republish(name: str) -> None:
    """Put a file of the outbox back as it was published, where somebody has altered it.

    NAME is the file, as callfree status shows it. It has the bytes that the ledger says, as before; the altered one is
    kept among the copies of the ledger. What was taken away is not put back.
    """
    from flows.steps import outbox

    _word(lambda settings: outbox.republish(settings, name))


@main.command()
@click.argument("subscriber_id", metavar="SUBSCRIBER")
@click.option("--date", "day", type=DAY, help="As it was known on that day (default: in the latest run).")
@click.option("--json", "as_json", is_flag=True, help="For a care desktop; the shape is in docs/care.md.")
@_told
def explain(subscriber_id: str, day: date | None, as_json: bool) -> None:
    """Tell why a subscriber has the grants it has, and has not the others.

    Drawn or not and why, each step of enrolment, each quarter with the calls that broke it and what it would be
    worth without them, each grant with its file and billing's answer, and what comes next. It works at any time;
    an earlier day takes some seconds, since it is derived again.
    """
    from flows.errors import guarded
    from flows.steps import explain as steps

    with guarded("explain"):
        story = steps.explain(_settings(), subscriber_id, day)
    if as_json:
        click.echo(json.dumps(story, indent=2, default=lambda value: value.isoformat()))
    else:
        from flows.steps.explain_page import show

        show(story)


@main.command()
@click.option("--date", "business_date", type=DAY, help="As it was after the latest run up to that business date.")
@_told
def report(business_date: date | None) -> None:
    """Write the pilot report, for the latest run or an earlier one, as one HTML page in reports/.

    Is the pilot healthy, does it work, for whom, what does it cost, what is owed? It may be read every day. The page
    needs no network. It can be written at any time, also while a run goes on.
    """
    settings = _settings()
    written = _job("report", settings)(settings, business_date)
    click.echo(f"Pilot report for {written.business_date}: {written.path}")
    for line in written.lines():
        click.echo(f"  {line}")


@main.command()
@_told
def rebuild() -> None:
    """Make the warehouse anew from archive and ledger.

    It holds nothing that cannot be derived again; this proves it, and mends one that is lost or damaged.
    """
    from flows.steps.run import rebuild as rebuild_warehouse

    day = rebuild_warehouse(_settings())
    click.echo(f"The warehouse was derived anew for {day}." if day else "There has been no run: nothing to rebuild.")


@main.command()
@_told
def audit() -> int:
    """Derive everything anew, beside the installation, and compare it with the published marts.

    A run derives what its day concerns, and once a week everything; this says whether both come to the same. It takes
    as long as a rebuild, and changes nothing.

    Exit status: 0 all agree, 1 not.
    """
    from flows.errors import guarded
    from flows.steps.audit import audit as compare
    from flows.steps.status_page import show_findings

    with guarded("audit"):
        findings = compare(_settings())
    show_findings(findings)
    return 1 if any(finding.is_well is False for finding in findings) else 0


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Where the page is (default: 4200, or any that is free).")
@_told
def up(port: int | None) -> None:
    """Run Prefect's server, the schedule and a worker on this machine, until stopped.

    The job then runs every morning at 06:00 (Europe/Berlin). Prefect's page shows the runs, starts them and needs no
    network. What was missed while nothing ran is caught up by one run.
    """
    from flows.up import up as stay_up

    stay_up(_settings(), port, click.get_current_context().obj["json"])


@main.command()
@_told
def deploy() -> None:
    """Put the deployments and the alerts on a Prefect server.

    `callfree up` does it for its own. For another, PREFECT_API_URL says where it is; then start a worker there:
    prefect worker start --pool callfree
    """
    settings = _settings()
    module = _flow_module("deploy", settings)
    if "PREFECT_API_URL" not in os.environ:
        raise WrongUsage("Which Prefect server? Set PREFECT_API_URL, or use callfree up.")
    for line in module.deploy(settings):
        click.echo(line)


@main.command()
@_told
def backup() -> None:
    """Copy the ledger, verify the copy, and say which copies there are.

    Every run and every operator's word does so by itself. The latest CALLFREE_KEEP_BACKUPS are kept, with a manifest
    each.
    """
    from flows.errors import guarded
    from flows.steps.backups import back_up, copies
    from flows.steps.home import lock
    from flows.steps.ledger_growth import check_ledger

    settings = _settings()
    with lock(settings, "callfree backup"), guarded("backup"):
        check_ledger(settings)
        back_up(settings)
        for copy in copies(settings):
            rows = copy.growth.rows
            click.echo(f"{copy.path.name}: {rows['batches']} grant files, {rows['deliveries']} deliveries")


@main.command()
@click.argument("name", required=False)
@click.option("--replace", is_flag=True, help="Even where the ledger is whole and knows more.")
@click.option("--void", is_flag=True, help="Files that went out and that the copy does not know are void.")
@_told
def restore(name: str | None, replace: bool, void: bool) -> None:
    """Bring back the ledger from the latest good copy, or from the one named.

    Deliveries that the copy does not know go back into the inbox. A copy that does not know files that went out is
    refused: say --void only when billing has agreed not to book them. What was there is kept among the copies.
    """
    from flows.errors import guarded
    from flows.steps.backups import back_up
    from flows.steps.home import lock
    from flows.steps.restoring import restore as restore_ledger
    from flows.steps.status import refresh_status

    settings = _settings()
    with lock(settings, "callfree restore"), guarded("restore"):
        for line in restore_ledger(settings, name, replace, void).lines():
            click.echo(line)
        refresh_status(settings)
        # From now on the latest copy is this ledger, not one that was given up.
        back_up(settings)


def _word(say: Callable[[Any], str]) -> None:
    """An operator's word, said while nobody else works on the home; the status tells it at once."""
    from flows.errors import guarded
    from flows.steps.backups import back_up
    from flows.steps.home import lock
    from flows.steps.ledger_growth import check_ledger
    from flows.steps.status import refresh_status

    settings = _settings()
    with lock(settings, "an operator's command"), guarded("the command"):
        check_ledger(settings)
        click.echo(say(settings))
        refresh_status(settings)
        back_up(settings)


def _job(name: str, settings: Any) -> Callable[..., Any]:
    """A job as a flow, where a Prefect server watches; by itself, where none does."""
    from flows.environment import has_server

    if has_server(settings):
        return _flow_module(name, settings).run
    from flows import unwatched

    return getattr(unwatched, name)


def _flow_module(name: str, settings: Any) -> Any:
    """A module of flows. Prefect comes with it: it takes seconds, and reads its settings when it comes."""
    from importlib import import_module

    from flows.environment import embedded, told
    from flows.errors import guarded
    from flows.steps.lean_imports import imported_lean, left_out_of_prefect

    with guarded("opening the home"):
        settings.make_folders()
    os.environ.update(told(embedded(settings)))
    with imported_lean(left_out_of_prefect()):
        return import_module(f"flows.{name}")
