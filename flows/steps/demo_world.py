"""The small world of `callfree demo`: its policy, what its sources deliver, and what billing answers.

A world is a pure function of its seed and dates. It never looks at what the pipeline makes of it: the draw
is made again here, so that the invited react and the enrolled call less.
"""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path

from flows.steps.demo_calls import call_records, calls_of, calls_of_strangers
from flows.steps.demo_files import COLUMNS, Row, as_gzip, as_text, encode, write_file
from flows.steps.demo_lives import (
    BERLIN,
    MOST_SUBSCRIBERS,
    Event,
    Life,
    Wave,
    answer_invitation,
    app_events,
    draw,
    live,
    mail_events,
    stream,
)

ENROLMENT_DAYS = 90
# The demo is the same story whatever its owner makes of the pilot's own policy, so nothing is taken from there.
POLICY = {
    "terms.csv": (
        "terms_id,welcome_mb,quarters,min_contact_seconds,settlement_days,enrolment_days,max_attempts\n"
        f"pilot-2017,600,3,10,2,{ENROLMENT_DAYS},3\n"
    ),
    "reward_tiers.csv": ("terms_id,streak,mb_per_month\npilot-2017,1,100\npilot-2017,2,200\npilot-2017,3,300\n"),
    "hotline_lines.csv": (
        "line,valid_from,counts,label\n"
        "service,2017-01-01,true,contract and bill\n"
        "tech,2017-01-01,true,network and phone\n"
        "app-help,2017-01-01,true,help with the app\n"
        "sim-block,2017-01-01,false,block a lost SIM\n"
        "sales,2017-01-01,false,orders\n"
    ),
    "contact_outcomes.csv": (
        "outcome,valid_from,counts,label\n"
        "answered,2017-01-01,true,reached an agent\n"
        "self_service,2017-01-01,true,solved in the voice menu\n"
        "abandoned,2017-01-01,false,hung up while waiting\n"
    ),
}

# Rows that no source should send, by feed and day of the world. One a file: two would be more than 5 % of it.
MALFORMED: dict[tuple[str, int], str] = {
    ("calls", 12): "C-bad-1,1,K1000012,,inbound,service,{day}T10:15:00+02:00,120,phantom,false",
    ("calls", 58): "C-bad-2,1,K1000058,,inbound,tech,{day}T10:15:00,120,answered,false",
    ("calls", 133): "C-bad-3,1,K1000133,,inbound,tech,{day}T10:15:00+01:00,-7,answered,false",
    ("calls", 201): "C-bad-4,1,K1000201,,inbound,service,{day}T10:15:00+01:00,120,answered",
    ("app_events", 30): "a-bad-1,K1.00003E+06,portal_login,{day}T19:00:00Z,ios,5.0",
    ("app_events", 240): "a-bad-2,K1000240,app_opened,{day}T19:00:00Z,android,5.7",
    ("subscribers", 0): "K1000000,0171-4711,,o2,S,active,true,2011-11-11,{day}T00:00:00+02:00",
}

REJECTED_SHARE = 0.03
REJECTION_REASONS = ("UNKNOWN_MSISDN", "TARIFF_CHANGE_PENDING", "TIMEOUT")
BARRED_COUNT = 5
EVENT_LATE, EVENT_TWICE = 0.03, 0.005


