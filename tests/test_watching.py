"""What those see who watch an installation: the doctor, the metrics, the logs, the status, a run's page."""

import json
import logging
from dataclasses import replace
from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from flows import cli, logs
from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps import doctor, ledger, ledger_growth, status
from flows.steps.backups import back_up
from flows.steps.corrections import Correction
from flows.steps.metrics import timed, write_metrics
from flows.steps.outcome import Outcome
from flows.steps.publish import Published
from flows.steps.report_page import Report
from flows.steps.run_page import run_page
from flows.unwatched import run_dates

TODAY = date(2017, 8, 26)


@pytest.fixture
def settings(tmp_path) -> Settings:
    found = Settings(home=tmp_path / "home")
    found.make_folders()
    return found


@pytest.fixture
def callfree(settings, monkeypatch):
    """`callfree` called on the home in this process."""
    # What the entry point does to its process is not for the process of the tests.
    monkeypatch.setattr(cli, "atexit", SimpleNamespace(register=lambda _: None))
    monkeypatch.setattr(cli.os, "umask", lambda _: None)
    runner = CliRunner()
    return lambda *arguments, **more: runner.invoke(
        cli.main, arguments, env={"CALLFREE_HOME": str(settings.home), **more}, prog_name="callfree"
    )


# --- The doctor ---------------------------------------------------------------------------------------------------


def found_by(settings: Settings, subject: str, today: date = TODAY) -> doctor.Finding:
    (finding,) = [finding for finding in doctor.examine(settings, today) if finding.subject == subject]
    return finding


def with_a_batch(settings: Settings, lines: int = 0, sequence: int = 1) -> None:
    with ledger.open_ledger(settings) as connection:
        connection.execute(
            "insert into batches values (?, '2017-08-25', 1, 'grants_20170825_01.csv', ?, 0, 'x', ?)",
            [sequence, lines, None if sequence == 1 else "y"],
        )
        ledger.record_publication(connection, "grants_20170825_01.csv")
    settings.ledger.chmod(0o600)


def test_a_sound_installation_is_called_sound(settings, callfree, monkeypatch):
    with_a_batch(settings)
    back_up(settings)
    # This ledger has a batch, but not the policy that was used for it.
    monkeypatch.setattr(doctor, "check_policy", lambda settings: doctor.load(settings.policy))
    assert {finding.subject: finding.is_well for finding in doctor.examine(settings, TODAY)} == {
        subject: True
        for subject in ("python", "packages", "time zone", "folders", "rights", "disk", "lock", "policy", "ledger",
                        "outbox", "backup", "clock")
    }  # fmt: skip
    assert callfree("doctor").exit_code == 0


def test_a_home_that_is_not_there_is_no_fault_and_stays_away(tmp_path):
    findings = doctor.examine(Settings(home=tmp_path / "new"), TODAY)
    assert [finding for finding in findings if not finding.is_well] == []
    assert not (tmp_path / "new").exists()


def an_old_python(settings, monkeypatch):
    version = type("Version", (tuple,), {})((3, 9, 1))
    monkeypatch.setattr(doctor, "sys", SimpleNamespace(version_info=version))


def another_package(settings, monkeypatch):
    monkeypatch.setattr(doctor, "_pins", lambda: iter([("duckdb", "1.0.0"), ("no-such-package", "1")]))


def a_zone_without_summer(settings, monkeypatch):
    monkeypatch.setattr(doctor, "ZoneInfo", lambda _: UTC)


def a_file_for_a_folder(settings, monkeypatch):
    settings.held.rmdir()
    settings.held.touch()


def a_ledger_for_all(settings, monkeypatch):
    with ledger.open_ledger(settings):
        pass
    settings.ledger.chmod(0o644)


def a_full_disk(settings, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**8))


def a_broken_policy(settings, monkeypatch):
    monkeypatch.setattr(doctor, "load", lambda _: (_ for _ in ()).throw(CallfreeError("terms.csv is missing.")))


def a_ledger_of_noise(settings, monkeypatch):
    settings.ledger.write_bytes(b"noise" * 5000)
    settings.ledger.chmod(0o600)


def a_lost_ledger(settings, monkeypatch):
    (settings.grants_outbox / "grants_20170825_01.csv").touch()


def an_older_ledger(settings, monkeypatch):
    with_a_batch(settings)
    with ledger.open_ledger(settings) as connection:
        ledger_growth.note(settings, ledger_growth.growth(connection))
        connection.execute("delete from batches")


def a_restore_cut_off(settings, monkeypatch):
    settings.restoring.touch()


