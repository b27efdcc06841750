"""From the bytes of a delivery to its records: what is accepted, and every reason to reject the file (2.2)."""

import csv
import gzip
import io
import zlib
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import reference_files
from flows.steps import extracts
from flows.steps.extracts import BadDelivery, Tally
from flows.steps.feeds import FEEDS, DeliveryName

# The feed with the fewest columns; those that must be there are these.
HEADER = "grant_id,status,processed_at\n"
GRANT_ACKS = FEEDS["grant_acks"]


def read(
    folder: Path, content: bytes, form: str = "csv", feed: str = "grant_acks", max_bytes: int = 2**30
) -> tuple[dict[int, tuple], Tally]:
    """The records of a delivery by their number, those with a wrong number of fields left out, and the tally."""
    path, tally = folder / f"delivery.{form}", Tally()
    path.write_bytes(content)
    name = DeliveryName(feed, date(2017, 8, 25), form)
    records = {}
    for batch in extracts.read(path, name, FEEDS[feed], 7, max_bytes, tally):
        assert batch.schema == extracts.batch_schema(FEEDS[feed])
        for row in batch.to_pylist():
            delivery_id, record_no, *values = row.values()
            assert delivery_id == 7
            records[record_no] = tuple(values)
    return records, tally


def acks(folder: Path, content: bytes | str, **options) -> list[tuple]:
    """Grant id and status of the acks of a delivery that gives three columns."""
    content = content.encode() if isinstance(content, str) else content
    records, _ = read(folder, content, **options)
    return [(grant_id, status) for grant_id, status, _, _ in records.values()]


def reason(folder: Path, content: bytes | str, form: str = "csv", **options) -> str:
    with pytest.raises(BadDelivery) as caught:
        read(folder, content.encode() if isinstance(content, str) else content, form, **options)
    return str(caught.value)


