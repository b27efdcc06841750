"""Reading a delivery: bytes to batches of text columns, with every check that concerns the file as a whole (2.2).

DuckDB's own CSV reader is too kind for money: it accepts a wrong checksum, guesses at columns and loses rows.
So a file is inflated, checked and counted here, read by Arrow as text, and cast by the landing's SQL.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from isal import igzip, isal_zlib

from flows.steps.feeds import Column, DeliveryName, Feed

# Larger blocks leave the processor's cache: twice the size cost a tenth more.
CHUNK_BYTES = 2 * 1024**2
# A quote that is never closed would otherwise draw the whole file into memory.
LONGEST_RECORD_BYTES = 64 * 1024**2

# A small page can stand for a long text in every row.
_PARQUET_ROWS = 16_384

LF, CR, QUOTE, COMMA = b'\n\r",'


class BadDelivery(Exception):
    """The delivery is rejected as a whole. The message is the reason, and never holds a value of the file."""


@dataclass
class Tally:
    """What reading a delivery has told so far."""

    # Records counted from the line ends, independently of the parser.
    record_count: int = 0
    unknown_columns: tuple[str, ...] = ()
    # Records with the wrong number of fields, in pieces: number and text. A file may have a million of them.
    _misfits: list[tuple[np.ndarray, pa.StringArray]] = field(default_factory=list)

    def set_aside(self, record_no: np.ndarray, texts: list[str]) -> None:
        """Keep records with the wrong number of fields."""
        if texts:
            self._misfits.append((record_no, pa.array(texts, pa.string())))

    @property
    def misfit_count(self) -> int:
        return sum(len(record_no) for record_no, _ in self._misfits)

    def misfits(self) -> Iterator[tuple[int, str]]:
        """Number and text of each record with the wrong number of fields."""
        for record_no, texts in self._misfits:
            for number, text in zip(record_no, texts, strict=True):
                yield int(number), text.as_py()


def batch_schema(feed: Feed) -> pa.Schema:
    """The columns of a batch: whose it is, which record, and every column of the feed as text."""
    return pa.schema(
        [("delivery_id", pa.int32()), ("record_no", pa.int32())]
        + [(column.name, pa.string()) for column in feed.columns]
    )


def read(
    path: Path, name: DeliveryName, feed: Feed, delivery_id: int, max_bytes: int, tally: Tally
) -> Iterator[pa.RecordBatch]:
    """The rows of a delivery in batches of `batch_schema`, record numbers from 1. Raises BadDelivery."""
    reader = _read_parquet if name.form == "parquet" else _read_csv
    for record_no, table in reader(path, name, feed, max_bytes, tally):
        columns = [pa.array(np.full(len(record_no), delivery_id, np.int32)), pa.array(record_no, pa.int32())]
        columns += [
            _in_one_piece(table[column.name])
            if column.name in table.column_names
            else pa.nulls(len(record_no), pa.string())
            for column in feed.columns
        ]
        if len(record_no):
            yield pa.record_batch(columns, schema=batch_schema(feed))


def _in_one_piece(values: pa.ChunkedArray) -> pa.Array:
    return values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()


# --- CSV ---------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, name: DeliveryName, feed: Feed, max_bytes: int, tally: Tally):
    header: list[str] | None = None
    with open(path, "rb") as file:
        for block in _blocks(_inflated(file, name.form, max_bytes)):
            if header is None:
                header, block = _split_header(block)
                if header is None:
                    continue
                tally.unknown_columns = _check_header(header, feed)
            count = _count_records(block)
            if count == 0:
                continue
            first = tally.record_count + 1
            tally.record_count += count
            table, misfits = _parse(block, header, feed)
            if table.num_rows + len(misfits) != count:
                raise BadDelivery("its records cannot be told apart")
            misfit_numbers = np.array([number for number, _ in misfits], np.int64)
            record_no = np.delete(np.arange(first, first + count, dtype=np.int32), misfit_numbers - 1)
            tally.set_aside(misfit_numbers + first - 1, [text for _, text in misfits])
            yield record_no, table
    if header is None:
        _check_header([], feed)


def _inflated(file: BinaryIO, form: str, max_bytes: int) -> Iterator[bytes]:
    """The plain bytes of the file in chunks."""
    source = igzip.GzipFile(fileobj=file) if form == "csv.gz" else file
    total = 0
    while True:
        try:
            chunk = source.read(CHUNK_BYTES)
        except (EOFError, OSError, isal_zlib.error) as error:
            raise BadDelivery("the archive is damaged") from error
        if not chunk:
            return
        total += len(chunk)
        if total > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> BadDelivery:
    return BadDelivery(f"it unpacks to more than {max_bytes} bytes (CALLFREE_MAX_DELIVERY_BYTES)")


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, checked as UTF-8 and for their quoting, cut at ends of records, without a byte order mark."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest, is_first = b"", True
    try:
        for chunk in chunks:
            if decoder.getstate()[0] or not chunk.isascii():
                decoder.decode(chunk)
            cut = 0
            if b'"' not in rest and b'"' not in chunk and not is_first:
                cut = chunk.rfind(b"\n") + 1
            if cut:
                # As below, and copied once.
                block, rest = b"".join((rest, memoryview(chunk)[:cut])), chunk[cut:]
                yield block
                continue
            rest += chunk
            if is_first and len(rest) >= len(codecs.BOM_UTF8):
                rest, is_first = rest.removeprefix(codecs.BOM_UTF8), False
            cut = _last_record_end(rest)
            if cut:
                block, rest = rest[:cut], rest[cut:]
                _check_quoting(block)
                yield block
            elif len(rest) > LONGEST_RECORD_BYTES:
                raise BadDelivery(f"a record is longer than {LONGEST_RECORD_BYTES} bytes: perhaps a quote never closes")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise BadDelivery("it is not valid UTF-8") from error
    rest = rest.removeprefix(codecs.BOM_UTF8) if is_first else rest
    if rest.count(b'"') % 2:
        raise BadDelivery("its quoting is broken: a quote never closes")
    _check_quoting(rest)
    if rest:
        yield rest


def _positions(block: bytes, byte: int) -> np.ndarray:
    return np.flatnonzero(np.frombuffer(block, np.uint8) == byte)


def _record_ends(block: bytes) -> np.ndarray:
    """Positions of the line feeds outside quotes, in a block that starts with a record."""
    ends = _positions(block, LF)
    if b'"' in block:
        ends = ends[np.searchsorted(_positions(block, QUOTE), ends) % 2 == 0]
    return ends


def _last_record_end(block: bytes) -> int:
    if b'"' not in block:
        return block.rfind(b"\n") + 1
    ends = _record_ends(block)
    return int(ends[-1]) + 1 if len(ends) else 0


def _check_quoting(block: bytes) -> None:
    """Quotes open at the start of a field and close at its end; inside they are doubled (RFC 4180)."""
    if b'"' not in block:
        return
    text = np.frombuffer(block + b"\n\n", np.uint8)
    quotes = _positions(block, QUOTE)
    opening, closing = quotes[0::2], quotes[1::2]
    before = text[opening - 1]
    if np.any((opening > 0) & ~np.isin(before, (COMMA, LF, QUOTE))):
        raise BadDelivery("its quoting is broken: a quote in an unquoted field")
    after, then = text[closing + 1], text[closing + 2]
    if np.any(~np.isin(after, (COMMA, LF, QUOTE)) & ~((after == CR) & (then == LF) & (closing + 2 < len(block)))):
        raise BadDelivery("its quoting is broken: text after a closing quote")


def _count_records(block: bytes) -> int:
    """Lines that are not blank, a line being what ends with a line feed outside quotes."""
    if not block:
        return 0
    if b'"' not in block and b"\r" not in block:
        # The usual: every line feed ends a record, or a blank line.
        is_end = np.frombuffer(block, np.uint8) == LF
        blank = np.count_nonzero(is_end[1:] & is_end[:-1]) + is_end[0]
        return int(np.count_nonzero(is_end) + (not is_end[-1]) - blank)
    ends = _record_ends(block)
    if not block.endswith(b"\n") or not len(ends) or ends[-1] != len(block) - 1:
        ends = np.append(ends, len(block))
    lengths = np.diff(ends, prepend=-1) - 1
    if lengths.min() > 1:
        return len(ends)
    text = np.frombuffer(block + b"\n", np.uint8)
    only_cr = (lengths == 1) & (text[ends - 1] == CR) & (ends < len(block))
    return int(np.count_nonzero((lengths > 0) & ~only_cr))


def _ends_of_first_records(block: bytes) -> Iterator[int]:
    """Where the records end, one after the other: of a block only the first are looked at."""
    end = block.find(b"\n")
    if b'"' in block:
        yield from _record_ends(block).tolist()
    else:
        while end >= 0:
            yield end
            end = block.find(b"\n", end + 1)
    yield len(block)


def _split_header(block: bytes) -> tuple[list[str] | None, bytes]:
    """The fields of the first line that is not blank, and what follows it."""
    start = 0
    for end in _ends_of_first_records(block):
        line = block[start:end]
        if end < len(block):
            line = line.removesuffix(b"\r")
        if line:
            return fields_of(line.decode()), block[end + 1 :]
        start = end + 1
    return None, b""


_FIELD = re.compile(r',(?:"([^"]*(?:""[^"]*)*)"|([^,]*))')


def fields_of(record: str) -> list[str]:
    """The fields of one record whose quoting was checked. Unlike Python's reader it takes any length and lone CRs."""
    return [quoted.replace('""', '"') or plain for quoted, plain in _FIELD.findall("," + record)]


