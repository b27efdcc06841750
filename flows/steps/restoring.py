"""Bringing back the ledger from a copy, and the home in line with it.

A restore that is cut off leaves a note of what it was told; until it has come to its end nobody else works on the
home, and saying it again goes on from wherever it stopped.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from flows.errors import CallfreeError, WrongUsage
from flows.settings import Settings
from flows.steps import crash_points, last_derivation, ledger, ledger_growth
from flows.steps.arrivals import REASON_SUFFIX
from flows.steps.as_of import forget_the_past
from flows.steps.backups import Copy, copies, fault_of
from flows.steps.feeds import DIGEST_SUFFIX, parse_name
from flows.steps.files import copy_whole, free_name, move, sha256_of, write_whole
from flows.steps.ledger_growth import Growth
from flows.steps.publish import manifest_path
from flows.steps.warehouse import read_through, transaction


@dataclass(frozen=True)
class Restored:
    """What a restore came to: the copy, those that were passed over and why, and what became of files."""

    copy: str
    passed_over: tuple[str, ...]
    lost: str | None
    deliveries: tuple[str, ...]
    left_in_archive: tuple[str, ...]
    voided: tuple[str, ...]

    def lines(self) -> list[str]:
        """In plain sentences."""
        told = [f"passed over {fault}" for fault in self.passed_over]
        told.append(f"the ledger is that of {self.copy}")
        told += [f"it lacks {self.lost} that were there"] if self.lost else []
        told += [f"put {name} back into the inbox" for name in self.deliveries]
        told += [
            f"left {place} where it is: another delivery of its day is newer, or in the inbox"
            for place in self.left_in_archive
        ]
        told += [f"took {name} out of the outbox: void" for name in self.voided]
        told.append("the next run goes on from there")
        return told


def restore(settings: Settings, name: str | None, is_replacing: bool, is_voiding: bool) -> Restored:
    """Bring back the named copy, or the latest good one.

    A ledger that is whole and lacks nothing is replaced only when `is_replacing`; a copy that does not know files
    that went out is brought back only when `is_voiding`: they count as void then. Raises WrongUsage otherwise.
    """
    begun = _begun(settings)
    if begun:
        name, is_replacing, is_voiding = begun["copy"], True, begun["is_voiding"]
    copy, passed_over = _chosen(settings, name)
    before = _noted(settings)
    if not is_replacing and _is_whole(settings, before, copy.growth):
        raise WrongUsage(
            f"The ledger is whole and knows all that {copy.path.name} knows: there is nothing to restore."
            " Say --replace to go back all the same."
        )
    unknown = _unknown_files(settings, before, copy)
    if unknown and not is_voiding:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise WrongUsage(
            f"{copy.path.name} does not know {', '.join(unknown[:3])}{more}, which went out: the next run would post"
            " their grants again. Bring a later copy; or agree with billing that they are void, and say --void."
        )
    told = json.dumps({"copy": copy.path.name, "is_voiding": is_voiding}) + "\n"
    write_whole(settings.restoring, [told.encode()])
    last_derivation.forget(settings)
    _exchange(settings, copy)
    voided = _take_out(settings, unknown)
    deliveries, left = _put_back_deliveries(settings)
    _mark_what_went_out(settings, before)
    forget_the_past(settings)
    with ledger.open_ledger(settings) as connection:
        now = ledger_growth.growth(connection)
    ledger_growth.note(settings, now)
    settings.restoring.unlink()
    lost = now.told_lacks(before) if before and now.lacks(before) else None
    return Restored(copy.path.name, passed_over, lost, deliveries, left, voided)


def _begun(settings: Settings) -> dict | None:
    return json.loads(settings.restoring.read_text()) if settings.restoring.exists() else None


def _noted(settings: Settings) -> Growth | None:
    try:
        return ledger_growth.noted(settings)
    except CallfreeError:
        return None


def _chosen(settings: Settings, name: str | None) -> tuple[Copy, tuple[str, ...]]:
    """The named copy, or the latest that is good; and which were passed over."""
    found = [copy for copy in copies(settings) if name in (None, copy.path.name)]
    if not found:
        asked = f"a copy called {name}" if name else "a copy of the ledger"
        raise WrongUsage(f"There is not {asked} with its manifest in {settings.backups_folder}.")
    passed_over = []
    for copy in found:
        fault = fault_of(copy)
        if fault is None:
            return copy, tuple(passed_over)
        passed_over.append(f"{copy.path.name}: {fault}")
    raise CallfreeError(f"No copy can be trusted: {'; '.join(passed_over)}.")


def _is_whole(settings: Settings, before: Growth | None, copied: Growth) -> bool:
    """Whether the ledger that is there can be read, and lacks nothing of what was noted or copied."""
    if not settings.ledger.is_file():
        return False
    try:
        read_through(settings.ledger)
        with ledger.open_ledger(settings) as connection:
            now = ledger_growth.growth(connection)
    except CallfreeError:
        return False
    return not now.lacks(copied) and not (before and now.lacks(before))


def _unknown_files(settings: Settings, before: Growth | None, copy: Copy) -> list[str]:
    """Files that went out, or lie in the outbox with a later sequence, and that the copy does not know."""
    in_outbox = [
        name for name, sequence in ledger_growth.manifests_in_outbox(settings) if sequence > copy.growth.sequence
    ]
    known = set(_files_of(copy))
    return sorted({*(before.went_out if before else ()), *in_outbox} - known)


def _files_of(copy: Copy) -> list[str]:
    """The names of all files that a copy's draws and batches make."""
    with ledger.open_copy(copy.path) as connection:
        return [name for name, _ in ledger.files_out(connection)]


# --- What is done -------------------------------------------------------------------------------------------------


