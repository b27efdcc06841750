"""Whether an installation is sound: one finding a question, each with the way out."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from importlib import metadata
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flows.errors import CallfreeError
from flows.settings import PROJECT, Settings
from flows.steps import backups, ledger
from flows.steps.home import lock
from flows.steps.ledger_growth import check_ledger
from flows.steps.policy import load
from flows.steps.publish import has_left_over
from flows.steps.start import check_policy
from flows.steps.warehouse import Connection

_OLDEST_PYTHON = (3, 11)
# A run writes the warehouse, a copy of the marts and its scratch beside what is there.
_ROOM = 1024**3
_ROOM_FOR_EACH_BYTE = 2


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well (None: it could not be told), and what was found, with the way out."""

    subject: str
    is_well: bool | None
    told: str


def examine(settings: Settings, today: date) -> list[Finding]:
    """Look at everything that a run relies on. `today` is the local date by this machine's clock."""
    findings = [_python(), _versions(), _zone(), _folders(settings), _rights(settings), _disk(settings)]
    if not settings.home.exists():
        return [*findings, _asked("policy", lambda: _policy(settings))]
    try:
        with lock(settings, "callfree doctor"):
            findings.append(Finding("lock", True, "nobody works on the home"))
            findings += _told_by_ledger(settings, today)
    except (CallfreeError, OSError) as error:
        findings.append(Finding("lock", None, f"{_line(error)} The ledger was not looked at."))
    return findings


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("python", False, f"{version}: callfree needs 3.11 or later")
    return Finding("python", True, version)


