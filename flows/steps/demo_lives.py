"""The invented subscribers of the demo: their lines, the draw, their app and their mail.

Every life has its own random stream, named after the seed, the subject and the subscriber. So one life can
change without moving the others, and the order in which lives are made does not matter.
"""

import hashlib
import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")
DAYS_IN_A_MONTH = 30.4

# The five blocks that the German regulator keeps free for films and books: they ring nowhere. The mobile
# blocks of that list are too small for a pilot, so these lines carry numbers of five cities.
FICTION_BLOCKS = ("+493023125", "+496990009", "+494066969", "+492214710", "+498999998")
NUMBERS = tuple(f"{block}{i:03d}" for block in FICTION_BLOCKS for i in range(1000))
STRANGERS_NUMBERS = NUMBERS[-300:]  # held by no subscriber, ever
MOST_SUBSCRIBERS = 4000  # of 4,700 numbers; the rest is for new lines and number changes

OFFICE_HOURS = (0, 0, 0, 0, 0, 0, 0, 1, 4, 8, 9, 8, 6, 7, 8, 8, 7, 5, 3, 2, 1, 0, 0, 0)
EVENING_HOURS = (2, 1, 0, 0, 0, 1, 2, 4, 4, 3, 3, 3, 4, 4, 3, 4, 5, 7, 9, 11, 12, 10, 7, 4)

FIRST_NAMES = [
    "anna",
    "ben",
    "clara",
    "david",
    "emma",
    "felix",
    "greta",
    "hanna",
    "ida",
    "jonas",
    "karla",
    "leon",
    "mia",
    "nora",
    "otto",
    "paula",
]

# How often in a month a line changes, by what changes.
MONTHLY_CHANGES = {
    "suspension": 0.004,
    "termination": 0.006,
    "number": 0.002,
    "consent": 0.004,
    "email": 0.002,
    "tariff": 0.008,
}
MONTHLY_NEW_LINES = 0.004  # of the base
ENDS_AFTER_SUSPENSION = 0.15
NUMBER_REUSED = 0.6
QUARANTINE = timedelta(days=30)  # a number rests before it is given out again

# The funnel: how many of those who came so far take the next step. With the mails that bounce and the lines
# that end meanwhile, some 42 % of the invited enrol.
MAIL_BOUNCES = 0.03
MAIL_OPENED = 0.55
TAKES_STEP = {"app_installed": 0.59, "portal_login": 0.88, "video_started": 0.90, "video_completed": 0.93}
DAYS_TO_REACT = 15.0
DECLINES = 0.01  # withdraw without having enrolled
MONTHLY_WITHDRAWALS = 0.004  # of the enrolled
MONTHLY_INSTALLS = 0.01  # of everybody: the app is older than the pilot
MONTHLY_LOGINS = 1.0  # of those who use the app


@dataclass(frozen=True)
class Wave:
    wave_id: str
    terms_id: str
    invite_on: date
    treatment_size: int
    control_size: int
    seed: str
    brands: str


@dataclass(frozen=True)
class State:
    changed_at: datetime
    status: str
    marketing_consent: bool
    email: str
    tariff: str
    takes_number: bool = False
    msisdn: str = ""


@dataclass(frozen=True, order=True)
class Event:
    occurred_at: datetime
    subscriber_id: str
    event_type: str
    wave_id: str = ""


@dataclass
class Life:
    subscriber_id: str
    brand: str
    activated_on: date
    states: list[State] = field(default_factory=list)
    wave: Wave | None = None
    arm: str = ""
    answer: tuple[Event, ...] = ()
    enrolled_at: datetime | None = None

    def state_at(self, at: datetime) -> State | None:
        known = bisect_right(self.states, at, key=lambda state: state.changed_at)
        return self.states[known - 1] if known else None

    def is_active_at(self, at: datetime) -> bool:
        state = self.state_at(at)
        return state is not None and state.status == "active"


def stream(seed: int, subject: str, name: str = "") -> random.Random:
    return random.Random(f"{seed}:{subject}:{name}")


def moment(rng: random.Random, day: date, hours: Sequence[int]) -> datetime:
    """An instant on that local day, at an hour that fits."""
    [hour] = rng.choices(range(24), hours)
    return datetime.combine(day, time(hour, rng.randrange(60), rng.randrange(60)), BERLIN).astimezone(UTC)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), BERLIN).astimezone(UTC)


