"""What `callfree up` and `callfree deploy` are made of; `make test-prefect` tries them with real servers."""

import os
import socket
import sys
import time
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from flows import cli, environment, up
from flows.errors import CallfreeError, WrongUsage
from flows.settings import PROJECT, Settings
from flows.watched import watched


@pytest.fixture
def settings(tmp_path) -> Settings:
    found = Settings(home=tmp_path / "home")
    found.make_folders()
    return found


@pytest.fixture
def callfree(settings, monkeypatch):
    # What the entry point does to its process is not for the process of the tests.
    monkeypatch.setattr(cli, "atexit", SimpleNamespace(register=lambda _: None))
    monkeypatch.setattr(cli.os, "umask", lambda _: None)
    monkeypatch.setattr(up.signal, "signal", lambda *_: None)
    return lambda *arguments: CliRunner().invoke(
        cli.main, arguments, env={"CALLFREE_HOME": str(settings.home)}, prog_name="callfree"
    )


# --- Work that Prefect watches ------------------------------------------------------------------------------------


def fails_after(job):
    def flow():
        job()
        raise ConnectionError("no server")

    return flow


def fails_before(_job):
    def flow():
        raise ConnectionError("no server")

    return flow


@pytest.mark.parametrize("wrap", [lambda job: job, fails_after, fails_before])
def test_a_job_is_done_once_whatever_becomes_of_prefect(wrap):
    done = []

    def job():
        done.append(1)
        return "done"

    assert watched(wrap, job, "the job") == "done"
    assert done == [1]


def test_a_run_without_prefect_does_not_call_on_it_at_every_step(monkeypatch, settings):
    from flows import daily

    called = []
    monkeypatch.setattr("flows.watched.flow", lambda job, **_: fails_before(job))
    monkeypatch.setattr(daily, "task", lambda *_, **__: called.append("task"))
    monkeypatch.setattr(daily.run_page, "show", lambda *_: called.append("page"))
    monkeypatch.setattr(daily, "run_day", lambda _, day, **options: options.get("call", "plainly"))
    assert (daily.run(settings, "2017-08-25"), called) == ("plainly", [])


@pytest.mark.parametrize("exit_status", [0, 3])
def test_a_watched_run_ends_in_a_state_that_says_whether_a_person_is_needed(monkeypatch, settings, exit_status):
    from flows import backfill, daily
    from flows.alerts import NEEDS_A_PERSON

    ended = []
    told = SimpleNamespace(exit_status=exit_status, needs=lambda: "a person", headline=lambda: "3 grants")
    monkeypatch.setattr("flows.watched.flow", lambda body, **_: lambda: ended.append(body()))
    monkeypatch.setattr(daily, "_do", lambda *_, **__: told)
    day = date(2017, 8, 25)
    assert daily.run(settings, day) is told
    assert (ended[0].name, ended[0].message) == (
        (NEEDS_A_PERSON, "a person") if exit_status else ("Completed", "3 grants")
    )
    # A range does as well, whichever of its days it was.
    calm = SimpleNamespace(exit_status=0, headline=lambda: "no grants")
    state = backfill.ended([told, calm])
    assert (state and state.message) == ("a person" if exit_status else None)


def test_what_a_job_raises_is_raised_and_not_tried_again():
    done = []

    def job():
        done.append(1)
        raise CallfreeError("It failed.")

    with pytest.raises(CallfreeError, match="It failed"):
        watched(lambda job: job, job, "the job")
    assert done == [1]


# --- Ports, locks, children ---------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_wrong_usage_and_one_of_itself_is_free(callfree):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = callfree("up", "--port", str(port))
        assert (result.exit_code, result.stderr) == (2, f"callfree: Port {port} is taken: name another with --port.\n")
        with pytest.raises(WrongUsage):
            up._check_free(port)
        assert up._free_port() != port


def test_where_a_home_is_up_already_a_second_one_says_where(settings, callfree):
    with up._alone(settings):
        settings.up_url.write_text("http://127.0.0.1:4200/api")
        result = callfree("up")
        assert result.exit_code == 1
        assert "callfree is up already" in result.stderr
        assert "(http://127.0.0.1:4200)" in result.stderr
    assert not settings.up_url.exists()


def is_alive(process: int) -> bool:
    try:
        # It may be dead and not yet buried.
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_a_child_is_gone_with_all_that_it_started(settings):
    spawns = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '99']).pid, flush=True); time.sleep(99)"
    output = settings.work / "log"
    with up._child("child", [sys.executable, "-c", spawns], dict(os.environ), output) as child:
        while not output.read_text().strip():
            assert child.poll() is None
    grandchild = int(output.read_text())
    until = time.monotonic() + 10
    while is_alive(grandchild):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert child.poll() is not None


