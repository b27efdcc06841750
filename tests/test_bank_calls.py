"""A real call log, judged against what its files say when they are read by plain Python."""

import csv
import gzip
import shutil
from calendar import monthrange
from collections import defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from flows.steps.status import read_status
from pipeline import PipelineHome

BANK = Path(__file__).parents[2] / "shared" / "data" / "bank_calls"
BERLIN = ZoneInfo("Europe/Berlin")
MISSING = (date(2017, 9, 11), date(2017, 9, 12))
COUNTING = {"PS", "PE", "IN"}

pytestmark = [
    pytest.mark.skipif(not BANK.is_dir(), reason=f"the real call log is not beside the repository, at {BANK}"),
]


def read(feed: str) -> list[dict[str, str]]:
    found = []
    for path in sorted((BANK / "deliveries").glob(f"{feed}_*")):
        with gzip.open(path, "rt") as file:
            found += csv.DictReader(file)
    return found


def months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


@pytest.fixture(scope="module")
def waiting(tmp_path_factory) -> PipelineHome:
    """The home after the runs in which two days of calls are missing."""
    home = PipelineHome(tmp_path_factory.mktemp("bank"), BANK / "policy")
    for path in (BANK / "deliveries").iterdir():
        home.deliver(path.name, path.read_bytes())
    for day in (date(2017, 8, 31), date(2017, 9, 30), date(2017, 12, 20)):
        assert home.run(day) == 0
    return home


def branch(home: PipelineHome, folder: Path) -> PipelineHome:
    shutil.copytree(home.settings.home, folder, dirs_exist_ok=True)
    return PipelineHome(folder, BANK / "policy")


@pytest.fixture(scope="module")
def waived(waiting, tmp_path_factory) -> PipelineHome:
    """Another home, in which the missing days are waived."""
    home = branch(waiting, tmp_path_factory.mktemp("waived"))
    for day in MISSING:
        assert home.waive("calls", day, "lost by the source") == 0
    for day in (date(2017, 12, 21), date(2017, 12, 30)):
        assert home.run(day) == 0
    return home


@pytest.fixture(scope="module")
def enrolled() -> dict[str, datetime]:
    """Who enrols by the files alone, and when."""
    events = defaultdict(lambda: defaultdict(list))
    for row in read("app_events"):
        try:
            at = datetime.fromisoformat(row["occurred_at"]).astimezone(BERLIN)
        except (TypeError, ValueError):
            continue
        events[row["subscriber_id"]][row["event_type"]].append(at)
    found = {}
    for subscriber, by_type in events.items():
        installed = min(by_type["app_installed"], default=None)
        logins = [at for at in by_type["portal_login"] if installed and at >= installed]
        videos = [at for at in by_type["video_completed"] if logins and at >= min(logins)]
        if videos:
            found[subscriber] = min(videos)
    return found


@pytest.fixture(scope="module")
def contacts() -> dict[str, list[datetime]]:
    """The contacts of each customer whom the log names, by the files alone."""
    found = defaultdict(list)
    for row in read("calls"):
        if (
            row["voided"] == "false"
            and row["direction"] == "inbound"
            and row["line"] in COUNTING
            and row["outcome"] in ("answered", "self_service")
            and row["duration_s"].isdigit()
            and int(row["duration_s"]) >= 10
        ):
            found[row["subscriber_id"]].append(datetime.fromisoformat(row["started_at"]).astimezone(BERLIN))
    return found


def grants(home: PipelineHome) -> list[dict[str, str]]:
    files = sorted(name for name in home.outbox if name.startswith("grants/") and name.endswith(".csv"))
    return [row for name in files for row in csv.DictReader(home.outbox[name].decode().splitlines())]


def earned(enrolled, contacts, subscribers, run_on: date) -> set[str]:
    """Whose first quarter is over, settled and call-free in the run of a date."""
    found = set()
    for subscriber in subscribers:
        at = enrolled[subscriber]
        end = months_later(at.date(), 3)
        calls = [call for call in contacts[subscriber] if call >= at and call.date() < end]
        if not calls and end + timedelta(days=2) <= run_on + timedelta(days=1):
            found.add(subscriber)
    return found


def test_every_record_of_the_log_is_loaded_or_rejected(waived):
    counted = sum(sum(counts) for (feed, _), counts in waived.row_counts.items() if feed == "calls")
    lines = 0
    for path in (BANK / "deliveries").glob("calls_*"):
        with gzip.open(path, "rb") as file:
            lines += sum(1 for _ in file) - 1
    assert counted == lines


def test_whom_the_files_show_to_enrol_gets_a_welcome(waiting, enrolled):
    invited = {line.split(",")[0] for line in waiting.outbox["invitations/invitations_pilot.csv"].decode().splitlines()}
    welcomed = {row["subscriber_id"] for row in grants(waiting) if row["kind"] == "welcome"}
    assert welcomed == enrolled.keys() & invited
    assert len(welcomed) > 1000


def test_who_enrolled_before_the_missing_days_waits_and_status_says_so(waiting, enrolled):
    paid = {row["subscriber_id"] for row in grants(waiting) if row["kind"] == "loyalty"}
    assert paid
    assert all(enrolled[subscriber].date() > max(MISSING) for subscriber in paid)
    missing, wait = read_status(waiting.settings)["waiting"]
    assert (missing["what"], missing["missing_days"]) == ("deliveries", "2017-09-11, 2017-09-12")
    assert (wait["what"], wait["feed"]) == ("quarters", "calls")
    assert wait["missing_days"] == "2017-09-11, 2017-09-12"
    assert wait["item_count"] == sum(
        enrolled[row["subscriber_id"]].date() <= max(MISSING) for row in grants(waiting) if row["kind"] == "welcome"
    )


def test_once_the_days_are_waived_the_call_free_are_paid_and_no_others(waived, enrolled, contacts):
    welcomed = {row["subscriber_id"] for row in grants(waived) if row["kind"] == "welcome"}
    paid = {row["subscriber_id"] for row in grants(waived) if row["grant_id"].endswith("Q1M1.1")}
    assert paid == earned(enrolled, contacts, welcomed, date(2017, 12, 30))


def test_late_empty_days_are_held_until_accepted_and_then_pay_the_same(waiting, waived, tmp_path):
    home = branch(waiting, tmp_path / "late")
    late = sorted((BANK / "late").iterdir())
    for path in late:
        home.deliver(path.name, path.read_bytes())
    # Held: too small to be believed. Nothing is paid on them.
    assert home.run(date(2017, 12, 20)) == 3
    assert home.held == {path.name for path in late}
    assert grants(home) == grants(waiting)
    for path in late:
        assert home.accept(path.name, "the switch was down") == 0
    for day in (date(2017, 12, 21), date(2017, 12, 30)):
        assert home.run(day) == 0
    assert not home.held
    assert home.outbox == waived.outbox
