"""A ledger that is lost, damaged or old: noticed before anything is posted twice, and brought back.

The home lands real deliveries and publishes real files; what dbt would have found due is put into the ledger by hand.
"""

import gzip
import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
from click.testing import CliRunner

from fault_stage import run_for
from fault_world import ENROLMENT, EVE, FIRST, NEXT, BookHome, events_of, header, newcomers
from faults import assert_same, dice, standing
from flows import cli
from flows.errors import CallfreeError, WrongUsage
from flows.settings import Settings
from flows.steps import backups, crash_points, ledger, ledger_growth, operator, restoring
from flows.steps.landing import land
from flows.steps.run import rebuild, run_day
from flows.steps.warehouse import closed

pytestmark = pytest.mark.promise(6)


@pytest.fixture(scope="module")
def after_three_runs(tmp_path_factory):
    home = BookHome(tmp_path_factory.mktemp("three"))
    for day in (FIRST, EVE, ENROLMENT):
        home.put_days(day, day)
        home.run(day)
    return home.settings.home.parent


@pytest.fixture
def home(after_three_runs, tmp_path, no_gates):
    shutil.copytree(after_three_runs, tmp_path / "home", dirs_exist_ok=True)
    return BookHome(tmp_path / "home")


def told(action) -> str:
    """What a command says that must not be done."""
    with pytest.raises(CallfreeError) as refused:
        action()
    return str(refused.value)


def restore(home, name: str | None = None, replace: bool = False, void: bool = False) -> restoring.Restored:
    return restoring.restore(home.settings, name, replace, void)


def copies(home) -> list[backups.Copy]:
    return backups.copies(home.settings)


def spoil(path: Path, at: int = 8000) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 255]))


def next_run(home) -> dict[str, bytes]:
    home.put_days(NEXT, NEXT)
    home.run(NEXT)
    return home.outbox


# --- Copies -------------------------------------------------------------------------------------------------------


def test_the_latest_copy_equals_the_ledger(home):
    latest = copies(home)[0]
    assert backups.fault_of(latest) is None
    with ledger.open_copy(latest.path) as copied, ledger.open_ledger(home.settings) as own:
        for table in ("deliveries", "batches", "grants", "publications", "members", "decisions"):
            rows = f"from {table} order by all"
            assert copied.execute(rows).fetchall() == own.execute(rows).fetchall()
    assert latest.growth.rows["grants"] == 2


def test_nothing_goes_out_that_no_copy_knows(home):
    """A copy is taken between the posting and the publication."""
    known = []
    for copy in copies(home):
        with ledger.open_copy(copy.path) as connection:
            known.append({name for name, _ in ledger.files_out(connection)} - set(copy.growth.went_out))
    assert known == [
        set(), {"grants_20170703_01.csv"},
        set(), {"grants_20170702_01.csv", "invitations_w.csv"},
        set(), {"grants_20170701_01.csv"},
    ]  # fmt: skip


def test_nothing_left_over_goes_out_that_no_copy_knows(home, monkeypatch):
    """A run was killed between its posting and its copy; the next one hands out, and dies before its own."""
    home._post(NEXT)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.steps.run.check_policy", lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        run_day(home.settings, NEXT, killed)
    assert "grants/grants_20170704_01.csv" in home.outbox
    assert "grants_20170704_01.csv" in restoring._files_of(copies(home)[0])


def test_what_changes_nothing_takes_no_copy(home):
    before = [copy.number for copy in copies(home)]
    home.run(ENROLMENT)
    assert [copy.number for copy in copies(home)] == before


def test_a_copy_that_was_damaged_meanwhile_is_taken_anew(home):
    spoil(copies(home)[0].path)
    backups.back_up(home.settings)
    assert [copy.number for copy in copies(home)][:2] == [7, 6]
    assert backups.fault_of(copies(home)[0]) is None


def test_the_latest_copies_are_kept(home):
    home.settings = home.settings.model_copy(update={"keep_backups": 2})
    next_run(home)
    assert [copy.number for copy in copies(home)] == [8, 7]
    assert len(os.listdir(home.settings.backups_folder)) == 4


