"""The demo's world: its files are what a source may send, and hold what the demo promises to show."""

import csv
import gzip
import hashlib
import io
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from flows.steps.demo_calls import calls_a_month
from flows.steps.demo_world import DemoWorld

BERLIN = ZoneInfo("Europe/Berlin")
ID, LONG_ID = r"[A-Za-z0-9_-]{1,32}", r"[A-Za-z0-9_.:-]{1,64}"
MSISDN = r"\+[0-9]{8,15}"
TIMESTAMP = r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
FLAG, DAY = "true|false", r"\d{4}-\d\d-\d\d"
PATTERNS = {
    "subscribers": {
        "subscriber_id": ID,
        "msisdn": MSISDN,
        "email": r"|[a-z.0-9]+@example\.(org|com)",
        "brand": "o2|blau|fonic",
        "tariff": "S|M|L",
        "status": "active|suspended|terminated",
        "marketing_consent": FLAG,
        "activated_on": DAY,
        "changed_at": TIMESTAMP,
    },
    "app_events": {
        "event_id": LONG_ID,
        "subscriber_id": ID,
        "event_type": "app_installed|portal_login|video_started|video_completed|programme_withdrawn",
        "occurred_at": TIMESTAMP,
        "platform": "ios|android",
        "app_version": r"\d\.\d+",
    },
    "calls": {
        "call_id": LONG_ID,
        "record_version": "[1-9]",
        "subscriber_id": f"|{ID}",
        "msisdn": f"|{MSISDN}",
        "direction": "inbound|outbound",
        "line": "service|tech|app-help|sim-block|sales",
        "started_at": TIMESTAMP,
        "duration_s": r"\d{1,9}",
        "outcome": "answered|abandoned|self_service",
        "voided": FLAG,
    },
    "mail_events": {
        "event_id": LONG_ID,
        "subscriber_id": ID,
        "wave_id": ID,
        "event_type": "sent|delivered|bounced|opened",
        "occurred_at": TIMESTAMP,
    },
    "grant_acks": {
        "grant_id": ".{1,64}",
        "status": "accepted|rejected",
        "reason": "|[A-Z_]+",
        "processed_at": TIMESTAMP,
    },
}
INSTANT = {"subscribers": "changed_at", "calls": "started_at", "grant_acks": "processed_at"}


@dataclass(frozen=True)
class Delivery:
    feed: str
    covers: date
    came_after: date
    name: str
    # Not in the repr: a test that fails prints its fixtures, and these are long.
    content: bytes = field(repr=False)
    rows: list[dict[str, str]] | None = field(repr=False)  # None: cannot be read


def read(name: str, content: bytes) -> list[dict[str, str]] | None:
    if name.endswith(".parquet"):
        table = pq.read_table(io.BytesIO(content)).to_pylist()
        return [{key: as_text(value) for key, value in row.items()} for row in table]
    if name.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except EOFError:
            return None
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), restval=None))


def as_text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def local(timestamp: str) -> date:
    return datetime.fromisoformat(timestamp).astimezone(BERLIN).date()


def flaws(delivery: Delivery, row: dict[str, str]) -> list[str]:
    found = [
        f"{column}={row[column]}"
        for column, pattern in PATTERNS[delivery.feed].items()
        if row[column] is None or not re.fullmatch(pattern, row[column])
    ]
    at = row[INSTANT.get(delivery.feed, "occurred_at")]
    if at and re.fullmatch(TIMESTAMP, at) and local(at) > delivery.covers + timedelta(days=1):
        found.append(f"{at} is after {delivery.covers}")
    return found


def days_of(world: DemoWorld) -> list[date]:
    return [world.first_day + timedelta(days=i) for i in range((world.last_day - world.first_day).days + 1)]


def all_files(world: DemoWorld) -> list[tuple[date, str, bytes]]:
    return [(day, name, content) for day in days_of(world) for name, content in world.deliveries(day)]


@pytest.fixture(scope="module")
def world() -> DemoWorld:
    return DemoWorld()


@pytest.fixture(scope="module")
def files(world):
    return all_files(world)


@pytest.fixture(scope="module")
def deliveries(files) -> list[Delivery]:
    found = []
    for day, name, content in files:
        if name.endswith(".sha256"):
            continue
        feed, covers = re.fullmatch(r"([a-z_]+)_(\d{8})\.(?:csv|csv\.gz|parquet)", name).groups()
        covers = datetime.strptime(covers, "%Y%m%d").date()
        found.append(Delivery(feed, covers, day, name, content, read(name, content)))
    return found