# --- CSV ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "a column is missing: grant_id, status, processed_at"),
        ("\n\r\n\n", "a column is missing: grant_id, status, processed_at"),
        ("\ufeff", "a column is missing: grant_id, status, processed_at"),
        ("grant_id,processed_at\n", "a column is missing: status"),
        ("Grant_id,status,processed_at\n", "a column is missing: grant_id"),
        ("grant_id ,status,processed_at\n", "a column is missing: grant_id"),
        ("anna.W.1,accepted,2017-08-25T08:00:00Z\n", "a column is missing: grant_id, status, processed_at"),
        ("grant_id;status;processed_at\n", "a column is missing: grant_id, status, processed_at"),
        ("grant_id,status,processed_at\r", "a column is missing: processed_at"),
        (HEADER.replace("\n", "\r"), "a column is missing: processed_at"),
        ("grant_id,status,processed_at\ra,b,c\r", "a column is missing: processed_at"),
        ("grant_id,status,status,processed_at\n", "a column is doubled: status"),
        ("grant_id,status,processed_at,new,new\n", "a column is doubled"),
        ("grant_id,status,processed_at,,\n", "a column is doubled"),
        (HEADER.encode() + b"\xff,,\n", "it is not valid UTF-8"),
        (HEADER.encode() + b"a,b,\xc3", "it is not valid UTF-8"),
        (HEADER.encode() + b"a,b,\xc3\n\xa4", "it is not valid UTF-8"),
        (HEADER.encode() + b"a,b,\xed\xa0\x80\n", "it is not valid UTF-8"),
        (HEADER.encode("utf-16"), "it is not valid UTF-8"),
        (HEADER + '"a,b,c\nd,e,f\n', "its quoting is broken: a quote never closes"),
        (HEADER + 'a,b,"c\n', "its quoting is broken: a quote never closes"),
        (HEADER + 'a,b,"c""\n', "its quoting is broken: a quote never closes"),
        (HEADER + '"', "its quoting is broken: a quote never closes"),
        (HEADER + '"a"b,c,d\n', "its quoting is broken: text after a closing quote"),
        (HEADER + '"a" ,c,d\n', "its quoting is broken: text after a closing quote"),
        (HEADER + '"a"\r,c,d\n', "its quoting is broken: text after a closing quote"),
        (HEADER + 'a,b,"c"\r', "its quoting is broken: text after a closing quote"),
        (HEADER + 'a"b",c,d\n', "its quoting is broken: a quote in an unquoted field"),
        (HEADER + 'a,b, "c"\n', "its quoting is broken: a quote in an unquoted field"),
        (HEADER + 'a,b,\r"c"\n', "its quoting is broken: a quote in an unquoted field"),
        ('grant"_"id,status,processed_at\n', "its quoting is broken: a quote in an unquoted field"),
        ('"grant_id,status,processed_at\n', "its quoting is broken: a quote never closes"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_csv_file_is_rejected_for_a_reason(tmp_path, content, why):
    assert reason(tmp_path, content) == why


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (HEADER, []),
        (HEADER.strip(), []),
        ("\ufeff" + HEADER + "a,b,c\n", [("a", "b")]),
        ("\n\r\n" + HEADER + "\n\r\na,b,c\n\n", [("a", "b")]),
        (HEADER + "a,b,c", [("a", "b")]),
        (HEADER + "a,b,c\r\nd,e,f\ng,h,i\r\n", [("a", "b"), ("d", "e"), ("g", "h")]),
        (HEADER + '"a","b","c"\r\n', [("a", "b")]),
        (HEADER + '"a,1","b""2""",c\n', [("a,1", 'b"2"')]),
        (HEADER + '"a\n1","b\r\n2","c\r3"\n', [("a\n1", "b\r\n2")]),
        (HEADER + '"\n\n",,\n', [("\n\n", "")]),
        (HEADER + '"","""",""\n', [("", '"')]),
        (HEADER + "a\rb,\r,c\n", [("a\rb", "\r")]),
        (HEADER + "a,b,c\r\r\n", [("a", "b")]),
        (HEADER + "a,b,\r", [("a", "b")]),
        (HEADER + "\x00,\x01\x02\r,c\n", [("\x00", "\x01\x02\r")]),
        (HEADER + " a ,\tb\t,c\n", [(" a ", "\tb\t")]),
        (HEADER + "null,NA,c\n", [("null", "NA")]),
        (HEADER + "'a','b',c\n", [("'a'", "'b'")]),
        (HEADER + "a\\,b,c\n", [("a\\", "b")]),
        (HEADER + "\u2028,\x85\x0b\x0c,c\n", [("\u2028", "\x85\x0b\x0c")]),
        (HEADER + "ä€😀,b,c\n", [("ä€😀", "b")]),
        ("\ufeff" + '"grant_id","status","processed_at"\r\n\ufeffa,b,c\r\n', [("\ufeffa", "b")]),
        ("processed_at,status,new,grant_id\nc,b,x,a\n", [("a", "b")]),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_csv_file_is_read_as_it_stands(tmp_path, content, records):
    assert acks(tmp_path, content) == records


def test_an_unknown_column_is_told_and_not_read(tmp_path):
    records, tally = read(tmp_path, b"grant_id,new,status,odd,processed_at\na,x,b,y,c\n")
    assert records == {1: ("a", "b", None, "c")}
    assert tally.unknown_columns == ("new", "odd")


def test_a_record_with_the_wrong_number_of_fields_is_set_aside_under_its_number(tmp_path):
    records, tally = read(tmp_path, (HEADER + "\na,b,c\n\r\nd,e\ng,h,i\n,,,\n\nj\rk\n").encode())
    assert sorted(records) == [1, 3]
    assert [(number, extracts.fields_of(text)) for number, text in tally.misfits()] == [
        (2, ["d", "e"]),
        (4, ["", "", "", ""]),
        (5, ["j\rk"]),
    ]
    assert tally.record_count == 5


def test_a_file_with_every_control_character_beside_a_lone_return_is_no_text(tmp_path):
    controls = "".join(chr(number) for number in range(1, 32) if chr(number) not in "\t\n\r")
    assert reason(tmp_path, f"{HEADER}{controls},a\rb,c\n") == "it is not a text file"
    assert acks(tmp_path, f"{HEADER}{controls},b,c\n") == [(controls, "b")]


def test_a_record_without_an_end_is_not_read_into_memory_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(extracts, "CHUNK_BYTES", 100)
    monkeypatch.setattr(extracts, "LONGEST_RECORD_BYTES", 1000)
    assert reason(tmp_path, HEADER + '"' + "a,b,c\n" * 2000).startswith("a record is longer than 1000 bytes")
    assert len(acks(tmp_path, HEADER + "a,b,c\n" * 2000)) == 2000


def quoted(value: str, is_quoted: bool) -> str:
    if is_quoted or any(char in value for char in ',"\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


FIELD = st.text(alphabet='ab,"\n\rä€ \x00\ufeff', max_size=6)
RECORD = st.tuples(FIELD, FIELD, FIELD)


@settings(max_examples=150, deadline=None)
@given(
    table=st.lists(RECORD, max_size=12),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\n\n", "\r\n\n\r\n"]), min_size=1),
    are_quoted=st.lists(st.booleans(), min_size=1),
    has_mark=st.booleans(),
    has_last_end=st.booleans(),
    chunk_bytes=st.integers(1, 40),
    form=st.sampled_from(["csv", "csv.gz"]),
)
@example([("ä", "b\n", '"')] * 3, ["\r\n"], [False], True, False, 1, "csv")
def test_a_table_comes_through_wherever_its_chunks_are_cut(
    tmp_path_factory, table, ends, are_quoted, has_mark, has_last_end, chunk_bytes, form
):
    lines = [",".join(quoted(v, are_quoted[(n + m) % len(are_quoted)]) for m, v in enumerate(record))
             for n, record in enumerate([tuple(HEADER.strip().split(",")), *table])]  # fmt: skip
    text = "".join(line + ends[number % len(ends)] for number, line in enumerate(lines))
    text = text if has_last_end else text.rstrip("\r\n")
    content = (("\ufeff" if has_mark else "") + text).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extracts, "CHUNK_BYTES", chunk_bytes)
        records, tally = read(
            tmp_path_factory.getbasetemp(), gzip.compress(content, 1) if form == "csv.gz" else content, form
        )
    by_csv_module = [record for record in csv.reader(io.StringIO(text, newline="")) if record]
    assert [list(record) for record in table] == by_csv_module[1:]
    assert records == {n: (a, b, None, c) for n, (a, b, c) in enumerate(table, 1)}
    assert (tally.record_count, tally.misfit_count) == (len(table), 0)


@settings(max_examples=400, deadline=None)
@given(body=st.text(alphabet='aä,,"""\n\n\r\ufeff', max_size=30), chunk_bytes=st.sampled_from([1, 2, 3, 7, 1000]))
@example('a,"b"\r', 1000)
@example('""', 1)
@example('\r,,\r\r\n""\n"a\r\n",,', 3)
def test_any_text_at_all_is_read_or_rejected_as_the_reference_does(tmp_path_factory, body, chunk_bytes):
    text = HEADER + body
    try:
        expected = dict(enumerate(reference_files.csv_records(text)[1:], 1))
    except reference_files.Unreadable:
        expected = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extracts, "CHUNK_BYTES", chunk_bytes)
        try:
            records, tally = read(tmp_path_factory.getbasetemp(), text.encode())
        except BadDelivery:
            assert expected is None
            return
    found = {number: [a, b, c] for number, (a, b, _, c) in records.items()}
    found |= {number: extracts.fields_of(line) for number, line in tally.misfits()}
    assert found == expected
    assert tally.record_count == len(expected)


