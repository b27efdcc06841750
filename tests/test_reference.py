"""The reference itself: it reproduces the worked examples, and says what they do not show."""

import hashlib
from datetime import date, timedelta
from pathlib import Path

import pytest

from reference import ReferenceHome
from reference_files import FEEDS, REQUIRED_FEEDS
from reference_rules import plus_months

STORIES = Path(__file__).parents[2] / "shared" / "spec" / "examples" / "stories"

POLICY = {
    "terms.csv": "terms_id,welcome_mb,quarters,min_contact_seconds,settlement_days,enrolment_days,max_attempts\n"
    "pilot-2017,600,3,10,2,90,2\n",
    "reward_tiers.csv": "terms_id,streak,mb_per_month\npilot-2017,1,100\npilot-2017,2,200\npilot-2017,3,300\n",
    "waves.csv": "wave_id,terms_id,invite_on,treatment_size,control_size,seed,brands\n"
    "pilot,pilot-2017,2017-08-31,10,0,any,*\n",
    "hotline_lines.csv": "line,valid_from,counts,label\nservice,2000-01-01,true,\n",
    "contact_outcomes.csv": "outcome,valid_from,counts,label\nanswered,2000-01-01,true,\n",
}
FIRST_DAY = date(2017, 8, 25)


class Small:
    """A home whose every day is told in a few rows; days nobody talks about are empty deliveries."""

    def __init__(self, folder: Path, **policy: str):
        self.folder = folder
        self.home = ReferenceHome(folder)
        self.set_policy(**policy)
        self.filled = FIRST_DAY

    def set_policy(self, **policy: str) -> None:
        for name, text in POLICY.items():
            (self.folder / name).write_text(policy.get(name.removesuffix(".csv"), text))

    def deliver(self, feed: str, day: date, *rows: str) -> str:
        name = f"{feed}_{day:%Y%m%d}.csv"
        self.home.deliver(name, (FEEDS[feed].header + "".join(row + "\n" for row in rows)).encode())
        return name

    def run(self, day: date, missing: tuple[str, ...] = ()) -> int:
        while self.filled <= day:
            for feed in REQUIRED_FEEDS:
                name = f"{feed}_{self.filled:%Y%m%d}.csv"
                if name not in self.home.landing.inbox and name not in missing:
                    self.deliver(feed, self.filled)
            self.filled += timedelta(1)
        return self.home.run(day)

    def subscribers(self, *ids: str, day: date = FIRST_DAY) -> None:
        self.deliver("subscribers", day, *(
            f"{each},+491765500{n:04},{each}@example.org,o2,M,active,true,,2017-08-01T08:00:00+02:00"
            for n, each in enumerate(ids)
        ))  # fmt: skip

    def enrolling(self, *ids: str, day: date = date(2017, 9, 5)) -> None:
        self.deliver("app_events", day, *(
            f"{each}-{event_type},{each},{event_type},{day}T10:00:00+02:00,,"
            for each in ids
            for event_type in ("app_installed", "portal_login", "video_completed")
        ))  # fmt: skip

    def grant_ids(self) -> list[str]:
        return [grant.grant_id for grant in self.home.grants]


@pytest.fixture
def small(tmp_path):
    return Small(tmp_path)


def test_the_reference_reproduces_the_worked_examples_to_the_byte():
    if not STORIES.is_dir():
        pytest.skip("the worked examples are not beside the repository")
    home, day, given, compared = ReferenceHome(STORIES / "policy"), date(2017, 8, 1), set(), 0
    for run in sorted((STORIES / "runs").iterdir()):
        for delivery in (run / "deliveries").iterdir():
            home.deliver(delivery.name, delivery.read_bytes())
            given.add(delivery.name)
        while day <= date.fromisoformat(run.name):
            for feed in REQUIRED_FEEDS:
                name = f"{feed}_{day:%Y%m%d}.csv"
                if name not in given:
                    home.deliver(name, FEEDS[feed].header.encode())
            day += timedelta(1)
        assert home.run(date.fromisoformat(run.name)) in (0, 3), home.problem
        for expected in (run / "expected").iterdir():
            assert home.outbox[f"grants/{expected.name}"].decode() == expected.read_text(), run.name
            compared += 1
    assert compared == 24