@pytest.fixture(scope="module")
def rows(deliveries) -> dict[str, list[tuple[Delivery, dict[str, str]]]]:
    """The good rows of the deliveries in force: the last good one of a feed and date."""
    in_force = {(each.feed, each.covers): each for each in deliveries if each.rows is not None}
    by_feed = defaultdict(list)
    for delivery in in_force.values():
        by_feed[delivery.feed] += [(delivery, row) for row in delivery.rows if not flaws(delivery, row)]
    return by_feed


def calls_in_force(rows) -> list[tuple[Delivery, dict[str, str]]]:
    current = {}
    for delivery, row in sorted(rows["calls"], key=lambda one: int(one[1]["record_version"])):
        current[row["call_id"]] = (delivery, row)
    return list(current.values())


def test_every_file_has_the_columns_of_its_feed(deliveries):
    for delivery in deliveries:
        if delivery.rows:
            assert list(delivery.rows[0])[: len(PATTERNS[delivery.feed])] == list(PATTERNS[delivery.feed])


def test_a_few_rows_are_malformed_and_never_two_in_a_file(deliveries):
    bad = [(one.name, flaws(one, row)) for one in deliveries for row in one.rows or () if flaws(one, row)]
    assert len(bad) == 7
    assert len({name for name, _ in bad}) == 7


def test_all_formats_and_side_files_occur(files):
    endings = Counter(name.split(".", 1)[1] for _, name, _ in files)
    assert endings["csv.gz"] > 10 * endings["csv"] / 2 > 0
    assert endings["parquet"] > 50
    content = {(day, name): bytes_ for day, name, bytes_ in files}
    side_files = [key for key in content if key[1].endswith(".sha256")]
    assert len(side_files) > 50
    for day, name in side_files:
        digest = content[day, name].decode().split()[0]
        assert digest == hashlib.sha256(content[day, name.removesuffix(".sha256")]).hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_world():
    small = DemoWorld(subscriber_count=120)
    assert all_files(small) == all_files(DemoWorld(subscriber_count=120))
    assert all_files(small) != all_files(replace(small, seed=1))


def test_every_day_of_every_feed_comes_save_the_missing_one(world, deliveries):
    for feed in ("subscribers", "app_events", "calls"):
        came = {one.covers for one in deliveries if one.feed == feed and one.rows is not None}
        missing = [world.missing_day] if feed == "calls" else []
        assert sorted(set(days_of(world)) - came) == missing


def test_the_first_delivery_is_the_base_and_later_ones_carry_changes(world, deliveries):
    sizes = [len(one.rows) for one in deliveries if one.feed == "subscribers"]
    assert sizes[0] >= world.subscriber_count
    assert max(sizes[1:]) < 20
    assert 0 in sizes


def test_a_subscriber_row_comes_on_the_day_of_its_change(world, rows):
    for delivery, row in rows["subscribers"]:
        assert max(local(row["changed_at"]), world.first_day) == delivery.covers


def test_mishaps_lie_on_two_sides_of_a_run(world):
    assert any(world.redelivered_day <= run < world.redelivered_after for run in world.run_dates)
    assert any(world.damaged_day <= run < world.repaired_after for run in world.run_dates)
    assert world.waived_in in world.run_dates
    assert sum(world.missing_day <= run < world.waived_in for run in world.run_dates) > 1
    assert {wave.invite_on - timedelta(days=1) for wave in world.waves} <= set(world.run_dates)
    assert 17 <= len(world.run_dates) <= 21
    assert sorted(set(world.run_dates)) == list(world.run_dates)


def test_a_day_is_delivered_again_with_corrections(world, deliveries):
    first, second = [d for d in deliveries if d.feed == "calls" and d.covers == world.redelivered_day]
    assert first.name == second.name
    assert second.came_after == world.redelivered_after
    assert len(first.rows) == len(second.rows) - 3
    outcomes = [{row["call_id"]: row["outcome"] for row in one.rows} for one in (first, second)]
    assert "abandoned" not in outcomes[0].values()
    assert any(outcomes[1][call_id] == "abandoned" for call_id in outcomes[0])


def test_a_damaged_delivery_is_followed_by_a_good_one(world, deliveries):
    damaged, good = [d for d in deliveries if d.feed == "calls" and d.covers == world.damaged_day]
    assert damaged.rows is None
    assert damaged.name == good.name
    assert len(good.rows) > 5
    assert [d.name for d in deliveries if d.rows is None] == [damaged.name]


