"""An operator's words: waive, accept, refuse, release, approve. Each is kept in the ledger with its reason."""

from datetime import date
from pathlib import Path

from flows.errors import CallfreeError, WrongUsage
from flows.settings import Settings
from flows.steps import ledger
from flows.steps.arrivals import tidy_held
from flows.steps.feeds import DAILY_FEEDS
from flows.steps.ledger import Delivery
from flows.steps.marts import has_marts
from flows.steps.warehouse import Connection, connect, transaction


def waive(settings: Settings, feed: str, business_date: date, reason: str, today: date) -> str:
    """A daily delivery of a past day will never come. Raises WrongUsage where there is nothing to waive."""
    _require(reason)
    if feed not in DAILY_FEEDS:
        raise WrongUsage(f"{feed} cannot be waived: only {', '.join(DAILY_FEEDS)} must come every day.")
    if business_date >= today:
        raise WrongUsage(f"{business_date} is not over yet: its delivery can still come.")
    with ledger.open_ledger(settings) as connection:
        if (feed, business_date) in ledger.in_force(ledger.deliveries(connection)):
            raise WrongUsage(f"{feed} of {business_date} has been delivered: there is nothing to waive.")
        known = connection.execute(
            "select 1 from decisions where kind = 'waive' and feed = ? and business_date = ?", [feed, business_date]
        ).fetchone()
        if known:
            return f"{feed} of {business_date} is waived already."
        ledger.record_decision(connection, "waive", reason, feed=feed, business_date=business_date)
    return f"{feed} of {business_date} is waived: from the next run on that day counts as complete."


def accept(settings: Settings, name: str, reason: str) -> str:
    """A held delivery is to be loaded in the next run. Raises WrongUsage when no such delivery is held."""
    _require(reason)
    with ledger.open_ledger(settings) as connection:
        delivery = _held(connection, name)
        if delivery.delivery_id in ledger.decided(connection, "accept"):
            raise WrongUsage(f"{name} is accepted already: the next run loads it.")
        ledger.record_decision(connection, "accept", reason, delivery_id=delivery.delivery_id)
    return f"{name} is accepted: the next run loads it."


def refuse(settings: Settings, name: str, reason: str) -> str:
    """A held delivery is moved to `rejected/`; a rejected one no longer counts for the start of its feed."""
    _require(reason)
    with ledger.open_ledger(settings) as connection:
        history = ledger.deliveries(connection)
        refused = ledger.decided(connection, "refuse")
        # What was refused before, by a command that was cut off then, is moved now.
        tidy_held(settings, history, refused)
        held = [row for row in ledger.still_held(history, refused) if _is_called(row, name)]
        rejected = [
            row
            for row in history
            if row.verdict == "rejected" and row.delivery_id not in refused and _is_called(row, name)
        ]
        found = held or rejected
        if not found:
            raise WrongUsage(f"No delivery called {name} is held or rejected: see callfree status.")
        with transaction(connection):
            for delivery in found:
                ledger.record_decision(connection, "refuse", reason, delivery_id=delivery.delivery_id)
        refused |= {delivery.delivery_id for delivery in found}
    tidy_held(settings, history, refused)
    if held:
        return f"{name} is refused and lies in rejected/."
    return f"{name} is refused: it no longer counts for the start of its feed."


def _is_called(delivery: Delivery, name: str) -> bool:
    return name in (delivery.file_name, Path(delivery.stored_as or "").name)


def _held(connection: Connection, name: str) -> Delivery:
    held = ledger.still_held(ledger.deliveries(connection), ledger.decided(connection, "refuse"))
    for delivery in held:
        if _is_called(delivery, name):
            return delivery
    raise WrongUsage(f"No delivery called {name} is held: see callfree status.")


def release(settings: Settings, grant_ids: tuple[str, ...], release_all: bool, reason: str) -> str:
    """One more attempt for parked grants, all or none of those named. Raises WrongUsage for one that is not parked."""
    _require(reason)
    parked = _parked(settings)
    if release_all:
        chosen = sorted(parked)
        if not chosen:
            raise WrongUsage("No grant is parked: there is nothing to release.")
    else:
        posted = _posted(settings, grant_ids)
        for grant_id in grant_ids:
            if posted.get(grant_id) not in parked:
                raise WrongUsage(f"{grant_id} is not parked: see callfree status.")
        chosen = sorted(set(posted.values()))
    with ledger.open_ledger(settings) as connection, transaction(connection):
        for key in chosen:
            subscriber_id, quarter, month = key
            ledger.record_decision(
                connection,
                "release",
                reason,
                subscriber_id=subscriber_id,
                quarter=quarter,
                month=month,
                allowed_attempts=parked[key] + 1,
            )
    return f"{len(chosen)} parked grants are released: the next run tries once more."


def approve(settings: Settings, reason: str) -> str:
    """The held batch may be posted, if the next run for its date makes just the same. Raises WrongUsage without one."""
    _require(reason)
    with ledger.open_ledger(settings) as connection:
        found = ledger.held_batch(connection)
        if found is None:
            raise WrongUsage("No batch is held: there is nothing to approve.")
        held_no, held = found
        again = f"callfree run --date {held.business_date} posts it, if it is still the same"
        if ledger.is_approved(connection, held):
            raise WrongUsage(f"The batch for {held.business_date} is approved already: {again}.")
        ledger.record_approval(connection, held_no, reason)
    return f"The batch for {held.business_date} ({held.line_count} grants, {held.volume_mb} MB) is approved: {again}."


def _require(reason: str) -> None:
    if not reason.strip():
        raise WrongUsage("The reason is empty: say why.")


def _posted(settings: Settings, grant_ids: tuple[str, ...]) -> dict[str, tuple[str, int, int]]:
    """Subscriber, quarter and month of those of the grants that the ledger has."""
    with ledger.open_ledger(settings) as connection:
        found = connection.execute(
            "select grant_id, subscriber_id, quarter, month from grants where list_contains(?, grant_id)",
            [list(grant_ids)],
        ).fetchall()
    return {grant_id: tuple(key) for grant_id, *key in found}


def _parked(settings: Settings) -> dict[tuple[str, int, int], int]:
    """What is parked by the last run and not released since: subscriber, quarter, month, and rejected entries."""
    with ledger.open_ledger(settings) as connection:
        if ledger.latest_run(connection) is None:
            return {}
    with connect(settings.warehouse, ledger=settings.ledger) as connection:
        if not has_marts(connection):
            raise CallfreeError("The warehouse is lost, so what is parked is not known: callfree rebuild first.")
        found = connection.execute(
            """
            select entitled.subscriber_id, entitled.quarter, entitled.month, entitled.rejected_count
            from marts.entitlements as entitled
            where
                entitled.is_parked
                and not exists (
                    select 1
                    from ledger.decisions as releases
                    where
                        releases.kind = 'release'
                        and releases.subscriber_id = entitled.subscriber_id
                        and releases.quarter = entitled.quarter
                        and releases.month = entitled.month
                        and releases.allowed_attempts > entitled.rejected_count
                )
            """
        ).fetchall()
    return {tuple(key): rejected_count for *key, rejected_count in found}
