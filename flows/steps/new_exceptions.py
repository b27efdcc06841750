"""What a person should know of since the last run: each exception is told once, by a run that comes to its end."""

from typing import Any

from flows.settings import Settings
from flows.steps import crash_points
from flows.steps.warehouse import connect, rows

_KNOWN = "create table if not exists raw.known_exceptions (kind varchar, subject varchar, item_count bigint)"


def find_exceptions(settings: Settings) -> tuple[dict[str, Any], ...]:
    """Kind, subject and item_count of what the last run that came to its end did not know."""
    with connect(settings.warehouse) as connection:
        connection.execute(_KNOWN)
        found = rows(
            connection,
            """
            select
                found.kind,
                found.subject,
                found.item_count - coalesce(known.item_count, 0) as item_count
            from marts.exceptions as found
            left join raw.known_exceptions as known on found.kind = known.kind and found.subject = known.subject
            where found.item_count > coalesce(known.item_count, 0)
            order by found.kind, found.subject
            """,
        )
    return tuple(found)


def know_exceptions(settings: Settings) -> None:
    """What there is now is known: the last thing of a run, as what is owed is (`corrections`)."""
    with connect(settings.warehouse) as connection:
        connection.execute(
            "create or replace table raw.known_exceptions as select kind, subject, item_count from marts.exceptions"
        )
        crash_points.passed("the exceptions are known")
