"""The KPIs of the pilot (spec, chapter 3): the figures of each drawn wave, their table, and the file for others."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps import experiment, ledger
from flows.steps.experiment import TINY, Estimate, Moments
from flows.steps.files import write_whole
from flows.steps.gates import require_kpis
from flows.steps.warehouse import Connection, connect, insert, rows, transaction

COLUMNS = ("wave_id", "kpi", "arm", "quarter", "value", "ci_low", "ci_high", "n")


class Figure(NamedTuple):
    """One row of the KPI file. Empty is what has no meaning."""

    wave_id: str
    kpi: str
    arm: str | None
    quarter: int | None
    estimate: Estimate
    n: int


@dataclass(frozen=True)
class Kpis:
    """The figures of a run, and the file that they stand in."""

    file_name: str
    figures: tuple[Figure, ...]

    def sentence(self) -> str:
        """The pilot in one line: by how much the arms differ, wave after wave."""
        effects = [figure for figure in self.figures if figure.kpi == "itt_contacts"]
        told = "; ".join(f"{figure.wave_id} {_effect(figure.estimate)}" for figure in effects)
        return f"pilot: {told or 'no arms to compare yet'} ({self.file_name})"


def _effect(effect: Estimate) -> str:
    between = "" if effect.ci_low is None else f" (95 %: {effect.ci_low:+.3f} to {effect.ci_high:+.3f})"
    return f"{effect.value:+.3f} contacts a member against control{between}"


# --- Figures ------------------------------------------------------------------------------------------------------


def figures(connection: Connection, settings: Settings) -> tuple[Figure, ...]:
    """Every figure of every drawn wave, in the order of the file. Of the settings it takes the two prices."""
    arms: dict[str, dict[str, dict]] = {}
    for row in rows(connection, "select * from marts.kpi_moments order by wave_no"):
        arms.setdefault(row["wave_id"], {})[row["arm"]] = row
    quarters: dict[str, list[dict]] = {}
    for row in rows(
        connection,
        "select wave_id, quarter, count(*) as decided_count, count(*) filter (where is_call_free) as call_free_count"
        " from marts.quarters where is_decided group by wave_id, quarter order by wave_id, quarter",
    ):
        quarters.setdefault(row["wave_id"], []).append(row)
    return tuple(
        figure
        for wave in rows(connection, "select * from marts.kpi_waves order by wave_no")
        for figure in figures_of_wave(wave, arms[wave["wave_id"]], quarters.get(wave["wave_id"], []), settings)
    )


def figures_of_wave(
    wave: dict[str, Any], arms: dict[str, dict[str, Any]], quarters: list[dict[str, Any]], settings: Settings
) -> Iterator[Figure]:
    """The figures of one wave, in the specification's order.

    `wave` is its row of the mart `kpi_waves`, `arms` the rows of `kpi_moments` by arm, `quarters` the decided ones:
    quarter, decided_count, call_free_count.
    """
    treatment, control = arms["treatment"], arms["control"]
    both_arms = (("treatment", treatment), ("control", control))
    members = treatment["member_count"]
    enrolled = treatment["enrolled_count"]
    enrolment_rate = experiment.share(enrolled, members) if members else None
    has_window = wave["window_days"] > 0
    effect = _contacts(treatment, control) if has_window and _can_compare(treatment, control) else None

    def figure(kpi: str, estimate: Estimate | float | None, n: int, arm: str | None = None, quarter: int | None = None):
        if not isinstance(estimate, Estimate):
            estimate = Estimate(estimate)
        return Figure(wave["wave_id"], kpi, arm, quarter, estimate, n)

    for arm, row in both_arms:
        yield figure("members", row["member_count"], row["member_count"], arm)
    for kpi, column in (
        ("invited", "invited_count"),
        ("app_installed", "installed_count"),
        ("signed_in", "signed_in_count"),
        ("video_watched", "watched_count"),
        ("enrolled", "enrolled_count"),
    ):
        yield figure(kpi, treatment[column], members, "treatment")
    if enrolment_rate:
        yield figure("enrolment_rate", enrolment_rate, members, "treatment")
    if enrolled:
        yield figure("days_to_enrol_median", treatment["days_to_enrol_median"], enrolled, "treatment")

    if has_window:
        for arm, row in both_arms:
            if row["member_count"] >= 2:
                yield figure("contacts_per_member", experiment.mean(_moments(row).sample()), row["member_count"], arm)
        for arm, row in both_arms:
            if row["member_count"]:
                free = experiment.share(row["call_free_count"], row["member_count"])
                yield figure("call_free_share", free, row["member_count"], arm)
    both = members + control["member_count"]
    if effect:
        yield figure("itt_contacts", effect.difference, both)
        yield figure("itt_contacts_p", effect.p, both)
        yield figure("itt_contacts_cuped", effect.adjusted, both)
        if effect.relative:
            yield figure("itt_contacts_relative", effect.relative, both)
        if enrolled:
            yield figure("tot_contacts", effect.difference.times(members / enrolled), both)
    if has_window and members and control["member_count"]:
        yield figure("attrition_p", experiment.independence_p(_attrition(treatment), _attrition(control)), both)

    for row in quarters:
        decided = row["decided_count"]
        free = experiment.share(row["call_free_count"], decided)
        yield figure("call_free_quarters_share", free, decided, "treatment", row["quarter"])
    cost = treatment["committed_mb"] * settings.eur_per_mb
    yield figure("granted_mb", treatment["granted_mb"], enrolled, "treatment")
    yield figure("committed_mb", treatment["committed_mb"], enrolled, "treatment")
    yield figure("grant_cost_eur", cost, enrolled, "treatment")
    if effect:
        saved_contacts = effect.difference.times(-members)
        saved_eur = saved_contacts.times(settings.eur_per_contact)
        yield figure("saved_contacts", saved_contacts, members, "treatment")
        yield figure("saved_eur", saved_eur, members, "treatment")
        yield figure("net_eur", saved_eur.plus(-cost), members, "treatment")
    calls = wave["counting_call_count"]
    if has_window and calls:
        yield figure("unattributed_share", wave["unattributed_call_count"] / calls, calls)


class _Effect(NamedTuple):
    """By how much the contacts of the arms differ."""

    difference: Estimate
    p: float | None
    adjusted: Estimate
    relative: Estimate | None


def _contacts(treatment: dict, control: dict) -> _Effect:
    arms = _moments(treatment), _moments(control)
    samples = arms[0].sample(), arms[1].sample()
    return _Effect(
        difference=experiment.difference(*samples),
        p=experiment.welch_p(*samples),
        adjusted=experiment.difference(*experiment.adjusted(*arms)),
        relative=experiment.relative(*samples) if samples[1].mean else None,
    )


def _can_compare(treatment: dict, control: dict) -> bool:
    return min(treatment["member_count"], control["member_count"]) >= 2


def _moments(row: dict) -> Moments:
    return Moments(
        n=row["member_count"],
        y=row["contact_sum"],
        yy=row["contact_square_sum"],
        x=row["before_sum"],
        xx=row["before_square_sum"],
        xy=row["product_sum"],
    )


def _attrition(row: dict) -> tuple[int, int]:
    return row["terminated_count"], row["member_count"] - row["terminated_count"]


# --- Table and file -----------------------------------------------------------------------------------------------


def publish_kpis(settings: Settings, business_date: date) -> Kpis:
    """Fill the table `marts.kpis`, check it, and write the KPI file of the date whole; a repeat replaces both.

    A repeat that finds the very file there has nothing to let out, and nothing to check.
    Raises GateFailed where the figures cannot be right; then no file is written.
    """
    with connect(settings.warehouse) as connection:
        derived_for = connection.execute("select business_date from raw.run").fetchone()[0]
    if derived_for != business_date:
        raise CallfreeError(f"The warehouse was derived for {derived_for}, not for {business_date}: run again.")
    found = fill_table(settings)
    path = settings.kpis_outbox / file_name(business_date)
    with ledger.open_ledger(settings) as connection:
        is_published = ledger.is_published(connection, path.name)
    if is_published and path.is_file() and path.read_bytes() == b"".join(render(found)):
        return Kpis(path.name, found)
    require_kpis(settings, business_date)
    write_whole(path, render(found))
    with ledger.open_ledger(settings) as connection:
        ledger.record_publication(connection, path.name)
    return Kpis(path.name, found)


def publish_left_over_kpis(settings: Settings) -> None:
    """The KPI file of the latest run, where that was broken off between posting and this file.

    It is made from what that run derived, so it cannot be made once the warehouse is lost or derived anew.
    """
    with ledger.open_ledger(settings) as connection:
        latest = ledger.latest_run(connection)
        if latest is None or ledger.is_published(connection, file_name(latest)):
            return
    with connect(settings.warehouse) as connection:
        tables = connection.execute(
            "select count(*) from information_schema.tables where (table_schema, table_name) in"
            " (('raw', 'run'), ('marts', 'kpi_waves'), ('marts', 'kpi_moments'), ('marts', 'kpis'))"
        ).fetchone()[0]
        is_of_latest = tables == 4 and connection.execute("select business_date from raw.run").fetchone()[0] == latest
    if is_of_latest:
        publish_kpis(settings, latest)


def fill_table(settings: Settings) -> tuple[Figure, ...]:
    """Work out the figures and put them into `marts.kpis`, whose columns and constraints are dbt's contract."""
    with connect(settings.warehouse) as connection:
        found = figures(connection, settings)
        with transaction(connection):
            connection.execute("delete from marts.kpis")
            insert(
                connection,
                "marts.kpis",
                [(number, *names, *estimate, n) for number, (*names, estimate, n) in enumerate(found, 1)],
            )
    return found


def file_name(business_date: date) -> str:
    return f"kpis_{business_date:%Y%m%d}.csv"


def render(found: tuple[Figure, ...]) -> Iterator[bytes]:
    """The bytes of the KPI file, line by line. No field needs quotes: a wave's name has letters, digits, - and _."""
    yield (",".join(COLUMNS) + "\n").encode()
    for figure in found:
        numbers = ",".join(map(_number, (figure.quarter, *figure.estimate, figure.n)))
        yield f"{figure.wave_id},{figure.kpi},{figure.arm or ''},{numbers}\n".encode()


def _number(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:.10g}" if abs(number) >= TINY else "0"