def _check_header(header: list[str], feed: Feed) -> tuple[str, ...]:
    """The columns that the interface does not know. Raises BadDelivery for one missing or doubled."""
    doubled = sorted({name for name in header if header.count(name) > 1})
    known = {column.name for column in feed.columns}
    if doubled:
        shown = [name for name in doubled if name in known]
        raise BadDelivery("a column is doubled" + (f": {', '.join(shown)}" if shown else ""))
    missing = [column.name for column in feed.columns if not column.may_be_absent and column.name not in header]
    if missing:
        raise BadDelivery(f"a column is missing: {', '.join(missing)}")
    return tuple(name for name in header if name not in known)


def _parse(block: bytes, header: list[str], feed: Feed) -> tuple[pa.Table, list[tuple[int, str]]]:
    """The known columns of the rows as text, and number and text of the rows with a wrong number of fields."""
    misfits: list[tuple[int, str]] = []

    def set_aside(row: pyarrow.csv.InvalidRow) -> str:
        misfits.append((row.number, row.text))
        return "skip"

    # To Arrow a carriage return alone ends a line; to the interface it is part of a value.
    stand_in = None
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        stand_in = next((byte for byte in range(1, 32) if byte not in b"\t\n\r" and bytes([byte]) not in block), None)
        if stand_in is None:
            raise BadDelivery("it is not a text file")
        block = re.sub(rb"\r(?!\n)", bytes([stand_in]), block)
    # Arrow drops a byte order mark at the start of what it parses; that of the file is gone, so this one is a value.
    if block.startswith(codecs.BOM_UTF8):
        block = codecs.BOM_UTF8 + block
    names = [column.name for column in feed.columns if column.name in header]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=header, block_size=len(block) + 1),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=b'"' in block, invalid_row_handler=set_aside),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=names,
                column_types={name: pa.string() for name in names},
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise BadDelivery("its records cannot be told apart") from error
    if stand_in is not None:
        for index, column_name in enumerate(table.column_names):
            restored = pc.replace_substring(table[column_name], chr(stand_in), "\r")
            table = table.set_column(index, column_name, restored)
        misfits = [(number, text.replace(chr(stand_in), "\r")) for number, text in misfits]
    return table, misfits


