"""`callfree` as people and schedulers meet it: exit statuses, one clear line, one writer a home (2.5)."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from flows import cli, unwatched
from flows.errors import CallfreeError, GateFailed, WrongUsage
from flows.settings import PROJECT, Settings
from flows.steps import report_page
from flows.steps.home import lock
from flows.steps.run import run_day
from flows.steps.start import backfill_dates, today
from landing_home import DAY, Home, calls, held_calls, name_of
from test_policy import SOUND, written

HEADERS = {
    "subscribers": "subscriber_id,msisdn,email,brand,status,marketing_consent,changed_at\n",
    "app_events": "event_id,subscriber_id,event_type,occurred_at\n",
    "calls": "call_id,record_version,subscriber_id,msisdn,direction,line,started_at,duration_s,outcome,voided\n",
}


class CommandLine:
    """A home, and `callfree` called on it in this process."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.environment = {"CALLFREE_HOME": str(folder)}

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.main, arguments, env=self.environment, prog_name="callfree")


@pytest.fixture
def callfree(tmp_path, monkeypatch, no_gates):
    # What the entry point does to its process is not for the process of the tests.
    monkeypatch.setattr(cli, "atexit", SimpleNamespace(register=lambda _: None))
    monkeypatch.setattr(cli.os, "umask", lambda _: None)
    return CommandLine(tmp_path / "home")


@pytest.fixture
def without_prefect(monkeypatch):
    """The daily job is run step by step; gives the dates it was asked for."""
    asked = []

    def run(settings, business_date):
        asked.append(business_date)
        return run_day(settings, business_date)

    monkeypatch.setattr(cli, "_job", lambda name, settings: run)
    return asked


def is_told_in_one_line(result: Result) -> bool:
    return bool(re.fullmatch(r"callfree: [^\n]+\.\n", result.stderr)) and result.stdout == ""


def run_that(monkeypatch, do) -> None:
    """`callfree run` does this instead."""
    monkeypatch.setattr(cli, "_job", lambda name, settings: lambda *_: do())


def fails_with(error: BaseException):
    def fail():
        raise error

    return fail


# --- Usage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(cli.main.commands))
def test_every_command_explains_itself(callfree, command):
    for flag in ("--help", "-h"):
        result = callfree(command, flag)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Usage: callfree {command}")
        first_sentence = cli.main.commands[command].help.split("\n\n")[0]
        assert " ".join(first_sentence.split()) in " ".join(result.stdout.split())


def test_the_help_names_every_command_and_every_setting(callfree):
    result = callfree("--help")
    assert result.exit_code == 0
    for command in cli.main.commands:
        assert re.search(rf"^  {command} ", result.stdout, re.MULTILINE)
    for setting in Settings.model_fields:
        assert f"CALLFREE_{setting.upper()}" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--date", "2017-02-29"],
        ["run", "--date", "20170825"],
        ["run", "--date", "25.08.2017"],
        ["run", "--date", "2017-W34-5"],
        ["run", "--date", "yesterday"],
        ["run", "--date", ""],
        ["run", "--date"],
        ["run", "2017-08-25"],
        ["run", "--quickly"],
        ["backfill", "--from", "2017-08-25"],
        ["backfill", "--from", "2017-08-25", "--to", "2017-08-32"],
        ["backfill", "--from", "2017-08-25", "--to", "2017-08-26", "--every", "0"],
        ["waive", "calls", "2017-08-25"],
        ["waive", "calls", "2017-02-29", "--reason", "x"],
        ["waive", "policies", "2017-08-25", "--reason", "x"],
        ["waive", "grant_acks", "2017-08-25", "--reason", "x"],
        ["waive", "calls", "2999-01-01", "--reason", "x"],
        ["waive", "calls", "2017-08-25", "--reason", ""],
        ["accept", "calls_20170825.csv"],
        ["accept", "calls_20170825.csv", "--reason", "x"],
        ["refuse", "calls_20170825.csv", "--reason", "x"],
        ["release", "--reason", "x"],
        ["release", "anna.W.1", "--all", "--reason", "x"],
        ["release", "anna.W.1", "--reason", "x"],
        ["release", "--all", "--reason", "x"],
        ["pay"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_in_one_line_and_exits_with_2(callfree, arguments):
    result = callfree(*arguments)
    assert result.exit_code == 2
    assert is_told_in_one_line(result)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("MAX_REJECTED_SHARE", "5%"),
        ("MAX_REJECTED_SHARE", "1.5"),
        ("MAX_DELIVERY_BYTES", "0"),
        ("MAX_DELIVERY_BYTES", "8G"),
        ("REPORT_EUR_PER_GB", "0.2,1"),
        ("REPORT_EUR_PER_GB", '[0.2, "cheap"]'),
    ],
)
def test_a_setting_that_makes_no_sense_is_wrong_usage_and_named(callfree, setting, value):
    callfree.environment[f"CALLFREE_{setting}"] = value
    result = callfree("status")
    assert result.exit_code == 2
    assert is_told_in_one_line(result)
    assert f"CALLFREE_{setting}:" in result.stderr