@contextmanager
def a_healthy_server():
    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_a_run_by_hand_uses_the_server_that_is_up_and_only_while_it_answers(settings):
    assert "PREFECT_API_URL" not in environment.embedded(settings)
    with a_healthy_server() as url:
        settings.up_url.write_text(url)
        assert environment.embedded(settings)["PREFECT_API_URL"] == url
    assert "PREFECT_API_URL" not in environment.embedded(settings)


def test_the_children_of_up_use_its_server_and_its_home_whatever_the_environment_says(settings, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    monkeypatch.setenv("PREFECT_HOME", "elsewhere")
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    own = up.told_by_us(settings, 4321, as_json=False)
    assert own["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert own["PREFECT_HOME"] == str(settings.work / "prefect")
    assert own["CALLFREE_HOME"] == str(settings.home)
    assert own["PREFECT_LOGGING_LEVEL"] == "DEBUG"


def test_a_path_that_was_given_from_here_is_the_same_for_those_who_work_elsewhere(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLFREE_POLICY", "policy")
    monkeypatch.setenv("CALLFREE_BACKUPS", "copies")
    own = up.told_by_us(Settings(home=settings.home), 4321, as_json=False)
    assert (own["CALLFREE_POLICY"], own["CALLFREE_BACKUPS"]) == (str(tmp_path / "policy"), str(tmp_path / "copies"))


def test_an_empty_variable_says_nothing(monkeypatch):
    for name in ("CALLFREE_HOME", "CALLFREE_GROUP", "CALLFREE_KEEP_BACKUPS"):
        monkeypatch.setenv(name, "")
    told = Settings()
    assert (told.home, told.group, told.keep_backups) == (PROJECT / "data", None, 14)


def test_deploying_wants_to_know_where(callfree, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(cli, "_flow_module", lambda *_: None)
    result = callfree("deploy")
    assert result.exit_code == 2
    assert result.stderr == "callfree: Which Prefect server? Set PREFECT_API_URL, or use callfree up.\n"


# --- Alerts -------------------------------------------------------------------------------------------------------


class Server:
    """As much of a Prefect server as the alerts touch."""

    def __init__(self, *names: str) -> None:
        self.automations = [SimpleNamespace(id=number, name=name) for number, name in enumerate(names)]

    def read_automations_by_name(self, name):
        return [automation for automation in self.automations if automation.name == name]

    def delete_automation(self, number):
        self.automations = [automation for automation in self.automations if automation.id != number]

    def create_automation(self, automation):
        self.automations.append(automation)


def put(monkeypatch, server: Server, *targets: str) -> list:
    from uuid import UUID

    from flows import alerts

    block = UUID(int=1)
    monkeypatch.setattr(alerts, "_webhook", lambda _: block if "webhook" in targets else None)
    monkeypatch.setattr(alerts, "_email", lambda _: block if "email" in targets else None)
    alerts.put(server, Settings())
    return server.automations


def test_the_alerts_are_made_anew_and_leave_others_alone(monkeypatch):
    server = Server("callfree: a run failed", "callfree: a run failed", "somebody's own")
    automations = put(monkeypatch, server, "webhook", "email")
    assert sorted(automation.name for automation in automations) == [
        "callfree: a feed is late", "callfree: a run did not start", "callfree: a run failed",
        "callfree: something needs a person", "somebody's own",
    ]  # fmt: skip
    ours = [automation for automation in automations if automation.name != "somebody's own"]
    assert {action.type for automation in ours for action in automation.actions} == {
        "call-webhook",
        "send-notification",
    }


def test_without_a_target_there_are_no_alerts(monkeypatch):
    assert [found.name for found in put(monkeypatch, Server("callfree: a run failed", "somebody's own"))] == [
        "somebody's own"
    ]


def test_an_alert_waits_for_the_states_that_our_flows_end_in():
    from flows import alerts

    expected = {state for alert in alerts.ALERTS for state in alert.trigger().expect}
    assert {f"prefect.flow-run.{name}" for name in (alerts.NEEDS_A_PERSON, alerts.FEED_LATE, "Failed", "Crashed")} <= (
        expected
    )
    (missing,) = [alert.trigger() for alert in alerts.ALERTS if alert.after]
    assert (missing.posture.value, missing.after) == ("Proactive", {"prefect.flow-run.Late"})
