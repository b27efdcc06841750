"""Deliveries of a made-up operator, of any size, for the benchmark: the same files for the same size and seed.

    .venv/bin/python benchmarks/deliveries.py SUBSCRIBERS FOLDER [--months 18] [--seed 2017]

Writes to FOLDER/inbox one csv.gz a day of `subscribers`, `app_events` and `calls`, from the day before the invitation
on, with the days that follow the last month for "one more day"; to FOLDER/policy the policy of a single wave that
invites all. What happens on a day is a function of the seed and the day, and what becomes of a subscriber one of the
seed and its number, so days are written apart from each other.

- 0.25 calls a subscriber and month: 0.1 for three in five, 0.475 for two in five. One in 200 arrives a day late, one
  in 200 is corrected three days later, three in 1000 carry a number only. About two thirds are contacts.
- 42 % enrol, in the first three months; a few have the app before they are invited, watch before they sign in, or
  withdraw. Others stop on the way. With logins in between, 2.8 events a subscriber.
- One subscriber in six changes once: its tariff, its number, suspended for 20 days, terminated.

Timestamps carry the offset of Berlin, as a sender there would write them.
"""

import argparse
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path

import duckdb
from dateutil.relativedelta import relativedelta
from isal import igzip

from flows.settings import DEFAULT_POLICY

INVITE_ON = date(2017, 7, 17)
FIRST_DAY = INVITE_ON - timedelta(days=1)
# The days after the last month, for a run of one more day.
MORE_DAYS = 2
CALLS_A_DAY = 0.25 * 12 / 365.25
LOGINS_A_DAY = 0.7 * 12 / 365.25 / 18
WAVE = "bench"

HEADERS = {
    "subscribers": "subscriber_id,msisdn,email,brand,tariff,status,marketing_consent,activated_on,changed_at",
    "app_events": "event_id,subscriber_id,event_type,occurred_at,platform,app_version",
    "calls": ("call_id,record_version,subscriber_id,msisdn,direction,line,started_at,duration_s,outcome,voided"),
}
_ROWS_A_PIECE = 200_000
_JOBS = 8

_WORDS = """
-- A number in [0, 1), the same for the same key and purpose.
create macro chance(key, purpose) as (hash(key, purpose, getvariable('seed')) >> 11) / 9007199254740992.0;
create macro subscriber(i) as 'S' || lpad(cast(i as varchar), 8, '0');
create macro number_of(i) as '+4915' || lpad(cast(i as varchar), 9, '0');
create macro instant(moment) as
    replace(cast(moment as varchar), ' ', 'T')
    || if(
        moment >= '2017-03-26' and moment < '2017-10-29'
        or moment >= '2018-03-25' and moment < '2018-10-28'
        or moment >= '2019-03-31' and moment < '2019-10-27',
        '+02:00', '+01:00'
    );
"""

# What becomes of each subscriber: its events and changes, with the day that delivers them.
_LIVES = """
create table lives.lives as
with subscribers as (
    select
        i,
        chance(i, 'funnel') as funnel,
        chance(i, 'early') < 0.03 as is_early,
        cast(getvariable('invite_on') as timestamp) as invited_at
    from range(getvariable('size')) as numbers (i)
),

installs as (
    select
        *,
        invited_at
        + to_days(if(is_early, -1, cast(floor(-15 * ln(1 - 0.995 * chance(i, 'install day'))) as integer)))
        + to_seconds(25200 + cast(50400 * chance(i, 'install time') as integer)) as installed_at
    from subscribers
    where funnel < 0.65
),

steps as (
    select
        *,
        installed_at + to_seconds(60 + cast(540 * chance(i, 'login') as integer)) as signed_in_at,
        installed_at
        + to_days(cast(is_early as integer) + cast(floor(4 * chance(i, 'video day')) as integer))
        + to_seconds(660 + cast(1200 * chance(i, 'video time') as integer)) as started_at
    from installs
),

events as (
    select i, 'app_installed' as event_type, installed_at as occurred_at, '1' as code from steps
    union all
    select i, 'portal_login', signed_in_at, '2' from steps where funnel < 0.5
    union all
    select i, 'video_started', started_at, '3' from steps where funnel < 0.5
    union all
    select i, 'video_completed', started_at + to_seconds(240), '4' from steps where funnel < 0.42
    union all
    -- Some watch before they sign in, and once more afterwards.
    select i, 'video_completed', installed_at + to_seconds(30), '5'
    from steps where funnel < 0.42 and chance(i, 'hasty') < 0.02
    union all
    select i, 'programme_withdrawn', started_at + to_days(1 + cast(300 * chance(i, 'withdrawn day') as integer)), '6'
    from steps where funnel < 0.42 and chance(i, 'withdraws') < 0.01
)

select
    cast(occurred_at as date) + cast(chance(i, code) < 0.005 as integer) as business_date,
    i, event_type, occurred_at, code
from events
order by business_date, occurred_at, i, code;

create table lives.changes as
with changed as (
    select
        i,
        cast(getvariable('invite_on') as timestamp) + to_days(cast(547 * chance(i, 'change day') as integer))
        + to_seconds(28800 + cast(36000 * chance(i, 'change time') as integer)) as changed_at,
        chance(i, 'change kind') as kind
    from range(getvariable('size')) as numbers (i)
    where chance(i, 'change') < 0.18
),

states as (
    select
        i,
        changed_at,
        if(kind >= 0.6 and kind < 0.8, '+4917' || lpad(cast(i as varchar), 9, '0'), number_of(i)) as msisdn,
        case when kind < 0.8 then 'active' when kind < 0.88 then 'suspended' else 'terminated' end as status
    from changed
    union all
    select i, changed_at + to_days(20), number_of(i), 'active' from changed where kind >= 0.8 and kind < 0.88
)

select cast(changed_at as date) as business_date, i, msisdn, status, changed_at
from states
order by business_date, changed_at, i;
"""

