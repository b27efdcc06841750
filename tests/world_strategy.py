"""Worlds as Hypothesis draws them: a policy, lives, and the order in which deliveries, words and runs come."""

from collections.abc import Callable
from datetime import date

from hypothesis import strategies as st

from reference_files import ONE_DAY, REQUIRED_FEEDS
from reference_policy import Terms
from reference_rules import plus_months
from world_deliveries import again, csv_of, dressed, packed, spoilt, wrong_row
from world_lives import Dice, Plan, call_about_the_invitation, live
from worlds import Accept, Answer, Deliver, FillDays, Refuse, Release, Run, SetPolicy, Step, Waive, World

# Invitations shortly before month ends, a leap day, and both clock changes.
INVITATIONS = (
    date(2017, 8, 31),
    date(2015, 11, 27),
    date(2017, 10, 27),
    date(2017, 3, 24),
    date(2016, 2, 27),
    date(2017, 12, 29),
    date(2018, 8, 29),
)
WAVES_HEADER = "wave_id,terms_id,invite_on,treatment_size,control_size,seed,brands\n"
TERMS_HEADER = "terms_id,welcome_mb,quarters,min_contact_seconds,settlement_days,enrolment_days,max_attempts\n"
TIERS = (((1, 100), (2, 200), (3, 300)), ((2, 150),), ((1, 50), (3, 75)), ((1, 100), (2, 100)), ((1, 30),))


# ---------------------------------------------------------------- policy


def some_terms(dice: Dice, terms_id: str) -> Terms:
    return Terms(
        terms_id,
        welcome_mb=dice.pick(600, 600, 600, 500, 500, 0),
        quarters=dice.pick(3, 2, 1, 4),
        min_contact_seconds=dice.pick(10, 1, 60),
        settlement_days=dice.pick(2, 0, 1, 5),
        enrolment_days=dice.pick(90, 90, 90, 4, 5),
        max_attempts=dice.pick(3, 1, 2, 1),
        tiers=dice.pick(*TIERS),
    )


