"""Rules that ask about one wave or one subscriber, and what a run knows. Part of the reference."""

import hashlib
from collections import defaultdict
from datetime import UTC, date, datetime, time

from reference_files import BERLIN, ONE_DAY, Row, local_date
from reference_landing import Landing
from reference_policy import Terms, Wave


def plus_months(anchor: date, months: int) -> date:
    """The same day `months` later, or the last one of a month that is too short."""
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    next_year, next_month = divmod(year * 12 + month + 1, 12)
    last = date(next_year, next_month + 1, 1) - ONE_DAY
    return min(date(year, month + 1, 1) + (anchor.day - 1) * ONE_DAY, last)


def local_midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=BERLIN).astimezone(UTC)


class Known:
    """What the run for `d` knows: the rows of the deliveries in force with a local date up to `d`."""

    def __init__(self, landing: Landing, d: date):
        self.d = d
        self.states: dict[str, list[Row]] = defaultdict(list)  # of a subscriber, in the order of 1.1
        for row in sorted(landing.rows("subscribers", d), key=lambda row: (row.at, row.order)):
            self.states[row["subscriber_id"]].append(row)
        self.subscriber_ids = set(self.states)

        # Rows with the same event_id count once: the earliest business date, then line.
        first_of: dict[str, Row] = {}
        for row in landing.rows("app_events", d):
            first_of.setdefault(row["event_id"], row)
        self.events_of: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in first_of.values():
            self.events_of[row["subscriber_id"], row["event_type"]].append(row)

        # The greatest record_version is current; ties: later business date, then later line.
        current: dict[str, Row] = {}
        for row in landing.rows("calls", d):
            other = current.get(row["call_id"])
            if other is None or int(row["record_version"]) >= int(other["record_version"]):
                current[row["call_id"]] = row
        self.current_calls = list(current.values())
        self.acks = landing.rows("grant_acks", d)

    def events(self, subscriber_id: str, event_type: str) -> list[Row]:
        return self.events_of.get((subscriber_id, event_type), [])

    def state_at(self, at: datetime, subscriber_id: str) -> Row | None:
        return next((row for row in reversed(self.states.get(subscriber_id, [])) if row.at <= at), None)

    def state_at_the_end_of(self, day: date, subscriber_id: str) -> Row | None:
        return next((row for row in reversed(self.states.get(subscriber_id, [])) if row.on <= day), None)

    def is_active_at(self, at: datetime, subscriber_id: str) -> bool:
        state = self.state_at(at, subscriber_id)
        return state is not None and state["status"] == "active"

    def owner(self, call: Row) -> str | None:
        """Its subscriber_id, or where no subscriber has it the holder of its number at that time."""
        if call["subscriber_id"] in self.subscriber_ids:
            return call["subscriber_id"]
        holders = []
        for subscriber_id in sorted(self.subscriber_ids):
            state = self.state_at(call.at, subscriber_id)
            if state and call["msisdn"] and state["msisdn"] == call["msisdn"] and state["status"] != "terminated":
                holders.append(state)
        latest = max((state.at for state in holders), default=None)
        return next((state["subscriber_id"] for state in holders if state.at == latest), None)


def members(wave: Wave, eligible: list[str]) -> list[tuple[str, str]]:
    """The members in rank order, each with its arm."""

    def rank(subscriber_id: str) -> tuple[str, str]:
        return hashlib.sha256(f"{wave.seed}:{subscriber_id}".encode()).hexdigest(), subscriber_id

    treatment_size, control_size = wave.treatment_size, wave.control_size
    both = treatment_size + control_size
    if len(eligible) < both:
        control_size = -(-len(eligible) * control_size // both)  # rounded up
        treatment_size = len(eligible) - control_size
    ranked = sorted(eligible, key=rank)[: treatment_size + control_size]
    return [(each, "treatment" if n < treatment_size else "control") for n, each in enumerate(ranked)]


def enrolment(subscriber_id: str, wave: Wave, terms: Terms, known: Known) -> datetime | None:
    """When a treatment member enrolled, by what is known."""
    invited_at = local_midnight(wave.invite_on)
    install = min((e.at for e in known.events(subscriber_id, "app_installed")), default=None)
    if install is None:
        return None
    login = min((e.at for e in known.events(subscriber_id, "portal_login") if e.at >= install), default=None)
    if login is None:
        return None
    videos = [
        e.at
        for e in known.events(subscriber_id, "video_completed")
        if e.at >= login and e.at >= invited_at and known.is_active_at(e.at, subscriber_id)
    ]
    enrolled_at = min(videos, default=None)
    if enrolled_at is None or local_date(enrolled_at) >= wave.invite_on + terms.enrolment_days * ONE_DAY:
        return None
    if any(e.at <= enrolled_at for e in known.events(subscriber_id, "programme_withdrawn")):
        return None
    return enrolled_at
