"""Who looks while runs happen sees whole files only, and who altered one is noticed."""

import hashlib
import json
from pathlib import Path

import duckdb
import pytest

from fault_stage import quickly, run_for
from fault_world import ENROLMENT, EVE, MEMBERS, events_of
from faults import Child
from flows.steps.run import run_day
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
    "a line was added": ("grants_20170703_01.csv", lambda path: path.write_bytes(path.read_bytes() + b"x\n")),
    "it was emptied": ("grants_20170703_01.csv", lambda path: path.write_bytes(b"")),
    "the manifest was edited": (
        "grants_20170703_01.manifest.json",
        lambda path: path.write_bytes(path.read_bytes().replace(b'"sequence": 3', b'"sequence": 2')),
    ),
    "somebody wrote a file of their own": ("grants_20170709_01.csv", lambda path: path.write_bytes(b"grant_id\n")),
}


def test_what_was_altered_in_the_outbox_is_told_as_long_as_it_lies_there(stage, tried):
    def check(home):
        found = {}
        for how, (name, alter) in ALTERED.items():
            path = home.settings.grants_outbox / name
            before = path.read_bytes() if path.exists() else None
            alter(path)
            refresh_status(home.settings)
            status = read_status(home.settings)
            found[how] = ([row["file"] for row in status["altered_files"]], needs_a_person(status))
            path.write_bytes(before) if before is not None else path.unlink()
        # And in the run, whose exit status is 3; billing has taken the rest away.
        for path in home.settings.grants_outbox.iterdir():
            path.unlink()
        invitations = home.settings.invitations_outbox / "invitations_w.csv"
        invitations.write_bytes(invitations.read_bytes().replace(b"@", b"_"))
        outcome = None

        def run(home):
            nonlocal outcome
            outcome = run_day(home.settings, ENROLMENT)

        quickly(run)(home)
        return (
            found,
            outcome.exit_status,
            outcome.lines(),
            [path.name for path in home.settings.grants_outbox.iterdir()],
        )

    stage.bring("enrolled")
    found, exit_status, lines, left = stage.do(check)
    assert found == {how: ([name], True) for how, (name, _) in ALTERED.items()}
    assert exit_status == 3
    assert "altered in the outbox: invitations_w.csv: it is not the file that was published" in lines
    assert left == []
    tried("ways to alter the outbox", len(ALTERED) + 1)
