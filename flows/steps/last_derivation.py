"""What the last derivation has left, and whether the next may go on from it.

It may on an ordinary day: deliveries came and nothing else has happened. All feeds are complete, as on the day before,
no wave is drawn, begins or ends its enrolment, no delivery was replaced, no rule was changed. On any other day, and
once a week, all is derived anew. So a table says each day what the whole derivation would; `callfree audit` compares.
"""

import hashlib
from pathlib import Path

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps.concerned import find_concerned
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


def rules_of(policy: Policy) -> str:
    """A digest of models, policy and of how a day is derived: what is kept was derived by the same."""
    code = ("last_derivation.py", "concerned.py", "stand_ins.py", "derivation.py")
    digests = [digest_of_models(), *(sha256_of(Path(__file__).with_name(name)) for name in code)]
    rules = "\n".join([*digests, policy.kept()])
    return hashlib.sha256(rules.encode()).hexdigest()


def why_all(connection: Connection, nodes: list[Node], rules: str) -> str | None:
    """Why everything is to be derived anew; None on an ordinary day.

    For an ordinary day it finds whom it concerns (`concerned`).
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
    return None if find_concerned(connection) else "so many are concerned that all costs less"


def note(connection: Connection, rules: str, is_whole: bool) -> None:
    """Note what was derived, of whom, and how far the ledger had come: the next day may go on from here."""
    before, whole_on = None, None
    if not is_whole:
        before, whole_on = connection.execute("select derivation, whole_on from raw.derived").fetchone()
        connection.execute("create or replace table raw.concerned as select distinct subscriber_id from concerned")
    connection.execute(_DERIVED, {"follows": before, "rules": rules, "whole_on": whole_on})
    connection.execute("create table if not exists raw.made (thing varchar, state varchar, derivation uuid)")


def note_made(connection: Connection, thing: str, state: str = "") -> None:
    """Note of which derivation a thing outside the models was made; `state` tells whether others changed it since."""
    connection.execute("delete from raw.made where thing = ?", [thing])
    connection.execute("insert into raw.made select ?, ?, derivation from raw.derived", [thing, state])


def follows(connection: Connection, thing: str, state: str = "") -> bool:
    """Whether a thing is in the state in which the derivation before has left it: its rows stay but those concerned."""
    found = connection.execute(
        "select exists (from raw.derived inner join raw.made on derived.follows = made.derivation"
        " where made.thing = ? and made.state = ?)",
        [thing, state],
    )
    return found.fetchone() == (True,)


def forget(settings: Settings) -> None:
    """After a restore: the ledger may be of another history than what was derived."""
    if not settings.warehouse.is_file():
        return
    try:
        with connect(settings.warehouse) as connection:
            connection.execute("drop table if exists raw.derived")
    except CallfreeError:
        # Damaged. The next run makes it anew.
        settings.warehouse.unlink()