def some_waves(dice: Dice, invite_on: date, subscribers: int, terms: list[Terms]) -> list[tuple]:
    has_second = dice.chance(45)
    sizes = (subscribers // 2, 3, 1) if has_second else (subscribers, subscribers, subscribers - 2, 5)
    waves = [("pilot", terms[0].terms_id, invite_on, dice.pick(*sizes), dice.pick(0, 2, 1, 3), "any", "*")]
    if has_second:
        waves.append(
            (
                dice.pick("second", "again"),
                terms[-1].terms_id,
                invite_on - dice.pick(0, 0, 1, -1) * ONE_DAY,
                dice.number(1, 6),
                dice.pick(0, 2),
                dice.pick("any", "one"),
                dice.pick("*", "o2", "blau|none"),
            )
        )
    if dice.chance(8):
        waves.append(("memberless", terms[0].terms_id, invite_on, 3, 1, "any", "none"))
    if dice.chance(8):
        waves.append(("much-too-early", terms[0].terms_id, invite_on - 30 * ONE_DAY, 3, 1, "any", "*"))
    return waves  # fmt: skip


def policy_files(terms: list[Terms], waves: list[tuple], lines: list[tuple], welcome_more: int = 0) -> tuple:
    def text(header: str, rows) -> str:
        return header + "".join(",".join(map(str, row)) + "\n" for row in rows)

    return (
        ("terms.csv", text(TERMS_HEADER, [
            (t.terms_id, t.welcome_mb + welcome_more, t.quarters, t.min_contact_seconds, t.settlement_days,
             t.enrolment_days, t.max_attempts) for t in terms])),
        ("reward_tiers.csv", text("terms_id,streak,mb_per_month\n", [
            (t.terms_id, streak, mb) for t in terms for streak, mb in t.tiers])),
        ("waves.csv", text(WAVES_HEADER, waves)),
        ("hotline_lines.csv", text("line,valid_from,counts,label\n", lines)),
        ("contact_outcomes.csv", text("outcome,valid_from,counts,label\n", [
            ("answered", "2000-01-01", "true", "an agent"), ("abandoned", "2000-01-01", "false", "gave up"),
            ("self_service", "2000-01-01", "true", "menu"), ("self_service", lines[0][1], "false", "menu")])),
    )  # fmt: skip


# ---------------------------------------------------------------- the order of things


def some_runs(dice: Dice, plan: Plan) -> list[date]:
    """The draw, an enrolment, and then about the boundaries: where the day before decides what the day may do."""
    runs = {plan.invite_on + dice.pick(-1, -1, -1, -1, 0, 3, 7, 8) * ONE_DAY}
    runs.add(max(plan.enrol_days) + dice.pick(0, 1, 0, 3) * ONE_DAY)
    nominal = sorted({day for enrolled_on in plan.enrol_days for day in plan.boundaries(enrolled_on)})
    for _ in range(dice.number(2, 4)):
        runs.add(dice.pick(*nominal) + dice.pick(-1, -1, -2, 0, 3, 12) * ONE_DAY)
    if dice.chance(70):
        runs.add(plan.last_day)
    ordered = sorted(day for day in runs if plan.first_day <= day <= plan.last_day)
    return [day for day in ordered for _ in range(2 if dice.chance(10) else 1)]


def daily_runs(dice: Dice, plan: Plan) -> list[date]:
    """Days one after another, most of them ordinary: about the draw, the enrolments, and some boundaries."""
    boundaries = sorted({day for enrolled_on in plan.enrol_days for day in plan.boundaries(enrolled_on)})
    about = [plan.invite_on - ONE_DAY, max(plan.enrol_days), *dice.random.sample(boundaries, min(4, len(boundaries)))]
    runs = {day + n * ONE_DAY for day in about for n in range(-2, 3) if n in (-1, 0) or dice.chance(60)}
    return sorted(day for day in runs if plan.first_day <= day <= plan.last_day)


def arrivals(dice: Dice, plan: Plan) -> tuple[dict[str, int], set[str], dict[int, list[Step]]]:
    """Deliveries that come only before a later run, those that never do, and what is waived before a run."""
    late: dict[str, int] = {}
    never: set[str] = set()
    waived: dict[int, list[Step]] = {}
    if not dice.chance(55):
        return late, never, waived
    for _ in range(dice.number(1, 2)):
        feed = dice.pick(*REQUIRED_FEEDS)
        # A day before the draw holds it back; most are later ones, so that something can still be missed.
        run = 0 if dice.chance(20) else dice.number(min(1, len(plan.runs) - 1), len(plan.runs) - 1)
        day = plan.runs[run] - dice.pick(0, 1, 3, 10) * ONE_DAY
        if day < plan.first_day:
            continue
        name = f"{feed}_{day:%Y%m%d}.csv"
        if dice.chance(50):
            late[name] = dice.number(run, len(plan.runs) - 1) + dice.number(0, 1)
        else:
            never.add(name)
            waived.setdefault(dice.number(run, min(run + 1, len(plan.runs) - 1)), []).append(Waive(feed, day))
            if dice.chance(50):
                late[name] = len(plan.runs) - 1  # it comes after all
    return late, never, waived


class Script:
    """Puts the deliveries, operators' words and runs of a plan in order."""

    changed_policy_percent = 6
    new_line_percent = 10

    def __init__(self, dice: Dice, plan: Plan):
        self.dice, self.plan = dice, plan
        self.steps: list[Step] = []
        self.late, self.never, self.waived = arrivals(dice, plan)
        self.delivered: dict[str, tuple[str, list[str]]] = {}
        self.waiting = {f"{feed}_{day:%Y%m%d}.csv": (feed, day, rows) for (feed, day), rows in plan.rows.items()}
        self.to_settle: list[str] = []
        self.unlucky = tuple(dice.some([f"s{n:02}" for n in range(6)], 3)) if dice.chance(55) else ()
        self.rejected_percent = dice.pick(5, 0, 25, 60)
        self.contradicted_percent = dice.pick(0, 0, 20)
        self.is_careless = dice.chance(30)  # operators say wrong things, senders deliver twice

    def before_run(self, n: int, run: date) -> None:
        self.deliver_what_came(n, run)
        self.operators(n)
        if n and self.dice.chance(35):
            self.redeliver()
        if n and self.dice.chance(80):
            self.answer(n, run)

    def deliver_what_came(self, n: int, run: date) -> None:
        dice = self.dice
        for name, (feed, day, rows) in sorted(self.waiting.items()):
            is_too_late = self.late.get(name, n) > n
            is_lost = name in self.never and name not in self.late
            is_early = day > run and not dice.chance(3)
            if is_too_late or is_lost or is_early:
                continue
            del self.waiting[name]
            if dice.chance(8):
                wrong = [wrong_row(dice, feed, day) for _ in range(dice.pick(1, 1, 1, 2))]
                rows = [*rows, *wrong] if dice.chance(50) else [*wrong, *rows]
            if dice.chance(2):
                self.steps.append(Deliver(name, spoilt(dice, feed, rows)))
                if n + 1 < len(self.plan.runs):
                    self.late[name] = n + 1
                    self.waiting[name] = (feed, day, rows)
                elif dice.chance(50):
                    self.steps.append(Refuse(name))
                continue
            self.say(name, feed, rows)
            if dice.chance(1):  # a second file for the same feed and date: both are rejected
                self.steps.append(Deliver(f"{name}.gz", packed(csv_of(feed, rows))))
                self.late[name] = n + 1
                self.waiting[name] = (feed, day, rows)
        awaited = tuple(sorted({name for name in {*self.late, *self.never} if self.late.get(name, n + 1) > n}))
        first = self.plan.first_day if n == 0 else min(self.plan.runs[n - 1] + ONE_DAY, run)
        if any(self.late.get(name) == n for name in self.late):
            first = self.plan.first_day
        self.steps.append(FillDays(first, run, awaited))

    def say(self, name: str, feed: str, rows: list[str]) -> None:
        self.delivered[name] = (feed, rows)
        content = dressed(self.dice, feed, rows) if self.dice.chance(12) else csv_of(feed, rows)
        if self.dice.chance(4):
            self.steps.append(Deliver(f"{name}.gz", packed(content)))
        else:
            self.steps.append(Deliver(name, content))

    def redeliver(self) -> None:
        dice = self.dice
        longest = max(sorted(self.delivered), key=lambda name: len(self.delivered[name][1]), default=None)
        names = [longest] if self.delivered and dice.chance(40) else dice.some(sorted(self.delivered), 3)
        for name in names:
            feed, rows = self.delivered[name]
            others = [row for other, (of, more) in sorted(self.delivered.items()) if of == feed for row in more]
            self.steps.append(Deliver(name, again(dice, feed, rows, others)))
            self.to_settle.append(name)

    def answer(self, n: int, run: date) -> None:
        dice = self.dice
        day = dice.pick(run, min(self.plan.runs[n - 1] + ONE_DAY, run))
        self.steps.append(Answer(
            day, dice.number(0, 99), dice.pick(95, 60), self.rejected_percent, self.unlucky,
            self.contradicted_percent, dice.chance(10), dice.pick("07:00:00Z", "07:00:00Z", "23:30:00Z"),
        ))  # fmt: skip

    def operators(self, n: int) -> None:
        dice = self.dice
        self.steps.extend(self.waived.pop(n, []))
        while self.to_settle and dice.chance(70):
            name = self.to_settle.pop()
            self.steps.append(dice.pick(Accept(name), Refuse(name)))
        if n and self.unlucky and dice.chance(75):
            self.steps.append(Release(dice.pick("one", "all")))
        if self.is_careless and dice.chance(25):
            self.steps.append(dice.pick(
                Release("wrong"), Accept("calls_20170901.csv"), Refuse("odd.csv"), Waive("calls", self.plan.first_day),
                Waive("grant_acks", self.plan.first_day), Release("all"),
            ))  # fmt: skip


class DailyScript(Script):
    """Every delivery comes in time, once, and is accepted."""

    changed_policy_percent = 0
    new_line_percent = 3

    def deliver_what_came(self, n: int, run: date) -> None:
        for name, (feed, day, rows) in sorted(self.waiting.items()):
            if day <= run:
                del self.waiting[name]
                self.say(name, feed, [*rows, wrong_row(self.dice, feed, day)] if self.dice.chance(8) else rows)
        self.steps.append(FillDays(self.plan.runs[n - 1] + ONE_DAY if n else self.plan.first_day, run))

    def operators(self, n: int) -> None:
        if n and self.unlucky and self.dice.chance(50):
            self.steps.append(Release(self.dice.pick("one", "all")))

    def redeliver(self) -> None:
        pass


# ---------------------------------------------------------------- worlds


def daily_worlds() -> st.SearchStrategy[World]:
    return st.integers(0, 2**48).map(lambda seed: world_of(seed, daily_runs, DailyScript))


def worlds() -> st.SearchStrategy[World]:
    return st.integers(0, 2**48).map(world_of)


def world_of(
    seed: int, runs: Callable[[Dice, Plan], list[date]] = some_runs, script_of: type[Script] = Script
) -> World:
    """The same world for the same number."""
    dice = Dice(seed)
    invite_on = dice.pick(*INVITATIONS)
    first_day = invite_on - dice.pick(3, 2, 1, 6) * ONE_DAY
    last_day = invite_on + dice.pick(165, 165, 200, 260, 340) * ONE_DAY
    terms = [some_terms(dice, "pilot-2017")]
    if dice.chance(45):
        terms.append(some_terms(dice, "other"))
    subscribers = dice.number(6, 13)
    waves = some_waves(dice, invite_on, subscribers, terms)
    enrol_days = [invite_on + days * ONE_DAY for days in dice.some([1, 2, 3, 4, 0], 2)] or [invite_on + 2 * ONE_DAY]
    plan = Plan(first_day, last_day, invite_on, terms, enrol_days, [])
    plan.runs = runs(dice, plan)
    lives = live(dice, plan, subscribers)
    # Dice of their own, so that the rest of a world stays what it was.
    call_about_the_invitation(Dice(seed + 1), lives)

    turning = plus_months(enrol_days[0], 3) - dice.pick(0, 1, 40) * ONE_DAY
    lines = [
        ("shop", turning, "true", "counts from then"),
        ("service", "2000-01-01", "true", "customer service"),
        ("tech", "2000-01-01", "true", "technical help"),
        ("tech", turning, "false", "technical help"),
        ("sim-block", "2000-01-01", "false", "block the SIM"),
    ]
    policy = policy_files(terms, waves, lines)

    script = script_of(dice, plan)
    for n, run in enumerate(plan.runs):
        script.before_run(n, run)
        if n and dice.chance(script.changed_policy_percent):
            # What was used is changed: the run refuses, and the change is taken back.
            script.steps.append(SetPolicy(policy_files(terms, waves, lines, welcome_more=1)))
            script.steps += [Run(run), SetPolicy(policy)]
        if n and plan.runs[n - 1] < run and dice.chance(script.new_line_percent):
            lines = [*lines, ("unheard-of", plan.runs[n - 1] + ONE_DAY, dice.pick("true", "false"), f"new {n}")]
            policy = policy_files(terms, waves, lines)
            script.steps.append(SetPolicy(policy))
        script.steps.append(Run(run))
        if dice.chance(3):
            script.steps.append(Run(run - ONE_DAY))
    return World(policy, tuple(script.steps))