def live(seed: int, subscriber_count: int, first_day: date, last_day: date) -> list[Life]:
    """The base of the first day and the lines that open later, with every change up to the last day."""
    days = (last_day - first_day).days
    openings = stream(seed, "openings")
    new_count = round(subscriber_count * MONTHLY_NEW_LINES * days / DAYS_IN_A_MONTH)
    opened_on = sorted(first_day + timedelta(days=openings.randint(1, days)) for _ in range(new_count))
    ids = (f"K{number}" for number in count(1_000_001))
    lives = [_base_life(seed, next(ids), first_day, last_day) for _ in range(subscriber_count)]
    lives += [_new_life(seed, next(ids), day, last_day) for day in opened_on]
    _give_numbers(stream(seed, "numbers"), lives)
    return lives


def _base_life(seed: int, subscriber_id: str, first_day: date, last_day: date) -> Life:
    rng = stream(seed, "line", subscriber_id)
    changed_on = first_day - timedelta(days=1 + int(rng.expovariate(1 / 400)))
    life = _first_state(rng, subscriber_id, changed_on - timedelta(days=rng.randrange(2000)), changed_on)
    [status] = rng.choices(("active", "suspended", "terminated"), (97, 2, 1))
    life.states[0] = replace(life.states[0], status=status)
    _change(rng, life, first_day, last_day)
    return life


def _new_life(seed: int, subscriber_id: str, opened_on: date, last_day: date) -> Life:
    rng = stream(seed, "line", subscriber_id)
    life = _first_state(rng, subscriber_id, opened_on, opened_on)
    _change(rng, life, opened_on, last_day)
    return life


def _first_state(rng: random.Random, subscriber_id: str, activated_on: date, changed_on: date) -> Life:
    [brand] = rng.choices(("o2", "blau", "fonic"), (60, 25, 15))
    state = State(
        changed_at=moment(rng, changed_on, OFFICE_HOURS),
        status="active",
        marketing_consent=rng.random() < 0.84,
        email=_email(rng, subscriber_id) if rng.random() < 0.94 else "",
        tariff=rng.choice("SML"),
        takes_number=True,
    )
    return Life(subscriber_id, brand, activated_on, [state])


def _email(rng: random.Random, subscriber_id: str) -> str:
    return f"{rng.choice(FIRST_NAMES)}.{subscriber_id.lower()}@{rng.choice(('example.org', 'example.com'))}"


def _change(rng: random.Random, life: Life, after: date, last_day: date) -> None:
    monthly = sum(MONTHLY_CHANGES.values())
    day, state = after, life.states[-1]
    while state.status != "terminated":
        if state.status == "suspended":
            day += timedelta(days=rng.randint(5, 30))
            change = {"status": "terminated" if rng.random() < ENDS_AFTER_SUSPENSION else "active"}
        else:
            day += timedelta(days=1 + int(rng.expovariate(monthly / DAYS_IN_A_MONTH)))
            [kind] = rng.choices(tuple(MONTHLY_CHANGES), tuple(MONTHLY_CHANGES.values()))
            change = {
                "suspension": {"status": "suspended"},
                "termination": {"status": "terminated"},
                "number": {"takes_number": True},
                "consent": {"marketing_consent": not state.marketing_consent},
                "email": {"email": _email(rng, life.subscriber_id)},
                "tariff": {"tariff": rng.choice("SML")},
            }[kind]
        if day > last_day:
            return
        changed_at = moment(rng, day, OFFICE_HOURS)
        state = replace(state, **{"takes_number": False, "changed_at": changed_at} | change)
        life.states.append(state)


def _give_numbers(rng: random.Random, lives: Iterable[Life]) -> None:
    """Numbers in the order of time, since a number that one line gives up is another's later."""
    fresh = list(NUMBERS[: -len(STRANGERS_NUMBERS)])
    rng.shuffle(fresh)
    resting: list[tuple[datetime, str]] = []  # ordered by the end of the quarantine
    held: dict[str, str] = {}
    in_order = sorted(
        (state.changed_at, life.subscriber_id, i, life) for life in lives for i, state in enumerate(life.states)
    )
    for changed_at, subscriber_id, i, life in in_order:
        state = life.states[i]
        if state.takes_number:
            if subscriber_id in held:
                resting.append((changed_at + QUARANTINE, held[subscriber_id]))
            rested = resting and resting[0][0] <= changed_at
            reuse = rested and rng.random() < NUMBER_REUSED
            held[subscriber_id] = resting.pop(0)[1] if reuse else fresh.pop()
        life.states[i] = replace(state, msisdn=held[subscriber_id])
        if state.status == "terminated":
            resting.append((changed_at + QUARANTINE, held.pop(subscriber_id)))


