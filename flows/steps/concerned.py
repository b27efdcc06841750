"""Whom a day concerns: on an ordinary day the models are derived for these subscribers alone, and their rows replaced.

A day is ordinary when deliveries came and nothing else has happened: all feeds are complete, as on the day before, no
wave is drawn, begins or ends its enrolment, no delivery was replaced, no rule was changed. On any other day, and once a
week, all is derived anew. So a table says each day what the whole derivation would say; `callfree audit` compares.
"""

import hashlib
from pathlib import Path

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps.feeds import DAILY_FEEDS
from flows.steps.files import sha256_of
from flows.steps.policy import Policy
from flows.steps.stand_ins import StandIns
from flows.steps.transform import Node, digest_of_models
from flows.steps.warehouse import Connection, connect, rows

# What decides whether a day is ordinary: small tables, made anew each day, each after what it reads.
_SMALL = ("stg_deliveries", "int_feed_days", "int_feeds", "int_run", "int_waves")
_WHOLE_EVERY_DAYS = 7

# What the last derivation has left to the next: one row.
_DERIVED = """
create or replace table raw.derived as
select
    uuid() as derivation,
    -- The derivation of which all rows were kept but those of `raw.concerned`. Empty where all was derived.
    cast($follows as uuid) as follows,
    run.business_date,
    run.is_posting,
    -- The digest of all that the rows depend on besides deliveries and ledger.
    $rules as rules,
    -- How far the ledger had come.
    (select coalesce(max(run_no), 0) from ledger.runs) as run_no,
    (select coalesce(max(decision_id), 0) from ledger.decisions) as last_decision_id,
    -- When all was derived last.
    coalesce(cast($whole_on as date), run.business_date) as whole_on
from raw.run as run
"""

# One row: none is true on an ordinary day. `old` is what the last derivation has left, `new` what is there now.
_REASONS = f"""
with run as (
    from temp.main."intermediate.int_run"
),

all_days as (
    from intermediate.int_feed_days
    union all
    from temp.main."intermediate.int_feed_days"
),

all_waves as (
    from intermediate.int_waves
    union all
    from temp.main."intermediate.int_waves"
)

select
    run.business_date >= derived.whole_on + {_WHOLE_EVERY_DAYS} as "all was derived a week ago",
    derived.business_date > run.business_date as "the last derivation was for a later day",
    not (
        derived.is_posting
        and run.is_posting
        and (select max(runs.run_no) from ledger.runs as runs) = derived.run_no + 1
        and exists (
            from ledger.runs as runs
            where runs.run_no = derived.run_no + 1 and runs.business_date = derived.business_date
        )
        and (select old.business_date from intermediate.int_run as old) = derived.business_date
    ) as "what was derived last was not posted, or is not there",
    exists (
        from ledger.decisions as decisions
        where decisions.decision_id > derived.last_decision_id and decisions.kind <> 'release'
    ) as "an operator has decided about a delivery",
    exists (
        from staging.stg_deliveries as old
        anti join temp.main."staging.stg_deliveries" as new on old.delivery_id = new.delivery_id
    ) as "a delivery was replaced",
    not (
        run.is_current
        and (select old.is_current from intermediate.int_run as old)
        and (select bool_and(all_days.is_complete) from all_days)
        and (select count(distinct old.feed) from intermediate.int_feed_days as old) = {len(DAILY_FEEDS)}
    ) as "a feed is not complete, or was not",
    exists (
        (select feed, min(day) from intermediate.int_feed_days group by feed)
        except
        (select feed, min(day) from temp.main."intermediate.int_feed_days" group by feed)
    ) as "a feed begins on another day",
    exists (from posting.draws_due) or exists (from all_waves where all_waves.wave_state = 'due') as "a wave is drawn",
    exists (
        from all_waves
        inner join policy.terms as terms on all_waves.terms_id = terms.terms_id
        where
            (all_waves.invite_on > derived.business_date and all_waves.invite_on <= run.business_date)
            or (
                all_waves.invite_on + terms.enrolment_days > derived.business_date + 1
                and all_waves.invite_on + terms.enrolment_days <= run.business_date + 1
            )
    ) as "a wave begins or ends its enrolment"
from raw.derived as derived
cross join run
"""

# Whatever names what the last derivation did not know: rows of new deliveries, and rows of a day that had not come.
_IS_NEW = """(
    {rows}.delivery_id in (from new_deliveries)
    or ({rows}.{day} > (select derived_for from span) and {rows}.{day} <= (select derived_until from span))
)"""

_CHANGED = f"""
create temp table span as
select
    derived.business_date as derived_for,
    run.business_date as derived_until,
    derived.last_decision_id
from raw.derived as derived
cross join raw.run as run;

create temp table new_deliveries as
select new.delivery_id
from temp.main."staging.stg_deliveries" as new
anti join staging.stg_deliveries as old on new.delivery_id = old.delivery_id;

create temp table changed_subscribers as
select distinct changes.subscriber_id
from raw.subscribers as changes
where {_IS_NEW.format(rows="changes", day="changed_on")};

-- A change of a subscriber also moves calls: those that name it, and those that name only a number that it has had.
create temp table changed_calls as
select distinct calls.call_id
from raw.calls as calls
where
    {_IS_NEW.format(rows="calls", day="started_on")}
    or calls.subscriber_id in (from changed_subscribers)
    or calls.msisdn in (
        select changes.msisdn
        from raw.subscribers as changes
        semi join changed_subscribers on changes.subscriber_id = changed_subscribers.subscriber_id
    );
"""