# --- gzip --------------------------------------------------------------------------------------------------------

PLAIN = (HEADER + "a,b,c\n" * 500).encode()
PACKED = gzip.compress(PLAIN)


def test_an_archive_is_read_with_all_its_members(tmp_path):
    packed = gzip.compress(PLAIN) + gzip.compress(b"d,e,f\n") + gzip.compress(b"")
    records, tally = read(tmp_path, packed, "csv.gz")
    assert tally.record_count == 501
    assert records[501] == ("d", "e", None, "f")


@pytest.mark.parametrize(
    "packed",
    [
        PACKED[:-1], PACKED[:-4], PACKED[:-8], PACKED[:-9], PACKED[: len(PACKED) // 2], PACKED[:10], PACKED[:5],
        PACKED[:-8] + (zlib.crc32(PLAIN) ^ 1).to_bytes(4, "little") + PACKED[-4:],
        PACKED[:-4] + (len(PLAIN) + 1).to_bytes(4, "little"),
        PACKED + b"x", PACKED + b"trailing bytes", PACKED + PACKED[:20],
        PLAIN, b"PK\x03\x04", PACKED[:20] + b"\xff\xff\xff" + PACKED[23:],
    ],
    ids=[
        "last byte cut", "length cut", "trailer cut", "data cut", "half of it", "header only", "half a header",
        "wrong CRC", "wrong length",
        "one byte more", "more bytes", "half a member more",
        "not packed", "zip", "damaged inside",
    ],
)  # fmt: skip
def test_a_damaged_archive_is_rejected(tmp_path, packed):
    assert reason(tmp_path, packed, "csv.gz") == "the archive is damaged"


def test_an_empty_archive_lacks_its_columns(tmp_path):
    assert reason(tmp_path, b"", "csv.gz").startswith("a column is missing")
    assert reason(tmp_path, gzip.compress(b""), "csv.gz").startswith("a column is missing")


@pytest.mark.parametrize("form", ["csv", "csv.gz"])
def test_a_delivery_may_unpack_to_the_limit_and_no_more(tmp_path, monkeypatch, form):
    monkeypatch.setattr(extracts, "CHUNK_BYTES", 64)
    content = gzip.compress(PLAIN) if form == "csv.gz" else PLAIN
    assert len(acks(tmp_path, content, form=form, max_bytes=len(PLAIN))) == 500
    assert reason(tmp_path, content, form, max_bytes=len(PLAIN) - 1) == (
        f"it unpacks to more than {len(PLAIN) - 1} bytes (CALLFREE_MAX_DELIVERY_BYTES)"
    )


def test_a_small_archive_that_unpacks_to_much_is_stopped_at_the_limit(tmp_path):
    bomb = gzip.compress(bytes(20_000_000))
    assert reason(tmp_path, bomb, "csv.gz", max_bytes=1_000_000).startswith("it unpacks to more than 1000000 bytes")


# --- Parquet -----------------------------------------------------------------------------------------------------

AT = datetime(2017, 8, 25, 8, 0, 0, 500000)
TEXTS = {"grant_id": ["a"], "status": ["accepted"], "processed_at": ["2017-08-25T08:00:00Z"]}


def parquet(columns: dict[str, object], **options) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.table(columns), sink, **options)
    return sink.getvalue().to_pybytes()


