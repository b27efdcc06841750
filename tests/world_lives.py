"""Lives: what the subscribers of a world do, built from the stories and then perturbed towards the boundaries."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from random import Random

from reference_files import BERLIN, ONE_DAY, local_date
from reference_policy import Terms
from reference_rules import plus_months

SECOND = timedelta(seconds=1)
TIMES_OF_DAY = (
    time(0), time(0, 0, 1), time(0, 30), time(2, 30), time(12), time(18, 30), time(23, 30), time(23, 59, 59),
)  # fmt: skip
LINES = (*["service"] * 9, "tech", "tech", "shop", "shop", "sim-block", "unheard-of")
OUTCOMES = (*["answered"] * 8, "self_service", "self_service", "abandoned")


class Dice:
    """All chances of a world, from one number.

    Not drawn from Hypothesis one by one: it repeats itself within an example and from one to the next, so that
    of a hundred worlds many were alike in what matters. Smaller worlds are found by `world_reduction` instead.
    """

    def __init__(self, seed: int):
        self.random = Random(seed)

    def chance(self, percent: int) -> bool:
        return self.random.random() * 100 < percent

    def number(self, least: int, most: int) -> int:
        return self.random.randint(least, most)

    def pick(self, *options):
        return self.random.choice(options)

    def some(self, options: list, most: int) -> list:
        return self.random.sample(options, min(self.random.randint(0, most), len(options)))


def at_local(day: date, time_of_day: time, fold: int = 0) -> datetime:
    return datetime.combine(day, time_of_day, tzinfo=BERLIN).replace(fold=fold).astimezone(UTC)


@dataclass
class Plan:
    """What all lives of a world have in common."""

    first_day: date
    last_day: date
    invite_on: date
    terms: list[Terms]
    enrol_days: list[date]
    runs: list[date]
    rows: dict[tuple[str, date], list[str]] = field(default_factory=lambda: defaultdict(list))
    numbers: list[str] = field(default_factory=list)
    next_id: int = 0

    def new_id(self, letter: str) -> str:
        self.next_id += 1
        return f"{letter}{self.next_id}"

    def boundaries(self, enrolled_on: date) -> list[date]:
        """The nominal starts and quarter ends of somebody who enrolled then."""
        days = {enrolled_on + ONE_DAY}
        for terms in self.terms:
            for months in range(3, 3 * terms.quarters + 3):
                days.add(plus_months(enrolled_on, months) + terms.settlement_days * ONE_DAY)
        return sorted(day for day in days if day <= self.last_day)


class Life:
    """One subscriber's rows, put into the deliveries of their days (or of others)."""

    def __init__(self, dice: Dice, plan: Plan, number: int, subscriber_id: str):
        self.dice, self.plan = dice, plan
        self.subscriber_id = subscriber_id
        self.msisdn = f"+4917655500{number:03}"
        self.email = f"{subscriber_id}@example.org"
        self.brand = dice.pick("o2", "o2", "o2", "blau", "other, odd")
        self.status, self.consent = "active", "true"
        self.enrolled_on = dice.pick(*plan.enrol_days)
        self.enrolled_at = at_local(self.enrolled_on, dice.pick(*TIMES_OF_DAY), fold=dice.number(0, 1))

    # -- rows and the deliveries they come in

    def stamp(self, at: datetime) -> str:
        match self.dice.pick("local", "local", "local", "utc", "west", "fraction"):
            case "local":
                return at.astimezone(BERLIN).isoformat()
            case "west":
                return at.astimezone(timezone(timedelta(hours=-9, minutes=-30))).isoformat()
            case "fraction":  # of which six digits count
                return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06}9Z"
        return f"{at:%Y-%m-%dT%H:%M:%S}" + (f".{at.microsecond:06}" if at.microsecond else "") + "Z"

    def put(self, feed: str, at: datetime, row: str, late_percent: int = 8) -> None:
        """Into the delivery of its day, mostly."""
        day = local_date(at)
        if self.dice.chance(late_percent):
            later = [run for run in self.plan.runs if run > day]
            day = self.dice.pick(day - ONE_DAY, day + ONE_DAY, *later, *later, *later)
        elif self.dice.chance(1):
            day -= 2 * ONE_DAY  # the row is rejected
        self.plan.rows[feed, min(max(day, self.plan.first_day), self.plan.last_day)].append(row)

    def say_state(self, at: datetime, late_percent: int = 8) -> None:
        tariff = self.dice.pick("M", "", "L")
        self.put("subscribers", at, (
            f'{self.subscriber_id},{self.msisdn},{self.email},"{self.brand}",{tariff},{self.status},{self.consent},'
            f"2014-05-01,{self.stamp(at)}"
        ), late_percent)  # fmt: skip

    def event(self, event_type: str, at: datetime, event_id: str | None = None) -> str:
        event_id = event_id or self.plan.new_id("e")
        row = f"{event_id},{self.subscriber_id},{event_type},{self.stamp(at)},android,5.1"
        self.put("app_events", at, row, late_percent=4)
        return event_id

    # -- the story

    def base(self) -> None:
        dice = self.dice
        if dice.chance(5):
            self.email = ""
        if dice.chance(5):
            self.consent = "false"
        if dice.chance(3):
            self.status = "suspended"
        self.say_state(at_local(self.plan.first_day - dice.number(1, 40) * ONE_DAY, time(8)), late_percent=2)
        self.status, self.consent = "active", "true"
        if dice.chance(6):  # changes about the draw
            self.email = dice.pick(self.email, "")
            self.consent = dice.pick("true", "false")
            self.status = dice.pick("active", "suspended", "terminated")
            self.say_state(at_local(self.plan.invite_on, dice.pick(time(0), time(12))) - dice.pick(SECOND, 0 * SECOND))

    def enrol(self) -> None:
        dice = self.dice
        at = self.enrolled_at
        invited_at = at_local(self.plan.invite_on, time(0))
        twist = dice.pick(*["none"] * 26, "no_login", "video_first", "deadline", "withdrawn", "inactive", "same_id",
                          "at_the_invitation", "twice", "no_video")  # fmt: skip
        install = at - dice.pick(0, 1, 3600, 90_000) * SECOND
        login = install + (at - install) * dice.pick(1, 0, 0.5)
        login = login.replace(microsecond=0)
        match twist:
            case "video_first":
                login = at + SECOND
            case "deadline":
                terms = dice.pick(*self.plan.terms)
                day = self.plan.invite_on + terms.enrolment_days * ONE_DAY - dice.pick(ONE_DAY, 0 * ONE_DAY)
                at = at_local(day, dice.pick(time(0), time(23, 59, 59)))
            case "withdrawn":
                self.event("programme_withdrawn", at + dice.pick(0, 1, -1) * SECOND)
            case "inactive":
                self.status = "suspended"
                self.say_state(at - dice.pick(0, 1, -1) * SECOND)
                self.status = "active"
                back = at + dice.pick(2, 50_000) * SECOND
                self.say_state(back)
                if dice.chance(60):
                    self.event("video_completed", back + dice.pick(0, 1) * SECOND)
            case "at_the_invitation":
                at = invited_at - dice.pick(0, 1) * SECOND
                install, login = at - ONE_DAY, at
            case "twice":
                self.event("video_completed", at + dice.pick(ONE_DAY, 3600 * SECOND))
        self.event("app_installed", install)
        if twist != "no_login":
            self.event("portal_login", login)
        if twist == "no_video":
            return
        event_id = self.event("video_completed", at)
        if twist == "same_id":
            self.event("video_completed", at + dice.pick(-3600, 3600, 86_400) * SECOND, event_id)

    def changes(self) -> None:
        """Of status, number and mind, about the days on which something is decided."""
        dice, plan = self.dice, self.plan
        around = [day + dice.number(-2, 1) * ONE_DAY for day in plan.boundaries(self.enrolled_on)] or [plan.last_day]
        if dice.chance(14):
            at = at_local(dice.pick(*around), dice.pick(*TIMES_OF_DAY))
            self.status = dice.pick("suspended", "suspended", "terminated")
            self.say_state(at)
            if dice.chance(70):
                self.status = "active"
                self.say_state(at + dice.pick(0 * SECOND, SECOND, ONE_DAY, 2 * ONE_DAY, 5 * ONE_DAY))
        if dice.chance(15):
            day = dice.pick(*(plan.boundaries(self.enrolled_on) or around)) - dice.pick(0, 0, 1, -1) * ONE_DAY
            self.event("programme_withdrawn", at_local(day, dice.pick(*TIMES_OF_DAY)))
        if dice.chance(15):
            at = at_local(dice.pick(*around), dice.pick(*TIMES_OF_DAY)) + dice.pick(0, 1, -1) * SECOND
            self.msisdn = dice.pick(*plan.numbers, f"+49176556{len(plan.numbers):05}")
            self.email = dice.pick(self.email, f'"a ""{self.subscriber_id}"", b"')
            self.say_state(at)
            plan.numbers.append(self.msisdn)

    def calls(self) -> None:
        dice, plan = self.dice, self.plan
        quarters = max(terms.quarters for terms in plan.terms)
        starts = [plus_months(self.enrolled_on, 3 * k) for k in range(quarters + 1)]
        starts = [day for day in starts if day <= plan.last_day]
        for k, start in enumerate(starts):
            if not dice.chance(45):
                continue
            match dice.pick("edge", "edge", "middle", "enrolment") if k else dice.pick("enrolment", "middle"):
                case "enrolment":
                    at = self.enrolled_at + dice.pick(-1, 0, 1) * SECOND
                case "edge":
                    at = at_local(start, time(0)) - dice.pick(SECOND, 0 * SECOND, timedelta(microseconds=1))
                case "middle":
                    at = at_local(start + dice.number(1, 85) * ONE_DAY, dice.pick(*TIMES_OF_DAY))
            if local_date(at) <= plan.last_day:
                self.call(at)
        if dice.chance(20):
            self.second_thoughts(starts)

    def second_thoughts(self, starts: list[date]) -> None:
        """A contact that is heard of, or voided, only after the quarter was decided."""
        dice, plan = self.dice, self.plan
        chances = [(k, run) for k in range(len(starts) - 1) for run in plan.runs if run > starts[k + 1] + 4 * ONE_DAY]
        if not chances:
            return
        k, heard_on = dice.pick(*chances)
        at = at_local(starts[k] + dice.number(1, 80) * ONE_DAY, time(12))
        call_id = plan.new_id("c")
        row = f"{self.subscriber_id},,inbound,service,{self.stamp(at)},600,answered"
        if dice.chance(50):
            plan.rows["calls", local_date(at)].append(f"{call_id},1,{row},false")
            plan.rows["calls", heard_on].append(f"{call_id},2,{row},true")
        else:
            plan.rows["calls", heard_on].append(f"{call_id},1,{row},false")

    def call(self, at: datetime) -> None:
        dice, plan = self.dice, self.plan
        least = dice.pick(*plan.terms).min_contact_seconds
        whose = dice.pick(*["own"] * 8, *["withheld"] * 5, "stranger", "nobody", "malformed")
        subscriber_id = {"own": self.subscriber_id, "stranger": "nobody", "malformed": "no id!"}.get(whose, "")
        msisdn = {"nobody": dice.pick("", "+491111111111"), "own": dice.pick(self.msisdn, "", *plan.numbers)}.get(
            whose, dice.pick(self.msisdn, self.msisdn, *plan.numbers)
        )
        call = {
            "call_id": plan.new_id("c"), "record_version": 1, "subscriber_id": subscriber_id, "msisdn": msisdn,
            "direction": dice.pick(*["inbound"] * 11, "outbound"), "line": dice.pick(*LINES), "started_at": at,
            "duration_s": max(0, least + dice.pick(0, 200, 200, 200, 1, -1)), "outcome": dice.pick(*OUTCOMES),
            "voided": "false",
        }  # fmt: skip
        self.say_call(call, late_percent=35)
        if dice.chance(45):
            version = {"record_version": dice.pick(2, 3, 10)}
            match dice.pick("voided", "voided", "voided", "earlier", "shorter", "moved", "older", "same"):
                case "voided":
                    change = version | {"voided": "true"}
                case "earlier":
                    change = version | {"started_at": at - dice.pick(1, 86_400) * SECOND}
                case "shorter":
                    change = version | {"duration_s": 0}
                case "moved":
                    change = version | {"subscriber_id": ""}
                case "older":
                    change = {"record_version": 1, "voided": "true"}
                case "same":
                    change = version
            self.say_call(call | change, late_percent=85)
            if dice.chance(20):  # and made valid again
                self.say_call(call | {"record_version": 11}, late_percent=80)

    def say_call(self, call: dict, late_percent: int) -> None:
        values = call | {"started_at": self.stamp(call["started_at"])}
        self.put("calls", call["started_at"], ",".join(map(str, values.values())), late_percent)


