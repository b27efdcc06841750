"""Copies of the ledger: verified when they are taken, and again before one is brought back.

A copy counts once its manifest stands beside it, which is written last. A run takes one after it has posted and
before anything goes out, so that the latest copy knows whatever others can have seen.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps import crash_points, ledger, ledger_growth
from flows.steps.files import copy_whole, sha256_of, write_whole
from flows.steps.ledger_growth import Growth
from flows.steps.warehouse import closed, read_through


@dataclass(frozen=True)
class Copy:
    """A copy of the ledger, as its manifest tells."""

    path: Path
    number: int
    sha256: str
    growth: Growth


def back_up(settings: Settings) -> Copy:
    """Copy the ledger and note how far it has come; where the latest good copy is the same, that one will do.

    Raises CallfreeError when the copy does not equal the ledger.
    """
    with ledger.open_ledger(settings) as connection:
        connection.execute("checkpoint")
        now = ledger_growth.growth(connection)
    ledger_growth.note(settings, now)
    before = copies(settings)
    # The ledger only grows: as many rows are the same rows.
    if before and before[0].growth == now and fault_of(before[0]) is None:
        return before[0]
    number = before[0].number + 1 if before else 1
    settings.backups_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.backups_folder / f"ledger_{number:06}.duckdb"
    with closed(settings.ledger):
        copy_whole(settings.ledger, path)
        copy = Copy(path, number, sha256_of(settings.ledger), now)
    if fault_of(copy) is not None:
        path.unlink()
        raise CallfreeError(f"The copy of the ledger in {settings.backups_folder} does not equal it: run again.")
    manifest = {"file": path.name, "number": number, "sha256": copy.sha256, "growth": asdict(now)}
    write_whole(_manifest_of(path), [(json.dumps(manifest, indent=2) + "\n").encode()])
    for old in copies(settings)[settings.keep_backups :]:
        # The manifest goes last: as long as it stands the next rotation tries again.
        old.path.unlink(missing_ok=True)
        crash_points.passed("an old copy is deleted")
        _manifest_of(old.path).unlink()
    return copy


def copies(settings: Settings) -> list[Copy]:
    """The copies that have a manifest, the latest first."""
    found = []
    for path in settings.backups_folder.glob("ledger_*.json"):
        try:
            manifest = json.loads(path.read_text())
            found.append(
                Copy(
                    path=path.with_suffix(".duckdb"),
                    number=int(manifest["number"]),
                    sha256=manifest["sha256"],
                    growth=Growth(**manifest["growth"]),
                )
            )
        except (ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda copy: copy.number, reverse=True)


def fault_of(copy: Copy) -> str | None:
    """Why a copy cannot be trusted, None where it can: its digest, and every row of it is read."""
    if not copy.path.is_file():
        return "it is missing"
    if sha256_of(copy.path) != copy.sha256:
        return "its digest does not match its manifest"
    try:
        counts = {name.removeprefix("main."): count for name, (count, _) in read_through(copy.path).items()}
    except CallfreeError:
        return "it is damaged"
    return None if counts == copy.growth.rows else "it does not hold what its manifest says"


def _manifest_of(path: Path) -> Path:
    return path.with_suffix(".json")