def test_a_rotation_that_is_cut_off_leaves_nothing_for_good(home, monkeypatch):
    home.settings = home.settings.model_copy(update={"keep_backups": 2})

    def killed(point):
        if point == "an old copy is deleted":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(crash_points, "passed", killed)
        with pytest.raises(KeyboardInterrupt):
            next_run(home)
    for day in (NEXT, NEXT + timedelta(days=1)):
        home.put_days(day, day)
        home.run(day)
    assert [path.name for path in sorted(home.settings.backups_folder.iterdir())] == [
        f"ledger_0000{number:02}.{kind}" for number in (copies(home)[1].number, copies(home)[0].number)
        for kind in ("duckdb", "json")
    ]  # fmt: skip


def test_what_a_restore_by_command_brought_back_is_the_latest_copy(home, monkeypatch):
    """And not the ledger that was given up: another restore would bring that back."""
    monkeypatch.setattr(cli, "atexit", SimpleNamespace(register=lambda _: None))
    monkeypatch.setattr(cli.os, "umask", lambda _: None)
    monkeypatch.setenv("CALLFREE_HOME", str(home.settings.home))
    monkeypatch.setenv("CALLFREE_POLICY", str(home.settings.policy))
    last, old = copies(home)[0].number, copies(home)[2]
    done = CliRunner().invoke(cli.main, ["restore", old.path.name, "--replace", "--void"])
    assert (done.exit_code, copies(home)[0].number) == (0, last + 1), done.output
    assert copies(home)[0].growth.rows["grants"] == old.growth.rows["grants"]


def test_copies_may_be_kept_elsewhere(home, tmp_path):
    home.settings = home.settings.model_copy(update={"backups": tmp_path / "elsewhere"})
    next_run(home)
    assert [copy.path.parent for copy in copies(home)] == [tmp_path / "elsewhere"] * 2


# --- Noticed ------------------------------------------------------------------------------------------------------


def without(home):
    home.settings.ledger.unlink()


def from_before(home):
    shutil.copyfile(copies(home)[-1].path, home.settings.ledger)


def from_before_and_without_a_note(home):
    from_before(home)
    home.settings.ledger_note.unlink()


def without_ledger_and_note(home):
    without(home)
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
        connection.execute("create temp table kept as from batches")
        connection.execute("create temp table kept_grants as from grants")
        connection.execute("delete from grants")
        connection.execute("delete from batches where sequence = 3")
        connection.execute("insert into batches select * replace ('x' as sha256) from kept where sequence = 3")
        connection.execute("insert into grants from kept_grants")


NOTICED = {
    without: "ledger.duckdb is missing, and this home has been used",
    without_ledger_and_note: "ledger.duckdb is missing, and this home has been used",
    from_before: "it lacks 6 deliveries, 1 draws, 2 enrolments, 2 grant files, 2 grants",
    from_before_and_without_a_note: "The outbox holds grants_20170702_01.csv, of which the ledger knows nothing",
    empty: "damaged",
    garbage: "damaged",
    cut_off: "damaged",
    of_another_home: "ledger.duckdb is not the ledger of this home",
}


@pytest.mark.parametrize("harm", NOTICED, ids=lambda harm: harm.__name__)
def test_a_ledger_that_lost_something_is_refused_and_a_restore_brings_it_back(home, harm, tried):
    calm = standing(home)
    harm(home)
    outbox = home.outbox
    for action in (lambda: run_for(ENROLMENT)(home), lambda: rebuild(home.settings)):
        refused = told(action)
        assert NOTICED[harm] in refused
        assert "callfree restore" in refused
    assert home.outbox == outbox
    restore(home, replace=harm is of_another_home)
    assert_same(calm, standing(home), "restored")
    assert sorted(set(next_run(home)) - set(outbox)) == [
        "grants/grants_20170704_01.csv", "grants/grants_20170704_01.manifest.json",
    ]  # fmt: skip
    tried("ledgers lost, damaged or old", 1)


