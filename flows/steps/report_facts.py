"""What the report reads: small tables of sums from a file of published marts, at any time, also while a run goes on."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from flows.errors import CallfreeError, WrongUsage
from flows.steps.warehouse import Connection, attach, connect, rows

Rows = list[dict[str, Any]]

# The volume that fell due after each day looked back on, for those who were enrolled by then, three months a period.
# Due, paid or not; whoever was not active, or had withdrawn, is owed nothing.
_FELL_DUE = """
    select
        cuts.cut_on,
        enrolments.wave_id,
        periods.period,
        sum(entitlements.entitled_mb) as due_mb
    from (select distinct cut_on from marts.report_standing) as cuts
    cross join (select unnest([1, 2, 3, 4]) as period) as periods
    inner join marts.enrolments on enrolments.enrolled_on <= cuts.cut_on
    inner join marts.entitlements
        on
            enrolments.subscriber_id = entitlements.subscriber_id
            and entitlements.quarter > 0
            and entitlements.entitlement_state in ('granted', 'due', 'to_come', 'waiting', 'parked')
            and entitlements.nominal_from - 1 > cuts.cut_on + to_months(3 * periods.period - 3)
            and entitlements.nominal_from - 1 <= cuts.cut_on + to_months(3 * periods.period)
    cross join marts.run
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
    from marts.entitlements
    group by wave_id
"""
_QUARTERS = """
    select wave_id, quarter, streak, count(*) as quarter_count
    from marts.quarters
    where is_decided
    group by all
    order by all
"""
_NEEDED = ("kpi_waves", "kpi_moments", "report_waves", "report_cells", "report_standing")


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
    fell_due: Rows

    def of_wave(self, wave_id: str, table: str) -> Rows:
        """The rows of one wave."""
        return [row for row in getattr(self, table) if row["wave_id"] == wave_id]


def read_facts(marts: Path) -> Facts:
    """Everything from a file of published marts. Raises WrongUsage when there has been no run yet."""
    if not marts.is_file():
        raise WrongUsage("There has been no run yet, so there is nothing to report. Begin with: callfree run")
    with connect(Path(":memory:")) as connection:
        attach(connection, marts, "published", read_only=True)
        connection.execute("create schema marts")
        _require_tables(connection)
        for (table,) in connection.execute(
            "select table_name from information_schema.tables where table_catalog = 'published'"
        ).fetchall():
            connection.execute(f"create view marts.{table} as from published.main.{table}")
        return Facts(
            business_date=connection.execute("select business_date from marts.run").fetchall()[0][0],
            waves=rows(
                connection,
                "select * from marts.kpi_waves inner join marts.report_waves using (wave_id) order by wave_no",
            ),
            moments=rows(connection, "select * from marts.kpi_moments order by wave_no"),
            cells=rows(connection, "select * from marts.report_cells order by all"),
            months=rows(connection, "select * from marts.report_months order by all"),
            first_contacts=rows(connection, "select * from marts.report_first_contacts order by all"),
            ladder=rows(connection, "select * from marts.report_ladder order by all"),
            quarters=rows(connection, _QUARTERS),
            volumes=rows(connection, _VOLUMES),
            standing=rows(connection, "select * from marts.report_standing order by all"),
            fell_due=rows(connection, _FELL_DUE),
        )


def _require_tables(connection: Connection) -> None:
    found = {
        name
        for (name,) in connection.execute(
            "select table_name from information_schema.tables where table_catalog = 'published'"
        ).fetchall()
    }
    if not set(_NEEDED) <= found:
        raise CallfreeError("The marts were published by an older version: run the latest date again, then report.")
