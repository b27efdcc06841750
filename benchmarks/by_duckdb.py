"""The job of callfree as one hand-written DuckDB script: deliveries in, sorted grant lines out. For the benchmark.

    .venv/bin/python benchmarks/by_duckdb.py DELIVERIES GRANTS.csv --date D [--database STATE.duckdb]

As someone writes it who knows DuckDB, the rules and these very data. It validates nothing, keeps no record of files,
checks nothing before it writes, and can not be asked why. It takes for granted what is so in `deliveries.py`: ids are a
letter and eight digits, offsets are Berlin's, nobody calls at night, the first delivery is the base, the wave invites
all of it, and a call comes twice only as a correction.

With a database the state is kept: a run reads the files that are new, derives everything again, and writes what was
not granted before.
"""

import argparse
from datetime import date
from pathlib import Path

import duckdb

STATE = """
create table if not exists seen (file varchar);
create table if not exists base (s integer, msisdn varchar, status varchar);
create table if not exists changes (s integer, msisdn varchar, status varchar, moment timestamp);
create table if not exists events (s integer, type varchar, moment timestamp);
create table if not exists calls (
    call_id varchar, version tinyint, s integer, msisdn varchar, moment timestamp, is_contact boolean
);
create table if not exists granted (s integer, slot tinyint);
"""

# Said beforehand, since looking for them takes as long as reading.
COLUMNS = {
    feed: "auto_detect = false, header = true, columns = {"
    + ", ".join(f"'{name}': 'varchar'" for name in names.split())
    + "}"
    for feed, names in {
        "subscribers": "subscriber_id msisdn email brand tariff status marketing_consent activated_on changed_at",
        "app_events": "event_id subscriber_id event_type occurred_at platform app_version",
        "calls": "call_id record_version subscriber_id msisdn direction line started_at duration_s outcome voided",
    }.items()
}

READ_BASE = f"""
insert into base
select cast(subscriber_id[2:] as integer), msisdn, status from read_csv($files, {COLUMNS["subscribers"]})
"""

READ_CHANGES = f"""
insert into changes
select cast(subscriber_id[2:] as integer), msisdn, status, cast(changed_at[:19] as timestamp)
from read_csv($files, {COLUMNS["subscribers"]})
"""

READ_EVENTS = f"""
insert into events
select cast(subscriber_id[2:] as integer), event_type, cast(occurred_at[:19] as timestamp)
from read_csv($files, {COLUMNS["app_events"]})
where event_type <> 'video_started'
"""

# Corrections are kept whatever they say, since they take away what they correct.
READ_CALLS = f"""
create or replace temp view delivered as
select
    call_id,
    cast(record_version as tinyint) as version,
    cast(subscriber_id[2:] as integer) as s,
    if(subscriber_id is null, msisdn, null) as msisdn,
    cast(started_at[:19] as timestamp) as moment,
    direction = 'inbound' and line in ('service', 'tech') and outcome in ('answered', 'self_service')
    and voided = 'false' and cast(duration_s as integer) >= 10 as is_contact
from read_csv(getvariable('calls'), {COLUMNS["calls"]})
where is_contact or record_version <> '1';
"""

KEEP_ALL_CALLS = "insert into calls from delivered"

# In one go nothing else is needed: who enrolled is known.
KEEP_CALLS_THAT_MATTER = """
insert into calls
select delivered.* from delivered
left join enrolled on delivered.s = enrolled.s
where
    delivered.version > 1 or delivered.s is null
    or delivered.moment >= enrolled.enrolled_at and delivered.moment < enrolled.enrolled_on + interval 9 months
"""

ENROL = """
-- When somebody was not active, or had another number: few ever change.
create or replace temp table spans as
select *, lead(moment, 1, timestamp 'infinity') over (partition by s order by moment) as until from changes;

create or replace temp table installs as
select s, min(moment) as moment from events where type = 'app_installed' group by s;

create or replace temp table logins as
select events.s, min(events.moment) as moment
from events inner join installs on events.s = installs.s and events.moment >= installs.moment
where type = 'portal_login'
group by events.s;

create or replace temp table enrolled as
with videos as (
    select events.s, events.moment
    from events inner join logins on events.s = logins.s and events.moment >= logins.moment
    where type = 'video_completed' and events.moment >= timestamp '2017-07-17'
),

watched as (
    select s, min(moment) as enrolled_at
    from videos anti join (select s, moment as since, until from spans where status <> 'active') as pauses
        on videos.s = pauses.s and videos.moment >= pauses.since and videos.moment < pauses.until
    group by s
),

withdrawals as (
    select s, min(moment) as withdrawn_at from events where type = 'programme_withdrawn' group by s
)

select s, enrolled_at, cast(enrolled_at as date) as enrolled_on, cast(withdrawn_at as date) as withdrawn_on
from watched left join withdrawals using (s)
where enrolled_at < timestamp '2017-07-17' + interval 90 days and coalesce(withdrawn_at > enrolled_at, true);
"""

