"""Publishing: the outbox shows what the ledger says (2.3, 2.4). It can be repeated for ever."""

from dataclasses import dataclass
from pathlib import Path

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps import ledger, outgoing
from flows.steps.files import write_whole
from flows.steps.warehouse import Connection, rows


@dataclass(frozen=True)
class Published:
    """The files that this publication put into the outbox."""

    grant_files: tuple[str, ...]
    invitation_files: tuple[str, ...]

    def __add__(self, other: "Published") -> "Published":
        return Published(self.grant_files + other.grant_files, self.invitation_files + other.invitation_files)


def publish(settings: Settings) -> Published:
    """Write every file of the ledger that is not marked as published, and mark it once its manifest stands."""
    with ledger.open_ledger(settings) as connection:
        return Published(
            grant_files=tuple(
                _publish_grants(settings, connection, batch) for batch in _unpublished_batches(connection)
            ),
            invitation_files=tuple(
                _publish_invitations(settings, connection, draw)
                for draw in invitation_files(connection)
                if not draw["is_published"]
            ),
        )


def has_left_over(settings: Settings) -> bool:
    """Whether the ledger has a file that is not marked as published."""
    with ledger.open_ledger(settings) as connection:
        return bool(ledger.unpublished_files(connection))


def _unpublished_batches(connection: Connection) -> list[dict]:
    return rows(
        connection,
        "select batches.* from batches left join publications on batches.file_name = publications.file_name"
        " where publications.file_name is null order by batches.sequence",
    )


def _publish_grants(settings: Settings, connection: Connection, batch: dict) -> str:
    path = settings.grants_outbox / batch["file_name"]
    written = write_whole(path, render_batch(connection, batch["sequence"]))
    if written != batch["sha256"]:
        path.unlink()
        raise CallfreeError(
            f"{path.name} would not be the file that was posted, and was not published: the ledger is damaged."
            " callfree restore --replace brings back the latest good copy."
        )
    write_whole(manifest_path(path), [batch_manifest(batch)])
    ledger.record_publication(connection, path.name)
    return path.name


def render_batch(connection: Connection, sequence: int):
    """The bytes of a posted grant file, from the ledger alone."""
    return outgoing.render_grants(connection, "(select * from grants where sequence = ?)", [sequence])


def render_invitations(connection: Connection, wave_id: str):
    """The bytes of a wave's invitation file, from the ledger alone."""
    invited = """(
        select members.subscriber_id, members.invitation_email as email, draws.wave_id, draws.invite_on
        from members
        inner join draws on members.wave_id = draws.wave_id
        where draws.wave_id = ? and members.invitation_email is not null
    )"""
    return outgoing.render(connection, invited, outgoing.INVITATION_COLUMNS, [wave_id])


def batch_manifest(batch: dict) -> bytes:
    """The bytes of the manifest of a posted grant file, from its row in the ledger."""
    return outgoing.manifest(
        file=batch["file_name"],
        business_date=batch["business_date"],
        sequence=batch["sequence"],
        lines=batch["line_count"],
        volume_mb=batch["volume_mb"],
        sha256=batch["sha256"],
        previous_sha256=batch["previous_sha256"],
    )


def manifest_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".csv") + ".manifest.json")


def invitation_files(connection: Connection) -> list[dict]:
    """Every invitation file that the ledger makes: wave_id, invite_on, file_name, line_count, is_published."""
    return rows(
        connection,
        f"""
        select
            draws.wave_id,
            draws.invite_on,
            files.file_name,
            (
                select count(*) from members
                where members.wave_id = draws.wave_id and members.invitation_email is not null
            ) as line_count,
            publications.file_name is not null as is_published
        from draws
        inner join {ledger.FILES_OUT} as files on draws.wave_id = files.wave_id
        left join publications on files.file_name = publications.file_name
        order by draws.invite_on, draws.wave_id
        """,
    )


def _publish_invitations(settings: Settings, connection: Connection, draw: dict) -> str:
    path = settings.invitations_outbox / draw["file_name"]
    sha256 = write_whole(path, render_invitations(connection, draw["wave_id"]))
    write_whole(manifest_path(path), [invitation_manifest(draw, sha256)])
    ledger.record_publication(connection, path.name)
    return path.name


def invitation_manifest(draw: dict, sha256: str) -> bytes:
    """The bytes of the manifest of an invitation file, from what `invitation_files` says of it and its digest."""
    return outgoing.manifest(
        file=draw["file_name"],
        wave_id=draw["wave_id"],
        invite_on=draw["invite_on"],
        lines=draw["line_count"],
        sha256=sha256,
    )
