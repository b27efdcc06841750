"""The KPIs in plain Python, as chapter 3 says them: written from it alone, member by member. Part of the reference.

The pipeline makes its statistics from sums, by scipy; here they come from the members' values themselves, by
statsmodels where it has the method, and by whole numbers where the answer can be counted.
"""

from dataclasses import dataclass, field
from datetime import date
from math import comb, isclose, sqrt
from statistics import NormalDist, mean, median, variance

from reference_files import ONE_DAY, Row
from reference_landing import Landing
from reference_policy import Policy, Terms, Wave
from reference_rules import Known, local_midnight, plus_months

HEADER = "wave_id,kpi,arm,quarter,value,ci_low,ci_high,n"
DAYS_BEFORE = 90
EUR_PER_MB = 0.001
EUR_PER_CONTACT = 5


@dataclass
class Arm:
    """What is known of the members of an arm; a list has one entry a member."""

    y: list[int] = field(default_factory=list)
    x: list[int] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)

    @property
    def n(self) -> int:
        return len(self.y)


@dataclass
class Pilot:
    """What a run knows of a drawn wave, beside the calls."""

    wave: Wave
    terms: Terms
    members: list[tuple[str, str]]  # subscriber, arm
    invited: int
    enrolled_on: dict[str, date]
    decided: dict[int, list[bool]]  # of a quarter: whether it was call-free, for each who has it decided
    granted_mb: int
    committed_mb: int


def closes_on(pilot: Pilot) -> date:
    """The day after the last one that the window can have."""
    terms = pilot.terms
    return plus_months(pilot.wave.invite_on, 3 * terms.quarters + 3) + terms.enrolment_days * ONE_DAY


def last_day(pilot: Pilot, landing: Landing, d: date) -> date | None:
    """W; none while the window is empty."""
    last, day = None, pilot.wave.invite_on
    while day <= d and day < closes_on(pilot) and landing.is_complete("calls", day, day, d):
        last, day = day, day + ONE_DAY
    return last


def rows_of(pilot: Pilot, known: Known, landing: Landing, policy: Policy) -> list[tuple]:
    """The rows of a wave as kpi, arm, quarter, value, low, high, n."""
    invite_on = pilot.wave.invite_on
    last = last_day(pilot, landing, known.d)
    arms = arms_of(pilot, known, policy, last)
    treatment, control = arms["treatment"], arms["control"]
    rows: list[tuple] = []

    def add(kpi: str, arm: str, figure, n: int, quarter: int | str = "") -> None:
        value, low, high = figure if isinstance(figure, tuple) else (figure, None, None)
        rows.append((kpi, arm, quarter, value, low, high, n))

    for name, arm in arms.items():
        add("members", name, arm.n, arm.n)
    add("invited", "treatment", pilot.invited, treatment.n)
    for kpi, count in zip(("app_installed", "signed_in", "video_watched"), funnel(pilot, known), strict=True):
        add(kpi, "treatment", count, treatment.n)
    enrolled = len(pilot.enrolled_on)
    add("enrolled", "treatment", enrolled, treatment.n)
    if treatment.n:
        add("enrolment_rate", "treatment", wilson(enrolled, treatment.n), treatment.n)
    if enrolled:
        days = [(on - invite_on).days for on in pilot.enrolled_on.values()]
        add("days_to_enrol_median", "treatment", median(days), enrolled)
    effect = None
    if last is not None:
        for name, arm in arms.items():
            if arm.n >= 2:
                add("contacts_per_member", name, mean_of(arm.y), arm.n)
        for name, arm in arms.items():
            if arm.n:
                add("call_free_share", name, wilson(arm.y.count(0), arm.n), arm.n)
        both = treatment.n + control.n
        if treatment.n >= 2 and control.n >= 2:
            effect = welch(treatment.y, control.y)
            add("itt_contacts", "", effect, both)
            add("itt_contacts_p", "", welch_p(treatment.y, control.y), both)
            add("itt_contacts_cuped", "", welch(*cuped(treatment, control)), both)
            if any(control.y):
                add("itt_contacts_relative", "", relative(treatment.y, control.y), both)
            if enrolled:
                rate = enrolled / treatment.n
                add("tot_contacts", "", tuple(each if each is None else each / rate for each in effect), both)
        if treatment.n and control.n:
            add("attrition_p", "", attrition_p(treatment, control), both)
    for quarter in sorted(pilot.decided):
        free = pilot.decided[quarter]
        add("call_free_quarters_share", "treatment", wilson(sum(free), len(free)), len(free), quarter)
    add("granted_mb", "treatment", pilot.granted_mb, enrolled)
    add("committed_mb", "treatment", pilot.committed_mb, enrolled)
    cost = pilot.committed_mb * EUR_PER_MB
    add("grant_cost_eur", "treatment", cost, enrolled)
    if effect:
        value, low, high = effect
        saved = tuple(None if each is None else -each * treatment.n for each in (value, high, low))
        saved_eur = tuple(None if each is None else each * EUR_PER_CONTACT for each in saved)
        add("saved_contacts", "treatment", saved, treatment.n)
        add("saved_eur", "treatment", saved_eur, treatment.n)
        add("net_eur", "treatment", tuple(None if each is None else each - cost for each in saved_eur), treatment.n)
    if last is not None:
        calls = [
            call
            for call in known.current_calls
            if invite_on <= call.on <= last
            and call["voided"] == "false"
            and call["direction"] == "inbound"
            and policy.line_counts(call["line"], call.on)
        ]
        if calls:
            nobodys = sum(known.owner(call) is None for call in calls)
            add("unattributed_share", "", nobodys / len(calls), len(calls))
    return rows


