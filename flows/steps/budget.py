"""The budget of a run: a batch above it is held back whole, until a person has looked at it."""

from dataclasses import dataclass
from datetime import date

from flows.errors import BatchHeld
from flows.settings import Settings
from flows.steps import ledger, outgoing
from flows.steps.warehouse import Connection, connect, rows

# So many batches say what is usual.
_USUAL_BATCHES = 14

# All that the policy can ever owe to those drawn, this run's draws included. A control member is owed nothing.
_MOST = """
with quarters as (
    select terms.terms_id, unnest(range(1, terms.quarters + 1)) as quarter
    from policy.terms as terms
),

priced as (
    select quarters.terms_id, tiers.mb_per_month
    from quarters
    asof left join policy.reward_tiers as tiers
        on quarters.terms_id = tiers.terms_id and quarters.quarter >= tiers.streak
),

ladders as (
    select
        priced.terms_id,
        3 * count(*) filter (where priced.mb_per_month > 0) as grant_count,
        3 * coalesce(sum(priced.mb_per_month), 0) as volume_mb
    from priced
    group by priced.terms_id
)

select
    count(*) as member_count,
    coalesce(sum(ladders.grant_count + (members.welcome_mb > 0)::integer), 0)::bigint as grant_count,
    coalesce(sum(ladders.volume_mb + members.welcome_mb), 0)::bigint as volume_mb
from intermediate.int_members as members
inner join ladders on members.terms_id = ladders.terms_id
where members.arm = 'treatment'
"""

_BATCH = """
select count(*) as grant_count, coalesce(sum(volume_mb), 0)::bigint as volume_mb from posting.grants_due
"""

# What the batch is made of, and the median of the same in the latest batches.
_PARTS = """
with batches as (
    select sequence from ledger.batches order by sequence desc limit ?
),

parts as (
    select kind, quarter, wave_id, count(*) as grant_count, sum(volume_mb)::bigint as volume_mb
    from posting.grants_due
    group by kind, quarter, wave_id
),

posted as (
    select grants.sequence, grants.kind, grants.quarter, grants.wave_id, count(*) as grant_count
    from ledger.grants as grants
    inner join batches on grants.sequence = batches.sequence
    group by grants.sequence, grants.kind, grants.quarter, grants.wave_id
)

select
    parts.kind,
    parts.quarter,
    parts.wave_id,
    parts.grant_count,
    parts.volume_mb,
    median(coalesce(posted.grant_count, 0)) filter (where batches.sequence is not null) as usual_count
from parts
left join batches on true
left join posted
    on
        batches.sequence = posted.sequence
        and parts.kind = posted.kind
        and parts.quarter = posted.quarter
        and parts.wave_id = posted.wave_id
group by all
order by parts.wave_id, parts.quarter
"""


@dataclass(frozen=True)
class _Limit:
    """So many grants, or MB, and where the number comes from."""

    most: int
    source: str


def require_budget(settings: Settings, business_date: date) -> None:
    """Let the batch of this run pass, when it is within the budget or approved as it is.

    Raises BatchHeld otherwise: nothing of the run is posted, neither grants nor draws nor enrolments, so that the
    next run finds all of it again. The ledger remembers which batch was held, for an operator's word about it.
    """
    with connect(settings.warehouse, ledger=settings.ledger) as connection:
        (batch,) = rows(connection, _BATCH)
        odd = _odd(settings, connection, batch)
        if not odd:
            return
        held = ledger.HeldBatch(
            business_date=business_date,
            sequence=ledger.next_sequence(connection),
            sha256=outgoing.digest(connection, "posting.grants_due"),
            line_count=batch["grant_count"],
            volume_mb=batch["volume_mb"],
        )
        parts = rows(connection, _PARTS, [_USUAL_BATCHES])
        gap = _gap(connection, business_date)
    with ledger.open_ledger(settings) as connection:
        if ledger.is_approved(connection, held):
            return
        ledger.record_held_batch(connection, held)
    raise BatchHeld(
        business_date,
        odd[0],
        (
            f"It would have posted {held.line_count} grants, {held.volume_mb} MB:",
            *(f"  {_part_sentence(part)}" for part in parts),
            "That is odd:",
            *(f"  {sentence}" for sentence in (*odd, *gap)),
        ),
    )


def _odd(settings: Settings, connection: Connection, batch: dict) -> list[str]:
    """What of the batch is above the budget, in sentences."""
    (most,) = rows(connection, _MOST)
    owed = f"all that the policy can ever owe to the {most['member_count']} members drawn for treatment"
    limits = {
        "grants": _limit(settings.max_grants_per_run, "CALLFREE_MAX_GRANTS_PER_RUN", most["grant_count"], owed),
        "MB": _limit(settings.max_mb_per_run, "CALLFREE_MAX_MB_PER_RUN", most["volume_mb"], owed),
    }
    found = {"grants": batch["grant_count"], "MB": batch["volume_mb"]}
    return [
        f"{found[unit]} {unit} are more than {limit.most} ({limit.source})"
        for unit, limit in limits.items()
        if found[unit] > limit.most
    ]


def _limit(setting: int | None, name: str, default: int, owed: str) -> _Limit:
    return _Limit(default, owed) if setting is None else _Limit(setting, name)


def _part_sentence(part: dict) -> str:
    what = "welcome" if part["kind"] == "welcome" else f"loyalty of quarter {part['quarter']}"
    usual = "there was no batch before" if part["usual_count"] is None else f"usually {part['usual_count']:g} grants"
    return f"{what}, wave {part['wave_id']}: {part['grant_count']} grants, {part['volume_mb']} MB ({usual})"


def _gap(connection: Connection, business_date: date) -> tuple[str, ...]:
    """How long nothing was posted, when it was more than a day."""
    (latest,) = connection.execute("select max(business_date) from ledger.batches").fetchone()
    if latest is None or (business_date - latest).days <= 1:
        return ()
    days = (business_date - latest).days
    return (f"the latest batch was for {latest}, {days} days before: this one holds what fell due since",)
