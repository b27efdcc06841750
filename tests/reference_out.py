"""What the files out are made of, as sections 2.3 and 2.4 say it. Part of the reference."""

import json
from dataclasses import dataclass
from datetime import date


def csv_text(header: tuple[str, ...], lines: list[tuple]) -> bytes:
    """Quoted only where a field holds a comma, a quote or a line end."""

    def cell(value) -> str:
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text

    return "".join(",".join(map(cell, line)) + "\n" for line in [header, *lines]).encode()


def json_text(thing: dict) -> bytes:
    return (json.dumps(thing, indent=2, default=str) + "\n").encode()


@dataclass(frozen=True)
class Grant:
    """One entry of the ledger, in the columns and the order of the grant file."""

    grant_id: str
    subscriber_id: str
    msisdn: str
    kind: str
    quarter: int
    month: int
    volume_mb: int
    valid_from: date
    valid_until: date
    wave_id: str
    terms_id: str

    @property
    def key(self) -> tuple[str, int, int]:
        return self.subscriber_id, self.quarter, self.month


GRANT_COLUMNS = tuple(Grant.__annotations__)
