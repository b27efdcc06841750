"""What is published depends on deliveries, policy and run dates alone; and one writer works on a home at a time."""

import os
import signal
import subprocess
import sys
import time

import duckdb
import pytest

from fault_stage import quickly, run_for
from fault_world import BUSY, FaultHome
from faults import SEED, Child, assert_same, dice, standing
from flows.errors import CallfreeError
from flows.settings import PROJECT
from flows.steps.home import lock
from flows.steps.run import run_day
from promises import broken_promises


@pytest.fixture(scope="module")
def calm(stage):
    stage.bring("busy_morning")
    return stage.stands_after(run_for(BUSY))


def any_order(home: FaultHome) -> None:
    """The files come in another order, at other times."""
    inbox = home.settings.inbox
    aside = inbox.with_name("aside")
    inbox.rename(aside)
    inbox.mkdir()
    names = sorted(os.listdir(aside))
    chance = dice("order of arrival")
    chance.shuffle(names)
    for name in names:
        (aside / name).rename(inbox / name)
        if (inbox / name).is_file():
            os.utime(inbox / name, (chance.randint(0, 2**31),) * 2)


def repeated(home: FaultHome) -> None:
    """The day is run once more, with what it has landed already sent again."""
    run_day(home.settings, BUSY)
    for path in home.settings.archive.glob(f"*/*{BUSY:%Y%m%d}.csv"):
        home.deliver(path.name, path.read_bytes())


def one_thread(_home: FaultHome) -> None:
    set_in_duckdb("set threads = 1")


def many_threads(_home: FaultHome) -> None:
    set_in_duckdb("set threads = 7; set preserve_insertion_order = false")


def little_memory(_home: FaultHome) -> None:
    set_in_duckdb("set memory_limit = '100MB'")


def much_memory(_home: FaultHome) -> None:
    set_in_duckdb("set memory_limit = '16GB'")


def no_optimizer(_home: FaultHome) -> None:
    set_in_duckdb("pragma disable_optimizer")


def set_in_duckdb(settings: str) -> None:
    connect = duckdb.connect

    def with_settings(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute(settings)
        return connection

    duckdb.connect = with_settings


def in_zone(zone: str):
    def move(_home: FaultHome) -> None:
        os.environ["TZ"] = zone
        time.tzset()

    return move


CIRCUMSTANCES = {
    "any order of arrival": any_order,
    "a run repeated with repeated deliveries": repeated,
    "one thread": one_thread,
    "seven threads that keep no order": many_threads,
    "100 MB of memory": little_memory,
    "16 GB of memory": much_memory,
    "queries that are executed as they are written": no_optimizer,
    "Kiritimati, a day ahead": in_zone("Pacific/Kiritimati"),
    "Los Angeles, behind": in_zone("America/Los_Angeles"),
}


@pytest.mark.promise(1)
@pytest.mark.faults
@pytest.mark.parametrize("circumstance", CIRCUMSTANCES)
def test_the_published_files_are_the_same_with(stage, calm, circumstance, tried):
    def act(home: FaultHome) -> dict[str, bytes]:
        CIRCUMSTANCES[circumstance](home)
        run_day(home.settings, BUSY)

    stage.bring("busy_morning")
    found = stage.stands_after(act)
    assert_same(published(calm), published(found), circumstance)
    tried("circumstances of a machine", 1)


def published(stands: dict) -> dict:
    return {name: content for name, content in stands.items() if name.startswith(("outbox/", "ledger grants"))}


RUN = """
import sys
from datetime import date
from pathlib import Path
from flows.settings import Settings
from flows.steps.run import run_day

run_day(Settings(), date.fromisoformat(sys.argv[1]))
"""


@pytest.mark.promise(1)
@pytest.mark.faults
@pytest.mark.parametrize("machine", [("C", "0"), ("de_DE.UTF-8", "4711"), ("tr_TR.UTF-8", "1")], ids=" ".join)
def test_the_published_files_are_the_same_in_a_process_with_another_locale_and_hash_seed(stage, calm, machine, tried):
    locale, hash_seed = machine
    stage.bring("busy_morning")
    environment = {
        "LC_ALL": locale, "LANG": locale, "PYTHONHASHSEED": hash_seed, "TZ": "Asia/Kathmandu",
        "CALLFREE_HOME": str(stage.home.settings.home), "CALLFREE_POLICY": str(stage.home.settings.policy),
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-c", RUN, str(BUSY)], cwd=PROJECT, env=os.environ | environment, check=True,
        capture_output=True,
    )  # fmt: skip
    assert_same(published(calm), published(stage.do(standing)), f"{machine}")
    tried("locales, hash seeds and time zones of a process", 1)


# --- One writer ---------------------------------------------------------------------------------------------------


def holds(home: FaultHome) -> None:
    with lock(home.settings, "callfree run for 2017-10-04"):
        time.sleep(600)


def attempt(home: FaultHome) -> str | None:
    try:
        with lock(home.settings, "the next"):
            return None
    except CallfreeError as error:
        return str(error)


def is_held_by(holder: Child, home: FaultHome) -> bool:
    """By what it has noted: to try the lock would be to take it, and then the holder does not get it."""
    note = home.settings.home / ".lock.holder"
    return note.is_file() and f"process {holder.pid} on" in note.read_text()


@pytest.mark.promise(5)
def test_while_one_process_works_all_others_are_told_who_and_a_dead_one_holds_nothing(book_stage, tried):
    book_stage.snapshots.place.mkdir(parents=True, exist_ok=True)
    chance = dice("one writer")
    for _ in range(5):
        holder = Child(lambda: holds(book_stage.home))
        while not is_held_by(holder, book_stage.home):
            time.sleep(0.01)
        others = [Child(lambda: attempt(book_stage.home)) for _ in range(chance.randint(1, 3))]
        told = [other.wait().result() for other in others]
        assert all(f"in use by callfree run for 2017-10-04 (process {holder.pid} on " in word for word in told), told
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert book_stage.do(attempt) is None, f"CALLFREE_SEED={SEED}"
    tried("writers killed while they held the home", 5)


@pytest.mark.promise(3)
@pytest.mark.faults
def test_nothing_is_decided_on_an_incomplete_day(stage, tried):
    """The last day of the settlement is missing: nothing of the quarter is granted until it has come."""
    stage.bring("busy_morning")

    def loses_a_day(home: FaultHome) -> tuple[list[str], list[str], list[str]]:
        name = f"calls_{BUSY:%Y%m%d}.csv"
        kept = (home.settings.inbox / name).read_bytes()
        (home.settings.inbox / name).unlink()
        quickly(run_for(BUSY))(home)
        early = [row[0] for row in home._ask("select grant_id from ledger.grants where quarter > 0")]
        broken = broken_promises(home)
        home.deliver(name, kept)
        quickly(run_for(BUSY))(home)
        late = [row[0] for row in home._ask("select grant_id from ledger.grants where quarter > 0")]
        return early, late, [*broken, *broken_promises(home)]

    early, late, broken = stage.do(loses_a_day)
    assert (early, broken) == ([], [])
    assert len(late) == 2
    tried("a day missing in a quarter", 1)
