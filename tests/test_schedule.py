"""When the schedule runs, and for which date: through both changes of the clocks, late, and after days of downtime."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
import yaml

from flows import late_feeds, slots
from flows.settings import PROJECT, Settings
from flows.steps.start import date_due, is_done_since, latest_slot
from flows.steps.status import is_late, late, read_status

BERLIN = ZoneInfo("Europe/Berlin")
DEPLOYMENTS = {row["name"]: row for row in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]}


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def starts_of(deployment: str, first: datetime, days: int) -> list[datetime]:
    """When Prefect starts the runs of a deployment's first schedule."""
    from prefect.server.schemas.schedules import CronSchedule

    schedule = DEPLOYMENTS[deployment]["schedules"][0]
    cron = CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    return [datetime.fromisoformat(str(at)) for at in asyncio.run(cron.get_dates(days, start=first))]


@pytest.mark.parametrize("change", ["2026-10-25", "2027-03-28"])
def test_through_a_change_of_the_clocks_each_date_is_run_once_at_six(change):
    first = local(change) - timedelta(days=3)
    starts = starts_of("daily", first, 7)
    assert [at.astimezone(BERLIN).strftime("%H:%M") for at in starts] == ["06:00"] * 7
    assert len({at.astimezone(UTC).hour for at in starts}) == 2
    due = [date_due(latest_slot(at, at)) for at in starts]
    assert due == [first.date() + timedelta(days=number - 1) for number in range(7)]


@pytest.mark.parametrize(
    ("scheduled", "started", "due"),
    [
        ("2026-11-25T06:00", "2026-11-25T06:00:03", "2026-11-24"),
        ("2026-11-25T06:00", "2026-11-25T05:59:58", "2026-11-24"),
        ("2026-11-25T06:00", "2026-11-25T23:59", "2026-11-24"),
        # Past midnight the deliveries of the day have not come: the date stays.
        ("2026-11-25T06:00", "2026-11-26T00:30", "2026-11-24"),
        ("2026-11-25T06:00", "2026-11-26T05:59:59", "2026-11-24"),
        # After days of downtime the run that waited does what is due now.
        ("2026-11-22T06:00", "2026-11-25T06:00", "2026-11-24"),
        ("2026-11-22T06:00", "2026-11-25T12:00", "2026-11-24"),
        ("2026-11-22T06:00", "2026-11-25T03:00", "2026-11-23"),
        # The clocks changed meanwhile.
        ("2026-10-24T06:00", "2026-10-25T05:30", "2026-10-23"),
        ("2026-10-24T06:00", "2026-10-25T06:00", "2026-10-24"),
        ("2027-03-27T06:00", "2027-03-28T05:30", "2027-03-26"),
        ("2027-03-27T06:00", "2027-03-28T06:00", "2027-03-27"),
    ],
)
def test_a_run_that_starts_late_does_the_date_of_the_latest_slot(scheduled, started, due):
    slot = latest_slot(local(scheduled).astimezone(UTC), local(started).astimezone(UTC))
    assert (slot.strftime("%H:%M"), date_due(slot)) == ("06:00", date.fromisoformat(due))


@pytest.mark.parametrize("started", ["2026-11-25T06:00:03", "2026-11-27T12:00"])
def test_a_slot_is_plain_local_time_whatever_kind_of_datetime_the_scheduler_hands_out(started):
    # What Prefect hands out up to Python 3.12.
    pendulum = pytest.importorskip("pendulum")
    slot = latest_slot(pendulum.datetime(2026, 11, 25, 5, tz="UTC"), local(started))
    assert type(slot) is datetime
    assert slot == local(started).replace(hour=6, second=0)


def test_of_the_runs_missed_in_days_of_downtime_one_does_the_work(tmp_path):
    settings = Settings(home=tmp_path)
    settings.make_folders()
    now, ran = local("2026-11-25T12:00"), []
    for missed in ("2026-11-22T06:00", "2026-11-23T06:00", "2026-11-24T06:00", "2026-11-25T06:00"):
        slot = latest_slot(local(missed), now)
        if not is_done_since(settings, date_due(slot), slot):
            ran.append(date_due(slot))
            write_status(settings, last_run="2026-11-24", began_at=now)
        now += timedelta(minutes=1)
    assert ran == [date(2026, 11, 24)]