def _exchange(settings: Settings, copy: Copy) -> None:
    """Put the copy in the ledger's place; what was there is kept among the copies."""
    wal = settings.ledger.with_name(settings.ledger.name + ".wal")
    # A log beside it would be played on top of it, or is what is damaged.
    if settings.ledger.is_file() and not wal.exists() and sha256_of(settings.ledger) == copy.sha256:
        return
    name = free_name(settings.backups_folder, "replaced_ledger.duckdb")
    for suffix in (".wal", ""):
        replaced = settings.ledger.with_name(settings.ledger.name + suffix)
        if replaced.exists():
            move(replaced, settings.backups_folder / (name + suffix))
    copy_whole(copy.path, settings.ledger)
    if sha256_of(settings.ledger) != copy.sha256:
        raise CallfreeError(f"{copy.path.name} could not be copied whole: say callfree restore again.")


def _take_out(settings: Settings, names: list[str]) -> tuple[str, ...]:
    """Take void files out of the outbox, manifest first; they are kept among the copies."""
    folder = settings.backups_folder / "void"
    for name in names:
        for outbox in (settings.grants_outbox, settings.invitations_outbox):
            for path in (manifest_path(outbox / name), outbox / name):
                if path.exists():
                    move(path, folder / free_name(folder, path.name))
    return tuple(names)


def _put_back_deliveries(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Deliveries that the ledger does not know go back into the inbox, the newest of each day; or where it says.

    Returns the names put back, and the places of those left where they were.
    """
    home = settings.home.absolute()
    with ledger.open_ledger(settings) as connection:
        history = ledger.deliveries(connection)
        held = ledger.still_held(history, ledger.decided(connection, "refuse"))
    known = {delivery.stored_as for delivery in history if delivery.stored_as}

    def unknown(*paths: Path) -> list[Path]:
        return [
            path
            for path in sorted(paths)
            if path.is_file()
            and not path.name.endswith((REASON_SUFFIX, DIGEST_SUFFIX, ".part"))
            and str(path.relative_to(home)) not in known
        ]

    strangers = unknown(*settings.archive.glob("*/*"), *settings.held.glob("*"))
    rejected = unknown(*settings.rejected.glob("*"))
    for delivery in held:
        place = home / delivery.stored_as
        if not place.exists():
            same = next((path for path in strangers + rejected if sha256_of(path) == delivery.sha256), None)
            if same:
                (strangers if same in strangers else rejected).remove(same)
                _move_with_what_is_beside(same, place, (REASON_SUFFIX, DIGEST_SUFFIX, ""))
    told_of = {delivery.day for delivery in history} | {_day_of(path) for path in strangers}
    _put_back_rejected(settings, rejected, told_of)
    newest: dict[tuple, Path] = {}
    for path in strangers:
        if day := _day_of(path):
            newest[day] = max(newest.get(day, path), path, key=lambda each: each.stat().st_ctime_ns)
    # Two files for a day would both be rejected.
    # What a landing that was broken off has claimed returns to the inbox.
    waiting = [parse_name(path.name) for path in (*settings.inbox.iterdir(), *settings.claimed.glob("*"))]
    in_inbox = {(parsed.feed, parsed.business_date) for parsed in waiting if parsed}
    put_back, left = [], []
    for path in strangers:
        target = settings.inbox / _name_as_it_came(path)
        if path in newest.values() and _day_of(path) not in in_inbox:
            for suffix in (REASON_SUFFIX, DIGEST_SUFFIX):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            move(path, target)
            put_back.append(target.name)
        else:
            left.append(str(path.relative_to(home)))
    return tuple(put_back), tuple(left)


def _put_back_rejected(settings: Settings, rejected: list[Path], known_days: set[tuple | None]) -> None:
    """Rejected deliveries of days that nothing else tells of go back to be rejected again: a feed starts with them.

    All names of a day go, for two of them were rejected for being two, and their digests: one may be why.
    """
    for path in sorted(rejected, key=lambda each: each.stat().st_ctime_ns, reverse=True):
        target = settings.inbox / _name_as_it_came(path)
        reason = path.with_name(path.name + REASON_SUFFIX)
        if _day_of(path) not in known_days | {None} and not target.exists() and _tells_of_a_rejection(reason):
            _move_with_what_is_beside(path, target, (DIGEST_SUFFIX, ""))
            reason.unlink()


def _tells_of_a_rejection(reason: Path) -> bool:
    """Not of a held delivery that an operator refused: that one no longer counts."""
    try:
        return json.loads(reason.read_bytes())["verdict"] == "rejected"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _move_with_what_is_beside(path: Path, target: Path, suffixes: tuple[str, ...]) -> None:
    """The file goes last: one without its digest would be believed."""
    for suffix in suffixes:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            move(beside, target.with_name(target.name + suffix))


def _day_of(path: Path) -> tuple | None:
    """Feed and business date of a delivery that lies in the home."""
    parsed = parse_name(_name_as_it_came(path))
    return (parsed.feed, parsed.business_date) if parsed else None


def _name_as_it_came(path: Path) -> str:
    """The name without the number that it got because another had the name."""
    stem, _, last = path.name.rpartition(".")
    return stem if last.isdigit() else path.name


def _mark_what_went_out(settings: Settings, before: Growth | None) -> None:
    """Files that went out after the copy was taken are not put into the outbox again."""
    with ledger.open_ledger(settings) as connection:
        published = set(ledger_growth.growth(connection).went_out)
        known = {name for name, _ in ledger.files_out(connection)}
        with transaction(connection):
            for name in sorted({*(before.went_out if before else ())} & known - published):
                ledger.record_publication(connection, name)
    crash_points.passed("what went out is marked")
