"""`callfree up` as an operator has it: the schedule, one run at a time, alerts that arrive, and a clean end."""

import signal
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from conftest import CALLFREE, PROJECT, callfree_up, deliver, environment, processes_of, until
from flows.settings import Settings
from flows.steps.start import today, yesterday


@pytest.fixture(scope="module")
def settings(tmp_path_factory, receivers) -> Settings:
    home = tmp_path_factory.mktemp("up") / "home"
    found = Settings(home=home, alert_webhook=receivers.webhook, alert_email=receivers.email)
    deliver(found, "2017-07-15", "2017-07-16")
    return found


@pytest.fixture(scope="module")
def up(settings, receivers, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "up.log"
    alerts = {"CALLFREE_ALERT_WEBHOOK": receivers.webhook, "CALLFREE_ALERT_EMAIL": receivers.email}
    with callfree_up(settings, log, **alerts) as (api, process):
        yield api
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    assert processes_of(str(settings.home)) == []


def test_the_schedule_stands_at_six_local_time(up):
    found = until(
        lambda: up("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "limit": 50}),
        "nothing is scheduled",
    )
    daily = up("/deployments/name/daily/daily", method="GET")["id"]
    starts = [
        datetime.fromisoformat(run["expected_start_time"])
        for run in found
        if run["deployment_id"] == daily and run["auto_scheduled"]
    ]
    assert len(starts) >= 2
    assert {at.astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M") for at in starts} == {"06:00"}


def test_runs_wait_for_each_other_and_their_pages_tell_the_story(up, settings):
    first = up.start("daily", business_date="2017-07-16")
    second = up.start("backfill", first="2017-07-16", last="2017-07-16")
    runs = [up.ended(first), up.ended(second)]
    assert [run["name"] for run in runs] == ["daily 2017-07-16", "backfill 2017-07-16 to 2017-07-16"]
    assert [run["state_type"] for run in runs] == ["COMPLETED", "COMPLETED"]
    earlier, later = sorted(runs, key=lambda run: run["start_time"])
    assert earlier["end_time"] <= later["start_time"]
    assert (settings.grants_outbox / "grants_20170716_01.manifest.json").is_file()
    pages = up("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [first]}}})
    assert "daily-run" in {page["key"] for page in pages}
    logs = up("/logs/filter", {"logs": {"flow_run_id": {"any_": [first]}}})
    assert "posting to the ledger ..." in {line["message"] for line in logs}


def test_a_run_by_hand_shows_on_the_same_page(up, settings):
    command = [*CALLFREE, "run", "--date", "2017-07-16"]
    assert subprocess.run(command, cwd=PROJECT, env=environment(settings), capture_output=True).returncode == 0
    found = up("/flow_runs/filter", {"flow_runs": {"name": {"any_": ["daily 2017-07-16"]}}})
    assert None in {run["deployment_id"] for run in found}


def test_a_second_up_says_where_the_first_is(up, settings):
    done = subprocess.run([*CALLFREE, "up"], cwd=PROJECT, env=environment(settings), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"callfree: callfree is up already for {settings.home} ({up.url.removesuffix('/api')}).\n"


def test_a_failed_run_a_late_feed_and_what_needs_a_person_are_told_by_webhook_and_mail(up, settings, receivers):
    (settings.inbox / "calls_20170717.csv").write_text("damaged")
    failed = up.start("daily", business_date=str(today()))
    late = up.start("late-feeds", feed="calls")
    needing = up.start("daily", business_date="2017-07-17")
    assert [up.ended(run)["state_name"] for run in (failed, late, needing)] == ["Failed", "FeedLate", "NeedsAPerson"]
    expected = {
        "callfree: a run failed": f"{today()} is not over yet",
        "callfree: a feed is late": f"calls of {yesterday()} has not come",
        "callfree: something needs a person": "2017-07-17 is done, but needs a person: 1 deliveries rejected",
    }
    until(lambda: expected.keys() <= {post["alert"] for post in receivers.posted}, f"posted: {receivers.posted}", 60)
    until(lambda: len(receivers.mailed) >= 3, f"mailed: {receivers.mailed}", 60)
    for alert, message in expected.items():
        assert [post for post in receivers.posted if post["alert"] == alert and message in post["message"]]
    for post in receivers.posted:
        assert post["url"].startswith(up.url.removesuffix("/api"))
    assert "Subject: callfree: late-feeds calls: a feed is late" in "\n".join(receivers.mailed)


def test_a_run_that_does_not_start_is_told(up, settings, receivers, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", up.url)
    monkeypatch.setenv("PREFECT_HOME", str(settings.work / "prefect"))
    from prefect.client.orchestration import get_client

    from flows import alerts

    # In earnest it waits a quarter of an hour.
    soon = tuple(replace(alert, within=min(alert.within, timedelta(seconds=15))) for alert in alerts.ALERTS)
    with get_client(sync_client=True) as client:
        alerts.put(client, settings, soon)
    up("/work_pools/callfree", {"is_paused": True}, method="PATCH")
    try:
        up.start("late-feeds", feed="calls")
        until(
            lambda: "callfree: a run did not start" in {post["alert"] for post in receivers.posted},
            f"posted: {receivers.posted}",
            120,
        )
    finally:
        up("/work_pools/callfree", {"is_paused": False}, method="PATCH")


def test_a_run_of_the_schedule_takes_yesterday_and_its_name(up):
    daily = up("/deployments/name/daily/daily", method="GET")["id"]
    anchor = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
    # Every minute, so that one of its times is still to come when the server sees it.
    schedule = {"schedule": {"interval": 60, "anchor_date": anchor}, "active": True, "slug": "trial"}
    (added,) = up(f"/deployments/{daily}/schedules", [schedule])
    run = until(
        lambda: up("/flow_runs/filter", {"flow_runs": {"name": {"any_": [f"daily {yesterday()}"]}}}),
        "the schedule starts nothing",
    )[0]
    up(f"/deployments/{daily}/schedules/{added['id']}", method="DELETE")
    assert run["auto_scheduled"]
    assert up.ended(run["id"])["state_type"] == "COMPLETED"
