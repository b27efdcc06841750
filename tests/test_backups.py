"""A ledger that is lost, damaged or old: noticed before anything is posted twice, and brought back."""

import json
import os
import shutil
from datetime import timedelta

import pytest

from fault_stage import quickly, run_for
from fault_world import ENROLMENT, EVE, FaultHome, events_of, newcomers
from faults import assert_same, dice, standing
from flows.errors import CallfreeError
from flows.steps import backups, ledger, ledger_growth, operator, restoring
from flows.steps.run import rebuild

pytestmark = pytest.mark.promise(6)
NEXT = ENROLMENT + timedelta(days=1)


@pytest.fixture
def at_work(stage):
    """Does something in the home after the run that enrols two, in a process of its own."""

    def do(action):
        stage.bring("enrolled")
        return stage.do(action)

    return do


def told(home: FaultHome, action) -> str:
    """What a command that must not be done says."""
    with pytest.raises(CallfreeError) as refused:
        action(home)
    return str(refused.value)


def restore(home, name=None, replace=False, void=False) -> restoring.Restored:
    return restoring.restore(home.settings, name, replace, void)


def copies(home) -> list[backups.Copy]:
    return backups.copies(home.settings)


def spoil(path, at: int = 8000) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 255]))


def next_run(home) -> None:
    home.put_days(NEXT, NEXT)
    quickly(run_for(NEXT))(home)


# --- Copies -------------------------------------------------------------------------------------------------------


def test_the_latest_copy_equals_the_ledger_after_each_run(at_work):
    def check(home):
        latest = copies(home)[0]
        assert backups.fault_of(latest) is None
        with ledger.open_copy(latest.path) as copied, ledger.open_ledger(home.settings) as own:
            for table in ("deliveries", "batches", "grants", "publications", "members", "decisions"):
                rows = f"from {table} order by all"
                assert copied.execute(rows).fetchall() == own.execute(rows).fetchall() != [(0,)]
        return latest.growth.rows["grants"]

    assert at_work(check) == 2


def test_nothing_goes_out_that_no_copy_knows(at_work):
    """A copy is taken between the posting and the publication."""

    def check(home):
        known = []
        for copy in copies(home):
            with ledger.open_copy(copy.path) as connection:
                known.append((set(name for name, _ in ledger.files_out(connection)), set(copy.growth.went_out)))
        assert [files - out for files, out in known] == [
            set(), {"grants_20170703_01.csv"}, set(), {"grants_20170702_01.csv", "invitations_w.csv"}, set(),
            {"grants_20170701_01.csv"},
        ]  # fmt: skip

    at_work(check)


def test_a_run_that_changes_nothing_takes_no_copy(at_work):
    def check(home):
        before = [copy.number for copy in copies(home)]
        quickly(run_for(ENROLMENT))(home)
        return before == [copy.number for copy in copies(home)]

    assert at_work(check)


def test_the_latest_copies_are_kept(at_work):
    def check(home):
        home.settings = home.settings.model_copy(update={"keep_backups": 2})
        next_run(home)
        assert [copy.number for copy in copies(home)] == [8, 7]
        assert len(os.listdir(home.settings.backups_folder)) == 4

    at_work(check)


def test_a_run_whose_copy_fails_has_published_and_says_that_it_failed(at_work):
    def check(home):
        shutil.rmtree(home.settings.backups_folder)
        home.settings.backups_folder.write_bytes(b"")
        failure = told(home, next_run)
        assert "grants/grants_20170704_01.csv" in home.outbox
        return failure

    assert at_work(check).startswith("back_up failed: ")


# --- Noticed ------------------------------------------------------------------------------------------------------


def without(home):
    home.settings.ledger.unlink()


def from_before(home):
    shutil.copyfile(copies(home)[-1].path, home.settings.ledger)


def from_before_and_without_a_note(home):
    from_before(home)
    home.settings.ledger_note.unlink()


def empty(home):
    home.settings.ledger.write_bytes(b"")


def garbage(home):
    home.settings.ledger.write_bytes(b"garbage" * 9999)


