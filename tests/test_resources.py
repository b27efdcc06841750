"""A full disk, folders that cannot be written, little memory: one clear line, and the next run goes on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from fault_stage import Scene, Stage, landing_without_gates, posting, quickly, run_for
from fault_world import BUSY, FaultHome
from faults import assert_same, dice, dies_at, in_a_child, points_of, standing
from flows.errors import CallfreeError, guarded
from flows.settings import Settings
from flows.steps.ledger import held_open, open_ledger
from flows.steps.warehouse import connect
from promises import broken_promises

pytestmark = pytest.mark.promise(7)

LANDING = Scene("busy_morning", landing_without_gates, landing_without_gates)
POSTING = Scene("landed_and_derived", posting, run_for(BUSY))
RUN = Scene("busy_morning", run_for(BUSY), run_for(BUSY))


@contextmanager
def mounted(folder: Path, kilobytes: int = 200_000) -> Iterator[None]:
    """A file system of its own on the folder, with what was in it."""
    aside = folder.with_name(folder.name + ".aside")
    folder.rename(aside)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], check=True)
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", folder], check=True)
        shutil.rmtree(aside)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def may_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not may_mount(), reason="only root may mount small file systems")


def fails_plainly(stage: Stage, action) -> str | None:
    """The one line in which it fails, None where it does not; anything but a line fails the test."""

    def act() -> str | None:
        try:
            quickly(action)(stage.home)
        except CallfreeError as error:
            return str(error)

    line = in_a_child(act).result()
    assert line is None or ("\n" not in line and len(line) < 400), line
    return line


# --- A full disk --------------------------------------------------------------------------------------------------


@needs_mounts
@pytest.mark.faults
@pytest.mark.parametrize("name", ["landing", "posting", "run"])
def test_where_the_disk_is_full_the_next_run_completes(request, name, tried):
    stage = request.getfixturevalue("book_stage" if name == "landing" else "stage")
    scene = {"landing": LANDING, "posting": POSTING, "run": RUN}[name]
    expected = stage.undisturbed(scene)
    refused = 0
    for spare in [0, *sorted(dice(f"full {name}").sample(range(8, 2400, 8), 3 if name == "run" else 7))]:
        stage.bring(scene.state)
        with mounted(stage.snapshots.place):
            filler = stage.snapshots.place / "filler"
            free = shutil.disk_usage(stage.snapshots.place).free
            with open(filler, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(free - spare * 1024, 1))
            refused += fails_plainly(stage, scene.action) is not None
            filler.unlink()
            found, broken = stage.do(
                lambda home: (quickly(scene.recovery)(home), standing(home), broken_promises(home))[1:]
            )
        assert_same(expected, found, f"with {spare} KB to spare in {name}")
        assert broken == []
    assert refused > 0
    tried(f"disk full in a {name}", refused)


# --- Folders ------------------------------------------------------------------------------------------------------

FOLDERS = ("inbox", "archive", "rejected", "held", "outbox/grants", "published", "backups")


@needs_mounts
@pytest.mark.faults
@pytest.mark.parametrize("elsewhere", [("inbox",), ("archive", "rejected", "held"), FOLDERS], ids="+".join)
def test_folders_may_lie_on_different_file_systems(book_stage, elsewhere, tried):
    """And a landing that is killed there is mended all the same."""
    stage = book_stage
    expected = stage.undisturbed(LANDING)
    stage.bring(LANDING.state)
    place = stage.snapshots.place / "home"

    def on_mounts(action):
        (place / "backups").mkdir(exist_ok=True)
        with mounted(place / elsewhere[0]) if len(elsewhere) == 1 else nested([place / each for each in elsewhere]):
            return action()

    count = len(on_mounts(lambda: points_of(lambda: quickly(landing_without_gates)(stage.home))))
    numbers = [count + 1, *dice(f"elsewhere {elsewhere}").sample(range(1, count + 1), 10)]
    for number in numbers:
        stage.bring(LANDING.state)

        def killed_and_mended(number=number) -> dict:
            dies_at(number, lambda: quickly(landing_without_gates)(stage.home))
            return stage.stands_after(landing_without_gates)

        found = on_mounts(killed_and_mended)
        # A pipe holds nothing, so across file systems its reason alone is kept.
        pipes = [name for name, kind in expected.items() if kind == "neither file nor folder"]
        assert_same(
            {name: kept for name, kept in expected.items() if name not in pipes},
            {name: kept for name, kept in found.items() if name not in pipes},
            f"{elsewhere}, killed at point {number} of {count}",
        )
    tried("folders on other file systems, killed or not", len(numbers))


@contextmanager
def nested(folders: list[Path]) -> Iterator[None]:
    if not folders:
        yield
        return
    with mounted(folders[0]), nested(folders[1:]):
        yield


@needs_mounts
@pytest.mark.faults
# Not `rejected`: the mount makes it a file system of its own, and a pipe cannot be moved to one.
@pytest.mark.parametrize("folder", ["archive", "outbox/grants", "published", "backups", ".work"])
def test_a_folder_that_cannot_be_written_is_named_and_the_next_run_completes(stage, folder, tried):
    expected = stage.undisturbed(RUN)
    stage.bring(RUN.state)
    path = stage.snapshots.place / "home" / folder
    with mounted(path):
        subprocess.run(["mount", "-o", "remount,ro", path], check=True)
        line = fails_plainly(stage, RUN.action)
        assert line is not None
        subprocess.run(["mount", "-o", "remount,rw", path], check=True)
        found, broken = stage.do(lambda home: (quickly(RUN.recovery)(home), standing(home), broken_promises(home))[1:])
    assert_same(expected, found, f"{folder} could not be written: {line}")
    assert broken == []
    tried("folders that cannot be written", 1)


def test_folders_that_are_missing_are_made_again(book_stage, tried):
    def check(home: FaultHome):
        for folder in ("inbox", "held", "rejected", "outbox", "published", "reports"):
            shutil.rmtree(home.settings.home / folder)
        FaultHome(home.settings.home.parent)
        landing_without_gates(home)
        return sorted(path.name for path in home.settings.home.iterdir() if path.is_dir())

    book_stage.bring("until_the_draw")
    assert {"inbox", "held", "rejected", "outbox", "published"} <= set(book_stage.do(check))
    tried("folders that are missing", 6)


# --- Memory -------------------------------------------------------------------------------------------------------


def test_the_memory_that_was_set_is_the_limit_of_both_files_as_long_as_they_are_held_open(tmp_path, monkeypatch):
    monkeypatch.setenv("CALLFREE_MEMORY", "512MB")
    settings = Settings(home=tmp_path)
    with held_open(settings):
        for path in (settings.warehouse, settings.ledger):
            with connect(path) as connection:
                assert connection.execute("select current_setting('memory_limit')").fetchone() == ("488.2 MiB",)


def test_the_ledger_of_an_earlier_version_has_every_table_once_it_is_held_open(tmp_path):
    settings = Settings(home=tmp_path)
    with open_ledger(settings) as connection:
        connection.execute("drop table approvals; drop table held_batches")
    with held_open(settings), open_ledger(settings) as connection:
        assert connection.execute("select count(*) from approvals, held_batches").fetchone() == (0,)


def test_where_the_memory_that_was_set_is_too_little_the_way_out_is_named():
    def asks_too_much():
        with guarded("post"), duckdb.connect() as connection:
            connection.execute("set memory_limit = '10MB'; set temp_directory = ''")
            connection.execute("create table large as select repeat('x', 99) || i from range(1000000) as numbers (i)")

    with pytest.raises(CallfreeError, match=r"^post failed: OutOfMemoryException\. Set CALLFREE_MEMORY higher"):
        asks_too_much()


def test_where_a_database_cannot_be_written_the_way_out_is_named(tmp_path):
    with pytest.raises(CallfreeError, match=r"^derive failed: IOException\. Make room where the disk is full"):
        with guarded("derive"), duckdb.connect(tmp_path) as connection:
            connection.execute("select 1")


@pytest.mark.faults
def test_with_too_little_memory_a_run_says_so_and_the_next_completes(stage, tried):
    expected = stage.undisturbed(RUN)
    refused = 0
    for megabytes in (2, 8):
        stage.bring(RUN.state)

        def starved(home: FaultHome, megabytes=megabytes) -> None:
            connect = duckdb.connect

            def with_little(*arguments, **options):
                connection = connect(*arguments, **options)
                connection.execute(f"set memory_limit = '{megabytes}MB'; set temp_directory = ''")
                return connection

            duckdb.connect = with_little
            run_for(BUSY)(home)

        refused += fails_plainly(stage, starved) is not None
        found, broken = stage.do(lambda home: (quickly(RUN.recovery)(home), standing(home), broken_promises(home))[1:])
        assert_same(expected, found, f"with {megabytes} MB of memory")
        assert broken == []
    assert refused > 0
    tried("too little memory", refused)
