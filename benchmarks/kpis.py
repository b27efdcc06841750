"""How long do the KPIs of a wave with a million members take? SQL and Python, measured apart.

    .venv/bin/python benchmarks/kpis.py [members]

Builds every model on an empty home, fills the tables that the KPIs read with invented members, contacts, calls and
entitlements, and derives the KPI models alone.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from flows.settings import DEFAULT_POLICY, Settings
from flows.steps import ledger, policy, raw_tables, transform
from flows.steps.derivation import derive
from flows.steps.kpis import fill_table
from flows.steps.warehouse import connect

RUN_ON = date(2018, 10, 9)
# Half of the members are treatment, two fifths of these enrol; three calls a line in 15 months, a twentieth of nobody.
FILL = """
insert into policy.terms values ('big', 600, 3, 10, 2, 90, 3);
insert into posting.draws_due values ('w', 'big', '2017-10-10', '2018-10-09', {n});
insert into intermediate.int_feed_days by name
    select 'calls' as feed, date '2017-10-10' as day, date '2018-10-10' as complete_until;
create temp table people as
    select
        's' || i as subscriber_id,
        i % 2 = 0 as is_treated,
        i % 5 = 0 and i % 2 = 0 as is_enrolled,
        i
    from range({n}) as numbers (i);
insert into marts.members by name
    select
        subscriber_id, 'w' as wave_id, 'big' as terms_id, if(is_treated, 'treatment', 'control') as arm,
        i + 1 as draw_rank, date '2017-10-10' as invite_on, timestamp '2017-10-09 22:00' as invited_at,
        is_treated as is_invited,
        if(is_enrolled, timestamp '2017-10-11', null) as installed_at,
        if(is_enrolled, timestamp '2017-10-12', null) as signed_in_at,
        if(is_enrolled, timestamp '2017-10-13', null) as video_watched_at,
        if(is_enrolled, date '2017-10-10' + cast(i % 80 as integer), null) as enrolled_on
    from people;
insert into intermediate.int_subscriber_states by name
    select
        subscriber_id, 'eins' as brand, 'M' as tariff, 'active' as status, date '2015-01-01' as activated_on,
        timestamp '2017-08-01' as state_from, date '2017-08-01' as state_from_on,
        if(i % 20 = 0, timestamp '2018-05-01', null) as state_until
    from people
    union all
    select
        subscriber_id, 'eins', 'M', 'terminated', date '2015-01-01', timestamp '2018-05-01', date '2018-05-01', null
    from people where i % 20 = 0;
insert into intermediate.int_calls by name
    select
        'c' || calls.k as call_id, if(calls.k % 20 = 0, null, 's' || hash(calls.k) % {n}) as subscriber_id,
        'inbound' as direction, date '2017-07-12' + cast(hash(calls.k + 1) % 455 as integer) as started_on,
        false as is_voided, true as counts_line, true as counts_outcome
    from range({n} * 3) as calls (k);
insert into intermediate.int_contacts by name
    select
        call_id, subscriber_id, 'w' as wave_id, started_on,
        if(started_on >= date '2017-10-10', datesub('month', date '2017-10-10', started_on) + 1, null) as wave_month
    from intermediate.int_calls where subscriber_id is not null;
insert into marts.entitlements by name
    select
        subscriber_id, quarter, month, 100 as issued_mb, if(i % 3 = 0, 100, 0) as missing_mb, false as is_parked
    from people cross join range(1, 4) as quarters (quarter) cross join range(1, 4) as months (month)
    where is_enrolled;
insert into marts.quarters by name
    select subscriber_id, 'w' as wave_id, quarter, true as is_decided, i % 4 > 0 as is_call_free
    from people cross join range(1, 4) as quarters (quarter) where is_enrolled;
"""
MODELS = ("kpi_waves", "kpi_members", "kpi_moments", "kpis")


def main(members: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        settings.make_folders()
        with ledger.open_ledger(settings):
            pass
        with connect(settings.warehouse) as connection:
            raw_tables.create_raw_tables(connection)
            connection.execute("insert into raw.run values (?, true)", [RUN_ON])
        chosen = policy.load(DEFAULT_POLICY)
        derive(settings, chosen)
        with connect(settings.warehouse) as connection:
            connection.execute(FILL.format(n=members))
        print(f"{members} members")
        print(f"{'seconds':>8} {'CPU':>8}")
        for node in transform.compiled(settings):
            if node.name in MODELS and node.kind == "table" and not node.constraints:
                with measured(node.name), connect(settings.warehouse, ledger=settings.ledger) as connection:
                    connection.execute(f"create or replace table {node.relation} as {node.sql}")
        with measured("the figures in Python, scipy's import included"):
            figures = fill_table(settings)
        with measured(f"the {len(figures)} figures in Python, once more"):
            fill_table(settings)


@contextmanager
def measured(what: str) -> Iterator[None]:
    started, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"{time.perf_counter() - started:8.2f} {time.process_time() - cpu:8.2f} {what}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