def test_calls_come_as_often_as_claimed(world, rows):
    inbound = [row for _, row in calls_in_force(rows) if row["direction"] == "inbound"]
    known = {row[column] for _, row in rows["subscribers"] for column in ("subscriber_id", "msisdn")}
    of_lines = [row for row in inbound if (row["subscriber_id"] or row["msisdn"]) in known]
    months = len(days_of(world)) / 30.4
    assert 0.22 < len(of_lines) / months / world.subscriber_count < 0.28
    rates = Counter(calls_a_month(world.seed, life) for life in world.lives)
    assert set(rates) == {0.1, 0.475}
    assert 0.57 < rates[0.1] / len(world.lives) < 0.63


def test_calls_follow_the_local_clock(rows):
    started = [datetime.fromisoformat(row["started_at"]) for _, row in calls_in_force(rows)]
    hours = Counter(at.hour for at in started)
    weekdays = Counter(at.weekday() for at in started)
    assert sum(hours[hour] for hour in range(1, 6)) < 0.01 * len(started)
    assert hours[10] > 2 * hours[20]
    assert weekdays[0] > 2 * weekdays[6]
    assert {at.utcoffset() for at in started} == {timedelta(hours=1), timedelta(hours=2)}
    assert all(at.utcoffset() == at.astimezone(BERLIN).utcoffset() for at in started)


def test_calls_are_of_every_kind(rows):
    calls = [row for _, row in calls_in_force(rows)]
    share = {
        "self_service": sum(row["outcome"] == "self_service" for row in calls) / len(calls),
        "abandoned": sum(row["outcome"] == "abandoned" for row in calls) / len(calls),
        "line that does not count": sum(row["line"] in ("sim-block", "sales") for row in calls) / len(calls),
        "short": sum(int(row["duration_s"]) < 10 for row in calls) / len(calls),
        "withheld": sum(not row["subscriber_id"] for row in calls) / len(calls),
        "outbound": sum(row["direction"] == "outbound" for row in calls) / len(calls),
    }
    expected = {
        "self_service": (0.18, 0.25),
        "abandoned": (0.07, 0.12),
        "line that does not count": (0.20, 0.28),
        "short": (0.03, 0.12),
        "withheld": (0.08, 0.16),
        "outbound": (0.02, 0.06),
    }
    assert {kind: low < share[kind] < high for kind, (low, high) in expected.items()} == dict.fromkeys(expected, True)


def test_strangers_call_under_numbers_and_names_that_no_subscriber_has(rows):
    known = {row["subscriber_id"] for _, row in rows["subscribers"]}
    numbers = {row["msisdn"] for _, row in rows["subscribers"]}
    calls = [row for _, row in calls_in_force(rows)]
    assert sum(row["subscriber_id"] not in known | {""} for row in calls) > 20
    assert sum(row["msisdn"] not in numbers | {""} for row in calls) > 200
    assert sum(not row["msisdn"] and not row["subscriber_id"] for row in calls) > 100


def test_some_calls_come_late_and_some_after_the_settlement_days(rows):
    first_records = [(d, row) for d, row in rows["calls"] if row["record_version"] == "1"]
    days_late = [(delivery.covers - local(row["started_at"])).days for delivery, row in first_records]
    assert min(days_late) == 0
    assert 0.01 < sum(1 < days < 12 for days in days_late) / len(days_late) < 0.03
    assert 20 < sum(days >= 20 for days in days_late) < 90


def test_some_calls_are_voided_later_and_some_corrected(rows):
    first = {row["call_id"]: d for d, row in rows["calls"] if row["record_version"] == "1"}
    again = [(d, row) for d, row in rows["calls"] if row["record_version"] == "2"]
    assert 120 < sum(row["voided"] == "true" for _, row in again) < 260
    assert 70 < sum(row["voided"] == "false" for _, row in again) < 180
    assert all(d.covers > first[row["call_id"]].covers for d, row in again if row["call_id"] in first)


def states_in_order(rows):
    return sorted(rows["subscribers"], key=lambda one: datetime.fromisoformat(one[1]["changed_at"]))


def test_a_number_is_freed_and_taken_by_another_and_never_held_twice(rows):
    held, numbers, taken_over, renumbered = {}, {}, 0, 0
    for _, row in states_in_order(rows):
        line, number = row["subscriber_id"], row["msisdn"]
        if line in numbers and numbers[line] != number:
            held.pop(numbers[line])
            renumbered += 1
        numbers[line] = number
        if row["status"] == "terminated":
            held.pop(number, None)
            continue
        assert held.get(number, line) == line
        taken_over += number not in held and number in {n for other, n in numbers.items() if other != line}
        held[number] = line
    assert renumbered > 50
    assert taken_over > 50