def test_a_ledger_damaged_anywhere_is_refused_or_whole(home, tried):
    sound = home.settings.ledger.read_bytes()
    with ledger.open_ledger(home.settings) as connection:
        rows = connection.execute("from deliveries order by all").fetchall()
    refused = 0
    places = dice("damage").sample(range(50, len(sound)), 15)
    for at in places:
        spoil(home.settings.ledger, at)
        try:
            ledger_growth.check_ledger(home.settings)
        except CallfreeError as error:
            refused += "callfree restore" in str(error)
        else:  # the damage lies where nothing is stored
            with ledger.open_copy(home.settings.ledger) as connection:
                assert connection.execute("from deliveries order by all").fetchall() == rows, at
        home.settings.ledger.write_bytes(sound)
    assert refused > 1
    tried("bytes of the ledger flipped", len(places))


# --- Brought back -------------------------------------------------------------------------------------------------


def test_a_whole_ledger_is_not_replaced_without_being_told(home):
    assert "there is nothing to restore" in told(lambda: restore(home))


def test_a_damaged_copy_is_passed_over(home):
    spoil(copies(home)[0].path)
    without(home)
    restored = restore(home)
    assert restored.passed_over == ("ledger_000006.duckdb: its digest does not match its manifest",)
    assert (restored.copy, home.settings.ledger.is_file()) == ("ledger_000005.duckdb", True)


def test_where_no_copy_is_good_nothing_is_done(home):
    for copy in copies(home):
        spoil(copy.path)
    without(home)
    assert told(lambda: restore(home)).startswith("No copy can be trusted: ledger_000006.duckdb: its digest")
    with pytest.raises(WrongUsage, match=r"There is not a copy called ledger_000099\.duckdb"):
        restore(home, "ledger_000099.duckdb")


def test_what_went_out_after_the_copy_is_not_put_into_the_outbox_again(home):
    """The copy was taken before the publication; billing has taken the file away since."""
    for path in home.settings.grants_outbox.iterdir():
        path.unlink()
    without(home)
    assert restore(home, "ledger_000005.duckdb").lost is None
    home.run(ENROLMENT)
    assert [name for name in home.outbox if name.startswith("grants")] == []


def test_a_copy_that_does_not_know_what_went_out_is_refused_until_it_is_void(home):
    before, name = home.outbox, copies(home)[-1].path.name
    without(home)
    refused = told(lambda: restore(home, name))
    assert "does not know grants_20170702_01.csv, grants_20170703_01.csv, invitations_w.csv, which went out" in refused
    assert not home.settings.ledger.is_file()
    restored = restore(home, name, void=True)
    assert restored.voided == ("grants_20170702_01.csv", "grants_20170703_01.csv", "invitations_w.csv")
    assert (home.settings.backups_folder / "void" / "grants_20170703_01.csv").is_file()
    assert sorted(restored.deliveries) == sorted(
        f"{feed}_2017070{day}.csv" for feed in ("app_events", "calls", "subscribers") for day in (2, 3)
    )
    home.run(EVE)
    home.run(ENROLMENT)
    assert home.outbox == before


def in_force(home) -> dict:
    with ledger.open_ledger(home.settings) as connection:
        return {day: row.sha256 for day, row in ledger.in_force(ledger.deliveries(connection)).items()}


def test_deliveries_that_the_copy_does_not_know_are_landed_again(home):
    """Of several for a day the newest counts, as it did."""
    name = copies(home)[0].path.name
    for rows in ("", newcomers(NEXT, 1), newcomers(NEXT, 1, 2)):
        home.put("subscribers", NEXT, rows)
        home.put("app_events", NEXT, events_of("new1", NEXT) if rows else "")
        land(home.settings, NEXT)
    assert len(list(home.settings.archive.joinpath("subscribers").glob("*0704*"))) == 3
    before = in_force(home)
    without(home)
    restored = restore(home, name)
    land(home.settings, NEXT)
    assert in_force(home) == before
    assert sorted(restored.deliveries) == ["app_events_20170704.csv", "subscribers_20170704.csv"]
    assert len(restored.left_in_archive) == 3


