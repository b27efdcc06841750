"""What others did to the outbox: a file that lies there must still be the one that the ledger says, or is put right."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from flows.errors import WrongUsage
from flows.settings import Settings
from flows.steps import ledger
from flows.steps.files import copy_whole, free_name, sha256_of, write_whole
from flows.steps.publish import (
    batch_manifest,
    invitation_files,
    invitation_manifest,
    manifest_path,
    render_batch,
    render_invitations,
)
from flows.steps.warehouse import Connection, rows


def altered_files(settings: Settings, connection: Connection) -> list[dict[str, str]]:
    """File and what is wrong with it, of those in the outbox; a file that was taken away is as it should be."""
    found = [*_altered_batches(settings, connection), *_altered_invitations(settings, connection)]
    known = {
        name
        for file_name, _ in ledger.files_out(connection)
        for name in (file_name, manifest_path(Path(file_name)).name)
    }
    for outbox in (settings.grants_outbox, settings.invitations_outbox):
        found += [
            {"file": path.name, "problem": "the ledger knows no such file"}
            for path in sorted(outbox.iterdir())
            # Whoever takes files could take it for one of ours; what they mark them with is theirs.
            if path.name not in known
            and path.name.endswith((".csv", ".manifest.json"))
            and not path.name.startswith(".")
        ]
    return found


def republish(settings: Settings, name: str) -> str:
    """Put one altered file of the outbox back as it was published; what lay there is kept among the copies.

    Raises WrongUsage for one that was taken away, is as it was, or is not ours.
    """
    with ledger.open_ledger(settings) as connection:
        if name not in {row["file"] for row in altered_files(settings, connection)}:
            raise WrongUsage(f"{name} does not lie altered in the outbox: see callfree status.")
        ours = {path.name: (path, content) for path, content in _as_published(settings, connection)}
        if name not in ours:
            raise WrongUsage(f"{name} is not a file of this home: take it away.")
        path, content = ours[name]
        if not path.is_file():
            raise WrongUsage(f"{path} is no file: take it away.")
        kept = settings.backups_folder / "altered"
        copy_whole(path, kept / free_name(kept, name))
        write_whole(path, content)
    return f"{name} is as it was published. What lay there is in {kept}."


def _as_published(settings: Settings, connection: Connection) -> Iterator[tuple[Path, Iterable[bytes]]]:
    """The place and the bytes of each file that the ledger makes, and of each manifest."""
    for batch in rows(connection, "select * from batches order by sequence"):
        path = settings.grants_outbox / batch["file_name"]
        yield path, render_batch(connection, batch["sequence"])
        yield manifest_path(path), [batch_manifest(batch)]
    for draw in invitation_files(connection):
        path = settings.invitations_outbox / draw["file_name"]
        yield path, render_invitations(connection, draw["wave_id"])
        digest = _digest(render_invitations(connection, draw["wave_id"]))
        yield manifest_path(path), [invitation_manifest(draw, digest)]


def _altered_batches(settings: Settings, connection: Connection) -> Iterator[dict[str, str]]:
    for batch in rows(connection, "select * from batches order by sequence"):
        path = settings.grants_outbox / batch["file_name"]
        if path.exists() and _digest_of(path) != batch["sha256"]:
            yield {"file": path.name, "problem": "it is not the file that was published"}
        manifest = manifest_path(path)
        if manifest.exists() and _digest_of(manifest) != _digest([batch_manifest(batch)]):
            yield {"file": manifest.name, "problem": "it is not the manifest that was published"}


def _altered_invitations(settings: Settings, connection: Connection) -> Iterator[dict[str, str]]:
    for draw in invitation_files(connection):
        path = settings.invitations_outbox / draw["file_name"]
        if not path.exists():
            continue
        sha256 = _digest(render_invitations(connection, draw["wave_id"]))
        if _digest_of(path) != sha256:
            yield {"file": path.name, "problem": "it is not the file that was published"}
        manifest = manifest_path(path)
        if manifest.exists() and _digest_in(manifest) != sha256:
            yield {"file": manifest.name, "problem": "it is not the manifest that was published"}


def _digest(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _digest_of(path: Path) -> str | None:
    """The digest of a file; None for what is no file or cannot be read."""
    try:
        return sha256_of(path)
    except OSError:
        return None


def _digest_in(manifest: Path) -> str | None:
    try:
        return json.loads(manifest.read_bytes())["sha256"]
    except (ValueError, KeyError, TypeError, OSError):
        return None