# --- Parquet -----------------------------------------------------------------------------------------------------


def _read_parquet(path: Path, name: DeliveryName, feed: Feed, max_bytes: int, tally: Tally):
    try:
        file = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
        tally.unknown_columns = _check_header(file.schema_arrow.names, feed)
        columns = [column for column in feed.columns if column.name in file.schema_arrow.names]
        for column in columns:
            _check_type(column, file.schema_arrow.field(column.name).type)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > max_bytes:
            raise _too_large(max_bytes)
        unpacked = 0
        for batch in file.iter_batches(columns=[column.name for column in columns], batch_size=_PARQUET_ROWS):
            first = tally.record_count + 1
            tally.record_count += batch.num_rows
            texts = [_as_text(batch.column(index)) for index in range(len(columns))]
            # What the file says of its own size may be a lie, or count a text once that stands in every row.
            unpacked += sum(text.nbytes for text in texts)
            if unpacked > 2 * max_bytes:
                raise _too_large(max_bytes)
            table = pa.table(texts, names=[column.name for column in columns])
            yield np.arange(first, first + batch.num_rows, dtype=np.int32), table
        if tally.record_count != file.metadata.num_rows:
            raise BadDelivery("the Parquet file is damaged")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadDelivery("the Parquet file is damaged") from error


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return (
        pa.types.is_string(value)
        or pa.types.is_large_string(value)
        or pa.types.is_string_view(value)
        # Some writers leave out the mark that says text.
        or pa.types.is_binary(value)
        or pa.types.is_large_binary(value)
        or pa.types.is_null(value)
    )


def _check_type(column: Column, kind: pa.DataType) -> None:
    """Text, or the type that matches the column."""
    matching = {
        "integer": pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind),
        "flag": pa.types.is_boolean(kind),
        "date": pa.types.is_date(kind),
        "instant": pa.types.is_timestamp(kind),
    }
    if not (_is_text(kind) or matching.get(column.kind, False)):
        raise BadDelivery(f"column {column.name} has a type that does not match")


def _as_text(values: pa.Array) -> pa.Array:
    """The values as a CSV file would write them; nothing where there is none."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        # Of a fraction six digits count; without a zone there is no offset.
        micros = values.cast(pa.timestamp("us", kind.tz), safe=False)
        text = micros.cast(pa.timestamp("us")).cast(pa.string())
        return pc.binary_join_element_wise(pc.replace_substring(text, " ", "T"), "Z" if kind.tz else "", "")
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = values.cast(pa.float64())
        is_whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 1e15))
        whole = pc.if_else(pc.fill_null(is_whole, False), numbers, pa.scalar(None, pa.float64()))
        return pc.coalesce(whole.cast(pa.int64()).cast(pa.string()), numbers.cast(pa.string()))
    if pa.types.is_dictionary(kind):
        values = values.dictionary_decode()
    try:
        text = values.cast(pa.string())
        # Arrow takes the bytes of a text column as they are; DuckDB would stop at them.
        text.validate(full=True)
    except pa.ArrowInvalid as error:
        raise BadDelivery("it is not valid UTF-8") from error
    return text