_BASE = """
select string_agg(concat_ws(
    ',', subscriber(i), number_of(i), 'mail' || i || '@example.org',
    if(i % 3 = 0, 'eins', 'zwei'), 'M', 'active', 'true', '2015-03-01', '2017-06-30T12:00:00+02:00'
), chr(10)) from range($first, $until) as numbers (i)
"""

_CHANGES = """
select string_agg(concat_ws(
    ',', subscriber(i), msisdn, 'mail' || i || '@example.org',
    if(i % 3 = 0, 'eins', 'zwei'), 'L', status, 'true', '2015-03-01', instant(changed_at)
), chr(10) order by changed_at, i) from lives.changes where business_date = $day
"""

_EVENTS = """
with logins as (
    select
        k, cast(floor(chance(k, day_no) * $size) as bigint) as i,
        cast($day as timestamp) + to_seconds(25200 + k * 54000 // $count) as occurred_at
    from (select k, cast($day - date '2017-01-01' as varchar) as day_no from range($count) as numbers (k))
),

events as (
    select occurred_at, i, event_type, 'E' || i || '-' || code as event_id from lives.lives where business_date = $day
    union all
    select occurred_at, i, 'portal_login', strftime($day, 'L%Y%m%d-') || k from logins
)

select string_agg(concat_ws(
    ',', event_id, subscriber(i), event_type, instant(occurred_at), if(i % 4 = 0, 'ios', 'android'), '3.1'
), chr(10) order by occurred_at, event_id) from events
"""

# The calls of the day, the late ones of the day before, and corrections to those of three days ago.
_CALLS = """
with calls as (
    select
        day,
        age,
        k,
        hash(k, day - date '2017-01-01', getvariable('seed')) as h
    from (select unnest([0, 1, 3]) as age, $day - age as day) as days cross join range($count) as numbers (k)
    where days.day >= $first_day
),

delivered as (
    select
        *,
        -- 76 % of the calls come from the two in five who call often.
        if(
            h % 100 < 76,
            5 * (hash(h, 1) % ($size // 5)) + (h >> 20) % 2,
            5 * (hash(h, 1) % ($size // 5)) + 2 + (h >> 20) % 3
        ) as i,
        hash(h, 2) as g,
        cast(day as timestamp) + to_seconds(25200 + k * 54000 // $count) as started_at,
        age = 3 and (h >> 30) % 2 = 0 as is_voided
    from calls
    where
        age = 0 and (h >> 32) % 200 <> 0
        or age = 1 and (h >> 32) % 200 = 0
        or age = 3 and (h >> 40) % 200 = 0
)

select string_agg(concat_ws(
    ',',
    strftime(day, 'C%Y%m%d-') || k,
    if(age = 3, '2', '1'),
    if((h >> 48) % 1000 < 3, '', subscriber(i)),
    number_of(i),
    if(g % 100 < 5, 'outbound', 'inbound'),
    case when (g >> 8) % 100 < 60 then 'service' when (g >> 8) % 100 < 85 then 'tech'
        when (g >> 8) % 100 < 90 then 'sim-block' else 'sales' end,
    instant(started_at),
    if((g >> 16) % 100 < 2, (g >> 24) % 10, 10 + (g >> 24) % 900),
    case when (g >> 40) % 100 < 73 then 'answered' when (g >> 40) % 100 < 85 or age = 3 then 'self_service'
        else 'abandoned' end,
    if(is_voided, 'true', 'false')
), chr(10) order by age desc, k) from delivered
"""