@pytest.mark.parametrize(
    ("changed", "done"),
    [
        ({}, True),
        ({"last_run": "2026-11-23"}, False),
        # A person ran it in the night, before the deliveries came.
        ({"began_at": local("2026-11-25T00:30")}, False),
        ({"began_at": local("2026-11-25T05:59:59")}, False),
        ({"failed_run": {"business_date": "2026-11-24", "error": "disk full"}}, False),
    ],
    ids=["done", "another date", "in the night", "a second before", "failed"],
)
def test_a_date_is_done_when_a_run_for_it_began_after_the_slot_and_did_not_fail(tmp_path, changed, done):
    settings = Settings(home=tmp_path)
    settings.make_folders()
    write_status(settings, **{"last_run": "2026-11-24", "began_at": local("2026-11-25T06:00"), **changed})
    assert is_done_since(settings, date(2026, 11, 24), local("2026-11-25T06:00")) is done


def write_status(settings: Settings, began_at: datetime, **values) -> None:
    settings.status.write_text(json.dumps({"began_at": began_at.astimezone(UTC).isoformat(), **values}))


def test_every_deployment_shares_the_pool_and_queues():
    from flows.deploy import POOL

    for name, deployment in DEPLOYMENTS.items():
        assert deployment["work_pool"]["name"] == POOL, name
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}, name
        assert "callfree" in deployment["tags"], name


def test_every_schedule_is_local_and_outside_the_hours_that_a_change_of_the_clocks_moves():
    for deployment in DEPLOYMENTS.values():
        for schedule in deployment.get("schedules", []):
            assert schedule["timezone"] == "Europe/Berlin"
            assert int(schedule["cron"].split()[1]) not in (2, 3)


def test_every_daily_feed_has_its_hour():
    from flows.steps.feeds import DAILY_FEEDS

    watched = [schedule["parameters"]["feed"] for schedule in DEPLOYMENTS["late-feeds"]["schedules"]]
    assert sorted(watched) == sorted(DAILY_FEEDS)


@pytest.mark.parametrize(
    ("last_run", "missing", "in_inbox", "is_awaited"),
    [
        (None, [], None, True),
        ("2017-08-24", [], None, True),
        ("2017-08-24", [], "calls_20170825.csv.gz", False),
        ("2017-08-24", [], "calls_20170825.csv.part", True),
        ("2017-08-24", [], "calls_20170824.csv", True),
        ("2017-08-25", [], None, False),
        ("2017-08-25", ["2017-08-25"], None, True),
        ("2017-08-25", ["2017-08-25"], "calls_20170825.csv", False),
    ],
)
def test_a_feed_is_late_that_is_neither_loaded_nor_in_the_inbox(tmp_path, last_run, missing, in_inbox, is_awaited):
    settings = Settings(home=tmp_path)
    settings.make_folders()
    if in_inbox:
        (settings.inbox / in_inbox).touch()
    feeds = [{"feed": "calls", "starts_on": "2017-07-01", "missing_days": missing}] if last_run else []
    status = read_status(settings) | {"last_run": last_run, "feeds": feeds}
    assert is_late(settings, status, "calls", date(2017, 8, 25)) is is_awaited


@pytest.mark.parametrize(("started", "day"), [("2017-08-26 05:31", "2017-08-25"), ("2017-08-27 00:20", "2017-08-25")])
def test_a_watch_that_starts_after_midnight_asks_for_the_day_of_its_slot(tmp_path, monkeypatch, started, day):
    flow_run = SimpleNamespace(auto_scheduled=True, scheduled_start_time=local("2017-08-26 05:30"))
    monkeypatch.setattr(slots, "FlowRunContext", SimpleNamespace(get=lambda: SimpleNamespace(flow_run=flow_run)))
    monkeypatch.setattr(slots, "flow_run", flow_run)
    monkeypatch.setattr(slots, "now", lambda: local(started))
    monkeypatch.setattr(late_feeds, "begin_deployed", lambda: None)
    monkeypatch.setenv("CALLFREE_HOME", str(tmp_path))
    state = late_feeds.late_feeds.fn("calls")
    assert (state.name, state.message) == ("FeedLate", f"calls of {day} has not come by its hour.")


def test_a_delivery_that_will_never_come_is_not_late(tmp_path):
    settings, day = Settings(home=tmp_path), date(2017, 8, 25)
    waived = {"feed": "calls", "business_date": day.isoformat(), "reason": "switch was down"}
    status = read_status(settings) | {"last_run": "2017-08-24", "waived": [waived]}
    assert not is_late(settings, status, "calls", day)
    assert is_late(settings, status, "app_events", day)
    assert {row["feed"] for row in late(settings, status, date(2017, 8, 26))} == {"subscribers", "app_events"}