GRANT = """
create or replace temp table broken as
with corrected as (
    select call_id, arg_max(calls, version) as call from calls
    where call_id in (select call_id from calls where version > 1)
    group by call_id
),

current as (
    select s, msisdn, moment from calls anti join corrected on calls.call_id = corrected.call_id
    union all
    select call.s, call.msisdn, call.moment from corrected where call.is_contact
),

numbers as (
    select s, msisdn, status, timestamp '-infinity' as since, coalesce(first_change, timestamp 'infinity') as until
    from base left join (select s, min(moment) as first_change from changes group by s) using (s)
    where msisdn in (select msisdn from current)
    union all
    select s, msisdn, status, moment, until from spans where msisdn in (select msisdn from current)
),

contacts as (
    select s, moment from current where s is not null
    union all
    select numbers.s, current.moment
    from current inner join numbers
        on current.msisdn = numbers.msisdn and current.moment >= numbers.since and current.moment < numbers.until
    where current.s is null and numbers.status <> 'terminated'
)

select s, bit_or(1 << cast(datesub('month', enrolled_on, cast(moment as date)) // 3 as integer)) as mask
from contacts inner join enrolled using (s)
where moment >= enrolled_at and moment < enrolled_on + interval 9 months
group by s;

-- What is due for each day of enrolment and each mask of broken quarters, in the order in which grant ids sort.
create or replace temp table dues as
with slots as (
    select
        enrolled_on, mask, quarter, month,
        if(quarter = 0, 'W.1', 'Q' || quarter || 'M' || month || '.1') as tag,
        if(quarter = 0, 9, 3 * quarter + month - 4) as slot,
        if(quarter = 0, 600, 100 * (quarter - coalesce(
            list_max([k for k in range(1, quarter + 1) if (mask >> cast(k - 1 as integer)) & 1]), 0
        ))) as mb,
        cast(if(
            quarter = 0, enrolled_on + 1,
            enrolled_on + to_months(cast(3 * quarter + month - 1 as integer)) + to_days(2)
        ) as date) as nominal_from,
        cast(if(
            quarter = 0, enrolled_on + 1 + to_months(1),
            enrolled_on + to_months(cast(3 * quarter + month as integer)) + to_days(2)
        ) as date) as nominal_until
    from (select distinct enrolled_on from enrolled)
    cross join range(8) as masks (mask)
    cross join range(4) as quarters (quarter)
    cross join range(1, 4) as months (month)
    where quarter > 0 or month = 1
)

select enrolled_on, mask, list({
    'slot': slot, 'nominal_from': nominal_from, 'tag': tag, 'kind': if(quarter = 0, 'welcome', 'loyalty'),
    'quarter': quarter, 'month': if(quarter = 0, 0, month), 'mb': mb,
    'valid_from': greatest(nominal_from, $day + 1),
    'valid_until': greatest(nominal_from, $day + 1) + cast(nominal_until - nominal_from as integer)
} order by slot) as grants
from slots
where mb > 0 and nominal_from <= $day + 1
group by enrolled_on, mask;

create or replace temp table due as
with latest as (
    select s, arg_max(msisdn, moment) as msisdn, arg_max(status, moment) as status from changes group by s
)

select enrolled.s, coalesce(latest.msisdn, base.msisdn) as msisdn, withdrawn_on, grants
from enrolled
inner join base using (s)
left join latest using (s)
left join broken using (s)
inner join dues on enrolled.enrolled_on = dues.enrolled_on and coalesce(broken.mask, 0) = dues.mask
where coalesce(latest.status, base.status) = 'active'
order by enrolled.s;
"""

NEW = """
create or replace temp view lines as
with named as (select *, 'S' || lpad(cast(s as varchar), 8, '0') as name from due),
lines as (select s, name, msisdn, withdrawn_on, unnest(grants) as g from named)
select lines.* from lines
where (lines.withdrawn_on is null or g.quarter = 0 or lines.withdrawn_on >= g.nominal_from)
"""
AND_NOT_BEFORE = " and not exists (from granted where granted.s = lines.s and granted.slot = lines.g.slot)"

WRITE = """
copy (
    select
        name || '.' || g.tag as grant_id, name as subscriber_id, msisdn, g.kind, g.quarter, g.month,
        g.mb as volume_mb, g.valid_from, g.valid_until, 'bench' as wave_id, 'pilot-2017' as terms_id
    from lines {order}
) to '{grants}' (format csv, header true)
"""


def main(deliveries: Path, grants: Path, day: date, database: Path | None) -> None:
    with duckdb.connect(database or ":memory:") as connection:
        execute = connection.execute
        execute(STATE)
        seen = {name for (name,) in execute("from seen").fetchall()}
        found = [path for path in sorted(deliveries.glob("*.csv.gz")) if path.name[-15:-7] <= f"{day:%Y%m%d}"]
        files = {feed: [str(path) for path in found if path.name.startswith(feed) and path.name not in seen]
                 for feed in ("subscribers", "app_events", "calls")}  # fmt: skip
        if not seen:
            execute(READ_BASE, {"files": files["subscribers"][:1]})
            del files["subscribers"][:1]
        if files["subscribers"]:
            execute(READ_CHANGES, {"files": files["subscribers"]})
        execute(READ_EVENTS, {"files": files["app_events"]})
        execute(ENROL)
        execute("set variable calls = ?", [files["calls"]])
        execute(READ_CALLS)
        execute(KEEP_ALL_CALLS if database else KEEP_CALLS_THAT_MATTER)
        for statement in GRANT.split(";\n")[:-1]:
            execute(statement, {"day": day} if "$day" in statement else {})
        if not database:
            execute(NEW)
            execute(WRITE.format(grants=grants, order=""))
            return
        execute(NEW + AND_NOT_BEFORE)
        execute(WRITE.format(grants=grants, order="order by name, g.slot"))
        execute("insert into granted select s, g.slot from lines")
        connection.executemany("insert into seen values (?)", [[path.name] for path in found if path.name not in seen])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("deliveries", type=Path)
    parser.add_argument("grants", type=Path)
    parser.add_argument("--date", type=date.fromisoformat, required=True)
    parser.add_argument("--database", type=Path)
    given = parser.parse_args()
    main(given.deliveries, given.grants, given.date, given.database)