def test_lines_are_suspended_terminated_and_withdraw_consent(rows):
    history = defaultdict(list)
    for _, row in states_in_order(rows):
        history[row["subscriber_id"]].append(row)
    ends = [states[-1]["status"] for states in history.values()]
    assert 200 < ends.count("terminated") < 400
    suspended = [states for states in history.values() if any(row["status"] == "suspended" for row in states)]
    assert len(suspended) > 100
    withdrawn = [
        states
        for states in history.values()
        if states[0]["marketing_consent"] == "true" and any(row["marketing_consent"] == "false" for row in states)
    ]
    assert len(withdrawn) > 50


def state_before(rows, day: date) -> dict[str, dict[str, str]]:
    return {row["subscriber_id"]: row for _, row in states_in_order(rows) if local(row["changed_at"]) < day}


def test_the_world_draws_the_waves_as_its_deliveries_say(world, rows):
    drawn_before = set()
    for wave in world.waves:
        ids = [
            line
            for line, row in state_before(rows, wave.invite_on).items()
            if row["status"] == "active" and row["marketing_consent"] == "true" and row["email"]
            if (wave.brands == "*" or row["brand"] in wave.brands.split("|")) and line not in drawn_before
        ]
        ids.sort(key=lambda line: hashlib.sha256(f"{wave.seed}:{line}".encode()).hexdigest())
        sizes = wave.treatment_size, wave.treatment_size + wave.control_size
        assert len(ids) > sizes[1]
        members = [life for life in world.lives if life.wave == wave]
        assert {life.subscriber_id for life in members if life.arm == "treatment"} == set(ids[: sizes[0]])
        assert {life.subscriber_id for life in members if life.arm == "control"} == set(ids[sizes[0] : sizes[1]])
        drawn_before |= set(ids[: sizes[1]])
    assert [(wave.treatment_size, wave.control_size) for wave in world.waves] == [(1200, 600), (150, 75)]


def test_a_wave_that_is_too_small_keeps_its_proportions():
    world = DemoWorld(subscriber_count=100)
    second = Counter(life.arm for life in world.lives if life.wave == world.waves[1])
    assert second["control"] >= 1
    assert second["treatment"] + second["control"] <= 7


def test_some_forty_two_percent_of_the_invited_enrol_over_some_weeks(world, rows):
    steps = defaultdict(list)
    for _, row in rows["app_events"]:
        at = datetime.fromisoformat(row["occurred_at"])
        steps[row["subscriber_id"], row["event_type"]].append(at)
    members = [life for life in world.lives if life.wave == world.waves[0] and life.arm == "treatment"]
    reached, days_to_enrol = Counter(), []
    for life in members:
        invited_at = datetime.combine(world.invite_on, datetime.min.time(), BERLIN)
        at = datetime.min.replace(tzinfo=BERLIN)
        for step in ("app_installed", "portal_login", "video_completed"):
            after = max(at, invited_at) if step == "video_completed" else at
            later = [moment for moment in steps[life.subscriber_id, step] if moment >= after]
            if not later:
                break
            at = min(later)
            reached[step] += 1
        else:
            days_to_enrol.append((at.astimezone(BERLIN).date() - world.invite_on).days)
    assert reached["app_installed"] > reached["portal_login"] > reached["video_completed"]
    assert 0.40 < sum(days < 90 for days in days_to_enrol) / len(members) < 0.44
    assert sum(days > 14 for days in days_to_enrol) > 100
    assert sum(days == 0 for days in days_to_enrol) > 10
    believed = sum(life.enrolled_at is not None for life in members)
    assert abs(believed - sum(days < 90 for days in days_to_enrol)) <= 5
    withdrawn = {line for line, step in steps if step == "programme_withdrawn"}
    assert 10 < sum(life.subscriber_id in withdrawn for life in members) < 60
    treated = {life.subscriber_id for life in world.lives if life.arm == "treatment"}
    assert {line for line, step in steps if step == "video_completed"} <= treated


def test_events_are_late_now_and_then_and_some_come_twice(rows):
    ids = Counter(row["event_id"] for _, row in rows["app_events"])
    assert sum(times == 2 for times in ids.values()) > 20
    late = sum((d.covers - local(row["occurred_at"])).days > 1 for d, row in rows["app_events"])
    early = sum(local(row["occurred_at"]) > d.covers for d, row in rows["app_events"])
    assert late > 50
    assert early > 20


