"""How many rows does landing take in a CPU second, all checks included?

    .venv/bin/python benchmarks/landing.py [rows] [repeats]

Makes files of calls as the interface has them (2.2), lands each set into an empty home in this process, and counts
CPU seconds, user and system, of all threads. A first landing of three tiny files pays for the imports and stands apart.
"""

import os
import resource
import statistics
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

import duckdb

from flows.settings import Settings
from flows.steps.landing import land

FIRST_DAY = date(2018, 3, 1)
CALLS = """
copy (
    select
        'C' || strftime(day, '%y%m%d') || '-' || lpad(cast(number as varchar), 7, '0') as call_id,
        if(draw % 50 = 0, 2, 1) as record_version,
        if(draw % 20 = 0, null, 'K' || (1000000 + draw % 10000019)) as subscriber_id,
        '+49' || (1510000000 + draw % 10000019) as msisdn,
        if(draw % 7 = 0, 'outbound', 'inbound') as direction,
        ['service', 'sales', 'sim-block', 'billing', 'tech', 'retention', 'roaming', 'mailbox'][1 + draw % 8] as line,
        strftime(day + to_seconds(21600 + number * 57600 // {rows}), '%Y-%m-%dT%H:%M:%S')
            || '+01:00' as started_at,
        draw % 1201 as duration_s,
        if(draw % 9 = 0, 'abandoned', if(draw % 11 = 0, 'self_service', 'answered')) as outcome,
        if(draw % 97 = 0, 'true', 'false') as voided
    from (
        select range as number, cast(hash(range * 2 + {seed}) % 4294967296 as bigint) as draw, timestamp '{day}' as day
        from range({rows})
    )
) to '{path}' (header, compression {compression})
"""


def deliver(folder: Path, files: int, rows: int) -> None:
    """Files of calls for consecutive days, `rows` rows each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        day = FIRST_DAY + timedelta(days=number)
        path = folder / f"calls_{day:%Y%m%d}.csv.gz"
        duckdb.execute(CALLS.format(rows=rows, seed=number, day=day, path=path, compression="gzip"))


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def cpu_of_landing(deliveries: Path, rows: int) -> float:
    """CPU seconds of one landing into an empty home."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home")
        settings.make_folders()
        for path in deliveries.iterdir():
            os.link(path, settings.inbox / path.name)
        before = cpu_seconds()
        landing = land(settings, FIRST_DAY + timedelta(days=400))
        spent = cpu_seconds() - before
        if landing.loaded_rows != rows or landing.rejected_rows:
            sys.exit(f"landed {landing}")
        return spent


def main(rows: int = 3_000_000, repeats: int = 3) -> None:
    shapes = {"one file": (1, rows), "thirty files": (30, rows // 30), "three tiny files": (3, 10)}
    with tempfile.TemporaryDirectory() as folder:
        for name, (files, rows_each) in shapes.items():
            deliver(Path(folder) / name, files, rows_each)
        first = cpu_of_landing(Path(folder) / "three tiny files", 30)
        print(f"the first landing of a process, with its imports: {first:.2f} CPU s")
        for name, (files, rows_each) in shapes.items():
            spent = [cpu_of_landing(Path(folder) / name, files * rows_each) for _ in range(repeats)]
            middle = statistics.median(spent)
            print(
                f"{name}, {files * rows_each:,} rows: {middle:.2f} CPU s ({min(spent):.2f} to {max(spent):.2f}),"
                f" {files * rows_each / middle:,.0f} rows a CPU second"
            )
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