def last_day(months: int) -> date:
    """The last day of a history of so many months."""
    return INVITE_ON + relativedelta(months=months) - timedelta(days=1)


def deliver(size: int, folder: Path, months: int = 18, seed: int = 2017, processes: int = 2) -> None:
    """Write deliveries and policy. `size` is a multiple of 5."""
    if size % 5:
        raise ValueError("size must be a multiple of 5: two in five call often")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "inbox").mkdir(parents=True)
    write_policy(folder / "policy", size)
    lives = folder / "lives.duckdb"
    with _connect(size, seed, threads=processes) as connection:
        connection.execute(f"attach '{lives}' as lives")
        connection.execute(_LIVES)
    count = (last_day(months) - FIRST_DAY).days + 1 + MORE_DAYS
    days = [FIRST_DAY + timedelta(days=number) for number in range(count)]
    jobs = [(size, seed, folder, days[first::_JOBS]) for first in range(_JOBS)]
    if processes == 1:
        for job in jobs:
            _deliver_days(*job)
    else:
        with get_context("spawn").Pool(processes) as pool:
            pool.starmap(_deliver_days, jobs, chunksize=1)
    lives.unlink()


def deliver_base(size: int, folder: Path, seed: int = 2017) -> None:
    """Write what the invitations take: policy, the full base, and a first day without events and calls."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "inbox").mkdir(parents=True)
    write_policy(folder / "policy", size)
    with _connect(size, seed, threads=1) as connection:
        _write(folder, "subscribers", FIRST_DAY, _base(connection, size))
    for feed in ("app_events", "calls"):
        _write(folder, feed, FIRST_DAY, iter(()))


def write_policy(folder: Path, size: int, control_size: int = 0) -> None:
    """The pilot's terms, with one wave for all."""
    shutil.copytree(DEFAULT_POLICY, folder, ignore=lambda _, names: [n for n in names if not n.endswith(".csv")])
    (folder / "waves.csv").write_text(
        "wave_id,terms_id,invite_on,treatment_size,control_size,seed,brands\n"
        f"{WAVE},pilot-2017,{INVITE_ON},{size - control_size},{control_size},online-statt-hotline,*\n"
    )


def _deliver_days(size: int, seed: int, folder: Path, days: list[date]) -> None:
    with _connect(size, seed, threads=1) as connection:
        connection.execute(f"attach '{folder / 'lives.duckdb'}' as lives (read_only)")

        def ask(sql: str, **values: object) -> Iterator[str]:
            yield from filter(None, connection.execute(sql, values).fetchone())

        for day in days:
            subscribers = _base(connection, size) if day == FIRST_DAY else ask(_CHANGES, day=day)
            events = ask(_EVENTS, day=day, size=size, count=round(size * LOGINS_A_DAY))
            calls = ask(_CALLS, day=day, size=size, count=round(size * CALLS_A_DAY), first_day=FIRST_DAY)
            _write(folder, "subscribers", day, subscribers)
            _write(folder, "app_events", day, events)
            _write(folder, "calls", day, calls)


def _base(connection: duckdb.DuckDBPyConnection, size: int) -> Iterator[str]:
    for first in range(0, size, _ROWS_A_PIECE):
        piece = {"first": first, "until": min(first + _ROWS_A_PIECE, size)}
        yield connection.execute(_BASE, piece).fetchone()[0]


def _connect(size: int, seed: int, threads: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": threads})
    connection.execute("set variable seed = ?", [seed])
    connection.execute("set variable size = ?", [size])
    connection.execute("set variable invite_on = ?", [INVITE_ON])
    connection.execute(_WORDS)
    return connection


def _write(folder: Path, feed: str, day: date, pieces: Iterator[str]) -> None:
    path = folder / "inbox" / f"{feed}_{day:%Y%m%d}.csv.gz"
    # Without a time in its head the same rows are the same bytes.
    with open(path, "wb") as raw, igzip.IGzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        file.write(f"{HEADERS[feed]}\n".encode())
        for piece in pieces:
            file.write(f"{piece}\n".encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("size", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--months", type=int, default=18)
    parser.add_argument("--seed", type=int, default=2017)
    given = parser.parse_args()
    deliver(given.size, given.folder, given.months, given.seed)