@pytest.mark.parametrize("ahead", [0, 1, 400])
def test_a_day_that_is_not_over_cannot_be_run(callfree, without_prefect, ahead):
    result = callfree("run", "--date", str(today() + timedelta(days=ahead)))
    assert result.exit_code == 2
    assert is_told_in_one_line(result)
    assert "is not over yet" in result.stderr


def test_without_a_date_the_run_is_for_yesterday(callfree, monkeypatch):
    asked = []

    def run(settings, business_date):
        asked.append(business_date)
        raise CallfreeError("That is enough.")

    monkeypatch.setattr(cli, "_job", lambda name, settings: run)
    callfree("run")
    assert asked == [today() - timedelta(days=1)]


def test_a_broken_policy_stops_a_run_before_it_lands_anything(callfree, without_prefect, tmp_path):
    (tmp_path / "policy").mkdir()
    broken = written(tmp_path / "policy", terms=SOUND["terms"].replace("600", "much"))
    callfree.environment["CALLFREE_POLICY"] = str(broken)
    name = callfree.home.deliver("calls", {})
    result = callfree("run", "--date", str(DAY))
    assert result.exit_code == 2
    assert is_told_in_one_line(result)
    assert "terms.csv, row 1, column welcome_mb" in result.stderr
    assert (set(callfree.home.files("inbox")), callfree.home.history) == ({name}, [])