CALL = {
    "call_id": ["c1"], "record_version": ["1"], "subscriber_id": ["anna"], "msisdn": ["+4917655000001"],
    "direction": ["inbound"], "line": ["service"], "started_at": ["2017-08-25T08:00:00Z"], "duration_s": ["60"],
    "outcome": ["answered"], "voided": ["false"],
}  # fmt: skip


def as_text(folder: Path, column: str, values: object, feed: str = "calls") -> list[str | None]:
    """What a column of a Parquet file is read as."""
    count = len(values)
    names = [each.name for each in FEEDS[feed].columns]
    sound = CALL if feed == "calls" else {name: ["x"] for name in names}
    content = parquet({name: value * count for name, value in sound.items()} | {column: values})
    records, _ = read(folder, content, "parquet", feed)
    return [record[names.index(column)] for record in records.values()]


@pytest.mark.parametrize(
    ("column", "values", "texts"),
    [
        ("line", pa.array(["a", "", None, " b ", "ä\n"]), ["a", "", None, " b ", "ä\n"]),
        ("line", pa.array(["a", None], pa.large_string()), ["a", None]),
        ("line", pa.array(["a", None], pa.string_view()), ["a", None]),
        ("line", pa.array(["a", "b", "a", None]).dictionary_encode(), ["a", "b", "a", None]),
        ("line", pa.array(["ä".encode()], pa.binary()), ["ä"]),
        ("line", pa.nulls(2), [None, None]),
        ("duration_s", pa.array([60, 0, None, -1], pa.int64()), ["60", "0", None, "-1"]),
        ("duration_s", pa.array([255], pa.uint8()), ["255"]),
        ("duration_s", pa.array([60.0, None, 0.0]), ["60", None, "0"]),
        ("duration_s", pa.array([5.7, float("nan"), float("inf"), 1e20]), ["5.7", "nan", "inf", "1e+20"]),
        ("duration_s", pa.array([60.0, 60.5], pa.float32()), ["60", "60.5"]),
        ("duration_s", pa.array([Decimal("60.00"), Decimal("5.70")]), ["60", "5.7"]),
        ("voided", pa.array([True, False, None]), ["true", "false", None]),
        ("started_at", pa.array([AT, None], pa.timestamp("us")), ["2017-08-25T08:00:00.500000", None]),
        ("started_at", pa.array([AT], pa.timestamp("ms", "UTC")), ["2017-08-25T08:00:00.500000Z"]),
        ("started_at", pa.array([1503648000999999999], pa.timestamp("ns", "UTC")), ["2017-08-25T08:00:00.999999Z"]),
        ("started_at", pa.array([1503648000], pa.timestamp("s", "UTC")), ["2017-08-25T08:00:00.000000Z"]),
        # The zone says how to show it; the instant is the same.
        ("started_at", pa.array([1503648000000], pa.timestamp("ms", "Europe/Berlin")), ["2017-08-25T08:00:00.000000Z"]),
        ("started_at", pa.array([1503648000000], pa.timestamp("ms", "+02:00")), ["2017-08-25T08:00:00.000000Z"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)  # fmt: skip
def test_a_column_of_the_matching_type_is_read_as_a_csv_file_would_write_it(tmp_path, column, values, texts):
    assert as_text(tmp_path, column, values) == texts


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()], ids=str)
def test_a_date_column_is_read_as_dates(tmp_path, kind):
    found = as_text(tmp_path, "activated_on", pa.array([date(2014, 5, 1), None], kind), feed="subscribers")
    assert found == ["2014-05-01", None]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("line", pa.array([1])),
        ("call_id", pa.array([1])),
        ("msisdn", pa.array([4917655000001])),
        ("direction", pa.array([True])),
        ("duration_s", pa.array([True])),
        ("duration_s", pa.array([AT])),
        ("voided", pa.array([1])),
        ("started_at", pa.array([date(2017, 8, 25)])),
        ("started_at", pa.array([1503648000])),
        ("line", pa.array([["a"]])),
        ("line", pa.array([{"name": "a"}])),
        ("started_at", pa.array([AT.time()])),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else value,
)
def test_a_column_of_another_type_rejects_the_file(tmp_path, column, values):
    content = parquet(CALL | {column: values})
    assert reason(tmp_path, content, "parquet", feed="calls") == f"column {column} has a type that does not match"