def cut_off(home):
    os.truncate(home.settings.ledger, home.settings.ledger.stat().st_size // 2)


def of_another_home(home):
    """As many rows, but other ones."""
    with ledger.open_ledger(home.settings) as connection:
        connection.execute("create table kept as from batches")
        connection.execute("create table kept_grants as from grants")
        connection.execute("delete from grants")
        connection.execute("delete from batches where sequence = 3")
        connection.execute(
            "insert into batches select * replace ('x' as sha256) from kept where sequence = 3;"
            "insert into grants from kept_grants; drop table kept; drop table kept_grants"
        )


NOTICED = {
    without: "ledger.duckdb is missing, and this home has been used",
    from_before: "it lacks 6 deliveries, 1 draws, 2 enrolments, 2 grant files, 2 grants",
    from_before_and_without_a_note: "The outbox holds grants_20170702_01.csv, of which the ledger knows nothing",
    empty: "ledger.duckdb is damaged",
    garbage: "ledger.duckdb is damaged",
    cut_off: "ledger.duckdb is damaged",
    of_another_home: "ledger.duckdb is not the ledger of this home",
}


@pytest.mark.parametrize("harm", NOTICED, ids=lambda harm: harm.__name__)
def test_a_ledger_that_lost_something_is_refused_and_a_restore_brings_it_back(at_work, harm):
    def check(home):
        calm = standing(home)
        harm(home)
        outbox = home.outbox
        home.put_days(NEXT, NEXT)
        for action in (run_for(NEXT), lambda home: rebuild(home.settings)):
            refused = told(home, action)
            assert NOTICED[harm] in refused
            assert "callfree restore" in refused
        assert home.outbox == outbox
        for path in home.settings.inbox.iterdir():
            path.unlink()
        restore(home, replace=harm is of_another_home)
        assert_same(calm, standing(home), "restored")
        next_run(home)
        return home.outbox

    after = at_work(check)
    assert after == at_work(lambda home: (next_run(home), home.outbox)[1])


def test_a_ledger_damaged_anywhere_is_refused(at_work):
    def check(home):
        sound = home.settings.ledger.read_bytes()
        silent, refused = [], set()
        for at in sorted(dice("damage").sample(range(50, len(sound)), 12)):
            spoil(home.settings.ledger, at)
            try:
                ledger_growth.check_ledger(home.settings)
                silent.append(at)
            except CallfreeError as error:
                refused.add(str(error))
            home.settings.ledger.write_bytes(sound)
        # What is damaged where nothing is stored does no harm.
        for at in silent:
            spoil(home.settings.ledger, at)
        quickly(run_for(ENROLMENT))(home)
        return refused

    refused = at_work(check)
    assert refused
    assert all("callfree restore" in word for word in refused)


def test_a_damaged_warehouse_is_named_and_a_rebuild_makes_it_anew(at_work):
    def check(home):
        calm = standing(home)
        size = home.settings.warehouse.stat().st_size
        for at in range(12288 + 50, size, 4096):
            spoil(home.settings.warehouse, at)
        home.put_days(NEXT, NEXT)
        refused = told(home, run_for(NEXT))
        for path in home.settings.inbox.iterdir():
            path.unlink()
        rebuild(home.settings)
        assert_same(calm, standing(home), "rebuilt")
        return refused

    assert "warehouse.duckdb is damaged" in (refused := at_work(check))
    assert refused.endswith("callfree rebuild makes it anew.")


# --- Brought back -------------------------------------------------------------------------------------------------


def test_a_whole_ledger_is_not_replaced_without_being_told(at_work):
    assert "there is nothing to restore" in at_work(lambda home: told(home, restore))


def test_a_damaged_copy_is_passed_over(at_work):
    def check(home):
        spoil(copies(home)[0].path)
        without(home)
        restored = restore(home)
        return restored.passed_over, restored.copy, home.settings.ledger.is_file()

    passed_over, copy, is_there = at_work(check)
    assert passed_over == ("ledger_000006.duckdb: its digest does not match its manifest",)
    assert (copy, is_there) == ("ledger_000005.duckdb", True)


def test_where_no_copy_is_good_nothing_is_done(at_work):
    def check(home):
        for copy in copies(home):
            spoil(copy.path)
        without(home)
        return told(home, restore), told(home, lambda home: restore(home, "ledger_000099.duckdb"))

    none, unknown = at_work(check)
    assert none.startswith("No copy can be trusted: ledger_000006.duckdb: its digest")
    assert unknown.startswith("There is not a copy called ledger_000099.duckdb")


def test_what_went_out_after_the_copy_is_not_put_into_the_outbox_again(at_work):
    def check(home):
        """The copy taken before the publication; billing has taken the file away since."""
        for path in home.settings.grants_outbox.iterdir():
            path.unlink()
        without(home)
        assert restore(home, "ledger_000005.duckdb").lost is None
        quickly(run_for(ENROLMENT))(home)
        return home.outbox

    assert [name for name in at_work(check) if name.startswith("grants")] == []


def test_a_copy_that_does_not_know_what_went_out_is_refused_until_it_is_void(at_work):
    def check(home):
        name = copies(home)[-1].path.name
        without(home)
        refused = told(home, lambda home: restore(home, name))
        assert not home.settings.ledger.is_file()
        restored = restore(home, name, void=True)
        quickly(run_for(EVE))(home)
        quickly(run_for(ENROLMENT))(home)
        return refused, restored, home.outbox, home.settings.backups_folder

    refused, restored, outbox, folder = at_work(check)
    assert "does not know grants_20170702_01.csv, grants_20170703_01.csv, invitations_w.csv, which went out" in refused
    assert restored.voided == ("grants_20170702_01.csv", "grants_20170703_01.csv", "invitations_w.csv")
    assert (folder / "void" / "grants_20170703_01.csv").is_file()
    assert sorted(restored.deliveries) == sorted(
        f"{feed}_2017070{day}.csv" for feed in ("app_events", "calls", "subscribers") for day in (2, 3)
    )
    assert outbox == at_work(lambda home: home.outbox)


def test_deliveries_that_the_copy_does_not_know_are_landed_again(at_work):
    """Of several for a day the newest counts, as it did."""

    def check(home):
        name = copies(home)[0].path.name
        for rows in ("", newcomers(NEXT, 1), newcomers(NEXT, 1, 2)):
            home.put("subscribers", NEXT, rows)
            home.put("app_events", NEXT, events_of("new1", NEXT) if rows else "")
            operator_lands(home)
        before = home.settings.archive.joinpath("subscribers").glob("*0704*")
        assert len(list(before)) == 3
        with ledger.open_ledger(home.settings) as connection:
            in_force = {day: row.sha256 for day, row in ledger.in_force(ledger.deliveries(connection)).items()}
        without(home)
        restored = restore(home, name)
        operator_lands(home)
        with ledger.open_ledger(home.settings) as connection:
            again = {day: row.sha256 for day, row in ledger.in_force(ledger.deliveries(connection)).items()}
        return in_force == again, restored

    is_same, restored = at_work(check)
    assert is_same
    assert sorted(restored.deliveries) == ["app_events_20170704.csv", "subscribers_20170704.csv"]
    assert len(restored.left_in_archive) == 3


def operator_lands(home) -> None:
    from flows.steps.landing import land

    land(home.settings, NEXT)


def test_what_is_held_goes_where_the_restored_ledger_says(at_work):
    """Held when the copy was taken, accepted and loaded since."""

    def check(home):
        home.put("subscribers", NEXT, newcomers(NEXT, 1, 2, 3, 4))
        operator_lands(home)
        home.put("subscribers", NEXT, newcomers(NEXT, 1))
        operator_lands(home)
        name = backups.back_up(home.settings).path.name
        held = home.held
        operator.accept(home.settings, "subscribers_20170704.csv", "right")
        operator_lands(home)
        assert home.held == set()
        restore(home, name, replace=True)
        assert home.held == held == {"subscribers_20170704.csv"}
        operator.accept(home.settings, "subscribers_20170704.csv", "right")
        operator_lands(home)
        return home.held

    assert at_work(check) == set()


def test_lost_words_of_operators_are_told(at_work):
    def check(home):
        name = copies(home)[0].path.name
        operator.waive(home.settings, "calls", NEXT, "lost", NEXT + timedelta(days=9))
        backups.back_up(home.settings)
        return restore(home, name, replace=True).lines()

    assert "it lacks 1 operators' words that were there" in at_work(check)


def test_what_was_there_is_kept(at_work):
    def check(home):
        damaged = b"garbage" * 9999
        garbage(home)
        restore(home)
        return (home.settings.backups_folder / "replaced_ledger.duckdb").read_bytes() == damaged

    assert at_work(check)


def test_a_damaged_note_is_named(at_work):
    def check(home):
        home.settings.ledger_note.write_text("{")
        return told(home, run_for(ENROLMENT))

    assert "ledger_note.json is damaged" in at_work(check)


def test_a_copy_says_in_its_manifest_what_it_holds(at_work):
    def check(home):
        copy = copies(home)[0]
        manifest = json.loads(copy.path.with_suffix(".json").read_text())
        return manifest["growth"]["rows"]["batches"], manifest["sha256"], copy.sha256

    batches, told_digest, digest = at_work(check)
    assert (batches, told_digest) == (3, digest)
