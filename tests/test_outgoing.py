"""A file that goes out: its bytes, and the order in which it becomes durable, named, announced and marked."""

import os
from datetime import date
from pathlib import Path

import duckdb
import pytest

from flows.errors import GateFailed, Passing, masked
from flows.settings import Settings
from flows.steps import files, ledger, outgoing, publish, run
from flows.steps.files import write_whole
from flows.steps.home import lock
from flows.steps.run import run_day
from flows.steps.warehouse import connect
from test_recovery import Home


def test_a_file_out_is_sorted_in_byte_order_and_quoted_only_where_it_must_be():
    values = [("b", "x,y"), ("a", 'say "x"'), ("B", "two\nlines"), ("ä", "plain; 'text'"), ("aa", None), ("a-", " x")]
    with duckdb.connect() as connection:
        connection.execute("create table listed (name varchar, value varchar)")
        connection.executemany("insert into listed values (?, ?)", values)
        content = b"".join(outgoing.render(connection, "listed", ("name", "value")))
    assert content.decode() == ('name,value\nB,"two\nlines"\na,"say ""x"""\na-, x\naa,\nb,"x,y"\nä,plain; \'text\'\n')


def test_a_long_file_comes_in_pieces_and_in_order(monkeypatch):
    monkeypatch.setattr(outgoing, "_LINES_A_PIECE", 7)
    with duckdb.connect() as connection:
        connection.execute(
            "create table listed as select printf('%04d', range) as name from range(100) order by random()"
        )
        pieces = list(outgoing.render(connection, "listed", ("name",)))
    assert len(pieces) == 1 + 15
    assert b"".join(pieces).decode().split() == ["name", *(f"{number:04d}" for number in range(100))]


def test_a_file_is_durable_before_it_has_its_name_and_its_name_is_durable_after(tmp_path, monkeypatch):
    done = []

    def noted(what, act):
        def call(*arguments):
            done.append((what, (tmp_path / "out.csv").exists()))
            return act(*arguments)

        return call

    monkeypatch.setattr(files.os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(files.os, "replace", noted("replace", os.replace))
    write_whole(tmp_path / "out.csv", [b"a", b"b"])
    assert done == [("fsync", False), ("replace", False), ("fsync", True)]
    assert os.listdir(tmp_path) == ["out.csv"]


def test_a_home_that_cannot_be_opened_is_named_in_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", ".lock.holder")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(Passing, match=r"opening the home failed: No space left on device \(.lock.holder\)"):
        with lock(Settings(home=tmp_path), "a test"):
            pass


def test_a_file_that_could_not_be_written_whole_has_no_name(tmp_path):
    def pieces():
        yield b"half"
        raise OSError(28, "No space left on device")

    (tmp_path / "out.csv").write_bytes(b"before")
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "out.csv", pieces())
    assert (tmp_path / "out.csv").read_bytes() == b"before"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("home"))
    home.enrol()
    return home


def test_a_batch_whose_gate_fails_is_not_posted(home, monkeypatch):
    def fails(*_arguments):
        raise GateFailed("batch", ("every id is new",), "page.html")

    monkeypatch.setattr(run, "require_batch", fails)
    with pytest.raises(GateFailed):
        run_day(home.settings, date(2017, 7, 3))
    assert home.posted() == []


def test_the_manifest_comes_after_its_file_and_the_mark_after_the_manifest(home, monkeypatch):
    done = []
    write, record = publish.write_whole, ledger.record_publication
    monkeypatch.setattr(publish, "write_whole", lambda path, chunks: (done.append(path.name), write(path, chunks))[1])
    monkeypatch.setattr(
        ledger, "record_publication", lambda connection, name: (done.append(f"mark {name}"), record(connection, name))
    )
    assert run_day(home.settings, date(2017, 7, 3)).posting.grant_count == 1
    assert [what for what in done if "grants_2" in what] == [
        "grants_20170703_01.csv",
        "grants_20170703_01.manifest.json",
        "mark grants_20170703_01.csv",
    ]


def test_a_file_that_would_not_be_what_was_posted_is_not_published(home):
    with connect(home.settings.ledger) as connection:
        connection.execute("delete from publications where file_name like 'grants_20170703%'")
        connection.execute("update grants set volume_mb = 601")
    with pytest.raises(Exception, match="the ledger is damaged"):
        publish.publish(home.settings)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("calls_+4917655987654.csv", "calls_NUMBER.csv"),
        ("0176 5598-765.csv", "NUMBER.csv"),
        ("(0176) 12 34 56.csv", "NUMBER.csv"),
        ("anna.person@example.org.csv", "ADDRESS"),
        ("calls_anna@example.org_20170825.csv", "ADDRESS_20170825.csv"),
        ("anna_maria.person@example.org", "ADDRESS"),
        ("rueckruf_0176_550_0001.csv", "rueckruf_NUMBER.csv"),
        ("calls_20170825_2.csv", "calls_20170825_2.csv"),
        ("calls_20170825_0176550.csv", "calls_20170825_NUMBER.csv"),
        ("calls_0176_20170825.csv", "calls_NUMBER.csv"),
        ("calls_20170825-5500.csv", "calls_NUMBER.csv"),
        ("calls_20170231.csv", "calls_20170231.csv"),
        ("calls_2017-08-25.csv", "calls_2017-08-25.csv"),
        ("calls_20170825.csv.2", "calls_20170825.csv.2"),
        ("calls_31129999.csv", "calls_NUMBER.csv"),
    ],
)
def test_a_name_is_shown_without_numbers_and_addresses(name, shown):
    assert masked(name) == shown