def invitations_not_handed_out(settings, monkeypatch):
    with ledger.open_ledger(settings) as connection:
        connection.execute("insert into draws values ('w', 't', '2017-07-17', '2017-07-16', 2)")
    settings.ledger.chmod(0o600)


def test_the_doctor_makes_no_ledger_where_one_is_lost_or_none_was(settings):
    assert found_by(settings, "ledger").is_well
    assert found_by(settings, "outbox").is_well
    assert not settings.ledger.exists()
    a_lost_ledger(settings, None)
    assert not found_by(settings, "ledger").is_well
    assert not settings.ledger.exists()


def a_gap_in_the_sequence(settings, monkeypatch):
    with_a_batch(settings, sequence=2)


def a_batch_that_does_not_sum_up(settings, monkeypatch):
    with_a_batch(settings, lines=3)


def a_member_drawn_twice(settings, monkeypatch):
    with ledger.open_ledger(settings) as connection:
        connection.execute(
            "insert into members values ('anna', 'w', 'control', 1, null), ('anna', 'w', 'control', 2, null)"
        )
    settings.ledger.chmod(0o600)


def a_grant_of_no_batch(settings, monkeypatch):
    with ledger.open_ledger(settings) as connection:
        connection.execute(
            "insert into grants values"
            " ('a.W.1', 7, 'a', '1', 'welcome', 0, 0, 1, 600, '2017-08-26', '2017-09-26', 'w', 't')"
        )
    settings.ledger.chmod(0o600)


def a_run_broken_off(settings, monkeypatch):
    settings.claimed.mkdir()


def no_copy(settings, monkeypatch):
    with_a_batch(settings)


def a_damaged_copy(settings, monkeypatch):
    with_a_batch(settings)
    back_up(settings).path.write_bytes(b"noise")


def a_clock_gone_back(settings, monkeypatch):
    with ledger.open_ledger(settings) as connection:
        connection.execute("insert into batches values (1, '2017-08-26', 1, 'grants_20170826_01.csv', 0, 0, 'x', null)")


