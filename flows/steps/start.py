"""Whether a run may start: the date, the policy, and whether what was used of it still stands."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from flows.errors import WrongUsage
from flows.settings import Settings
from flows.steps import ledger, policy
from flows.steps.home import lock
from flows.steps.ledger_growth import check_ledger
from flows.steps.policy import Policy
from flows.steps.status import read_status

LOCAL = ZoneInfo("Europe/Berlin")


def now() -> datetime:
    """The local time now. Only the edges of the program ask the clock."""
    return datetime.now(LOCAL)


def today() -> date:
    """The local date now."""
    return now().date()


def yesterday() -> date:
    """The latest date that can be run."""
    return today() - timedelta(days=1)


def latest_slot(scheduled: datetime, started: datetime) -> datetime:
    """When a daily schedule last wanted a run by the time that one of its runs starts, local.

    `scheduled` is when that run was to start: at this time of each local day the schedule wants one. A run that
    waited for days finds a later slot than its own.
    """
    # Of the plain kind: with the datetimes that schedulers hand out, adding days may lose the zone.
    slot, by = (datetime.fromtimestamp(at.timestamp(), LOCAL) for at in (scheduled, started))
    days = (by.date() - slot.date()).days - (by.time() < slot.time())
    return slot + timedelta(days=max(days, 0))


def date_due(slot: datetime) -> date:
    """The business date that a slot of the schedule is for: the local day before."""
    return slot.astimezone(LOCAL).date() - timedelta(days=1)


def is_done_since(settings: Settings, business_date: date, slot: datetime) -> bool:
    """Whether the latest run was for that date, began after the slot and did not fail."""
    status = read_status(settings)
    if status["failed_run"] or status["last_run"] != business_date.isoformat() or not status["began_at"]:
        return False
    return datetime.fromisoformat(status["began_at"]) >= slot


def check_date(settings: Settings, business_date: date) -> None:
    """Run dates strictly increase, apart from repeating the latest one, up to yesterday. Raises WrongUsage."""
    if business_date >= today():
        raise WrongUsage(f"{business_date} is not over yet: the latest date to run is yesterday.")
    with ledger.open_ledger(settings) as connection:
        latest = ledger.latest_run(connection)
    if latest is not None and business_date < latest:
        raise WrongUsage(f"{business_date} cannot be run any more: the latest run was for {latest}.")


def check_policy(settings: Settings) -> Policy:
    """The policy of the run. Raises WrongUsage for one that is broken, or was changed after it was used."""
    loaded = policy.load(settings.policy)
    with ledger.open_ledger(settings) as connection:
        used = loaded.used(ledger.drawn_waves(connection), ledger.latest_run(connection))
        policy.check_unchanged(ledger.used_policy(connection), used)
    return loaded


def backfill_dates(settings: Settings, first: date, last: date, every: int) -> list[date]:
    """The dates of a backfill: first, first + every, ... and the last, and the eve of each invitation between.

    Raises WrongUsage for an impossible date, so that nothing runs.
    """
    if first > last:
        raise WrongUsage(f"{first} is after {last}.")
    with lock(settings, "callfree backfill"):
        check_ledger(settings)
        check_date(settings, first)
        check_date(settings, last)
    dates = {first + timedelta(days=number) for number in range(0, (last - first).days + 1, every)} | {last}
    eves = {wave.invite_on - timedelta(days=1) for wave in policy.load(settings.policy).waves}
    return sorted(dates | {eve for eve in eves if first <= eve <= last})
