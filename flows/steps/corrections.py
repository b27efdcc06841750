"""What was granted and is owed differently now: a delivery came again, or a record of it was corrected."""

from dataclasses import dataclass

from flows.settings import Settings
from flows.steps import last_derivation
from flows.steps.warehouse import connect, rows, transaction

_THING = "known entitlements"
# After an ordinary day all others are as they were known.
_IS_CONCERNED = "subscriber_id in (from raw.concerned)"
_KNOWN = (
    "create table if not exists raw.known_entitlements"
    " (subscriber_id varchar, quarter integer, month integer, entitled_mb bigint)"
)
_NOW = (
    "select now.subscriber_id, now.quarter, now.month, now.entitled_mb from marts.entitlements as now"
    " where now.is_decided and now.entry_count > 0"
)


@dataclass(frozen=True)
class Correction:
    """Entitlements with a grant in the ledger that went up, or down, since the last run."""

    is_up: bool
    entitlement_count: int
    subscriber_ids: tuple[str, ...]
    volume_mb: int

    def sentence(self, names_persons: bool = True) -> str:
        """The correction in one line, with the first few subscribers or without."""
        shown = ", ".join(self.subscriber_ids[:5]) + (", ..." if len(self.subscriber_ids) > 5 else "")
        return (
            f"{self.entitlement_count} entitlements of {len(self.subscriber_ids)} subscribers with grants are"
            f" {self.volume_mb} MB {'higher: made good' if self.is_up else 'lower: overpaid, nothing is taken back'}"
            + (f" ({shown})" if names_persons else "")
        )


def find_corrections(settings: Settings) -> tuple[Correction, ...]:
    """Compare what the grants in the ledger answer with what the last run that came to its end knew.

    A warehouse that is derived anew has nothing to compare with.
    """
    with connect(settings.warehouse) as connection:
        connection.execute(_KNOWN)
        follows = last_derivation.follows(connection, _THING)
        found = rows(
            connection,
            f"""
            select
                now.entitled_mb > known.entitled_mb as is_up,
                count(*) as entitlement_count,
                list(distinct now.subscriber_id order by now.subscriber_id) as subscriber_ids,
                sum(abs(now.entitled_mb - known.entitled_mb))::bigint as volume_mb
            from raw.known_entitlements as known
            inner join marts.entitlements as now
                on known.subscriber_id = now.subscriber_id and known.quarter = now.quarter and known.month = now.month
            where
                now.is_decided
                and now.entitled_mb <> known.entitled_mb
                {f"and known.{_IS_CONCERNED} and now.{_IS_CONCERNED}" if follows else ""}
            group by is_up
            order by is_up
            """,
        )
    return tuple(Correction(**row | {"subscriber_ids": tuple(row["subscriber_ids"])}) for row in found)


def know_entitlements(settings: Settings) -> None:
    """What is owed now is known: a run does this last, for what it found is told only when it comes to its end."""
    with connect(settings.warehouse) as connection, transaction(connection):
        if last_derivation.follows(connection, _THING):
            connection.execute(f"delete from raw.known_entitlements where {_IS_CONCERNED}")
            connection.execute(f"insert into raw.known_entitlements {_NOW} and now.{_IS_CONCERNED}")
        else:
            connection.execute(f"create or replace table raw.known_entitlements as {_NOW}")
        last_derivation.note_made(connection, _THING)
