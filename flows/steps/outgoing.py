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


def render(
    connection: Connection, relation: str, columns: tuple[str, ...], parameters: list | None = None
) -> Iterator[bytes]:
    """A CSV file in pieces: header line, then the relation's rows sorted by its first column in byte order.

    A field is quoted only where it holds a comma, a quote or a line end. Parameters fill the relation's `?`.
    """
    yield (",".join(columns) + "\n").encode()
    fields = " || ',' || ".join(f"callfree_field({column})" for column in columns)
    connection.execute(
        """create or replace temp macro callfree_field(value) as
            case
                when regexp_matches(coalesce(cast(value as varchar), ''), '[,"\r\n]')
                    then '"' || replace(cast(value as varchar), '"', '""') || '"'
                else coalesce(cast(value as varchar), '')
            end"""
    )
    pieces = connection.execute(
        f"""
        with numbered as (
            select
                {fields} || chr(10) as line,
                row_number() over (order by {columns[0]}) as line_no
            from {relation}
        )
        select string_agg(line, '' order by line_no)
        from numbered
        group by (line_no - 1) // {_LINES_A_PIECE}
        order by (line_no - 1) // {_LINES_A_PIECE}
        """,
        parameters or [],
    )
    while piece := pieces.fetchone():
        yield piece[0].encode()


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