@dataclass(frozen=True)
class DemoWorld:
    """Feeds from `first_day` to `last_day`; a large wave on `invite_on`, a small one 21 weeks later.

    The days before `invite_on` are history: the KPIs look back 90 of them.
    """

    seed: int = 2017
    subscriber_count: int = 3000
    first_day: date = date(2017, 7, 1)
    invite_on: date = date(2017, 10, 10)
    last_day: date = date(2018, 10, 9)
    spared_share: float = 0.15  # of the calls of an enrolled member

    def __post_init__(self) -> None:
        if not self.first_day < self.invite_on <= self.last_day:
            raise ValueError("a demo world needs first_day < invite_on <= last_day")
        if not 100 <= self.subscriber_count <= MOST_SUBSCRIBERS:
            raise ValueError(f"a demo world has 100 to {MOST_SUBSCRIBERS} subscribers: its numbers are few")

    # What goes wrong, and when. The days are spread so that each mishap stands for itself in the story.

    @property
    def missing_day(self) -> date:
        """The day whose `calls` never come."""
        return self.invite_on + timedelta(days=63)

    @property
    def waived_in(self) -> date:
        """The run before which the operator waives it: the first quarters have waited by then."""
        return self.invite_on + timedelta(days=125)

    waive_reason = "the call system was down all day and kept no records"

    @property
    def redelivered_day(self) -> date:
        """The day whose `calls` come with abandoned calls as answered, and some missing."""
        return self.invite_on + timedelta(days=38)

    @property
    def redelivered_after(self) -> date:
        return self.invite_on + timedelta(days=48)

    @property
    def damaged_day(self) -> date:
        """The day whose `calls` come as a gzip file cut short."""
        return self.invite_on + timedelta(days=186)

    @property
    def repaired_after(self) -> date:
        return self.invite_on + timedelta(days=191)

    @property
    def run_dates(self) -> tuple[date, ...]:
        """Every three weeks from the eve of the invitation, which is when a wave is drawn, and the last day.

        A mishap and its mending lie on two sides of a run date: both files bear the same name.
        """
        eve = self.invite_on - timedelta(days=1)
        every = [eve + timedelta(days=days) for days in range(0, (self.last_day - eve).days, 21)]
        return (*every, self.last_day)

    @cached_property
    def waves(self) -> tuple[Wave, ...]:
        first, second = self.invite_on, self.invite_on + timedelta(weeks=21)
        people = self.subscriber_count
        sizes = ((people * 2 // 5, people // 5), (people // 20, people // 40))
        return (
            Wave("pilot-2017", "pilot-2017", first, *sizes[0], f"first-{self.seed}", "*"),
            Wave("pilot-2018", "pilot-2017", second, *sizes[1], f"second-{self.seed}", "o2|blau"),
        )

    def write_policy(self, folder: Path) -> None:
        """A complete policy directory."""
        folder.mkdir(parents=True, exist_ok=True)
        columns = [column.name for column in fields(Wave)]
        waves = [tuple(map(str, astuple(wave))) for wave in self.waves]
        for name, content in {**POLICY, "waves.csv": as_text(columns, waves)}.items():
            (folder / name).write_text(content, encoding="utf-8", newline="")

    @cached_property
    def lives(self) -> list[Life]:
        lives = live(self.seed, self.subscriber_count, self.first_day, self.last_day)
        for wave in self.waves:
            draw(wave, lives)
        for life in lives:
            answer_invitation(self.seed, life, ENROLMENT_DAYS)
        return lives

    @cached_property
    def barred(self) -> frozenset[str]:
        """Members whose every grant billing rejects, so that they are parked in the end."""
        enrolled = sorted(life.subscriber_id for life in self.lives if life.enrolled_at)
        return frozenset(stream(self.seed, "barred").sample(enrolled, min(BARRED_COUNT, len(enrolled))))

    @cached_property
    def rows(self) -> dict[tuple[str, date], list[Row]]:
        """What each feed says on each business date, once all is put right."""
        rows = defaultdict(list)
        for feed, records in {
            "subscribers": self._subscribers(),
            "app_events": self._app_events(),
            "calls": self._calls(),
            "mail_events": self._mail_events(),
        }.items():
            for day, row in records:
                rows[feed, day].append(row)
        for (feed, day_no), line in MALFORMED.items():
            day = self.first_day + timedelta(days=day_no)
            rows[feed, day].append(tuple(line.format(day=day).split(",")))
        return dict(rows)

    def _subscribers(self) -> Iterator[tuple[date, Row]]:
        changes = ((state.changed_at, life.subscriber_id, state, life) for life in self.lives for state in life.states)
        for changed_at, subscriber_id, state, life in sorted(changes, key=lambda change: change[:2]):
            at = changed_at.astimezone(BERLIN)
            yield (
                max(at.date(), self.first_day),
                (
                    subscriber_id,
                    state.msisdn,
                    state.email,
                    life.brand,
                    state.tariff,
                    state.status,
                    "true" if state.marketing_consent else "false",
                    life.activated_on.isoformat(),
                    at.isoformat(timespec="seconds"),
                ),
            )

    def _app_events(self) -> Iterator[tuple[date, Row]]:
        rng = stream(self.seed, "app server")
        events = sorted(
            event for life in self.lives for event in app_events(self.seed, life, self.first_day, self.last_day)
        )
        for number, event in enumerate(events, start=1):
            # The app server cuts its days in UTC, and a phone without a network reports later.
            day = event.occurred_at.date()
            if rng.random() < EVENT_LATE:
                day += timedelta(days=rng.randint(1, 3))
            platform = "ios" if stream(self.seed, "phone", event.subscriber_id).random() < 0.3 else "android"
            version = f"5.{(event.occurred_at.date() - self.first_day).days // 30}"
            row = (
                f"a{number:06d}",
                event.subscriber_id,
                event.event_type,
                f"{event.occurred_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{rng.randrange(1000):03d}Z",
                platform,
                version,
            )
            yield day, row
            if rng.random() < EVENT_TWICE:
                yield day + timedelta(days=1), row

    def _calls(self) -> Iterator[tuple[date, Row]]:
        days = (self.first_day, self.last_day)
        calls = [call for life in self.lives for call in calls_of(self.seed, life, *days, self.spared_share)]
        calls += calls_of_strangers(self.seed, self.subscriber_count, *days)
        return call_records(self.seed, calls)

    def _mail_events(self) -> Iterator[tuple[date, Row]]:
        events: list[Event] = sorted(event for life in self.lives for event in mail_events(self.seed, life))
        for number, event in enumerate(events, start=1):
            at = event.occurred_at.astimezone(BERLIN)
            yield (
                at.date(),
                (
                    f"m{number:06d}",
                    event.subscriber_id,
                    event.wave_id,
                    event.event_type,
                    at.isoformat(timespec="seconds"),
                ),
            )

    def deliveries(self, day: date) -> Iterator[tuple[str, bytes]]:
        """Name and content of the files that come in the night after `day`, a side file before its own."""
        if not self.first_day <= day <= self.last_day:
            return
        for feed in ("subscribers", "app_events", "calls", "mail_events"):
            if feed == "calls" and day in (self.missing_day, self.redelivered_day, self.damaged_day):
                continue
            rows = self.rows.get((feed, day), [])
            if feed == "mail_events" and not rows:
                continue
            name, content = encode(feed, day, rows)
            if (day.toordinal() + len(feed)) % 10 == 0:
                yield f"{name}.sha256", f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
            yield name, content
        yield from self._mishaps(day)

    def _mishaps(self, day: date) -> Iterator[tuple[str, bytes]]:
        for bad_day, mended_after in (
            (self.redelivered_day, self.redelivered_after),
            (self.damaged_day, self.repaired_after),
        ):
            if day not in (bad_day, mended_after):
                continue
            rows = self.rows.get(("calls", bad_day), [])
            name, content = f"calls_{bad_day:%Y%m%d}.csv.gz", as_gzip("calls", rows)
            if day == mended_after:
                yield name, content
            elif day == self.redelivered_day:
                yield name, as_gzip("calls", _as_first_sent(rows))
            else:
                yield name, content[: len(content) * 2 // 3]

    def write_deliveries(self, inbox: Path, first: date, last: date) -> int:
        """All that comes in the nights after first .. last. How many files that were."""
        inbox.mkdir(parents=True, exist_ok=True)
        count = 0
        for day_no in range((last - first).days + 1):
            for name, content in self.deliveries(first + timedelta(days=day_no)):
                write_file(inbox, name, content)
                count += 1
        return count

    def answers(self, grant_file: bytes, day: date) -> tuple[str, bytes] | None:
        """Billing's answer to one grant file, none to an empty one. `day` follows the run's business date.

        A grant's fate hangs on its id: a file answered again gets the same answer, a new attempt its own.
        """
        grants = list(csv.DictReader(io.StringIO(grant_file.decode("utf-8"), newline="")))
        if not grants:
            return None
        start = datetime.combine(day, time(21), BERLIN)
        acks = []
        for number, grant in enumerate(grants):
            chance = stream(self.seed, "billing", grant["grant_id"])
            status, reason = "accepted", ""
            if grant["subscriber_id"] in self.barred:
                status, reason = "rejected", "BARRED"
            elif chance.random() < REJECTED_SHARE:
                status, reason = "rejected", chance.choice(REJECTION_REASONS)
            at = start + timedelta(seconds=number)
            acks.append((grant["grant_id"], status, reason, at.isoformat(timespec="seconds")))
        return f"grant_acks_{day:%Y%m%d}.csv", as_text(COLUMNS["grant_acks"], acks).encode()


def _as_first_sent(rows: Iterable[Row]) -> list[Row]:
    outcome = COLUMNS["calls"].index("outcome")
    wrong = [(*row[:outcome], row[outcome].replace("abandoned", "answered"), *row[outcome + 1 :]) for row in rows]
    return wrong[: max(1, len(wrong) - 3)]
