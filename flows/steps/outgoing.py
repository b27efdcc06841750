"""The bytes of the files for billing and for the mailing house, rendered set-wise by SQL (2.3, 2.4)."""

import hashlib
import json
from collections.abc import Iterator
from datetime import date

from flows.steps.warehouse import Connection

GRANT_COLUMNS = (
    "grant_id", "subscriber_id", "msisdn", "kind", "quarter", "month", "volume_mb",
    "valid_from", "valid_until", "wave_id", "terms_id",
)  # fmt: skip
INVITATION_COLUMNS = ("subscriber_id", "email", "wave_id", "invite_on")

_LINES_A_PIECE = 50_000
_TO_BE_QUOTED = (",", '"', "\n", "\r")


def render(
    connection: Connection, relation: str, columns: tuple[str, ...], parameters: list | None = None
) -> Iterator[memoryview]:
    """A CSV file in pieces: header line, then the relation's rows sorted by its first column in byte order.

    A field is quoted only where it holds a comma, a quote or a line end. Parameters fill the relation's `?`.
    """
    yield memoryview((",".join(columns) + "\n").encode())
    kinds = connection.execute(f"describe select {', '.join(columns)} from {relation}", parameters or []).fetchall()
    fields = " || ',' || ".join(_field(name, kind) for name, kind, *_ in kinds)
    lines = connection.sql(
        f"select {fields} || chr(10) as line from {relation} order by {columns[0]}", params=parameters or []
    ).to_arrow_reader(_LINES_A_PIECE)
    for batch in lines:
        # Arrow holds the texts of a column one behind the other, which is the file.
        column = batch.column(0)
        _, offsets, content = column.buffers()
        ends = memoryview(offsets).cast("i")
        yield memoryview(content)[ends[column.offset] : ends[column.offset + len(column)]]


def _field(column: str, kind: str) -> str:
    """The text of a column's value; nothing where there is none."""
    if kind != "VARCHAR":
        return f"coalesce(cast({column} as varchar), '')"
    odd = " or ".join(f"contains({column}, chr({ord(sign)}))" for sign in _TO_BE_QUOTED)
    return f"""case when {odd} then '"' || replace({column}, '"', '""') || '"' else coalesce({column}, '') end"""


def render_grants(connection: Connection, relation: str, parameters: list | None = None) -> Iterator[bytes]:
    """The grant file of a relation with the grants' columns."""
    return render(connection, relation, GRANT_COLUMNS, parameters)


def digest(connection: Connection, relation: str) -> str:
    """The hex SHA-256 of the grant file of a relation."""
    sha256 = hashlib.sha256()
    for piece in render_grants(connection, relation):
        sha256.update(piece)
    return sha256.hexdigest()


def manifest(**entries: str | int | date | None) -> bytes:
    """A manifest: its entries in the order given."""
    return (json.dumps(entries, indent=2, default=date.isoformat) + "\n").encode()
