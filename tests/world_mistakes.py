"""Ways of getting one rule of the reference wrong; the worlds must notice each of them.

A mistake here is one that a pipeline could make. One that no world notices says that the worlds are too dull
to be trusted with it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta

import reference
import reference_files
import reference_kpis
import reference_landing
import reference_policy
import reference_rules
from reference import ReferenceHome
from reference_files import ONE_DAY
from reference_landing import Landing
from reference_policy import Terms
from reference_rules import Known, plus_months

MISTAKES: dict[str, Callable] = {}


def mistake(sentence: str):
    def remembered(make: Callable) -> Callable:
        MISTAKES[sentence] = make
        return make

    return remembered


def wrapped(patch, owner, name: str, wrong: Callable) -> None:
    """Replaces `owner.name`; `wrong` gets the right one first."""
    right = getattr(owner, name)
    patch(owner, name, lambda *args, **more: wrong(right, *args, **more))


# ---------------------------------------------------------------- dates and months


@mistake("an enrolment's date is taken in UTC")
def _(patch):
    patch(reference, "local_date", lambda at: at.astimezone(UTC).date())


@mistake("a row's date is taken in UTC")
def _(patch):
    patch(reference_files, "local_date", lambda at: at.date())


@mistake("months are counted from the month before")
def _(patch):
    def step_by_step(anchor, months):
        for _ in range(months):
            anchor = plus_months(anchor, 1)
        return anchor

    patch(reference, "plus_months", step_by_step)


@mistake("months that are too short spill over")
def _(patch):
    def spill(anchor, months):
        return plus_months(anchor.replace(day=1), months) + (anchor.day - 1) * ONE_DAY

    patch(reference, "plus_months", spill)


@mistake("the ends of settled months are counted from their settled starts")
def _(patch):
    def wrong(right, self, terms_of):
        found = right(self, terms_of)
        return {key: (mb, start, plus_months(start, 1)) for key, (mb, start, _) in found.items()}

    wrapped(patch, ReferenceHome, "entitlements", wrong)


# ---------------------------------------------------------------- knowledge and completeness


@mistake("a waiver counts for the draw")
def _(patch):
    wrapped(patch, Landing, "is_complete", lambda right, self, feed, first, last, d, _=True: (
        right(self, feed, first, last, d)))  # fmt: skip


@mistake("a waiver counts for nothing")
def _(patch):
    wrapped(patch, Landing, "is_complete", lambda right, self, feed, first, last, d, _=True: (
        right(self, feed, first, last, d, False)))  # fmt: skip


@mistake("a run need not be current")
def _(patch):
    wrapped(patch, Landing, "is_complete_from_its_start", lambda right, self, feed, d, with_waivers=True: (
        with_waivers or right(self, feed, d, with_waivers)))  # fmt: skip


@mistake("quarters are decided without all calls")
def _(patch):
    wrapped(patch, Landing, "is_complete", lambda right, self, feed, first, last, d, waivers=True: (
        last <= d if feed == "calls" else right(self, feed, first, last, d, waivers)))  # fmt: skip


@mistake("quarters are decided without settlement")
def _(patch):
    wrapped(patch, Landing, "is_complete", lambda right, self, feed, first, last, d, waivers=True: (
        right(self, feed, first, last - ONE_DAY if feed == "calls" else last, d, waivers)))  # fmt: skip


@mistake("a rejected day is no start")
def _(patch):
    patch(Landing, "start", lambda self, feed: min((day for of, day in self.in_force if of == feed), default=None))


@mistake("what comes with the next day is known")
def _(patch):
    patch(Landing, "rows", lambda self, feed, d: sorted(
        (row for (of, _), each in self.in_force.items() if of == feed for row in each.rows),
        key=lambda row: row.order))  # fmt: skip


@mistake("the state changes a moment after it is said to")
def _(patch):
    wrapped(patch, Known, "state_at", lambda right, self, at, who: right(self, at - timedelta(microseconds=1), who))


@mistake("the first of two states of the same moment holds")
def _(patch):
    def wrong(right, self, landing, d):
        right(self, landing, d)
        for rows in self.states.values():
            rows.sort(key=lambda row: (row.at, [-part for part in (row.order[0].toordinal(), row.order[1])]))

    wrapped(patch, Known, "__init__", wrong)


# ---------------------------------------------------------------- deliveries


@mistake("short replacements are loaded")
def _(patch):
    patch(Landing, "has_too_few_rows", lambda *_: False)


@mistake("one rejected row rejects the file")
def _(patch):
    def wrong(right, *args):
        rows, rejected, count = right(*args)
        if rejected:
            raise reference_landing.Unreadable("one is too many")
        return rows, rejected, count

    wrapped(patch, reference_landing, "read_delivery", wrong)


@mistake("a replacement adds to what it replaces")
def _(patch):
    def wrong(right, self, delivery):
        before = self.in_force.get((delivery.feed, delivery.business_date))
        if before:
            delivery.rows = [*before.rows, *delivery.rows]
        right(self, delivery)

    wrapped(patch, Landing, "put_in_force", wrong)


# ---------------------------------------------------------------- waves


@mistake("control is rounded down")
def _(patch):
    def wrong(right, wave, eligible):
        both = wave.treatment_size + wave.control_size
        if len(eligible) >= both:
            return right(wave, eligible)
        control = len(eligible) * wave.control_size // both
        return right(replace(wave, control_size=control, treatment_size=len(eligible) - control), eligible)

    wrapped(patch, reference, "members", wrong)


@mistake("waves forget who was drawn")
def _(patch):
    def wrong(right, self, wave, known):
        draws, self.draws = self.draws, {}
        try:
            return right(self, wave, known)
        finally:
            self.draws = draws

    wrapped(patch, ReferenceHome, "eligible", wrong)


@mistake("an overdue wave is drawn for a day more")
def _(patch):
    patch(reference, "DAYS_UNTIL_OVERDUE", 8)


@mistake("the state at the draw is that of the run")
def _(patch):
    wrapped(patch, ReferenceHome, "eligible", lambda right, self, wave, known: (
        right(self, replace(wave, invite_on=known.d + ONE_DAY), known)))  # fmt: skip


# ---------------------------------------------------------------- enrolment


@mistake("withdrawn subscribers go on")
def _(patch):
    wrapped(patch, Known, "events", lambda right, self, who, kind: (
        [] if kind == "programme_withdrawn" else right(self, who, kind)))  # fmt: skip


@mistake("enrolments move with the data")
def _(patch):
    def wrong(right, self, terms_of, known, is_current):
        kept, self.enrolments = self.enrolments, {}
        right(self, terms_of, known, is_current)
        self.enrolments = kept | self.enrolments

    wrapped(patch, ReferenceHome, "enrol", wrong)


@mistake("the last event of an id counts")
def _(patch):
    def wrong(right, self, feed, d):
        rows = right(self, feed, d)
        return rows[::-1] if feed == "app_events" else rows

    wrapped(patch, Landing, "rows", wrong)


@mistake("a video before the invitation enrols")
def _(patch):
    wrapped(patch, reference_rules, "local_midnight", lambda right, day: right(day - ONE_DAY))


@mistake("a suspended subscriber enrols")
def _(patch):
    patch(Known, "is_active_at", lambda *_: True)


@mistake("the deadline is a day later")
def _(patch):
    wrapped(patch, reference, "enrolment", lambda right, who, wave, terms, known: (
        right(who, wave, replace(terms, enrolment_days=terms.enrolment_days + 1), known)))  # fmt: skip


# ---------------------------------------------------------------- contacts


@mistake("a call as short as the shortest is no contact")
def _(patch):
    def wrong(right, self, landing, d):
        right(self, landing, d)
        self.current_calls = [
            replace(call, values={**call.values, "duration_s": str(int(call["duration_s"]) - 1)})
            for call in self.current_calls
        ]

    wrapped(patch, Known, "__init__", wrong)


@mistake("the latest holder of a number has all its calls")
def _(patch):
    def wrong(right, self, call):
        if call["subscriber_id"] in self.subscriber_ids:
            return call["subscriber_id"]
        holders = [rows[-1] for _, rows in sorted(self.states.items()) if rows[-1]["msisdn"] == call["msisdn"]]
        return max(holders, key=lambda row: row.at)["subscriber_id"] if holders else None

    wrapped(patch, Known, "owner", wrong)


@mistake("a call under an unknown id belongs to nobody")
def _(patch):
    wrapped(patch, Known, "owner", lambda right, self, call: (
        right(self, call) if call["subscriber_id"] in self.subscriber_ids | {""} else None))  # fmt: skip


@mistake("terminated subscribers keep their number")
def _(patch):
    def wrong(right, self, call):
        if call["subscriber_id"] in self.subscriber_ids or not call["msisdn"]:
            return right(self, call)
        states = [self.state_at(call.at, who) for who in sorted(self.subscriber_ids)]
        holders = [state for state in states if state and state["msisdn"] == call["msisdn"]]
        return max(holders, key=lambda row: row.at)["subscriber_id"] if holders else None

    wrapped(patch, Known, "owner", wrong)


@mistake("the record of a call that came last is current")
def _(patch):
    def wrong(right, self, landing, d):
        right(self, landing, d)
        self.current_calls = list({row["call_id"]: row for row in landing.rows("calls", d)}.values())

    wrapped(patch, Known, "__init__", wrong)


@mistake("a call before enrolling is a contact")
def _(patch):
    def wrong(right, self, terms_of, known, policy):
        kept = self.enrolments
        self.enrolments = {who: (reference_rules.local_midnight(on), on) for who, (_, on) in kept.items()}
        right(self, terms_of, known, policy)
        self.enrolments = kept

    wrapped(patch, ReferenceHome, "judge", wrong)


@mistake("a line's first row is good for ever")
def _(patch):
    patch(reference_policy, "counts_on", lambda rows, name, on: next(
        (counts for (of, _), counts in sorted(rows.items()) if of == name), False))  # fmt: skip


# ---------------------------------------------------------------- grants


@mistake("the tier must be met exactly")
def _(patch):
    patch(Terms, "mb_per_month", lambda self, streak: dict(self.tiers).get(streak, 0))


@mistake("a rejected grant stays issued")
def _(patch):
    def wrong(right, self, *args):
        self.issued = Counter()
        for grant in self.grants:
            self.issued[grant.key] += grant.volume_mb
        right(self, *args)

    wrapped(patch, ReferenceHome, "post", wrong)


@mistake("nothing is parked")
def _(patch):
    def wrong(right, self, *args):
        self.parked = set()
        right(self, *args)

    wrapped(patch, ReferenceHome, "post", wrong)


@mistake("a release lets go for ever")
def _(patch):
    def wrong(right, self, keys):
        code = right(self, keys)
        self.allowed_rejections.update(dict.fromkeys(keys, 1000))
        return code

    wrapped(patch, ReferenceHome, "release_keys", wrong)


@mistake("whoever is not active is paid")
def _(patch):
    def wrong(right, self, key, nominal_start, known):
        withdrawals = known.events(key[0], "programme_withdrawn")
        has_left = key[1] > 0 and any(event.on < nominal_start for event in withdrawals)
        return nominal_start <= known.d + ONE_DAY and not has_left

    wrapped(patch, ReferenceHome, "is_due", wrong)


@mistake("leaving on the day of the nominal start costs the grant")
def _(patch):
    wrapped(patch, ReferenceHome, "is_due", lambda right, self, key, start, known: right(self, key, start, known)
            and (key[1] == 0 or not any(e.on <= start for e in known.events(key[0], "programme_withdrawn")))
            )  # fmt: skip


@mistake("a grant is due a day late")
def _(patch):
    wrapped(patch, ReferenceHome, "is_due", lambda right, self, key, start, known: (
        right(self, key, start + ONE_DAY, known)))  # fmt: skip


@mistake("a repeat of a date posts a file always")
def _(patch):
    def wrong(right, self, terms_of, known, entitled):
        files = len(self.files)
        right(self, terms_of, known, entitled)
        if len(self.files) == files:
            self.publish(known.d, [])

    wrapped(patch, ReferenceHome, "post", wrong)


# ---------------------------------------------------------------- the KPIs


@mistake("contacts are counted for 91 days before the invitation")
def _(patch):
    patch(reference_kpis, "DAYS_BEFORE", 91)


@mistake("a day without calls does not end the window")
def _(patch):
    def wrong(right, pilot, landing, d):
        return right(pilot, landing, d) and min(d, reference_kpis.closes_on(pilot) - ONE_DAY)

    wrapped(patch, reference_kpis, "last_day", wrong)


@mistake("the window never closes")
def _(patch):
    wrapped(patch, reference_kpis, "closes_on", lambda right, pilot: right(pilot) + 1000 * ONE_DAY)


@mistake("who is gone is judged by the state of today")
def _(patch):
    def wrong(right, pilot, known, policy, last):
        arms = right(pilot, known, policy, last)
        for name, arm in arms.items():
            members = [member for member, of in pilot.members if of == name]
            states = [known.state_at_the_end_of(known.d, member) for member in members]
            arm.terminated = [bool(state and state["status"] == "terminated") for state in states]
        return arms

    wrapped(patch, reference_kpis, "arms_of", wrong)


@mistake("only contacts after enrolment are compared")
def _(patch):
    def wrong(right, pilot, known, policy, last):
        after = replace(pilot, members=[each for each in pilot.members if each[0] in pilot.enrolled_on])
        arms = right(pilot, known, policy, last)
        enrolled = right(after, known, policy, last)["treatment"]
        arms["treatment"].y = enrolled.y + [0] * (arms["treatment"].n - enrolled.n)
        return arms

    wrapped(patch, reference_kpis, "arms_of", wrong)


@mistake("volume is granted only when the next run knows of it")
def _(patch):
    patch(ReferenceHome, "weigh_again", lambda self, known: None)


@mistake("what is parked counts as committed")
def _(patch):
    def wrong(right, self, *args):
        parked, self.parked = self.parked, set()
        pilot = right(self, *args)
        self.parked = parked
        return pilot

    wrapped(patch, ReferenceHome, "pilot", wrong)
