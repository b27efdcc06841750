"""Which interesting things happened in a world: so that the worlds cannot silently go dull."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

from reference import ReferenceHome
from reference_files import ONE_DAY
from reference_rules import Known, local_midnight, plus_months
from worlds import Accept, Refuse, Release, Run, Step, Waive, World, play


def describe(world: World, home: ReferenceHome) -> Counter:
    """Plays the world to the reference and counts, in runs or in things, what happened. `home` is a new one."""
    tally: Counter = Counter()
    before: dict = {}
    for step, (code, *_) in play(world, Path(home.policy_dir), home):
        told(step, code, home, tally)
        if isinstance(step, Run) and code != 2:
            happened(home, tally)
            turned(before, home, tally)
            before = dict(home.quarters)
    at_the_end(home, tally)
    return tally


def told(step: Step, code: int, home: ReferenceHome, tally: Counter) -> None:
    """What came of an operator's word, and of a run."""
    match step, code:
        case Run(), 2:
            changed = "changed" in home.problem
            tally["a policy in use was changed" if changed else "an impossible date was refused"] += 1
        case Run(), _:
            tally[f"a run exited with {code}"] += 1
        case ((Accept() | Refuse() | Release() | Waive()), 0):
            tally[f"{type(step).__name__.lower()} was heard"] += 1
        case ((Accept() | Refuse() | Release() | Waive()), 2):
            tally[f"{type(step).__name__.lower()} was about nothing"] += 1


def turned(before: dict, home: ReferenceHome, tally: Counter) -> None:
    """Quarters that the run judged otherwise than the run before it."""
    granted = {grant.key for grant in home.grants}
    for (subscriber_id, k), (_, contact_count, streak) in home.quarters.items():
        _, _, streak_before = before.get((subscriber_id, k), (True, contact_count, streak))
        tally["a late call ended a streak"] += streak < streak_before
        tally["a voided call gave back a streak"] += streak > streak_before
        if streak < streak_before and {(subscriber_id, k, m) in granted for m in (1, 2, 3)} == {True, False}:
            tally["a late call stopped the months still to come"] += 1


def happened(home: ReferenceHome, tally: Counter) -> None:
    """What the run that just ended found."""
    d = home.latest
    for name in (
        "held", "parked", "overpaid", "lapsed_enrolments", "unknown_acks", "contradicting_acks", "overdue_waves",
        "memberless_waves", "waiting_waves", "unattributed_calls",
    ):  # fmt: skip
        tally[f"a run with {name}"] += bool(getattr(home, name))
    if home.posted[d] > 1:
        tally["a repeat of a date posted another file"] += 1
    is_current = all(home.landing.is_complete_from_its_start(feed, d) for feed in ("subscribers", "app_events"))
    tally["a run that is not current"] += not is_current
    if is_current and not home.landing.is_complete("calls", home.landing.start("calls") or d, d, d):
        tally["a current run without all calls"] += 1
    known = Known(home.landing, d)
    now = local_midnight(d + ONE_DAY)
    tally["a grant was posted late"] += sum(
        grant.valid_from == d + ONE_DAY and grant.quarter > 0 and is_late(home, grant) for grant in home.grants
    )
    tally["an enrolled subscriber is not active"] += sum(
        not known.is_active_at(now, subscriber_id) for subscriber_id in home.enrolments
    )


def is_late(home: ReferenceHome, grant) -> bool:
    """Posted well after the month's start, whatever the settlement."""
    _, enrolled_on = home.enrolments[grant.subscriber_id]
    return grant.valid_from > plus_months(enrolled_on, 3 * grant.quarter + grant.month - 1) + 6 * ONE_DAY


def at_the_end(home: ReferenceHome, tally: Counter) -> None:
    """What can be read off the last state."""
    for each in home.landing.deliveries:
        tally[f"a delivery is {each.verdict}"] += 1
        tally["a row is rejected"] += each.rejected_rows
    tally["a waived day came after all"] += len(home.landing.waived & set(home.landing.in_force))
    tally["a day was waived"] += len(home.landing.waived)
    tally["several waves were drawn"] += len(home.draws) > 1
    tally["a wave was drawn"] += len(home.draws)
    tally["a control member"] += sum(arm == "control" for draw in home.draws.values() for _, arm in draw)
    tally["an enrolment"] += len(home.enrolments)
    for grant in home.grants:
        tally[f"a {grant.kind} grant"] += 1
        tally["a grant of a later quarter"] += grant.quarter > 1
    of_key = Counter(grant.key for grant in home.grants)
    for key, entries in of_key.items():
        rejected = home.rejected_entries.get(key, 0)
        tally["a rejected grant was posted again"] += entries > 1 and rejected > 0
        tally["a second entry made good the difference"] += entries > 1 and rejected == 0
    for key in home.allowed_rejections:
        tally["a released grant was posted"] += key not in home.parked and key in of_key
    for (subscriber_id, k), (_, contact_count, streak) in home.quarters.items():
        tally["a quarter is decided"] += 1
        tally["a quarter with a contact"] += contact_count > 0
        tally["a streak of two and more"] += streak > 1
        tally["a streak anew after a contact"] += streak == 1 and k > 1
        tally["a call-free quarter that earns nothing"] += streak > 0 and not any(
            key[:2] == (subscriber_id, k) for key in of_key
        )
    for enrolled_at, enrolled_on in home.enrolments.values():
        tally["an enrolment after the 28th"] += enrolled_on.day > 28
        tally["an enrolment within an hour of midnight"] += enrolled_at - local_midnight(enrolled_on) < timedelta(
            hours=1
        ) or local_midnight(enrolled_on + ONE_DAY) - enrolled_at < timedelta(hours=1)
        tally["an enrolment on a day of 23 or 25 hours"] += (
            local_midnight(enrolled_on + ONE_DAY) - local_midnight(enrolled_on) != ONE_DAY
        )
    calls_at_the_edge(home, tally)


def calls_at_the_edge(home: ReferenceHome, tally: Counter) -> None:
    known = Known(home.landing, home.latest) if home.latest else None
    for call in known.current_calls if known else []:
        tally["a voided call"] += call["voided"] == "true"
        owner = known.owner(call)
        tally["a call was found by its number"] += owner is not None and owner != call["subscriber_id"]
        if owner not in home.enrolments or call["voided"] == "true":
            continue
        enrolled_at, enrolled_on = home.enrolments[owner]
        tally["a call within a second of enrolling"] += abs(call.at - enrolled_at) <= timedelta(seconds=1)
        for k in range(1, 5):
            edge = local_midnight(plus_months(enrolled_on, 3 * k))
            tally["a call in the first second of a quarter"] += edge <= call.at < edge + timedelta(seconds=1)
            tally["a call in the last second of a quarter"] += edge - timedelta(seconds=1) <= call.at < edge
