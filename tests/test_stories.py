"""The worked examples beside the repository: one pilot of 24 runs, each with the grant file it must write.

The pilot takes a minute or two and is played once: `--dist loadfile` keeps a module on one worker.
"""

import csv
import hashlib
import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from flows.steps import gates, ledger, publish
from flows.steps.warehouse import rows
from pipeline import PipelineHome
from reference_files import FEEDS, REQUIRED_FEEDS
from story_comparison import story_difference

STORIES = Path(__file__).parents[2] / "shared" / "spec" / "examples" / "stories"
RUNS = sorted((STORIES / "runs").iterdir()) if STORIES.is_dir() else []
FIRST_DAY = date(2017, 8, 1)

pytestmark = pytest.mark.skipif(not RUNS, reason=f"the worked examples are not beside the repository, at {STORIES}")


class Pilot:
    """The home of the worked examples, and what it looked like after each run."""

    def __init__(self, folder: Path) -> None:
        self.home = PipelineHome(folder, STORIES / "policy")
        self.filled_until = FIRST_DAY
        self.exit_statuses: dict[str, int] = {}
        # The grant files that a run put into the outbox, by name.
        self.written: dict[str, dict[str, bytes]] = {}

    def play(self, run: Path) -> None:
        """Deliver what belongs to a run and an empty day for every other, and run it."""
        day = date.fromisoformat(run.name)
        for delivery in (run / "deliveries").iterdir():
            self.home.deliver(delivery.name, delivery.read_bytes())
        while self.filled_until <= day:
            for feed in REQUIRED_FEEDS:
                name = f"{feed}_{self.filled_until:%Y%m%d}.csv"
                if name not in DELIVERED:
                    self.home.deliver(name, FEEDS[feed].header.encode())
            self.filled_until += timedelta(days=1)
        before = self.grant_files()
        self.exit_statuses[run.name] = self.home.run(day)
        self.written[run.name] = {name: content for name, content in self.grant_files().items() if name not in before}

    def grant_files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.home.settings.grants_outbox.glob("*.csv")}


DELIVERED = {delivery.name for run in RUNS for delivery in (run / "deliveries").iterdir()}


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    pilot = Pilot(tmp_path_factory.mktemp("stories"))
    for run in RUNS:
        pilot.play(run)
    return pilot


def outbox_on_disk(pilot: Pilot) -> dict[str, tuple[int, int, bytes]]:
    """Every file with its inode and its time: a file written anew with the same bytes shows too."""
    files = [path for path in (pilot.home.settings.home / "outbox").rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture
def gates_asked(monkeypatch) -> list[str]:
    """The gates that were asked, by name."""
    asked: list[str] = []
    ask = gates._check
    monkeypatch.setattr(gates, "_check", lambda gate, *arguments: asked.append(gate) or ask(gate, *arguments))
    return asked


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_writes_the_grant_file_of_the_story_to_the_byte(pilot, run):
    expected = {path.name: path.read_bytes() for path in (run / "expected").iterdir()}
    assert pilot.written[run.name] == expected
    assert pilot.exit_statuses[run.name] in (0, 3)


def test_a_file_once_published_is_never_changed(pilot):
    assert pilot.grant_files() == {name: content for files in pilot.written.values() for name, content in files.items()}


def test_the_pilot_needs_a_person_only_from_the_day_the_first_grant_is_parked(pilot):
    statuses = list(pilot.exit_statuses.values())
    assert statuses == sorted(statuses)
    assert {subscriber for subscriber, _, _ in pilot.home.parked} == {"parked"}


def test_who_never_calls_gets_the_whole_ladder(pilot):
    files = [content.decode() for _, content in sorted(pilot.grant_files().items())]
    lines = [line for content in files for line in csv.DictReader(content.splitlines())]
    of_model = [int(line["volume_mb"]) for line in lines if line["subscriber_id"] == "model"]
    assert of_model == [600, 100, 100, 100, 200, 200, 200, 300, 300, 300]


def test_a_repeat_of_the_last_date_changes_no_file_and_has_nothing_to_check(pilot, gates_asked):
    before = outbox_on_disk(pilot)
    assert pilot.home.run(date.fromisoformat(RUNS[-1].name)) == pilot.exit_statuses[RUNS[-1].name]
    assert outbox_on_disk(pilot) == before
    assert gates_asked == []


def test_a_kpi_file_that_was_altered_is_made_anew_and_checked_by_a_repeat(pilot, gates_asked):
    (latest,) = pilot.home.settings.kpis_outbox.glob(f"kpis_{RUNS[-1].name.replace('-', '')}.csv")
    content = latest.read_bytes()
    latest.write_bytes(content.replace(b"members", b"numbers"))
    pilot.home.run(date.fromisoformat(RUNS[-1].name))
    assert latest.read_bytes() == content
    assert gates_asked == ["kpis"]


def test_the_warehouse_rebuilt_from_archive_and_ledger_gives_the_same_marts(pilot):
    files, marts = outbox_on_disk(pilot), pilot.home.marts()
    pilot.home.rebuild()
    assert pilot.home.marts() == marts
    assert outbox_on_disk(pilot) == files


def test_every_grant_file_can_be_made_again_from_the_ledger(pilot):
    with ledger.open_ledger(pilot.home.settings) as connection:
        batches = rows(connection, "select * from batches order by sequence")
        made_again = {
            batch["file_name"]: b"".join(publish.render_batch(connection, batch["sequence"])) for batch in batches
        }
        manifests = {batch["file_name"]: publish.batch_manifest(batch) for batch in batches}
    assert made_again == pilot.grant_files()
    for name, manifest in manifests.items():
        assert publish.manifest_path(pilot.home.settings.grants_outbox / name).read_bytes() == manifest


def test_the_manifests_form_a_chain_without_a_gap(pilot):
    folder = pilot.home.settings.grants_outbox
    manifests = [json.loads(path.read_text()) for path in folder.glob("*.manifest.json")]
    manifests.sort(key=lambda manifest: manifest["sequence"])
    assert [manifest["sequence"] for manifest in manifests] == list(range(1, len(RUNS) + 1))
    previous = None
    for manifest in manifests:
        content = (folder / manifest["file"]).read_bytes()
        lines = list(csv.DictReader(content.decode().splitlines()))
        assert list(manifest) == [
            "file", "business_date", "sequence", "lines", "volume_mb", "sha256", "previous_sha256",
        ]  # fmt: skip
        assert manifest["file"] == f"grants_{manifest['business_date'].replace('-', '')}_01.csv"
        assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
        assert manifest["previous_sha256"] == previous
        assert manifest["lines"] == len(lines)
        assert manifest["volume_mb"] == sum(int(line["volume_mb"]) for line in lines)
        previous = manifest["sha256"]
    assert sum(manifest["lines"] for manifest in manifests) == 190


def test_the_invitations_name_who_was_drawn_and_has_an_address(pilot):
    folder = pilot.home.settings.invitations_outbox
    for path in folder.glob("*.csv"):
        content = path.read_bytes()
        manifest = json.loads(publish.manifest_path(path).read_text())
        invited = list(csv.DictReader(content.decode().splitlines()))
        drawn = pilot.home.draws[manifest["wave_id"]]
        assert [line["subscriber_id"] for line in invited] == sorted(who for who, arm in drawn if arm == "treatment")
        assert manifest["lines"] == len(invited)
        assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(list(folder.glob("*.csv"))) == len(pilot.home.draws) > 0


def test_what_is_told_of_each_subscriber_is_so_and_without_its_calls_would_be_so(pilot):
    assert story_difference(pilot.home) is None
