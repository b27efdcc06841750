"""How the demo's sources write their files: mostly gzip, now and then a desktop's CSV, and Parquet.

Rows are the same on any machine; gzip and Parquet bytes are, as long as zlib and pyarrow are.
"""

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.steps.feeds import FEEDS

Row = tuple[str, ...]

COLUMNS = {feed.name: [column.name for column in feed.columns] for feed in FEEDS.values()}


def encode(feed: str, day: date, rows: Sequence[Row]) -> tuple[str, bytes]:
    """Name and content of one delivery, in the format whose turn it is."""
    stem, turn = f"{feed}_{day:%Y%m%d}", (day.toordinal() + len(feed)) % 12
    # Only CSV can say what makes no sense: a row too short, a word for a number.
    is_regular = all(len(row) == len(COLUMNS[feed]) for row in rows)
    if turn == 0 and is_regular:
        return f"{stem}.parquet", as_parquet(feed, rows)
    if turn == 5:
        return f"{stem}.csv", b"\xef\xbb\xbf" + as_text(COLUMNS[feed], rows, "\r\n").encode()
    return f"{stem}.csv.gz", as_gzip(feed, rows)


def as_text(columns: Sequence[str], rows: Iterable[Row], line_end: str = "\n") -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def as_gzip(feed: str, rows: Iterable[Row]) -> bytes:
    return gzip.compress(as_text(COLUMNS[feed], rows).encode(), mtime=0)


def as_parquet(feed: str, rows: Sequence[Row]) -> bytes:
    """Text columns, save where a call system has numbers and flags."""
    columns = {name: [row[i] or None for row in rows] for i, name in enumerate(COLUMNS[feed])}
    arrays = {}
    for name, values in columns.items():
        if name in ("record_version", "duration_s"):
            arrays[name] = pa.array([int(value) for value in values], pa.int32())
        elif name == "voided":
            arrays[name] = pa.array([value == "true" for value in values], pa.bool_())
        else:
            arrays[name] = pa.array(values, pa.string())
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink)
    return sink.getvalue()


def write_file(inbox: Path, name: str, content: bytes) -> None:
    """Whole or not at all: the inbox does not read names that end in `.part`."""
    part = inbox / f"{name}.part"
    part.write_bytes(content)
    part.replace(inbox / name)
