"""What the report reads: small tables of sums from a file of published marts, at any time, also while a run goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from flows.errors import CallfreeError, WrongUsage
from flows.steps.warehouse import Connection, connect, rows

Rows = list[dict[str, Any]]

# The volume that fell due after each day looked back on, for those who were enrolled by then, three months a period.
# Due, paid or not; whoever was not active, or had withdrawn, is owed nothing.
_FELL_DUE = """
    select
        cuts.cut_on,
        enrolments.wave_id,
        periods.period,
        sum(entitlements.entitled_mb) as due_mb
    from (select distinct cut_on from report_standing) as cuts
    cross join (select unnest([1, 2, 3, 4]) as period) as periods
    inner join enrolments on enrolments.enrolled_on <= cuts.cut_on
    inner join entitlements
        on
            enrolments.subscriber_id = entitlements.subscriber_id
            and entitlements.quarter > 0
            and entitlements.entitlement_state in ('granted', 'due', 'to_come', 'waiting', 'parked')
            and entitlements.nominal_from - 1 > cuts.cut_on + to_months(3 * periods.period - 3)
            and entitlements.nominal_from - 1 <= cuts.cut_on + to_months(3 * periods.period)
    cross join run
    where cuts.cut_on + to_months(3 * periods.period) <= run.business_date
    group by all
    order by all
"""
_VOLUMES = """
    select
        wave_id,
        coalesce(sum(issued_mb) filter (where quarter = 0), 0) as welcome_mb,
        coalesce(sum(issued_mb) filter (where quarter > 0), 0) as loyalty_mb,
        coalesce(sum(missing_mb) filter (where entitlement_state in ('due', 'waiting')), 0) as due_mb,
        coalesce(sum(missing_mb) filter (where entitlement_state = 'to_come'), 0) as to_come_mb,
        coalesce(sum(missing_mb) filter (where entitlement_state = 'parked'), 0) as parked_mb
    from entitlements
    group by wave_id
"""
_QUARTERS = """
    select wave_id, quarter, streak, count(*) as quarter_count
    from quarters
    where is_decided
    group by all
    order by all
"""
_NEEDED = ("kpi_waves", "kpi_moments", "report_waves", "report_cells", "report_standing", "report_ended_quarters")


@dataclass(frozen=True)
class Facts:
    """All that the report says is made of these. Lists of rows, each of one wave: `wave_id` says of which."""

    business_date: date
    waves: Rows
    moments: Rows
    cells: Rows
    months: Rows
    first_contacts: Rows
    ladder: Rows
    quarters: Rows
    volumes: Rows
    standing: Rows
    ended_quarters: Rows
    fell_due: Rows

    def of_wave(self, wave_id: str, table: str) -> Rows:
        """The rows of one wave."""
        return [row for row in getattr(self, table) if row["wave_id"] == wave_id]


@contextmanager
def _published(marts: Path) -> Iterator[Connection]:
    """A file of marts to read. Raises WrongUsage when there is none, CallfreeError when it lacks the tables."""
    if not marts.is_file():
        raise WrongUsage("There has been no run yet, so there is nothing to report: see callfree run --help.")
    with connect(marts, read_only=True) as connection:
        found = rows(connection, "select table_name from information_schema.tables")
        if not set(_NEEDED) <= {table["table_name"] for table in found}:
            raise CallfreeError("The marts were published by an older version: run the latest date again, then report.")
        yield connection


def published_for(marts: Path) -> date:
    """The business date of a file of marts. Raises WrongUsage when there has been no run yet."""
    with _published(marts) as connection:
        return rows(connection, "select business_date from run")[0]["business_date"]


def read_facts(marts: Path) -> Facts:
    """Everything from a file of published marts. Raises WrongUsage when there has been no run yet."""
    with _published(marts) as connection:
        return Facts(
            business_date=rows(connection, "select business_date from run")[0]["business_date"],
            waves=rows(
                connection,
                "select * from kpi_waves inner join report_waves using (wave_id) order by wave_no",
            ),
            moments=rows(connection, "select * from kpi_moments order by wave_no"),
            cells=rows(connection, "select * from report_cells order by all"),
            months=rows(connection, "select * from report_months order by all"),
            first_contacts=rows(connection, "select * from report_first_contacts order by all"),
            ladder=rows(connection, "select * from report_ladder order by all"),
            quarters=rows(connection, _QUARTERS),
            volumes=rows(connection, _VOLUMES),
            standing=rows(connection, "select * from report_standing order by all"),
            ended_quarters=rows(connection, "select * from report_ended_quarters order by all"),
            fell_due=rows(connection, _FELL_DUE),
        )