@pytest.mark.parametrize(
    ("anchor", "months", "then"),
    [
        (date(2015, 11, 30), 3, date(2016, 2, 29)),
        (date(2015, 11, 30), 6, date(2016, 5, 30)),
        (date(2017, 10, 31), 1, date(2017, 11, 30)),
        (date(2017, 12, 31), 2, date(2018, 2, 28)),
        (date(2016, 2, 29), 12, date(2017, 2, 28)),
        (date(2017, 5, 5), 7, date(2017, 12, 5)),
    ],
)
def test_months_keep_the_day_and_clamp_to_the_last(anchor, months, then):
    assert plus_months(anchor, months) == then


def test_a_grant_rejected_too_often_is_parked_until_it_is_released(small):
    small.subscribers("anna")
    small.run(date(2017, 8, 30))
    small.enrolling("anna")
    assert small.run(date(2017, 9, 5)) == 0
    small.deliver("grant_acks", date(2017, 9, 6), "anna.W.1,rejected,,2017-09-06T08:00:00Z")
    assert small.run(date(2017, 9, 6)) == 0
    small.deliver("grant_acks", date(2017, 9, 7), "anna.W.2,rejected,,2017-09-07T08:00:00Z")
    assert small.run(date(2017, 9, 7)) == 3
    assert small.home.parked == {("anna", 0, 0)}
    assert small.grant_ids() == ["anna.W.1", "anna.W.2"]

    assert small.home.release("anna.W.9", reason="mistyped") == 2
    assert small.home.release("anna.W.1", "anna.W.9", reason="half of it is not there") == 2
    assert small.home.release("anna.W.1", reason="") == 2
    assert small.home.release("anna.W.1", reason="billing is mended") == 0
    assert small.home.release_all(reason="nothing is left to release") == 2
    assert small.run(date(2017, 9, 8)) == 0
    assert small.grant_ids()[-1] == "anna.W.3"
    small.deliver("grant_acks", date(2017, 9, 9), "anna.W.3,rejected,,2017-09-09T08:00:00Z")
    assert small.run(date(2017, 9, 9)) == 3
    assert small.home.release_all(reason="once more") == 0
    assert small.run(date(2017, 9, 10)) == 0
    assert small.grant_ids()[-1] == "anna.W.4"


def test_an_entry_accepted_after_its_rejection_is_an_overpayment(small):
    small.subscribers("anna")
    small.run(date(2017, 8, 30))
    small.enrolling("anna")
    small.run(date(2017, 9, 5))
    stranger = "b.W.1,accepted,,2017-09-06T08:00:00Z"
    small.deliver("grant_acks", date(2017, 9, 6), "anna.W.1,rejected,,2017-09-06T08:00:00Z", stranger)
    small.run(date(2017, 9, 6))
    small.deliver("grant_acks", date(2017, 9, 7), "anna.W.1,accepted,,2017-09-07T08:00:00Z")
    small.run(date(2017, 9, 7))
    assert small.home.overpaid == {("anna", 0, 0): 600}
    assert small.home.contradicting_acks == {"anna.W.1"}
    assert small.home.unknown_acks == {"b.W.1"}


def test_a_short_replacement_is_held_until_an_operator_speaks(small):
    small.subscribers("anna", "bert", "carl")
    assert small.run(date(2017, 8, 26)) == 0
    small.subscribers("anna")
    name = "subscribers_20170825.csv"
    assert small.run(date(2017, 8, 26)) == 3
    assert small.home.held == {name}
    assert small.home.row_counts["subscribers", FIRST_DAY] == (3, 0)
    assert small.home.accept("subscribers_20170826.csv", "mistyped") == 2
    assert small.home.refuse(name, "half is missing") == 0
    assert small.home.refuse(name, "twice") == 2
    assert small.run(date(2017, 8, 26)) == 0
    assert small.home.rejected == {name}

    small.subscribers("anna")
    assert small.run(date(2017, 8, 27)) == 3
    assert small.home.accept(name, "the others were tests") == 0
    assert small.run(date(2017, 8, 27)) == 0
    assert small.home.row_counts["subscribers", FIRST_DAY] == (1, 0)


def test_a_later_delivery_takes_the_place_of_the_held_one(small):
    small.subscribers("anna", "bert", "carl")
    small.run(date(2017, 8, 26))
    small.subscribers("anna")
    small.run(date(2017, 8, 26))
    small.subscribers("anna", "bert")
    assert small.run(date(2017, 8, 26)) == 0
    assert small.home.held == set()
    assert small.home.row_counts["subscribers", FIRST_DAY] == (2, 0)


