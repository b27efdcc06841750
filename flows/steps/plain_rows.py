"""Rows beyond doubt: every value well formed, and of a usual shape. A few passes over a column's bytes find them.

The SQL of `staging.py` says of any row what is wrong with it; regular expressions make that dear. Nearly all rows of
real deliveries are told to be sound by less. What is not plain here is not wrong: it is left to the SQL. So this module
may be stricter than the SQL, and never more lenient.
"""

import re
import string
from dataclasses import dataclass
from datetime import date
from functools import cache

import numpy as np
import pyarrow as pa

from flows.steps.feeds import PATTERNS, Column, Feed

_DIGITS = string.digits.encode()
_UNIX_EPOCH = date(1970, 1, 1)

# A pattern that says which characters, and how many.
_CLASS = re.compile(r"(\[[^]]+\])\{([0-9]+),([0-9]+)\}")

# What is no digit, by place, in the usual timestamps: these alone have their length.
_DATE = {4: b"-", 7: b"-"}
_TIME = _DATE | {10: b"T", 13: b":", 16: b":"}
_INSTANTS = {
    last + len(offset): _TIME | fraction | {last + place: signs for place, signs in enumerate(offset) if signs}
    for last, fraction in ((19, {}), (23, {19: b"."}), (26, {19: b"."}))
    for offset in ([b"Z"], [b"+-", b"", b"", b":", b"", b""])
}


@dataclass(frozen=True)
class Calendar:
    """Local dates from the first day on: when each begins, in microseconds since 1970 UTC, and when the last ends."""

    first_day: date
    midnights: np.ndarray

    def dates(self, instants: np.ndarray) -> np.ndarray:
        """Days since 1970 of instants within the calendar."""
        first = (self.first_day - _UNIX_EPOCH).days
        return (np.searchsorted(self.midnights, instants, side="right") + (first - 1)).astype(np.int32)


def schema(texts: pa.Schema, feed: Feed) -> pa.Schema:
    """The columns of a batch of plain rows: those of the texts, the instant and its local date."""
    return texts.append(pa.field("instant", pa.timestamp("us"))).append(pa.field(feed.local_date, pa.date32()))