@pytest.mark.parametrize("is_claimed", [False, True])
def test_of_two_forms_of_a_delivery_one_goes_back_however_often_a_restore_is_said(home, monkeypatch, is_claimed):
    """Two for a day would both be rejected. The inbox may also hold what the sender has put there since."""
    name = copies(home)[0].path.name
    for form, rows in (("csv", newcomers(NEXT, 1)), ("csv.gz", newcomers(NEXT, 1, 2))):
        content = (header("subscribers") + rows).encode()
        home.deliver(f"subscribers_20170704.{form}", gzip.compress(content) if form == "csv.gz" else content)
        land(home.settings, NEXT)
    before = in_force(home)
    without(home)
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "_mark_what_went_out", None)
        with pytest.raises(TypeError):
            restore(home, name)
    restored = restore(home, name)
    assert restored.left_in_archive == ("archive/subscribers/subscribers_20170704.csv",)
    assert os.listdir(home.settings.inbox) == ["subscribers_20170704.csv.gz"]
    # What a landing that was broken off has claimed returns to the inbox; another name is no form of it.
    if is_claimed:
        home.settings.claimed.mkdir()
        os.rename(
            home.settings.inbox / "subscribers_20170704.csv.gz", home.settings.claimed / "subscribers_20170704.csv.gz"
        )
    (home.settings.inbox / "app_events_20170704.csv.2").write_bytes(b"")
    restored = restore(home, name, replace=True)
    assert "subscribers_20170704.csv" not in restored.deliveries
    land(home.settings, NEXT)
    assert in_force(home) == before


def test_what_is_held_goes_where_the_restored_ledger_says(home):
    """Held when the copy was taken, accepted and loaded since."""
    for rows in (newcomers(NEXT, 1, 2, 3, 4), newcomers(NEXT, 1)):
        home.put("subscribers", NEXT, rows)
        land(home.settings, NEXT)
    name, held = backups.back_up(home.settings).path.name, home.held
    assert held == {"subscribers_20170704.csv"}
    operator.accept(home.settings, "subscribers_20170704.csv", "right")
    land(home.settings, NEXT)
    assert home.held == set()
    after = in_force(home)
    restore(home, name, replace=True)
    assert home.held == held
    operator.accept(home.settings, "subscribers_20170704.csv", "right")
    land(home.settings, NEXT)
    assert (home.held, in_force(home)) == (set(), after)


def test_what_was_refused_since_the_copy_is_held_again_with_its_file(home):
    for rows in (newcomers(NEXT, 1, 2, 3, 4), newcomers(NEXT, 1)):
        home.put("subscribers", NEXT, rows, has_digest=True)
        land(home.settings, NEXT)
    name, held = backups.back_up(home.settings).path.name, sorted(os.listdir(home.settings.held))
    operator.refuse(home.settings, "subscribers_20170704.csv", "a mistake")
    land(home.settings, NEXT)
    assert os.listdir(home.settings.held) == []
    restore(home, name, replace=True)
    assert sorted(os.listdir(home.settings.held)) == held
    assert "subscribers_20170704.csv" not in os.listdir(home.settings.rejected)


def test_rejected_deliveries_that_the_copy_does_not_know_are_rejected_again(home):
    """A feed starts on the first day of which any delivery came. A digest, or another file, may be why."""
    name = copies(home)[0].path.name
    home.put("subscribers", NEXT)
    (home.settings.inbox / "subscribers_20170704.csv.sha256").write_text("0" * 64)
    home.put("calls", NEXT)
    home.deliver("calls_20170704.csv.gz", b"another")
    home.deliver("grant_acks_20170704.csv", b"damaged")
    land(home.settings, NEXT)
    # Of this day something else has come: nothing depends on what was rejected.
    home.deliver("app_events_20170704.csv", b"damaged")
    land(home.settings, NEXT)
    home.put("app_events", NEXT)
    land(home.settings, NEXT)
    before = verdicts(home)
    restore(home, name, replace=True)
    assert verdicts(home) < before
    land(home.settings, NEXT)
    assert verdicts(home) == before - {("app_events_20170704.csv", "rejected")}