def test_a_parquet_file_is_rejected_for_its_columns(tmp_path):
    assert (
        reason(tmp_path, parquet({"grant_id": ["a"], "status": ["b"]}), "parquet")
        == "a column is missing: processed_at"
    )
    doubled = pa.Table.from_arrays([pa.array(["a"])] * 4, names=["grant_id", "status", "processed_at", "status"])
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(doubled, sink)
    assert reason(tmp_path, sink.getvalue().to_pybytes(), "parquet") == "a column is doubled: status"


def test_an_unknown_column_of_a_parquet_file_may_be_anything(tmp_path):
    records, tally = read(tmp_path, parquet(TEXTS | {"new": [[{"deep": 1}]], "odd": [b"\xff"]}), "parquet")
    assert records == {1: ("a", "accepted", None, "2017-08-25T08:00:00Z")}
    assert tally.unknown_columns == ("new", "odd")


def test_records_are_numbered_through_all_row_groups(tmp_path):
    content = parquet({name: value * 25 for name, value in TEXTS.items()}, row_group_size=10)
    records, tally = read(tmp_path, content, "parquet")
    assert list(records) == list(range(1, 26))
    assert tally.record_count == 25


def test_a_parquet_file_without_rows_is_an_empty_day(tmp_path):
    records, tally = read(tmp_path, parquet({name: pa.array([], pa.string()) for name in TEXTS}), "parquet")
    assert (records, tally.record_count) == ({}, 0)