def split(batch: pa.RecordBatch, feed: Feed, calendar: Calendar) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The plain rows, with instant and local date, and the doubtful ones, as they came.

    A row is plain only if its instant lies within the calendar.
    """
    is_plain = np.ones(len(batch), bool)
    instants, has_instant = _instants(_Texts(batch.column(feed.instant)))
    is_plain &= has_instant & (instants >= calendar.midnights[0]) & (instants < calendar.midnights[-1])
    for column in feed.columns:
        values = batch.column(column.name)
        if column.kind != "instant" and values.null_count < len(values):
            is_plain &= _is_plain(column, values)
        elif column.is_required and column.kind != "instant":
            is_plain[:] = False
    doubtful = batch.slice(0, 0)
    if not is_plain.all():
        doubtful = batch.filter(pa.array(~is_plain))
        batch, instants = batch.filter(pa.array(is_plain)), instants[is_plain]
    dates = pa.Array.from_buffers(pa.date32(), len(batch), [None, pa.py_buffer(calendar.dates(instants))])
    moments = pa.array(instants.view("datetime64[us]"))
    return (
        pa.record_batch([*batch.columns, moments, dates], schema=schema(batch.schema, feed)),
        doubtful,
    )


class _Texts:
    """The values of a column as bytes: all of them, where each starts, and how long each is."""

    def __init__(self, values: pa.StringArray) -> None:
        self.values = values.fill_null("") if values.null_count else values
        _, offsets, data = self.values.buffers()
        ends = np.frombuffer(offsets, np.int32)[self.values.offset :][: len(values) + 1]
        self.bytes = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
        self.starts = ends[:-1] - ends[0]
        self.lengths = np.diff(ends)

    def __len__(self) -> int:
        return len(self.lengths)

    def without(self, letters: bytes) -> bytes:
        return self.bytes.tobytes().translate(None, letters)

    def count_others(self, letters: bytes) -> np.ndarray:
        """How many bytes of each value are none of these."""
        places = np.flatnonzero(~np.isin(self.bytes, np.frombuffer(letters, np.uint8)))
        return np.bincount(np.searchsorted(self.starts, places, side="right") - 1, minlength=len(self))


def _is_plain(column: Column, values: pa.Array) -> np.ndarray:
    """Whether each value of a column is well formed, or absent where it may be."""
    if column.kind in ("list", "flag"):
        allowed = set(column.values or PATTERNS["flag"].split("|")) | (set() if column.is_required else {""})
        encoded = values.fill_null("").dictionary_encode()
        is_allowed = np.array([value in allowed for value in encoded.dictionary.to_pylist()], bool)
        return is_allowed[encoded.indices.to_numpy()] if not is_allowed.all() else np.True_
    texts = _Texts(values)
    is_there = texts.lengths > 0
    if column.kind == "text":
        return is_there if column.is_required else np.True_
    is_sound = _is_sound(column, texts)
    return is_sound & is_there if column.is_required else is_sound | ~is_there


def _is_sound(column: Column, texts: _Texts) -> np.ndarray:
    """Whether each value that is there is well formed."""
    if column.kind == "msisdn":
        return (texts.lengths >= 9) & (texts.lengths <= 16) & _digits_but(texts, {0: b"+"})
    if column.kind == "date":
        return _dates(texts)
    if column.kind == "grant_id":
        return texts.lengths <= 64  # bytes: no fewer than the letters
    letters, least, most = _letters(column.kind)
    is_sound = (texts.lengths >= least) & (texts.lengths <= most)
    if texts.without(letters):
        is_sound &= texts.count_others(letters) == 0
    if column.minimum:
        is_sound &= _letters_at(texts, 0) != ord("0")
    return is_sound


@cache
def _letters(kind: str) -> tuple[bytes, int, int]:
    """The ASCII letters that a value of the kind may have, and the least and the most of them."""
    one, least, most = _CLASS.fullmatch(PATTERNS[kind]).groups()
    return bytes(code for code in range(128) if re.fullmatch(one, chr(code))), int(least), int(most)


def _letters_at(texts: _Texts, place: int) -> np.ndarray:
    """A byte of each value; any byte for a value that is too short."""
    return texts.bytes.take(texts.starts + place, mode="clip") if len(texts.bytes) else np.zeros(len(texts), np.uint8)


def _digits_but(texts: _Texts, signs: dict[int, bytes]) -> np.ndarray:
    """Whether each value has these signs at these places, and digits at all others."""
    is_so = texts.lengths > max(signs)
    for place, allowed in signs.items():
        found = _letters_at(texts, place)
        is_so &= found == allowed[0] if len(allowed) == 1 else np.isin(found, np.frombuffer(allowed, np.uint8))
    if not is_so.all() or len(texts.without(_DIGITS)) != len(signs) * len(texts):
        is_so &= texts.count_others(_DIGITS) == len(signs)
    return is_so


def _dates(texts: _Texts) -> np.ndarray:
    """Whether each value is a real date."""
    is_real = (texts.lengths == 10) & _digits_but(texts, _DATE)
    days = _cast(texts.values.filter(pa.array(is_real)), pa.date32())
    is_real[is_real] = days.is_valid().to_numpy(False) & (_numbers(days) >= (date.min - _UNIX_EPOCH).days)
    return is_real


def _instants(texts: _Texts) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds since 1970 UTC, and whether each value is a timestamp of a usual shape."""
    instants, is_plain = np.zeros(len(texts), np.int64), np.zeros(len(texts), bool)
    for length, signs in _INSTANTS.items():
        is_so = texts.lengths == length
        if not is_so.any():
            continue
        some = texts if is_so.all() else _Texts(texts.values.filter(pa.array(is_so)))
        fits = _digits_but(some, signs)
        found = _cast(some.values if fits.all() else some.values.filter(pa.array(fits)), pa.timestamp("us", "UTC"))
        rows = np.flatnonzero(is_so)[fits]
        instants[rows], is_plain[rows] = _numbers(found), found.is_valid().to_numpy(False)
    return instants, is_plain


def _numbers(values: pa.Array) -> np.ndarray:
    """What a date or an instant counts, 0 where there is none."""
    numbers = values.cast(pa.int32() if pa.types.is_date32(values.type) else pa.int64())
    return numbers.fill_null(0).to_numpy()


def _cast(texts: pa.StringArray, kind: pa.DataType) -> pa.Array:
    """The values of well-shaped texts, null for a date or a time that does not exist."""
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        # Arrow does not say which: look for it in halves.
        if len(texts) == 1:
            return pa.nulls(1, kind)
        half = len(texts) // 2
        return pa.concat_arrays([_cast(texts.slice(0, half), kind), _cast(texts.slice(half), kind)])