def arms_of(pilot: Pilot, known: Known, policy: Policy, last: date | None) -> dict[str, Arm]:
    def is_contact(call: Row) -> bool:
        return (
            call["voided"] == "false"
            and call["direction"] == "inbound"
            and policy.line_counts(call["line"], call.on)
            and policy.outcome_counts(call["outcome"], call.on)
            and int(call["duration_s"]) >= pilot.terms.min_contact_seconds
        )

    contacts = [(known.owner(call), call.on) for call in known.current_calls if is_contact(call)]
    invite_on = pilot.wave.invite_on
    arms = {"treatment": Arm(), "control": Arm()}
    for member, name in pilot.members:
        days = [on for owner, on in contacts if owner == member]
        arm = arms[name]
        arm.x.append(sum(invite_on - DAYS_BEFORE * ONE_DAY <= on < invite_on for on in days))
        arm.y.append(sum(last is not None and invite_on <= on <= last for on in days))
        state = known.state_at_the_end_of(last, member) if last else None
        arm.terminated.append(state is not None and state["status"] == "terminated")
    return arms


def funnel(pilot: Pilot, known: Known) -> tuple[int, int, int]:
    installed = signed_in = watched = 0
    invited_at = local_midnight(pilot.wave.invite_on)
    for member, arm in pilot.members:
        installs = [event.at for event in known.events(member, "app_installed")]
        if arm == "control" or not installs:
            continue
        installed += 1
        logins = [event.at for event in known.events(member, "portal_login") if event.at >= min(installs)]
        if not logins:
            continue
        signed_in += 1
        from_then = max(min(logins), invited_at)
        watched += any(event.at >= from_then for event in known.events(member, "video_completed"))
    return installed, signed_in, watched


# --- Statistics -----------------------------------------------------------------------------------------------------


def wilson(count: int, n: int) -> tuple[float, float, float]:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(count, n, alpha=0.05, method="wilson")
    return count / n, max(low, 0.0), min(high, 1.0)


def spread(values: list[float]) -> float:
    found = variance(values)
    return found if found >= 1e-12 else 0.0


def mean_of(values: list[int]) -> tuple[float, float | None, float | None]:
    from statsmodels.stats.weightstats import DescrStatsW

    return (mean(values), *(DescrStatsW(values).tconfint_mean(0.05) if spread(values) else (None, None)))