@pytest.mark.parametrize("column", ["grant_id", "reason"])
@pytest.mark.parametrize("kind", [pa.string(), pa.binary()], ids=str)
def test_text_of_a_parquet_file_must_be_utf_8(tmp_path, column, kind):
    values = pa.array([b"\xff"], pa.binary()).view(kind)
    assert reason(tmp_path, parquet(TEXTS | {column: values}), "parquet") == "it is not valid UTF-8"


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR1PAR1", HEADER.encode(), PACKED], ids=["nothing", "mark", "marks", "csv", "gzip"]
)
def test_what_is_no_parquet_file_is_rejected(tmp_path, content):
    assert reason(tmp_path, content, "parquet") == "the Parquet file is damaged"


def test_a_parquet_file_that_is_cut_is_rejected(tmp_path):
    content = parquet(TEXTS)
    for kept in (len(content) - 1, len(content) - 8, len(content) // 2, 4):
        assert reason(tmp_path, content[:kept], "parquet") == "the Parquet file is damaged"


def test_a_parquet_file_damaged_anywhere_is_rejected_or_read_and_never_more(tmp_path):
    content = parquet(
        {name: [f"{value[0]}-{number}" for number in range(50)] for name, value in TEXTS.items()},
        write_page_checksum=True, compression="snappy",
    )  # fmt: skip
    sound, _ = read(tmp_path, content, "parquet")
    read_wrong = 0
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 0x15
        try:
            records, _ = read(tmp_path, bytes(damaged), "parquet")
        except BadDelivery:
            continue
        read_wrong += records != sound
    assert read_wrong == 0


def test_a_parquet_file_that_hides_how_much_it_unpacks_to_is_stopped(tmp_path):
    """One long text in a dictionary, named by every row: the file's own figure counts it once."""
    long = pa.array(["x" * 10_000]).dictionary_encode().take(pa.array([0] * 40_000))
    content = parquet({name: pa.array(value * 40_000) for name, value in TEXTS.items()} | {"reason": long})
    assert len(content) < 100_000
    assert reason(tmp_path, content, "parquet", max_bytes=50_000_000).startswith(
        "it unpacks to more than 50000000 bytes"
    )


def test_a_parquet_file_that_unpacks_to_more_than_the_limit_is_rejected(tmp_path):
    content = parquet({name: value * 10_000 for name, value in TEXTS.items()}, use_dictionary=False)
    assert len(content) < 100_000
    assert reason(tmp_path, content, "parquet", max_bytes=100_000) == (
        "it unpacks to more than 100000 bytes (CALLFREE_MAX_DELIVERY_BYTES)"
    )