def verdicts(home) -> set[tuple[str, str]]:
    with ledger.open_ledger(home.settings) as connection:
        return {(delivery.file_name, delivery.verdict) for delivery in ledger.deliveries(connection)}


def test_lost_words_of_operators_are_told(home):
    name = copies(home)[0].path.name
    operator.waive(home.settings, "calls", NEXT, "lost", NEXT + timedelta(days=9))
    backups.back_up(home.settings)
    assert "it lacks 1 operators' words that were there" in restore(home, name, replace=True).lines()


def test_what_was_there_is_kept(home):
    garbage(home)
    restore(home)
    assert (home.settings.backups_folder / "replaced_ledger.duckdb").read_bytes() == b"garbage" * 9999


def test_what_a_killed_process_left_in_the_log_is_not_played_onto_the_copy(home):
    """The ledger's file equals the copy, and all that came since lies in the log beside it."""
    name, log = copies(home)[0].path.name, home.settings.ledger.with_name("ledger.duckdb.wal")
    with ledger.open_ledger(home.settings) as connection:
        ledger.record_decision(connection, "waive", "lost", feed="calls", business_date=NEXT)
        left = log.read_bytes()
    shutil.copyfile(copies(home)[0].path, home.settings.ledger)
    log.write_bytes(left)
    with ledger.open_copy(home.settings.ledger) as connection:
        ledger_growth.note(home.settings, ledger_growth.growth(connection))
    assert "it lacks 1 operators' words that were there" in restore(home, name, replace=True).lines()


def test_what_was_derived_of_the_past_is_forgotten(home):
    """The next run gets the number of one that the copy does not know."""
    kept = home.settings.work / "as_of" / "run_000009_0123456789ab.duckdb"
    kept.parent.mkdir(parents=True)
    kept.touch()
    restore(home, copies(home)[2].path.name, replace=True, void=True)
    assert not kept.exists()
    assert home.settings.readable_ledger.read_bytes() == home.settings.ledger.read_bytes()


def test_a_restore_that_was_cut_off_blocks_the_home_until_it_is_said_again(home, monkeypatch):
    calm, name = standing(home), copies(home)[0].path.name
    garbage(home)
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "_put_back_deliveries", None)
        with pytest.raises(TypeError):
            restore(home)
    assert "A restore did not come to its end" in told(lambda: run_for(ENROLMENT)(home))
    assert restore(home).copy == name
    assert_same(calm, standing(home), "restored")


def test_a_damaged_note_is_named(home):
    home.settings.ledger_note.write_text("{")
    assert "ledger_note.json is damaged" in told(lambda: run_for(ENROLMENT)(home))


def test_a_copy_says_in_its_manifest_what_it_holds(home):
    copy = copies(home)[0]
    manifest = json.loads(copy.path.with_suffix(".json").read_text())
    assert (manifest["growth"]["rows"]["batches"], manifest["sha256"]) == (3, copy.sha256)


# --- The warehouse ------------------------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_damaged_warehouse_is_named_and_a_rebuild_makes_it_anew(stage, tried):
    def check(home):
        calm = standing(home)
        for at in range(12288 + 50, home.settings.warehouse.stat().st_size, 4096):
            spoil(home.settings.warehouse, at)
        refused = told(lambda: run_for(ENROLMENT)(home))
        rebuild(home.settings)
        assert_same(calm, standing(home), "rebuilt")
        return refused

    stage.bring("enrolled")
    refused = stage.do(check)
    assert "warehouse.duckdb" in refused
    assert "callfree rebuild makes it anew." in refused
    tried("warehouses damaged", 1)


def test_a_ledger_that_cannot_be_opened_after_its_copy_is_what_is_told(tmp_path):
    settings = Settings(home=tmp_path)
    settings.make_folders()

    def damaged_while_copied():
        with ledger.held_open(settings), closed(settings.ledger):
            settings.ledger.write_bytes(b"damaged")

    with pytest.raises(duckdb.IOException):
        damaged_while_copied()