def test_mail_goes_to_the_treatment_arm_only(world, rows):
    sent = {row["subscriber_id"] for _, row in rows["mail_events"] if row["event_type"] == "sent"}
    assert sent == {life.subscriber_id for life in world.lives if life.arm == "treatment"}
    types = Counter(row["event_type"] for _, row in rows["mail_events"])
    assert types["delivered"] + types["bounced"] == types["sent"]
    assert 0.01 < types["bounced"] / types["sent"] < 0.05
    assert 0.4 < types["opened"] / types["sent"] < 0.65


def test_enrolled_members_call_some_fifteen_percent_less(world, rows):
    def inbound_after_enrolment(records) -> int:
        return sum(
            row["subscriber_id"] in enrolled
            and datetime.fromisoformat(row["started_at"]) >= enrolled[row["subscriber_id"]]
            for _, row in records
        )

    enrolled = {life.subscriber_id: life.enrolled_at for life in world.lives if life.enrolled_at}
    untreated = replace(world, spared_share=0.0)
    without = [
        (None, dict(zip(PATTERNS["calls"], row, strict=False)))
        for (feed, day), day_rows in untreated.rows.items()
        for row in day_rows
        if feed == "calls" and day != world.missing_day and day <= world.last_day and "bad" not in row[0]
    ]
    assert 0.82 < inbound_after_enrolment(rows["calls"]) / inbound_after_enrolment(without) < 0.88


def grant_file(world: DemoWorld, attempt: int) -> bytes:
    enrolled = [life.subscriber_id for life in world.lives if life.enrolled_at]
    lines = [f"{line}.W.{attempt},{line},+493023125000,welcome,0,0,600" for line in enrolled]
    header = "grant_id,subscriber_id,msisdn,kind,quarter,month,volume_mb"
    return "\n".join([header, *lines, ""]).encode()


def test_billing_rejects_a_few_percent_and_some_subscribers_always(world):
    day = world.invite_on + timedelta(days=30)
    rejected, answered = [], 0
    for attempt in (1, 2, 3):
        name, content = world.answers(grant_file(world, attempt), day)
        delivery = Delivery("grant_acks", day, day, name, content, read(name, content))
        assert name == "grant_acks_20171109.csv"
        assert not any(flaws(delivery, row) for row in delivery.rows)
        answered = len(delivery.rows)
        rejected.append({row["grant_id"].split(".")[0] for row in delivery.rows if row["reason"]})
        assert all((row["status"] == "rejected") == bool(row["reason"]) for row in delivery.rows)
        assert len({row["reason"] for row in delivery.rows}) == 5
    assert 0.02 < len(rejected[0]) / answered < 0.06
    assert len(world.barred) == 5
    assert rejected[0] & rejected[1] & rejected[2] == world.barred


def test_billing_gives_the_same_answer_again_and_none_to_an_empty_file(world):
    day = world.invite_on
    assert world.answers(grant_file(world, 1), day) == world.answers(grant_file(world, 1), day)
    assert world.answers(grant_file(world, 1).splitlines(keepends=True)[0], day) is None


def test_the_policy_is_complete(world, tmp_path):
    world.write_policy(tmp_path)
    header = {path.name: path.read_text().splitlines()[0] for path in tmp_path.iterdir()}
    assert header == {
        "terms.csv": ("terms_id,welcome_mb,quarters,min_contact_seconds,settlement_days,enrolment_days,max_attempts"),
        "reward_tiers.csv": "terms_id,streak,mb_per_month",
        "waves.csv": "wave_id,terms_id,invite_on,treatment_size,control_size,seed,brands",
        "hotline_lines.csv": "line,valid_from,counts,label",
        "contact_outcomes.csv": "outcome,valid_from,counts,label",
    }
    waves = list(csv.DictReader(io.StringIO((tmp_path / "waves.csv").read_text())))
    assert [(wave["invite_on"], wave["brands"]) for wave in waves] == [
        ("2017-10-10", "*"),
        ("2018-03-06", "o2|blau"),
    ]


def test_deliveries_are_written_whole(world, tmp_path):
    first = world.invite_on
    count = world.write_deliveries(tmp_path, first, first + timedelta(days=2))
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == count >= 9
    assert not any(name.endswith(".part") for name in names)


@pytest.mark.parametrize(
    "wrong", [{"subscriber_count": 5000}, {"subscriber_count": 10}, {"last_day": date(2017, 9, 1)}]
)
def test_an_impossible_world_is_refused(wrong):
    with pytest.raises(ValueError, match="a demo world"):
        DemoWorld(**wrong)