def test_calls_far_fewer_than_usual_are_held(small):
    def calls(day, count):
        row = "c{0}-{1},1,,,inbound,service,{0}T10:00:00+02:00,60,answered,false"
        return small.deliver("calls", day, *(row.format(day, n) for n in range(count)))

    for n in range(7):
        calls(FIRST_DAY + timedelta(n), 1000)
    calls(FIRST_DAY + timedelta(7), 100)
    assert small.run(FIRST_DAY + timedelta(7)) == 3  # the wave has no members
    assert small.home.held == set()
    name = calls(FIRST_DAY + timedelta(8), 99)
    small.run(FIRST_DAY + timedelta(8))
    assert small.home.held == {name}


def test_a_wave_short_of_members_rounds_control_up(tmp_path):
    header = POLICY["waves.csv"].split("\n")[0]
    small = Small(tmp_path, waves=f"{header}\npilot,pilot-2017,2017-08-31,5,3,any,*\n")
    small.subscribers("anna", "bert", "carl")
    small.run(date(2017, 8, 30))
    assert sorted(arm for _, arm in small.home.draws["pilot"]) == ["control", "control", "treatment"]
    ranked = sorted(["anna", "bert", "carl"], key=lambda each: hashlib.sha256(f"any:{each}".encode()).hexdigest())
    assert [each for each, _ in small.home.draws["pilot"]] == ranked


def test_waves_due_together_draw_in_order_and_never_the_same_twice(tmp_path):
    header = POLICY["waves.csv"].split("\n")[0]
    small = Small(
        tmp_path,
        waves=f"{header}\nc,pilot-2017,2017-08-30,9,0,any,*\nb,pilot-2017,2017-08-31,1,0,any,*\n"
        "a,pilot-2017,2017-08-31,1,0,any,o2|blau\nd,pilot-2017,2017-08-29,1,1,any,none\n",
    )
    small.subscribers("anna", "bert")
    assert small.run(date(2017, 8, 30)) == 3
    assert {each for each, _ in small.home.draws["c"]} == {"anna", "bert"}
    assert small.home.memberless_waves == {"a", "b", "d"}
    small.subscribers("anna", "bert", "carl", "dora")
    assert small.run(date(2017, 8, 31)) == 3
    assert list(small.home.draws) == ["c", "a", "b"]
    assert {each for wave in ("a", "b") for each, _ in small.home.draws[wave]} == {"carl", "dora"}
    assert small.run(date(2017, 9, 6)) == 3
    assert small.run(date(2017, 9, 7)) == 3
    assert small.home.overdue_waves == {"d"}


def test_a_wave_that_waits_holds_back_those_after_it_until_it_is_overdue(tmp_path):
    header = POLICY["waves.csv"].split("\n")[0]
    small = Small(
        tmp_path,
        waves=f"{header}\nfirst,pilot-2017,2017-08-25,1,0,any,*\nsecond,pilot-2017,2017-08-31,1,0,any,*\n",
    )
    small.subscribers("anna")
    assert small.run(date(2017, 9, 1)) == 0
    assert small.home.waiting_waves == {"first", "second"}  # the feed does not start before the first
    assert small.run(date(2017, 9, 2)) == 3
    assert small.home.overdue_waves == {"first"}
    assert list(small.home.draws) == ["second"]


def test_a_waived_day_counts_for_enrolment_and_not_for_the_draw(small):
    small.subscribers("anna")
    missing = ("subscribers_20170827.csv", "app_events_20170903.csv")
    small.run(date(2017, 8, 30), missing)
    assert small.home.waive("subscribers", date(2017, 8, 27), "lost") == 0
    assert small.home.waive("subscribers", date(2017, 8, 28), "it is there") == 2
    assert small.home.waive("grant_acks", date(2017, 8, 28), "nobody waits for it") == 2
    small.run(date(2017, 8, 31), missing)
    assert small.home.waiting_waves == {"pilot"}
    small.deliver("subscribers", date(2017, 8, 27))
    small.enrolling("anna")
    small.run(date(2017, 9, 5), missing)
    assert list(small.home.draws) == ["pilot"]
    assert small.home.enrolments == {}
    small.home.waive("app_events", date(2017, 9, 3), "lost")
    small.run(date(2017, 9, 5))
    assert list(small.home.enrolments) == ["anna"]
    assert small.home.outbox["grants/grants_20170905_01.csv"].count(b"\n") == 1
    assert small.home.outbox["grants/grants_20170905_02.csv"].count(b"\n") == 2