@pytest.mark.parametrize(
    ("spoil", "subject", "told"),
    [
        (an_old_python, "python", "3.9.1: callfree needs 3.11"),
        (another_package, "packages", "instead of 1.0.0, no-such-package missing instead of 1: install"),
        (a_zone_without_summer, "time zone", "mend the time zone data"),
        (a_file_for_a_folder, "folders", "is no folder: move it away"),
        (a_ledger_for_all, "rights", "anyone on this machine may read"),
        (a_full_disk, "disk", "0.1 GB free, a run may want 1.0 GB: make room"),
        (a_broken_policy, "policy", "terms.csv is missing."),
        (a_ledger_of_noise, "ledger", "ledger.duckdb cannot be opened"),
        (a_lost_ledger, "ledger", "callfree restore brings back the latest good copy"),
        (an_older_ledger, "ledger", "is older than what was done here"),
        (a_restore_cut_off, "ledger", "say callfree restore again"),
        (a_gap_in_the_sequence, "ledger", "1 files are missing from its sequence; restore it"),
        (a_batch_that_does_not_sum_up, "ledger", "1 files do not sum up to their grants; restore it"),
        (a_member_drawn_twice, "ledger", "1 members are there twice; restore it"),
        (a_grant_of_no_batch, "ledger", "1 files do not sum up to their grants; restore it"),
        (a_run_broken_off, "outbox", "callfree run finishes what it left"),
        (invitations_not_handed_out, "outbox", "callfree run finishes what it left"),
        (no_copy, "backup", "no copy of the ledger in"),
        (a_damaged_copy, "backup", "callfree backup takes another"),
        (a_clock_gone_back, "clock", "it says 2017-08-26, but 2017-08-26 has been run: set the clock"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_doctor_finds_what_is_wrong_and_says_the_way_out(settings, monkeypatch, spoil, subject, told):
    spoil(settings, monkeypatch)
    finding = found_by(settings, subject)
    assert finding.is_well is False
    assert told in finding.told
    assert "\n" not in finding.told


def test_the_doctor_exits_with_1_where_something_is_wrong(settings, callfree, monkeypatch):
    a_run_broken_off(settings, monkeypatch)
    result = callfree("doctor")
    assert result.exit_code == 1
    assert "not ok  outbox" in result.stdout


# --- Metrics ------------------------------------------------------------------------------------------------------

STATUS = status._NOTHING | {
    "last_run": "2017-08-25",
    "finished_at": "2017-08-26T04:01:00+00:00",
    "grants": [{"answer": "accepted", "grant_count": 3, "volume_mb": 1800}],
    "exceptions": [{"kind": "parked_grant", "item_count": 2, "volume_mb": 600}],
    "waiting": [
        {"what": "quarters", "item_count": 7, "feed": feed, "missing_days": ""} for feed in ("calls", "app_events")
    ],
    "held": [{"file": "calls_20170825.csv", "reason": "few", "accepted": False}],
    "feeds": [{"feed": "calls", "complete_to": "2017-08-24", "starts_on": "2017-07-01", "missing_days": []}],
}


def metrics_of(settings: Settings) -> dict:
    families = text_string_to_metric_families(settings.metrics.read_text())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_the_metrics_are_the_status_as_numbers(settings):
    write_metrics(settings, STATUS, {"derive": 3.5}, 120)
    found = metrics_of(settings)
    assert found["callfree_run_failed",] == 0
    assert found["callfree_last_success_timestamp_seconds",] == datetime(2017, 8, 26, 4, 1, tzinfo=UTC).timestamp()
    assert found["callfree_business_date_timestamp_seconds",] == datetime(2017, 8, 25, tzinfo=UTC).timestamp()
    assert found["callfree_complete_to_timestamp_seconds", "calls"] == datetime(2017, 8, 24, tzinfo=UTC).timestamp()
    assert found["callfree_landed_rows",] == 120
    assert found["callfree_step_seconds", "derive"] == 3.5
    assert found["callfree_grants", "accepted"] == 3
    assert found["callfree_granted_mb", "accepted"] == 1800
    assert found["callfree_exceptions", "parked_grant"] == 2
    assert found["callfree_waiting", "quarters"] == 7
    assert found["callfree_held_deliveries",] == 1


def test_after_a_failure_the_metrics_say_so_and_keep_the_last_success(settings):
    failed = STATUS | {"failed_run": {"business_date": "2017-08-26", "error": "disk full"}}
    write_metrics(settings, failed, {}, None)
    found = metrics_of(settings)
    assert found["callfree_run_failed",] == 1
    assert ("callfree_last_success_timestamp_seconds",) in found
    assert ("callfree_landed_rows",) not in found


def test_a_step_that_fails_or_is_tried_again_counts_with_all_its_time():
    seconds = {}

    def step():
        raise CallfreeError("no")

    call = timed(lambda step: step(), seconds)
    for _ in range(2):
        with pytest.raises(CallfreeError):
            call(step)
    assert seconds.keys() == {"step"}
    assert seconds["step"] > 0


# --- Logs and status ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["option", "environment"])
@pytest.mark.parametrize("wrong", [["release", "--reason", "x"], ["run", "--date", "x"]])
def test_errors_are_objects_for_machines(callfree, how, wrong):
    result = callfree("--log", "json", *wrong) if how == "option" else callfree(*wrong, CALLFREE_LOG="json")
    (line,) = result.stderr.splitlines()
    told = json.loads(line)
    assert (result.exit_code, told.keys()) == (2, {"time", "level", "logger", "message"})
    assert (told["level"], told["logger"]) == ("error", "callfree")


def test_a_line_of_the_log_is_one_object_whatever_it_says():
    record = logging.LogRecord("callfree", logging.INFO, "", 0, "a %s\nand more", ("quote \"'",), None)
    told = json.loads(line := logs.JsonLines().format(record))
    assert "\n" not in line
    assert told["message"] == "a quote \"'\nand more"
    assert datetime.fromisoformat(told["time"]).tzinfo is not None


def test_the_status_has_every_key_at_any_time(callfree):
    keys = {*status._NOTHING, "late"}
    assert json.loads(callfree("status", "--json").stdout).keys() == keys


@pytest.mark.parametrize(
    ("changed", "glance"),
    [
        ({}, "All is well."),
        ({"waiting": STATUS["waiting"]}, "Done as far as the deliveries go."),
        ({"held": STATUS["held"]}, "Something needs a person."),
        ({"exceptions": STATUS["exceptions"]}, "Something needs a person."),
        ({"failed_run": {"business_date": "2017-08-26", "error": "[Errno 28] disk full"}}, "The latest run failed."),
    ],
)
def test_the_status_at_a_glance(settings, callfree, monkeypatch, changed, glance):
    monkeypatch.setattr(status, "late", lambda *_: [])
    settings.status.write_text(json.dumps(status._NOTHING | {"last_run": "2017-08-25", **changed}))
    told = callfree("status").stdout.splitlines()
    assert told[:2] == ["Last run: 2017-08-25", glance]
    assert "\x1b" not in "".join(told)
    if "failed_run" in changed:
        assert "[Errno 28] disk full" in told[2]


# --- A run's page -------------------------------------------------------------------------------------------------


def outcome(**changed) -> Outcome:
    landing = SimpleNamespace(accepted=[], loaded_rows=0, rejected_rows=0, repeated=[], rejected=[])
    by_wave = ({"wave_id": "pilot-2017", "kind": "welcome", "quarter": 0, "grant_count": 3, "volume_mb": 1800},)
    posting = SimpleNamespace(drawn_waves=(), enrolment_count=0, grant_count=3, volume_mb=1800, by_wave=by_wave)
    quarters = {"decided_count": 0, "call_free_count": 0, "open_count": 0}
    shown = STATUS | {"quarters": quarters, "feeds": [STATUS["feeds"][0] | {"latest_delivery_on": None}]} | changed
    published = Published(("grants_20170825_01.csv",), ())
    kpis = SimpleNamespace(sentence=lambda: "kpis")
    return Outcome(date(2017, 8, 25), landing, posting, published, kpis, new_exceptions=(), status=shown)


def test_a_runs_page_tells_its_story_in_tables(settings):
    page = run_page(settings, outcome())
    assert page.startswith("# Run for 2017-08-25\n\n**3 grants, 1800 MB.** 2017-08-25 is done, but needs a person")
    for line in (
        "| wave | kind | quarter | grants | MB |",
        "| pilot-2017 | welcome | 0 | 3 | 1800 |",
        "| grants parked: rejected too often, released by an operator's word | 2 | 600 |",
        "| calls | none | 2017-08-24 | 0 |",
        "- published grants_20170825_01.csv",
    ):
        assert line in page.splitlines()
    assert "](http" not in page


def test_a_run_that_needs_a_person_says_for_what_also_when_a_file_was_altered():
    altered = [{"file": "grants_20170825_01.csv", "problem": "it is not the file that was published"}]
    told = outcome(exceptions=[], held=[], altered_files=altered)
    assert told.exit_status == 3
    assert "needs a person: 1 files altered in the outbox. See" in told.needs()


def test_a_runs_page_names_no_subscriber(settings):
    corrections = (Correction(is_up=True, entitlement_count=1, subscriber_ids=("anna",), volume_mb=100),)
    news = (
        {"kind": "lapsed_enrolment", "subject": "anna", "item_count": 1},
        {"kind": "unknown_line", "subject": "chat", "item_count": 2},
    )
    altered = [{"file": "anna.muster@example.org +491711234567.csv", "problem": "the ledger knows no such file"}]
    told = replace(outcome(altered_files=altered), corrections=corrections, new_exceptions=news)
    assert "anna" in " ".join(told.lines())
    page = run_page(settings, told)
    assert "anna" not in page
    assert "491711234567" not in page
    assert "- new: 1 enrolments that today's data would not give" in page.splitlines()
    assert "- new: 2 calls on lines without a row in the policy (chat)" in page.splitlines()


def test_a_back_fill_tells_of_each_day_what_a_person_should_know(settings, caplog):
    caplog.set_level(logging.INFO, "callfree.flow")
    told = outcome(waiting=[{"what": "deliveries", "item_count": 1, "feed": "calls", "missing_days": "2017-08-24"}])
    told.landing.rejected.append(("calls_20170825.csv", "it is damaged"))
    run_dates(settings, [date(2017, 8, 25)], [], lambda *_: told)
    assert caplog.messages == [
        "2017-08-25: 3 grants, 1800 MB (exit status 3)",
        "  rejected calls_20170825.csv: it is damaged",
        "  held calls_20170825.csv: few",
        "  waiting: calls of 2017-08-24",
    ]


def test_a_runs_page_links_to_the_pages_that_are_there(settings):
    served = Settings(home=settings.home, pages_url="http://127.0.0.1:4201/")
    assert "](http" not in run_page(served, outcome())
    page = settings.reports / "data_docs" / "2017-08-25" / "batch.html"
    page.parent.mkdir(parents=True)
    page.touch()
    assert "(http://127.0.0.1:4201/data_docs/2017-08-25/batch.html)" in run_page(served, outcome())


def test_a_reports_page_links_to_the_report_where_a_browser_finds_it(settings):
    path = settings.reports / "pilot_20170825.html"
    path.touch()
    told = Report(path, date(2017, 8, 25), ())
    assert "](" not in told.markdown(settings)
    served = Settings(home=settings.home, pages_url="http://127.0.0.1:4201/")
    assert "[pilot_20170825.html](http://127.0.0.1:4201/pilot_20170825.html)" in told.markdown(served)


def test_a_runs_page_has_no_heading_without_anything_below_it(settings):
    page = run_page(settings, outcome(exceptions=[], waiting=[], held=[]))
    assert "Exceptions" not in page
    assert "needs a person" not in page