# --- Exit statuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (WrongUsage("The policy is broken."), 2, "The policy is broken."),
        (CallfreeError("dbt failed: quarters (error)."), 1, "dbt failed: quarters (error)."),
        (GateFailed("batch", ("every id is new",), "x.html"), 1, "The batch gate failed: every id is new. Nothing was"),
        (KeyboardInterrupt(), 1, "interrupted; run again, nothing is posted twice."),
        (ValueError("+4917655000001 is no number"), 1, "ValueError; run again with --debug to see where."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_goes_wrong_is_told_in_one_line_without_a_traceback(callfree, monkeypatch, error, status, told):
    run_that(monkeypatch, fails_with(error))
    result = callfree("run", "--date", str(DAY))
    assert result.exit_code == status
    assert is_told_in_one_line(result)
    assert result.stderr.startswith(f"callfree: {told}")
    assert "+49" not in result.stderr


def test_a_traceback_is_there_for_who_asks(callfree, monkeypatch):
    run_that(monkeypatch, fails_with(CallfreeError("It failed.")))
    result = callfree("--debug", "run", "--date", str(DAY))
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("callfree: It failed.\n")


@pytest.mark.parametrize("status", [0, 3])
def test_the_exit_status_is_that_of_the_run(callfree, monkeypatch, status):
    run_that(monkeypatch, lambda: SimpleNamespace(exit_status=status, lines=lambda: ["posted 2 grants, 700 MB"]))
    result = callfree("run", "--date", str(DAY))
    assert (result.exit_code, result.stderr) == (status, "")
    assert result.stdout == "Run for 2017-08-25\n  posted 2 grants, 700 MB\n"


# --- Operators ----------------------------------------------------------------------------------------------------


def test_an_operators_word_shows_in_the_status_at_once(callfree):
    name = held_calls(callfree.home)
    assert callfree("waive", "app_events", "2017-08-25", "--reason", "lost").exit_code == 0
    held = callfree("accept", name, "--reason", "a quiet day")
    assert (held.exit_code, held.stdout, held.stderr) == (0, f"{name} is accepted: the next run loads it.\n", "")
    found = json.loads(callfree("status", "--json").stdout)
    assert found["waived"] == [{"feed": "app_events", "business_date": "2017-08-25", "reason": "lost"}]
    assert [(row["file"], row["accepted"]) for row in found["held"]] == [(name, True)]
    assert callfree("refuse", name, "--reason", "it was none").exit_code == 0
    assert json.loads(callfree("status", "--json").stdout)["held"] == []
    assert callfree("accept", name, "--reason", "or was it").exit_code == 2


def test_the_status_before_the_first_run_says_what_to_do(callfree):
    result = callfree("status")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("There has been no run yet.")
    found = json.loads(callfree("status", "--json").stdout)
    assert (found["last_run"], found["late"]) == (None, [])


@pytest.fixture
def report_alone(monkeypatch):
    """The report is written without Prefect."""
    monkeypatch.setattr(cli, "_job", lambda name, settings: report_page.report_on)


@pytest.mark.parametrize("arguments", [[], ["--date", "2017-07-16"]])
def test_before_the_first_run_there_is_nothing_to_report(callfree, report_alone, arguments):
    result = callfree("report", *arguments)
    assert result.exit_code == 2
    assert is_told_in_one_line(result)
    assert "callfree run" in result.stderr


def test_before_the_first_run_there_is_nothing_to_rebuild(callfree):
    result = callfree("rebuild")
    assert (result.exit_code, result.stdout) == (0, "There has been no run: nothing to rebuild.\n")


# --- Back-fill ----------------------------------------------------------------------------------------------------


@pytest.fixture
def policy_of_two_waves(callfree, tmp_path):
    """The first wave is invited on 2017-07-17, the second on 2017-10-01."""
    (tmp_path / "policy").mkdir()
    callfree.environment["CALLFREE_POLICY"] = str(written(tmp_path / "policy"))
    return Settings(home=callfree.home.settings.home, policy=tmp_path / "policy")


def days(*texts: str) -> list[date]:
    return [date.fromisoformat(text) for text in texts]


@pytest.mark.parametrize(
    ("first", "last", "every", "expected"),
    [
        ("2017-07-10", "2017-07-13", 1, days("2017-07-10", "2017-07-11", "2017-07-12", "2017-07-13")),
        ("2017-07-10", "2017-07-10", 1, days("2017-07-10")),
        ("2017-07-10", "2017-07-15", 2, days("2017-07-10", "2017-07-12", "2017-07-14", "2017-07-15")),
        ("2017-07-10", "2017-07-20", 7, days("2017-07-10", "2017-07-16", "2017-07-17", "2017-07-20")),
        ("2017-07-16", "2017-07-30", 30, days("2017-07-16", "2017-07-30")),
        ("2017-07-17", "2017-07-30", 30, days("2017-07-17", "2017-07-30")),
        ("2017-07-01", "2017-07-16", 30, days("2017-07-01", "2017-07-16")),
        ("2017-07-01", "2017-07-15", 30, days("2017-07-01", "2017-07-15")),
        ("2017-07-01", "2017-10-31", 90, days("2017-07-01", "2017-07-16", "2017-09-29", "2017-09-30", "2017-10-31")),
    ],
)
def test_a_backfill_runs_every_nth_date_the_last_and_the_day_before_each_invitation(
    policy_of_two_waves, first, last, every, expected
):
    assert backfill_dates(policy_of_two_waves, *days(first, last), every) == expected


@pytest.fixture
def prefect_aside(monkeypatch):
    """The back-fill as it is, without Prefect around it; `runs` says what the run of a date does."""
    runs, asked = {}, []

    def run(settings, business_date):
        asked.append(business_date)
        found = runs.get(business_date, 0)
        if isinstance(found, Exception):
            raise found
        return SimpleNamespace(
            exit_status=found,
            headline=lambda: "",
            to_know=lambda names_persons: [],
            posting=SimpleNamespace(grant_count=2, volume_mb=700),
        )

    monkeypatch.setattr(unwatched, "run_day", run)
    return SimpleNamespace(runs=runs, asked=asked)


@pytest.mark.parametrize(
    ("first", "last"),
    [("2017-08-26", "2017-08-25"), ("2017-08-25", "2999-01-01"), ("2017-08-25", str(today()))],
)
def test_a_backfill_refuses_impossible_dates_before_anything_runs(callfree, prefect_aside, first, last):
    result = callfree("backfill", "--from", first, "--to", last)
    assert result.exit_code == 2
    assert is_told_in_one_line(result)
    assert prefect_aside.asked == []


def test_a_backfill_cannot_start_before_the_latest_run(callfree, prefect_aside):
    from flows.steps import ledger

    with ledger.open_ledger(callfree.home.settings) as connection:
        connection.execute("insert into batches values (1, '2017-08-25', 1, 'grants_20170825_01.csv', 0, 0, 'x', null)")
    result = callfree("backfill", "--from", "2017-08-24", "--to", "2017-08-27")
    assert result.exit_code == 2
    assert "2017-08-24 cannot be run any more: the latest run was for 2017-08-25." in result.stderr
    assert prefect_aside.asked == []
    assert callfree("backfill", "--from", "2017-08-25", "--to", "2017-08-26").exit_code == 0


def test_a_backfill_refuses_a_broken_policy_before_anything_runs(callfree, prefect_aside, policy_of_two_waves):
    written(policy_of_two_waves.policy, waves="wave_id\n")
    result = callfree("backfill", "--from", "2017-08-25", "--to", "2017-08-26")
    assert (result.exit_code, prefect_aside.asked) == (2, [])
    assert is_told_in_one_line(result)


def test_a_backfill_goes_on_after_3_and_says_so_in_the_end(callfree, prefect_aside):
    prefect_aside.runs[date(2017, 8, 26)] = 3
    result = callfree("backfill", "--from", "2017-08-25", "--to", "2017-08-27")
    assert result.exit_code == 3
    assert result.stdout == "3 runs from 2017-08-25 to 2017-08-27: posted 6 grants, 2100 MB\n"
    assert prefect_aside.asked == days("2017-08-25", "2017-08-26", "2017-08-27")


@pytest.mark.parametrize("error", [CallfreeError("It failed."), WrongUsage("It is wrong.")])
def test_a_backfill_stops_at_1_and_2(callfree, prefect_aside, error):
    prefect_aside.runs[date(2017, 8, 26)] = error
    result = callfree("backfill", "--from", "2017-08-25", "--to", "2017-08-27")
    assert (result.exit_code, result.stderr) == (error.exit_status, f"callfree: {error}\n")
    assert prefect_aside.asked == days("2017-08-25", "2017-08-26")


# --- One writer a home --------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from flows.settings import Settings
from flows.steps.home import lock

with lock(Settings(home=Path(sys.argv[1])), "callfree run for 2017-08-25"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_holds(home: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_while_a_run_goes_on_a_second_one_says_who_it_is_and_the_status_works(callfree, without_prefect):
    home = callfree.home.settings.home
    callfree.home.deliver("calls", *calls(1))
    with another_process_holds(home) as process:
        for command in (
            ["run", "--date", "2017-08-25"],
            ["waive", "calls", "2017-08-25", "--reason", "x"],
            ["rebuild"],
        ):
            result = callfree(*command)
            assert result.exit_code == 1, command
            assert is_told_in_one_line(result)
            assert f"in use by callfree run for 2017-08-25 (process {process.pid} on " in result.stderr
        assert callfree("status").exit_code == 0
        assert set(callfree.home.files("inbox")) == {name_of("calls")}


def test_a_lock_that_a_dead_process_left_blocks_nobody(callfree):
    home = callfree.home.settings.home
    with another_process_holds(home) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (home / ".lock").exists()
        with lock(callfree.home.settings, "the next"):
            pass
        assert callfree("waive", "calls", "2017-08-25", "--reason", "x").exit_code == 0


# --- The real thing -----------------------------------------------------------------------------------------------


class RealHome:
    """Two days of a small world, and `callfree` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder)
        self.settings.make_folders()
        for day in ("2017-07-15", "2017-07-16"):
            for feed, header in HEADERS.items():
                rows = ""
                if (feed, day) == ("subscribers", "2017-07-15"):
                    rows = "".join(
                        f"{who},+491765500000{number},{who}@example.org,o2,active,true,2017-07-01T08:00:00+02:00\n"
                        for number, who in enumerate(("anna", "bert", "carl"))
                    )
                (self.settings.inbox / f"{feed}_{day.replace('-', '')}.csv").write_text(header + rows)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CALLFREE_"))}
        return subprocess.run(
            [sys.executable, "-c", "from flows.cli import main; main(prog_name='callfree')", *arguments],
            cwd=PROJECT, env=own | {"CALLFREE_HOME": str(self.settings.home)} | environment,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def outbox(self) -> dict[str, tuple[int, bytes]]:
        root = self.settings.home / "outbox"
        files = [path for path in root.rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    home = RealHome(tmp_path_factory.mktemp("real"))
    # Prefect starts a server for this one.
    home.first = home.run("run", "--date", "2017-07-16", PREFECT_SERVER_EPHEMERAL_ENABLED="true")
    return home


def test_a_run_through_prefect_does_the_job_and_says_what_it_did(real):
    assert real.first.returncode == 0, real.first.stderr
    told = real.first.stdout.splitlines()
    assert told[0] == "Run for 2017-07-16"
    assert "  landed 6 deliveries with 3 rows" in told
    assert "  drew wave pilot-2017" in told
    assert "  posted 0 grants, 0 MB" in told
    assert {
        "grants/grants_20170716_01.csv", "grants/grants_20170716_01.manifest.json",
        "invitations/invitations_pilot-2017.csv", "invitations/invitations_pilot-2017.manifest.json",
    } <= set(real.outbox())  # fmt: skip
    assert os.listdir(real.settings.inbox) == []


def test_a_run_leaves_nothing_on_standard_error_but_its_steps(real):
    for word in ("Traceback", "nanobind", "leaked", "Error", "WARN", "Warning", "example.org", "+49"):
        assert word not in real.first.stderr
    steps = real.first.stderr.splitlines()
    assert {"landing deliveries ...", "posting to the ledger ...", "publishing the marts ..."} <= set(steps)
    assert [line for line in steps if not re.fullmatch(r"[a-zA-Z0-9 ,()]+ \.\.\.", line)] == []


def test_prefect_has_a_record_of_that_run(real):
    with sqlite3.connect(real.settings.work / "prefect" / "prefect.db") as record:
        assert record.execute("select name, state_type from flow_run").fetchall() == [("daily 2017-07-16", "COMPLETED")]


def test_a_run_repeated_without_prefect_is_right_and_publishes_nothing_new(real):
    before = real.outbox()
    again = real.run("run", "--date", "2017-07-16", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert again.returncode == 0, again.stderr
    assert "  posted 0 grants, 0 MB" in again.stdout.splitlines()
    assert "published" not in again.stdout
    assert "Traceback" not in again.stderr
    assert real.outbox() == before


def test_the_home_is_for_its_owner_alone(real):
    for path in (real.settings.ledger, real.settings.warehouse, real.settings.marts):
        assert path.stat().st_mode & 0o077 == 0, path


def test_after_a_run_the_status_and_a_rebuild_agree(real, callfree):
    callfree.environment["CALLFREE_HOME"] = str(real.settings.home)
    before = json.loads(callfree("status", "--json").stdout)
    assert before["last_run"] == "2017-07-16"
    assert [(row["feed"], row["complete_to"]) for row in before["feeds"] if row["starts_on"]] == [
        (feed, "2017-07-16") for feed in ("app_events", "calls", "subscribers")
    ]
    assert {"feed": "calls", "business_date": "2017-07-17"} in before["late"]
    assert before["late"][-1]["business_date"] == str(today() - timedelta(days=1))
    shown = callfree("status")
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (0, "Last run: 2017-07-16")
    real.settings.warehouse.unlink()
    rebuilt = callfree("rebuild")
    assert (rebuilt.exit_code, rebuilt.stdout) == (0, "The warehouse was derived anew for 2017-07-16.\n")
    assert json.loads(callfree("status", "--json").stdout) == before


def test_the_report_is_one_page_that_the_command_names(real):
    result = real.run("report")
    assert result.returncode == 0, result.stderr
    page = real.settings.reports / "pilot_20170716.html"
    assert result.stdout.splitlines()[0] == f"Pilot report for 2017-07-16: {page}"
    assert "  pilot-2017: look closer. Not to be judged: the window is empty." in result.stdout.splitlines()
    assert "the wave has just been drawn" in page.read_text()
    assert page.stat().st_mode & 0o077 == 0
    assert "Traceback" not in result.stderr
    assert "Prefect failed" not in result.stderr


def test_the_report_for_an_earlier_date_is_made_of_what_was_known_then(real, callfree, report_alone, monkeypatch):
    callfree.environment["CALLFREE_HOME"] = str(real.settings.home)
    asked = []

    def marts_as_of(settings, day):
        asked.append(day)
        return settings.marts

    monkeypatch.setattr(report_page, "marts_as_of", marts_as_of)
    assert callfree("report", "--date", "2017-07-16").exit_code == 0
    assert asked == []
    assert callfree("report", "--date", "2017-07-20").exit_code == 0
    assert asked == [date(2017, 7, 20)]


def test_a_date_before_the_latest_run_is_refused(real, callfree, without_prefect):
    callfree.environment["CALLFREE_HOME"] = str(real.settings.home)
    result = callfree("run", "--date", "2017-07-15")
    assert result.exit_code == 2
    assert is_told_in_one_line(result)
    assert "the latest run was for 2017-07-16" in result.stderr