def _versions() -> Finding:
    """The packages that are pinned, as they are installed."""
    wrong = []
    pins = dict(_pins())
    for name, wanted in pins.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted:
            wrong.append(f"{name} {found} instead of {wanted}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        way_out = "install requirements.lock anew (make install)"
        return Finding("packages", False, f"{', '.join(wrong[:3])}{more}: {way_out}")
    return Finding("packages", True, f"{len(pins)} as pinned")


def _pins() -> Iterator[tuple[str, str]]:
    """Name and version of what callfree itself pins, and of those of the lock file that are installed."""
    for line in metadata.requires("callfree") or []:
        # What a marker leaves out on this machine, or to developers, is not for all.
        if ";" not in line and "==" in line:
            name, version = line.split("==")
            yield name.split("[")[0].strip(), version.strip()
    lock_file = PROJECT / "requirements.lock"
    installed = {(package.metadata["Name"] or "").lower() for package in metadata.distributions()}
    for line in lock_file.read_text().splitlines() if lock_file.is_file() else ():
        if "==" in line and not line.startswith((" ", "#")):
            name, version = line.split(";")[0].rstrip(" \\").split("==")
            # What a marker leaves out on this machine is not installed.
            if name.split("[")[0].lower() in installed and ";" not in line:
                yield name.split("[")[0], version.strip()


def _zone() -> Finding:
    try:
        offsets = [datetime(2017, month, 1, tzinfo=ZoneInfo("Europe/Berlin")).utcoffset() for month in (1, 7)]
    except ZoneInfoNotFoundError:
        return Finding("time zone", False, "Europe/Berlin is unknown: install the package tzdata")
    hours = [offset.total_seconds() / 3600 for offset in offsets if offset is not None]
    if hours != [1, 2]:
        return Finding("time zone", False, f"Europe/Berlin is {hours} hours from UTC: mend the time zone data")
    return Finding("time zone", True, "Europe/Berlin, with its summer time")


def _folders(settings: Settings) -> Finding:
    if not settings.home.exists():
        return Finding("folders", True, f"{settings.home} is not there yet: the first run makes it")
    for folder in settings.folders:
        if folder.exists() and not folder.is_dir():
            return Finding("folders", False, f"{folder} is no folder: move it away")
        if folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return Finding("folders", False, f"{folder} may not be written: give it to the account that runs callfree")
    return Finding("folders", True, f"{settings.home} can be written")


def _rights(settings: Settings) -> Finding:
    """Numbers and addresses are for the owner alone."""
    open_to_all = [
        path for path in (settings.ledger, settings.warehouse) if path.exists() and path.stat().st_mode & 0o007
    ]
    if open_to_all:
        return Finding("rights", False, f"anyone on this machine may read {open_to_all[0]}: chmod o-rwx it")
    return Finding("rights", True, "the databases are not open to all")


def _disk(settings: Settings) -> Finding:
    place = settings.home.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    held = sum(path.stat().st_size for path in (settings.warehouse, settings.ledger) if path.exists())
    wanted = _ROOM + _ROOM_FOR_EACH_BYTE * held
    told = f"{_size(free)} free, a run may want {_size(wanted)}"
    return Finding("disk", free >= wanted, told if free >= wanted else f"{told}: make room")


def _told_by_ledger(settings: Settings, today: date) -> Iterator[Finding]:
    yield _asked("policy", lambda: _policy(settings))
    found = _asked("ledger", lambda: _ledger(settings))
    yield found
    # What it says means nothing where it is not sound; and to open one that is lost would make another.
    if found.is_well:
        yield _asked("outbox", lambda: _outbox(settings))
        yield _asked("backup", lambda: _backup(settings))
        yield _asked("clock", lambda: _clock(settings, today))


def _asked(subject: str, question: Callable[[], Finding]) -> Finding:
    try:
        return question()
    except Exception as error:
        return Finding(subject, False, _line(error))


def _line(error: Exception) -> str:
    """Without values of rows, which the messages of databases quote."""
    return str(error) if isinstance(error, CallfreeError | OSError) else type(error).__name__


def _policy(settings: Settings) -> Finding:
    if not settings.ledger.exists():
        return Finding("policy", True, f"sound, with {len(load(settings.policy).waves)} waves")
    policy = check_policy(settings)
    return Finding("policy", True, f"sound, with {len(policy.waves)} waves, and what was used of it stands")


def _ledger(settings: Settings) -> Finding:
    check_ledger(settings)
    if not settings.ledger.exists():
        return Finding("ledger", True, "not there yet: the first run makes it")
    with ledger.open_ledger(settings) as connection:
        if wrong := _unsound(connection):
            return Finding("ledger", False, f"damaged: {wrong}; restore it from a backup before you run")
        latest = ledger.latest_run(connection)
    return Finding("ledger", True, f"sound, the latest run was for {latest}" if latest else "sound, without a run")


def _unsound(connection: Connection) -> str | None:
    """What no key of the ledger says: nothing is there twice, and batches without a gap count and sum their grants."""
    for table, key in (("members", "subscriber_id"), ("enrolments", "subscriber_id"), ("grants", "grant_id")):
        (repeats,) = connection.execute(f"select count(*) - count(distinct {key}) from {table}").fetchone()
        if repeats:
            return f"{repeats} {table} are there twice"
    (gaps, wrong) = connection.execute(
        """
        with counted as (
            select sequence, count(*) as line_count, sum(volume_mb) as volume_mb
            from grants
            group by sequence
        )

        select
            coalesce(max(batches.sequence), 0) - count(batches.sequence),
            count(*) filter (
                where batches.line_count is distinct from coalesce(counted.line_count, 0)
                or batches.volume_mb is distinct from coalesce(counted.volume_mb, 0)
            )
        from batches
        full join counted on batches.sequence = counted.sequence
        """
    ).fetchone()
    if gaps:
        return f"{gaps} files are missing from its sequence"
    return f"{wrong} files do not sum up to their grants" if wrong else None


def _outbox(settings: Settings) -> Finding:
    parts = [path for path in settings.grants_outbox.glob(".*.part")] if settings.grants_outbox.is_dir() else []
    if parts or settings.claimed.exists() or (settings.ledger.exists() and has_left_over(settings)):
        return Finding("outbox", False, "a run was broken off: callfree run finishes what it left")
    return Finding("outbox", True, "every posted file is published")


def _backup(settings: Settings) -> Finding:
    if not settings.ledger.exists():
        return Finding("backup", True, "nothing to copy yet")
    kept = backups.copies(settings)
    if not kept:
        return Finding("backup", False, f"no copy of the ledger in {settings.backups_folder}: callfree backup")
    if fault := backups.fault_of(kept[0]):
        return Finding("backup", False, f"{kept[0].path.name}: {fault}: callfree backup takes another")
    return Finding("backup", True, f"{len(kept)} copies of the ledger, the latest {kept[0].path.name}")


def _clock(settings: Settings, today: date) -> Finding:
    latest = None
    if settings.ledger.exists():
        with ledger.open_ledger(settings) as connection:
            latest = ledger.latest_run(connection)
    if latest is not None and today <= latest:
        return Finding("clock", False, f"it says {today}, but {latest} has been run: set the clock")
    return Finding("clock", True, f"{today} in Europe/Berlin")


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GB"