def test_a_policy_that_was_used_must_stay(small):
    small.subscribers("anna")
    small.run(date(2017, 8, 30))
    lines = POLICY["hotline_lines.csv"]
    for changed in (
        {"terms": POLICY["terms.csv"].replace("600", "601")},
        {"reward_tiers": POLICY["reward_tiers.csv"] + "pilot-2017,4,400\n"},
        {"waves": POLICY["waves.csv"].replace("any", "other")},
        {"hotline_lines": lines.replace("true", "false")},
        {"hotline_lines": lines + "tech,2017-08-30,true,\n"},
        {"contact_outcomes": POLICY["contact_outcomes.csv"].split("\n")[0] + "\n"},
    ):
        small.set_policy(**changed)
        assert small.run(date(2017, 8, 31)) == 2, changed
    small.set_policy(hotline_lines=lines.replace("true,", "true,renamed") + "tech,2017-08-31,true,\n")
    assert small.run(date(2017, 8, 31)) == 0


def test_an_impossible_date_is_refused(small):
    small.run(date(2017, 8, 30))
    assert small.home.run(date(2017, 8, 29)) == 2
    assert small.home.run(date.today() + timedelta(1)) == 2
    assert small.home.run(date(2017, 8, 30)) == 3  # its wave has no members


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        (b'\xef\xbb\xbfgrant_id,status,processed_at\r\n"a""b",accepted,2017-08-25T08:00:00Z\r\n\r\n', (1, 0)),
        (b"processed_at,grant_id,new,status\n2017-08-27T00:00:00+02:00,a,,accepted\n", (0, 1)),
        (b"processed_at,grant_id,new,status\n2017-08-26T23:59:59.9999999+02:00,a,,accepted", (1, 0)),
        (b"grant_id,status,processed_at\n\n\na,accepted\n", (0, 1)),
        (b"grant_id,status,processed_at\na,accepted,2017-08-25T24:00:00Z\n", (0, 1)),
        (b'grant_id,status,processed_at\n"a\n\n",accepted,2017-08-25T08:00:00Z\n', (1, 0)),
        (b"grant_id,status,processed_at\n" + b"a,accepted,2017-08-25T08:00:00Z\n" * 38 + b"a,?,\n" * 2, (38, 2)),
        (b"grant_id,status,processed_at\n" + b"a,accepted,2017-08-25T08:00:00Z\n" * 37 + b"a,?,\n" * 2, None),
        (b"", None),
        (b"grant_id,processed_at\n", None),
        (b"grant_id,status,status,processed_at\n", None),
        (b'grant_id,status,processed_at\n"a,accepted,2017-08-25T08:00:00Z\n', None),
        (b'grant_id,status,processed_at\n"a"b,accepted,2017-08-25T08:00:00Z\n', None),
        (b'grant_id,status,processed_at\na"b",accepted,2017-08-25T08:00:00Z\n', None),
        (b"grant_id,status,processed_at\n\xff,accepted,2017-08-25T08:00:00Z\n", None),
    ],
)
def test_a_delivery_is_what_the_interface_says(small, content, counts):
    small.home.deliver("grant_acks_20170825.csv", content)
    small.home.run(date(2017, 8, 26))
    assert small.home.row_counts.get(("grant_acks", FIRST_DAY)) == counts
    assert small.home.rejected == (set() if counts else {"grant_acks_20170825.csv"})


def test_two_files_for_a_day_are_both_rejected_and_a_wrong_digest_rejects(small):
    content = b"grant_id,status,processed_at\n"
    for name in ("grant_acks_20170825.csv", "grant_acks_20170825.csv.gz", "grant_acks_20170825.csv.part", "odd.csv"):
        small.home.deliver(name, content)
    small.home.deliver("grant_acks_20170826.csv", content)
    small.home.deliver("grant_acks_20170826.csv.sha256", hashlib.sha256(content).hexdigest().encode() + b"  name\n")
    small.home.deliver("grant_acks_20170827.csv", content)
    small.home.deliver("grant_acks_20170827.csv.sha256", hashlib.sha256(b"").hexdigest().encode())
    assert small.home.run(date(2017, 8, 28)) == 3
    assert list(small.home.in_force) == [("grant_acks", date(2017, 8, 26))]
    assert list(small.home.landing.inbox) == ["grant_acks_20170825.csv.part"]
    assert len(small.home.rejected) == 4