def draw(wave: Wave, lives: Iterable[Life]) -> None:
    """The pipeline's own draw, made again: who is invited decides what these people do next."""
    at = midnight(wave.invite_on) - timedelta(microseconds=1)
    eligible = []
    for life in lives:
        state = life.state_at(at)
        in_brand = wave.brands == "*" or life.brand in wave.brands.split("|")
        if state is None or life.wave is not None or not in_brand:
            continue
        if state.status == "active" and state.marketing_consent and state.email:
            eligible.append(life)
    eligible.sort(key=lambda life: (_digest(f"{wave.seed}:{life.subscriber_id}"), life.subscriber_id))
    sizes = wave.treatment_size + wave.control_size
    drawn = min(len(eligible), sizes)
    control = math.ceil(drawn * wave.control_size / sizes) if drawn < sizes else wave.control_size
    for rank, life in enumerate(eligible[:drawn]):
        life.wave, life.arm = wave, "treatment" if rank < drawn - control else "control"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def mail_events(seed: int, life: Life) -> Iterator[Event]:
    """What the mail sender saw of one invitation."""
    if life.wave is None or life.arm != "treatment":
        return
    rng = stream(seed, "mail", life.subscriber_id)
    at = midnight(life.wave.invite_on) + timedelta(hours=8, seconds=rng.randrange(7200))
    wave_id = life.wave.wave_id
    yield Event(at, life.subscriber_id, "sent", wave_id)
    at += timedelta(seconds=rng.randint(2, 300))
    if rng.random() < MAIL_BOUNCES:
        yield Event(at, life.subscriber_id, "bounced", wave_id)
        return
    yield Event(at, life.subscriber_id, "delivered", wave_id)
    if rng.random() < MAIL_OPENED:
        at += timedelta(minutes=5 + rng.expovariate(1 / 2000))
        yield Event(at, life.subscriber_id, "opened", wave_id)


def answer_invitation(seed: int, life: Life, enrolment_days: int) -> None:
    """How far a treatment member goes, and whether that enrols it: from then on it calls less."""
    if life.wave is None or life.arm != "treatment":
        return
    life.answer = tuple(_steps_taken(seed, life, life.wave))
    until = midnight(life.wave.invite_on + timedelta(days=enrolment_days))
    for step in life.answer:
        if step.event_type == "video_completed" and step.occurred_at < until:
            life.enrolled_at = step.occurred_at if life.is_active_at(step.occurred_at) else None


def _steps_taken(seed: int, life: Life, wave: Wave) -> Iterator[Event]:
    rng = stream(seed, "answer", life.subscriber_id)
    if any(event.event_type == "bounced" for event in mail_events(seed, life)):
        return
    day = wave.invite_on + timedelta(days=int(rng.expovariate(1 / DAYS_TO_REACT)))
    # The mail goes out in the morning: nobody reacts before eleven on the first day.
    earliest = midnight(wave.invite_on) + timedelta(hours=11, seconds=rng.randrange(7200))
    at = max(moment(rng, day, EVENING_HOURS), earliest)
    if rng.random() < DECLINES:
        yield Event(at, life.subscriber_id, "programme_withdrawn")
        return
    for event_type, share in TAKES_STEP.items():
        if rng.random() >= share:
            return
        yield Event(at, life.subscriber_id, event_type)
        # Most do it at one go; some come back another day.
        minutes = rng.expovariate(1 / 6) if rng.random() < 0.8 else rng.expovariate(1 / 4000)
        at += timedelta(minutes=2 + minutes)


def app_events(seed: int, life: Life, first_day: date, last_day: date) -> Iterator[Event]:
    """One subscriber's app: the answer to the invitation, and what anybody does without one."""
    rng = stream(seed, "app", life.subscriber_id)
    opened, end = max(midnight(first_day), life.states[0].changed_at), midnight(last_day + timedelta(days=1))
    installed_at = opened + timedelta(days=rng.expovariate(MONTHLY_INSTALLS / DAYS_IN_A_MONTH))
    steps = [*life.answer, Event(installed_at, life.subscriber_id, "app_installed")]
    if life.enrolled_at:
        left_at = life.enrolled_at + timedelta(days=rng.expovariate(MONTHLY_WITHDRAWALS / DAYS_IN_A_MONTH))
        steps.append(Event(left_at, life.subscriber_id, "programme_withdrawn"))
    signed_in = [step.occurred_at for step in life.answer if step.event_type == "portal_login"]
    login = min([installed_at, *signed_in])
    while (login := login + timedelta(days=rng.expovariate(MONTHLY_LOGINS / DAYS_IN_A_MONTH))) < end:
        steps.append(Event(login, life.subscriber_id, "portal_login"))
    yield from (step for step in steps if step.occurred_at < end and life.is_active_at(step.occurred_at))