def call_about_the_invitation(dice: Dice, lives: list[Life]) -> None:
    """Contacts at the edges of the days over which the arms are compared, of members and of nobody."""
    for life in lives:
        life.dice, plan = dice, life.plan
        for _ in range(dice.number(0, 4)):
            days = dice.pick(-91, -90, -90, -40, -1, -1, 0, 0, dice.number(5, 60))
            day = plan.invite_on + days * ONE_DAY
            at = at_local(day, dice.pick(time(0), time(12), time(23, 59, 59)))
            caller = dice.pick(life.subscriber_id, life.subscriber_id, life.subscriber_id, "")
            call = f"{plan.new_id('c')},1,{caller},,inbound,service,{life.stamp(at)},600,{dice.pick(*OUTCOMES)},false"
            plan.rows["calls", max(day, plan.first_day)].append(call)
        if dice.chance(5):  # too late for a window that has ended
            life.status = "terminated"
            life.say_state(at_local(plan.runs[-1], time(12)), late_percent=0)


def live(dice: Dice, plan: Plan, subscribers: int) -> list[Life]:
    """Puts the rows of all lives into the plan's deliveries."""
    lives = [Life(dice, plan, n, f"s{n:02}") for n in range(subscribers)]
    plan.numbers.extend(life.msisdn for life in lives[:3])
    for life in lives:
        life.base()
        if dice.chance(92):
            life.enrol()
        life.changes()
        life.calls()
    return lives