# The subscriber of a grant, as its id says.
_OF_GRANT = "regexp_replace(acks.grant_id, '[.](W|Q[0-9]+M[0-9]+)[.][0-9]+$', '')"

_CONCERNED = f"""
create temp table concerned as
select subscriber_id from changed_subscribers

-- Whose calls these were.
union
select calls.subscriber_id
from intermediate.int_calls as calls
semi join changed_calls on calls.call_id = changed_calls.call_id

-- An event counts once, for whoever it was delivered first.
union
select events.subscriber_id
from raw.app_events as events
where events.event_id in (
    select news.event_id from raw.app_events as news where {_IS_NEW.format(rows="news", day="occurred_on")}
)

union
select {_OF_GRANT}
from raw.grant_acks as acks
where {_IS_NEW.format(rows="acks", day="processed_on")}

-- What was posted since is in the ledger now.
union
select subscriber_id from posting.enrolments_due
union
select subscriber_id from posting.grants_due
union
select decisions.subscriber_id
from ledger.decisions as decisions
where decisions.kind = 'release' and decisions.decision_id > (select last_decision_id from span)

-- A quarter begins or is decided, a month becomes due.
union
select quarters.subscriber_id
from intermediate.int_quarters as quarters
cross join span
where
    (quarters.quarter_from > span.derived_for and quarters.quarter_from <= span.derived_until)
    or (quarters.decidable_on > span.derived_for and quarters.decidable_on <= span.derived_until)
union
select entitlements.subscriber_id
from intermediate.int_entitlements as entitlements
cross join span
where
    entitlements.nominal_from > span.derived_for + 1
    and entitlements.nominal_from <= span.derived_until + 1
"""

# As after a history that was run at once: next day everybody is concerned to whom it has granted something.
_IS_TOO_MUCH = """
select
    (select count(*) from concerned) > 100000
    and (select count(*) from concerned) > (select count(*) from intermediate.int_subscriber_states) / 5
"""

_ALSO_CONCERNED = """
-- Whose calls these are.
insert into concerned
select distinct calls.subscriber_id
from temp.main."intermediate.int_calls" as calls
where calls.subscriber_id is not null
"""

# The rows of those concerned: what the models of a subscriber read.
ROWS_OF_CONCERNED = {
    "ledger.members": "from ledger.members where subscriber_id in (from concerned)",
    "ledger.enrolments": "from ledger.enrolments where subscriber_id in (from concerned)",
    "ledger.grants": "from ledger.grants where subscriber_id in (from concerned)",
    # Whole groups of those that share an id.
    "raw.app_events": "from raw.app_events where event_id in"
    " (select event_id from raw.app_events where subscriber_id in (from concerned))",
    "raw.grant_acks": f"from raw.grant_acks as acks where {_OF_GRANT} in (from concerned)",
    "intermediate.int_subscriber_states": "from intermediate.int_subscriber_states"
    " where subscriber_id in (from concerned)",
    "intermediate.int_calls": "from intermediate.int_calls where subscriber_id in (from concerned)",
}


def rules_of(policy: Policy) -> str:
    """A digest of models, policy and of how a day is derived: what is kept was derived by the same."""
    code = (Path(__file__), Path(__file__).with_name("derivation.py"))
    rules = "\n".join([digest_of_models(), *map(sha256_of, code), policy.kept()])
    return hashlib.sha256(rules.encode()).hexdigest()


def why_all(connection: Connection, nodes: list[Node], rules: str) -> str | None:
    """Why everything is to be derived anew; None on an ordinary day.

    For that it finds which calls the day changes and whom it concerns, as far as the last derivation tells:
    `changed_subscribers`, `changed_calls` and `concerned`, which last until the connection is closed.
    """
    connection.execute("create table if not exists raw.derived (rules varchar)")
    if not connection.execute("select exists (from raw.derived where rules = ?)", [rules]).fetchone()[0]:
        return "nothing was derived by the same rules"
    small = StandIns(connection)
    for node in nodes:
        if node.name in _SMALL:
            small.put(node, small.instead(node.sql))
    (reasons,) = rows(connection, _REASONS)
    why = next((reason for reason, is_so in reasons.items() if is_so is not False), None)
    if why is not None:
        return why
    connection.execute(_CHANGED)
    connection.execute(_CONCERNED)
    (is_too_much,) = connection.execute(_IS_TOO_MUCH).fetchone()
    return "so many are concerned that all costs less" if is_too_much else None


def find_callers(connection: Connection) -> int:
    """Those whose calls are other ones now are concerned too. Returns how many are concerned in all."""
    connection.execute(_ALSO_CONCERNED)
    return connection.execute("select count(distinct subscriber_id) from concerned").fetchone()[0]


def note_derived(connection: Connection, rules: str, is_whole: bool) -> None:
    """Note what was derived, of whom, and how far the ledger had come: the next day may go on from here."""
    follows, whole_on = None, None
    if not is_whole:
        follows, whole_on = connection.execute("select derivation, whole_on from raw.derived").fetchone()
        connection.execute("create or replace table raw.concerned as select distinct subscriber_id from concerned")
    connection.execute(_DERIVED, {"follows": follows, "rules": rules, "whole_on": whole_on})


def forget_derived(settings: Settings) -> None:
    """After a restore: the ledger may be of another history than what was derived."""
    if not settings.warehouse.is_file():
        return
    try:
        with connect(settings.warehouse) as connection:
            connection.execute("drop table if exists raw.derived")
    except CallfreeError:
        # Damaged. The next run makes it anew.
        settings.warehouse.unlink()
