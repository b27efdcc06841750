"""Deliveries as no sender should make them: made by code, each with what must become of it (2.2)."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from dataclasses import dataclass

import pyarrow as pa

from landing_home import SOUND, csv_of, parquet_of

CALL = SOUND["calls"]
HEADER = ",".join(CALL)
ROW = ",".join(CALL.values())
TEN = csv_of("calls", *({"call_id": f"c{number}"} for number in range(10)))
PACKED = gzip.compress(TEN, mtime=0)
DAMAGED, NO_TEXT = "the archive is damaged", "it is not valid UTF-8"
NO_PARQUET, NO_COLUMNS = "the Parquet file is damaged", f"a column is missing: {', '.join(CALL)}"


@dataclass(frozen=True)
class Case:
    """One delivery of calls. Without a reason it is accepted, with so many rows loaded and so many rejected."""

    what: str
    content: bytes
    reason: str | None = None
    loaded: int = 0
    rejected: int = 0
    form: str = "csv"


def lines(*rows: str, header: str = HEADER, end: str = "\n") -> bytes:
    return "".join(line + end for line in (header, *rows)).encode()


def row(**values: str) -> str:
    return ",".join((CALL | values).values())


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("calls.csv", TEN)
    return sink.getvalue()


def tarred() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        member = tarfile.TarInfo("calls.csv")
        member.size = len(TEN)
        archive.addfile(member, io.BytesIO(TEN))
    return sink.getvalue()


ARCHIVES = [
    Case("a sound archive", PACKED, loaded=10, form="csv.gz"),
    Case("cut in the middle", PACKED[: len(PACKED) // 2], DAMAGED, form="csv.gz"),
    Case("cut by its last byte", PACKED[:-1], DAMAGED, form="csv.gz"),
    Case("wrong checksum", PACKED[:-8] + bytes(4) + PACKED[-4:], DAMAGED, form="csv.gz"),
    Case("wrong length", PACKED[:-4] + bytes(4), DAMAGED, form="csv.gz"),
    *(
        Case(f"bit flipped at {at}", flipped(PACKED, at), DAMAGED, form="csv.gz")
        for at in range(10, len(PACKED), len(PACKED) // 6)
    ),
    Case("trailing bytes", PACKED + b"\x00trailing", DAMAGED, form="csv.gz"),
    Case("trailing line end", PACKED + b"\n", DAMAGED, form="csv.gz"),
    Case("second member", PACKED + gzip.compress(f"{row(call_id='x')}\n".encode()), loaded=11, form="csv.gz"),
    Case("second member cut", PACKED + PACKED[:-3], DAMAGED, form="csv.gz"),
    Case("second member with a header", PACKED + PACKED, loaded=20, rejected=1, form="csv.gz"),
    Case("packed twice", gzip.compress(PACKED), NO_TEXT, form="csv.gz"),
    Case("zip", zipped(), DAMAGED, form="csv.gz"),
    Case("bzip2", bz2.compress(TEN), DAMAGED, form="csv.gz"),
    Case("xz", lzma.compress(TEN), DAMAGED, form="csv.gz"),
    Case("tar in gzip", gzip.compress(tarred()), "a column is missing: call_id", form="csv.gz"),
    Case("not packed", TEN, DAMAGED, form="csv.gz"),
    Case("packed under a plain name", PACKED, NO_TEXT),
    Case("bomb", gzip.compress(bytes(40_000_000)), "it unpacks to more than 20000000 bytes"
         " (CALLFREE_MAX_DELIVERY_BYTES)", form="csv.gz"),
    Case("empty archive", gzip.compress(b""), NO_COLUMNS, form="csv.gz"),
]  # fmt: skip

HEADERS = [
    Case("empty file", b"", NO_COLUMNS),
    Case("a line end", b"\n", NO_COLUMNS),
    Case("header only", lines()),
    Case("no header", f"{ROW}\n".encode() * 3, NO_COLUMNS),
    Case("header twice", lines(HEADER, *[row(call_id=f"c{n}") for n in range(30)]), loaded=30, rejected=1),
    Case("header in another order", lines(",".join([*CALL.values()][::-1]), header=",".join([*CALL][::-1])), loaded=1),
    Case("header in capitals", lines(ROW, header=HEADER.upper()), NO_COLUMNS),
    Case("column missing", lines(ROW, header=HEADER.replace(",line", "")), "a column is missing: line"),
    Case("column doubled", lines(f"{ROW},x", header=f"{HEADER},line"), "a column is doubled: line"),
    Case("column unknown", lines(f"{ROW},x", header=f"{HEADER},x"), loaded=1),
    Case("column with blanks", lines(ROW, header=HEADER.replace(",line", ", line")), "a column is missing: line"),
    Case("header too short for its rows", lines(f"{ROW},x", f"{ROW},x"), "2 of its 2 rows are rejected"),
    *(Case(f"delimiter {delimiter!r}", TEN.replace(b",", delimiter), NO_COLUMNS) for delimiter in (b";", b"\t", b"|")),
]  # fmt: skip

BYTES = [
    Case("quote that never closes", lines(row(line='"open'), ROW), "its quoting is broken: a quote never closes"),
    Case("text after a quote", lines(row(line='"a"b')), "its quoting is broken: text after a closing quote"),
    Case("quote inside", lines(row(line='a"b"')), "its quoting is broken: a quote in an unquoted field"),
    Case("newline in a field", lines(row(line='"a\nb\r\nc"'), row(call_id="c2")), loaded=2),
    Case("NUL in a field", lines(row(line="a\x00b")), loaded=1),
    Case("NULs only", bytes(500), NO_COLUMNS),
    Case("NULs at the end", TEN + bytes(500), loaded=10, rejected=1),
    Case("byte order mark", b"\xef\xbb\xbf" + TEN, loaded=10),
    Case("two byte order marks", b"\xef\xbb\xbf" * 2 + TEN, "a column is missing: call_id"),
    Case("UTF-16", TEN.decode().encode("utf-16"), NO_TEXT),
    Case("UTF-16 without a mark", TEN.decode().encode("utf-16-le"), NO_COLUMNS),
    Case("UTF-32", TEN.decode().encode("utf-32"), NO_TEXT),
    Case("Latin-1", lines(row(line="Störung")).decode().encode("latin-1"), NO_TEXT),
    Case("UTF-8 in one place cut", lines(row(line="Störung")).replace(b"\xb6", b""), NO_TEXT),
    Case("mixed line ends", f"{HEADER}\r\n{ROW}\n\r\n\n{row(call_id='c2')}\r\n".encode(), loaded=2),
    Case("line ends of old", lines(ROW, end="\r"), f"a column is missing: {', '.join(list(CALL)[-1:])}"),
    Case("no line end at the end", TEN.rstrip(b"\n"), loaded=10),
    Case("line of 3 MB", lines(row(line="x" * 3_000_000), row(call_id="c2")), loaded=2),
    Case("line of 3 MB without a comma", lines("x" * 3_000_000, ROW), loaded=1, rejected=1),
    Case("line of 3 MB of commas", lines("," * 3_000_000, ROW), loaded=1, rejected=1),
    Case("blanks for a line", lines("   ", ROW), loaded=1, rejected=1),
]

ROWS = [
    # Summer time begins and ends: an offset says which instant is meant, whatever the clocks on the wall showed.
    Case("the hour that does not exist", lines(row(started_at="2017-03-26T02:30:00+01:00")), loaded=1),
    Case("the hour that happens twice", lines(row(started_at="2016-10-30T02:30:00+02:00"),
         row(call_id="c2", started_at="2016-10-30T02:30:00+01:00")), loaded=2),
    Case("year 1 before any day in Berlin", lines(row(started_at="0001-01-01T00:00:00+23:59"), ROW), loaded=2),
    Case("year 9999", lines(row(started_at="9999-12-31T23:59:59-23:59"), ROW), loaded=1, rejected=1),
    Case("an offset of a day", lines(row(started_at="2017-08-25T08:00:00+24:00"), ROW), loaded=1, rejected=1),
    Case("grouped digits", lines(row(duration_s='"1,000"'), row(call_id="c2")), loaded=1, rejected=1),
    Case("hexadecimal", lines(row(duration_s="0x10"), row(call_id="c2")), loaded=1, rejected=1),
    Case("a number of 400 digits", lines(row(duration_s="9" * 400), row(call_id="c2")), loaded=1, rejected=1),
    Case("an id with a quote", lines(row(call_id='"c""1"'), row(call_id="c2")), loaded=1, rejected=1),
    Case("an id in Cyrillic letters", lines(row(call_id="\u04411"), row(call_id="c2")), loaded=1, rejected=1),
    Case("an id that climbs", lines(row(call_id="../c1"), row(call_id="c2")), loaded=1, rejected=1),
    Case("an id that is SQL", lines(row(call_id="';drop table raw.calls;--"), ROW), loaded=1, rejected=1),
    Case("a text that is SQL", lines(row(line="'; drop table raw.calls; --")), loaded=1),
    Case("a text that is a formula", lines(row(line="=cmd|' /C calc'!A0")), loaded=1),
    Case("the same id with other content", lines(row(duration_s="1"), row(duration_s="2")), loaded=2),
    Case("the same id, the same version, voided and not", lines(row(voided="true"), row(voided="false")), loaded=2),
    Case("every row bad", lines(*[row(voided="no")] * 3), "3 of its 3 rows are rejected"),
    Case("one row, and bad", lines(row(voided="no")), rejected=1),
]  # fmt: skip


def columns(**changed: object) -> dict:
    return {name: [value] * 3 for name, value in CALL.items()} | changed


def parquet(what: str, reason: str | None = None, loaded: int = 0, rejected: int = 0, **changed: object) -> Case:
    return Case(what, parquet_of(columns(**changed)), reason, loaded, rejected, form="parquet")


SOUND_PARQUET = parquet_of(columns())
PARQUETS = [
    Case("sound Parquet", SOUND_PARQUET, loaded=3, form="parquet"),
    Case("Parquet cut", SOUND_PARQUET[:-9], NO_PARQUET, form="parquet"),
    Case("Parquet without its head", SOUND_PARQUET[100:], NO_PARQUET, form="parquet"),
    Case("Parquet with bytes behind", SOUND_PARQUET + b"x", NO_PARQUET, form="parquet"),
    Case("CSV under the name of Parquet", TEN, NO_PARQUET, form="parquet"),
    Case("an archive under the name of Parquet", PACKED, NO_PARQUET, form="parquet"),
    Case("empty Parquet", b"", NO_PARQUET, form="parquet"),
    Case("footer that says it is huge", SOUND_PARQUET[:-8] + b"\xff\xff\xff\x7fPAR1", NO_PARQUET, form="parquet"),
    parquet("a list", "column line has a type that does not match", line=[["a"], ["b"], ["c"]]),
    parquet("a structure", "column line has a type that does not match", line=[{"a": 1}] * 3),
    parquet("a map", "column line has a type that does not match",
            line=pa.array([[("a", "b")]] * 3, pa.map_(pa.string(), pa.string()))),
    parquet("numbers as ids", "column call_id has a type that does not match", call_id=[1, 2, 3]),
    parquet("a date as an instant", "column started_at has a type that does not match",
            started_at=pa.array([17400] * 3, pa.date32())),
    parquet("nothing but nothing", "3 of its 3 rows are rejected", call_id=pa.nulls(3)),
    parquet("instants without a zone", "3 of its 3 rows are rejected",
            started_at=pa.array([1503648000] * 3, pa.timestamp("s"))),
    parquet("one number too large", loaded=2, rejected=1, duration_s=pa.array([1, 2**40, 3])),
    parquet("one number broken", loaded=2, rejected=1, duration_s=pa.array([1.0, 2.5, 3.0])),
    Case("Parquet lacks a column", parquet_of({name: [value] for name, value in CALL.items() if name != "line"}),
         "a column is missing: line", form="parquet"),
]  # fmt: skip

CASES = [*ARCHIVES, *HEADERS, *BYTES, *ROWS, *PARQUETS]

# Names that someone might choose, or a machine by mistake; what is right is after them.
NAMES = [
    "calls_20170825.csv;rm -rf x.csv", "calls_20170825'.csv", 'calls_20170825".csv', "calls_*.csv",
    "calls_?0170825.csv",
    "[calls]_20170825.csv", "calls_20170825.csv\nx", "calls_20170825\t.csv", "-rf", "--help", "~", "$(id)", "`id`",
    "a..csv", "calls_20170825.csv .csv", "calls_20170825.csv.gz.gz", "CON", "%2e%2e%2fcalls_20170825.csv", "=1+1.csv",
    "кalls_20170825.csv", "\u202ecalls_20170825.csv", "calls_20170825.csv\u200b", "x" * 255, "ü" * 127, "calls_.csv",
    "calls_20170825.reason.json", "';drop table deliveries;--",
]  # fmt: skip
