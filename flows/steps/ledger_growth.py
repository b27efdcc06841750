"""How far the ledger has come: noted where it outlives the ledger, so that one that is older is noticed.

The ledger only grows. One that has fewer rows than were noted has lost some, and a run with it would post again
what went out long ago.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps import ledger
from flows.steps.files import write_whole
from flows.steps.warehouse import Connection, read_through

# How the rows of a table are told to people.
_WORDS = {
    "deliveries": "deliveries",
    "decisions": "operators' words",
    "draws": "draws",
    "enrolments": "enrolments",
    "batches": "grant files",
    "grants": "grants",
}


@dataclass(frozen=True)
class Growth:
    """The rows of each table, the last grant file and its digest, which pins all before it, and what went out."""

    rows: dict[str, int]
    sequence: int
    sha256: str | None
    went_out: list[str]

    def lacks(self, other: "Growth") -> dict[str, int]:
        """How many rows of each table the other has beyond this one."""
        beyond = {table: count - self.rows.get(table, 0) for table, count in other.rows.items()}
        return {table: count for table, count in beyond.items() if count > 0}

    def told_lacks(self, other: "Growth") -> str:
        """What this one lacks of the other, for people."""
        lacks = self.lacks(other)
        return ", ".join(f"{lacks[table]} {word}" for table, word in _WORDS.items() if table in lacks) or "records"


def growth(connection: Connection) -> Growth:
    """How far the ledger of the connection has come."""
    tables = connection.execute(
        "select table_name from duckdb_tables() where database_name = current_database() order by table_name"
    ).fetchall()
    last = connection.execute("select sequence, sha256 from batches order by sequence desc limit 1").fetchone()
    return Growth(
        rows={table: connection.execute(f"select count(*) from {table}").fetchone()[0] for (table,) in tables},
        sequence=last[0] if last else 0,
        sha256=last[1] if last else None,
        # KPI files are replaced, and pay nobody.
        went_out=[
            name
            for (name,) in connection.execute(
                "select file_name from publications where not starts_with(file_name, 'kpis_') order by all"
            ).fetchall()
        ],
    )


def note(settings: Settings, found: Growth) -> None:
    """Note how far the ledger has come: before anything of it goes out, and after."""
    write_whole(settings.ledger_note, [(json.dumps(asdict(found), indent=2) + "\n").encode()])


def noted(settings: Settings) -> Growth | None:
    """What was noted last, None before the first run. Raises CallfreeError when the note is damaged."""
    try:
        return Growth(**json.loads(settings.ledger_note.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise CallfreeError(
            f"{settings.ledger_note} is damaged: it notes how far the ledger has come. If you know that the ledger is"
            " the latest, delete the note and run again."
        ) from None


def check_ledger(settings: Settings) -> None:
    """Before anybody works on the ledger: it is there, and none of what has been done is missing from it.

    Raises CallfreeError where a run would post a second time.
    """
    if settings.restoring.exists():
        raise CallfreeError("A restore did not come to its end: say callfree restore again.")
    before = noted(settings)
    if not settings.ledger.is_file():
        if before is not None or _has_been_used(settings):
            raise CallfreeError(
                "ledger.duckdb is missing, and this home has been used: a run would post everything again."
                " callfree restore brings back the latest good copy."
            )
        return
    # Every byte of it is read, so that no step stumbles over damage half-way.
    read_through(settings.ledger)
    with ledger.open_ledger(settings) as connection:
        now = growth(connection)
        if before is not None and before.sequence and not now.lacks(before):
            found = connection.execute("select sha256 from batches where sequence = ?", [before.sequence]).fetchone()
            if found[0] != before.sha256:
                raise CallfreeError(
                    f"ledger.duckdb is not the ledger of this home: its grant file {before.sequence} is another one."
                    " callfree restore brings back the latest good copy."
                )
    if before is not None and now.lacks(before):
        raise CallfreeError(
            f"ledger.duckdb is older than what was done here: it lacks {now.told_lacks(before)}."
            " A run would post again what went out. callfree restore brings back the latest good copy."
        )
    beyond = [name for name, sequence in manifests_in_outbox(settings) if sequence > now.sequence]
    if beyond:
        raise CallfreeError(
            f"The outbox holds {beyond[0]}, of which the ledger knows nothing: it is older, or the file is not ours."
            " callfree restore brings back the latest good copy; a file that is not ours must be taken away."
        )


def manifests_in_outbox(settings: Settings) -> Iterator[tuple[str, int]]:
    """Name and sequence of each grant file that lies there with a manifest that can be read."""
    for path in sorted(settings.grants_outbox.glob("grants_*.manifest.json")):
        try:
            manifest = json.loads(path.read_bytes())
            yield path.name.replace(".manifest.json", ".csv"), int(manifest["sequence"])
        except (ValueError, KeyError, TypeError, OSError):
            continue


def _has_been_used(settings: Settings) -> bool:
    return any(settings.archive.rglob("*.*")) or any(settings.grants_outbox.glob("grants_*"))
