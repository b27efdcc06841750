"""Whom a day concerns: the models are derived for these subscribers alone, and their rows replaced.

These are queries of what the last derivation has left, and of what came since: they are for an ordinary day, as
`last_derivation` tells it from others.
"""

from flows.steps.warehouse import Connection


def _news_of(table: str, what: str, day: str) -> str:
    """What the rows name that the last derivation did not know: those of new deliveries, and of a day that has come."""
    # Each condition by itself, since DuckDB then passes over all that was delivered or happened at another time.
    return f"""
    select {what} from raw.{table} where delivery_id in (from new_deliveries)
    union
    select {what} from raw.{table}
    where {day} > (select derived_for from span) and {day} <= (select derived_until from span)
    """


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
{_news_of("subscribers", "subscriber_id", "changed_on")};

-- A change of a subscriber also moves calls: those that name it, and those that name only a number that it has had.
create temp table changed_calls as
{_news_of("calls", "call_id", "started_on")}
union
select calls.call_id
from raw.calls as calls
where calls.subscriber_id in (from changed_subscribers)
union
select calls.call_id
from raw.calls as calls
where calls.msisdn in (
    select changes.msisdn
    from raw.subscribers as changes
    semi join changed_subscribers on changes.subscriber_id = changed_subscribers.subscriber_id
);
"""

# The subscriber of a grant, as its id says.
_OF_GRANT = "regexp_replace(grant_id, '[.](W|Q[0-9]+M[0-9]+)[.][0-9]+$', '')"

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
where events.event_id in ({_news_of("app_events", "event_id", "occurred_on")})

union
{_news_of("grant_acks", _OF_GRANT, "processed_on")}

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
    "raw.grant_acks": f"from raw.grant_acks where {_OF_GRANT} in (from concerned)",
    "intermediate.int_subscriber_states": "from intermediate.int_subscriber_states"
    " where subscriber_id in (from concerned)",
    "intermediate.int_calls": "from intermediate.int_calls where subscriber_id in (from concerned)",
}


def find_concerned(connection: Connection) -> bool:
    """Find which calls a day changes and whom it concerns, as far as the last derivation tells.

    Makes `changed_subscribers`, `changed_calls` and `concerned`, which last until the connection is closed. Returns
    False where so many are concerned that to derive everything costs less.
    """
    connection.execute(_CHANGED)
    connection.execute(_CONCERNED)
    (is_too_much,) = connection.execute(_IS_TOO_MUCH).fetchone()
    return not is_too_much


def find_callers(connection: Connection) -> int:
    """Those whose calls are other ones now are concerned too. Returns how many are concerned in all."""
    connection.execute(_ALSO_CONCERNED)
    return connection.execute("select count(distinct subscriber_id) from concerned").fetchone()[0]