def welch(treatment: list[float], control: list[float]) -> tuple[float, float | None, float | None]:
    from statsmodels.stats.weightstats import CompareMeans

    if not spread(treatment) and not spread(control):
        return mean(treatment) - mean(control), None, None
    interval = CompareMeans.from_data(treatment, control).tconfint_diff(0.05, usevar="unequal")
    return (mean(treatment) - mean(control), *interval)


def welch_p(treatment: list[int], control: list[int]) -> float | None:
    from statsmodels.stats.weightstats import CompareMeans

    if not spread(treatment) and not spread(control):
        return None
    return CompareMeans.from_data(treatment, control).ttest_ind(usevar="unequal")[1]


def cuped(treatment: Arm, control: Arm) -> tuple[list[float], list[float]]:
    x, y = treatment.x + control.x, treatment.y + control.y
    x_mean, y_mean = mean(x), mean(y)
    of_x = sum((a - x_mean) ** 2 for a in x)
    theta = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True)) / of_x if of_x else 0
    return tuple([b - theta * (a - x_mean) for a, b in zip(arm.x, arm.y, strict=True)] for arm in (treatment, control))


def relative(treatment: list[int], control: list[int]) -> tuple[float, float | None, float | None]:
    m_t, m_c = mean(treatment), mean(control)
    squared = spread(treatment) / len(treatment) / m_c**2 + m_t**2 * spread(control) / len(control) / m_c**4
    value, by = m_t / m_c - 1, NormalDist().inv_cdf(0.975) * sqrt(squared)
    return (value, value - by, value + by) if spread(treatment) or spread(control) else (value, None, None)


def attrition_p(treatment: Arm, control: Arm) -> float:
    gone, n = sum(treatment.terminated) + sum(control.terminated), treatment.n + control.n
    expected = [arm.n * count / n for arm in (treatment, control) for count in (gone, n - gone)]
    if min(expected) < 5:
        return fisher(treatment.n, control.n, gone, sum(treatment.terminated))
    from statsmodels.stats.proportion import proportions_chisquare

    return proportions_chisquare([sum(treatment.terminated), sum(control.terminated)], [treatment.n, control.n])[1]


def fisher(first: int, second: int, gone: int, gone_of_first: int) -> float:
    """Counted: of all ways to choose who is gone, those at most as probable as what happened."""
    ways = {
        of_first: comb(first, of_first) * comb(second, gone - of_first)
        for of_first in range(max(0, gone - second), min(first, gone) + 1)
    }
    return sum(each for each in ways.values() if each <= ways[gone_of_first]) / comb(first + second, gone)


# --- The file -------------------------------------------------------------------------------------------------------


def kpi_file(waves: list[tuple[str, list[tuple]]]) -> bytes:
    lines = [HEADER]
    for wave_id, rows in waves:
        for kpi, arm, quarter, *numbers, n in rows:
            lines.append(",".join([wave_id, kpi, arm, str(quarter), *map(number, numbers), str(n)]))
    return ("\n".join(lines) + "\n").encode()


def number(value: float | None) -> str:
    if value is None:
        return ""
    return "0" if abs(value) < 1e-12 else f"{value:.10g}"


def difference_of_files(expected: bytes, found: bytes) -> str | None:
    """The first line that differs. Two ways to the same number may differ in its last digits."""
    ours, theirs = expected.decode().split("\n"), found.decode().split("\n")
    for number_of_line, (line, other) in enumerate(zip(ours, theirs, strict=False), 1):
        if line != other and not is_alike(line.split(","), other.split(",")):
            return f"line {number_of_line}: expected {line}, found {other}"
    return None if len(ours) == len(theirs) else f"expected {len(ours)} lines, found {len(theirs)}"


def is_alike(cells: list[str], others: list[str]) -> bool:
    def same(cell: str, other: str) -> bool:
        try:
            return cell == other or isclose(float(cell), float(other), rel_tol=1e-8, abs_tol=1e-9)
        except ValueError:
            return False

    return (
        len(cells) == len(others)
        and cells[:4] == others[:4]
        and cells[7:] == others[7:]
        and all(map(same, cells[4:7], others[4:7]))
    )
