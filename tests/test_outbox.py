"""Who looks while runs happen sees whole files only, and who altered one is noticed."""

import hashlib
import json
from pathlib import Path

import duckdb
import pytest

from fault_stage import quickly, run_for
from fault_world import ENROLMENT, EVE, MEMBERS, events_of
from faults import Child
from flows.errors import WrongUsage
from flows.steps.outbox import republish
from flows.steps.status import needs_a_person, read_status, refresh_status

MARTS = {"members", "grants", "entitlements", "quarters", "exceptions", "run"}


pytestmark = pytest.mark.promise(4)


def looks_until(over: Path, home) -> tuple[int, list[str]]:
    """Polls the outbox and the published marts; how many looks, and what was not whole."""
    seen: dict[str, str] = {}
    looks, faults = 0, []
    while not over.exists():
        looks += 1
        for outbox in (home.settings.grants_outbox, home.settings.invitations_outbox):
            for path in outbox.glob("*.csv"):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                if seen.setdefault(path.name, digest) != digest:
                    faults.append(f"{path.name} has changed")
            for path in outbox.glob("*.manifest.json"):
                manifest = json.loads(path.read_bytes())
                content = (outbox / manifest["file"]).read_bytes()
                if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
                    faults.append(f"{manifest['file']} is not what its manifest says")
        json.loads(home.settings.status.read_bytes())
        with duckdb.connect(home.settings.marts, read_only=True) as marts:
            missing = MARTS - {name for (name,) in marts.execute("select table_name from duckdb_tables()").fetchall()}
            if missing or marts.execute("select count(*) from run").fetchone() != (1,):
                faults.append(f"the marts lack {missing}")
    return looks, faults


@pytest.mark.faults
def test_who_polls_during_runs_sees_whole_files_only(stage, tried):
    stage.bring("until_the_draw")
    home, over = stage.home, stage.snapshots.place / "over"
    reader = Child(lambda: looks_until(over, home))
    for day in (EVE, ENROLMENT):
        if day == ENROLMENT:
            home.put_days(day, day, app_events="".join(events_of(who, day) for who in MEMBERS))
        stage.do(quickly(run_for(day)))
    over.touch()
    looks, faults = reader.wait().result()
    assert looks > 10
    assert faults == []
    tried("runs watched by a polling reader", 2)


ALTERED = {
    "a line was added": ("grants/grants_20170703_01.csv", lambda path: path.write_bytes(path.read_bytes() + b"x\n")),
    "it was emptied": ("grants/grants_20170703_01.csv", lambda path: path.write_bytes(b"")),
    "the manifest was edited": (
        "grants/grants_20170703_01.manifest.json",
        lambda path: path.write_bytes(path.read_bytes().replace(b'"sequence": 3', b'"sequence": 2')),
    ),
    "an address was changed": (
        "invitations/invitations_w.csv",
        lambda path: path.write_bytes(path.read_bytes().replace(b"@", b"_")),
    ),
    "somebody wrote a file of their own": (
        "grants/grants_20170709_01.csv",
        lambda path: path.write_bytes(b"grant_id\n"),
    ),
}


def test_what_was_altered_in_the_outbox_is_told_as_long_as_it_lies_there(book_stage, tried):
    def told(home) -> tuple[list[str], bool]:
        refresh_status(home.settings)
        status = read_status(home.settings)
        return [row["file"] for row in status["altered_files"]], needs_a_person(status)

    def check(home):
        found = {}
        for how, (name, alter) in ALTERED.items():
            path = home.settings.home / "outbox" / name
            before = path.read_bytes() if path.exists() else None
            alter(path)
            found[how] = told(home)
            path.write_bytes(before) if before is not None else path.unlink()
        # How billing marks what it has taken is its own.
        (home.settings.grants_outbox / "grants_20170703_01.done").touch()
        (home.settings.grants_outbox / "taken").mkdir()
        return found, told(home)

    book_stage.bring("enrolled")
    found, afterwards = book_stage.do(check)
    assert found == {how: ([Path(name).name], True) for how, (name, _) in ALTERED.items()}
    assert afterwards == ([], False)
    tried("ways to alter the outbox", len(ALTERED))


def test_what_was_altered_is_put_back_as_it_was_published_by_an_operators_word(book_stage):
    def check(home):
        before, kept = home.outbox, {}
        for name, alter in ALTERED.values():
            path = home.settings.home / "outbox" / name
            alter(path)
            if name not in before:
                with pytest.raises(WrongUsage, match="is not a file of this home: take it away"):
                    republish(home.settings, path.name)
                path.unlink()
                continue
            altered = path.read_bytes()
            assert path.name in republish(home.settings, path.name)
            kept[path.name] = altered
            assert home.outbox == before
        for name in ("invitations_w.csv", "grants_20170703_01.csv"):
            with pytest.raises(WrongUsage, match="does not lie altered"):
                republish(home.settings, name)
        folder = home.settings.backups_folder / "altered"
        assert {content in [path.read_bytes() for path in folder.iterdir()] for content in kept.values()} == {True}

    book_stage.bring("enrolled")
    book_stage.do(check)


def test_what_was_taken_away_is_neither_told_nor_put_back(book_stage, tried):
    def check(home):
        for outbox in (home.settings.grants_outbox, home.settings.invitations_outbox):
            for path in outbox.iterdir():
                path.unlink()
        home.run(ENROLMENT)
        refresh_status(home.settings)
        return home.outbox, read_status(home.settings)["altered_files"]

    book_stage.bring("enrolled")
    assert book_stage.do(check) == ({}, [])
    tried("outboxes that billing has emptied", 1)
