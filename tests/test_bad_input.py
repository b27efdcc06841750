"""The corpus of bad input: what becomes of each delivery, and what it leaves as it was."""

import csv
import io
import json
import os
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from corpus import CASES, NAMES, TEN, Case
from flows.steps import gates
from landing_home import DAY, Home, name_of

FIRST = date(2018, 1, 1)
LAST = FIRST + timedelta(days=len(CASES))
LIMIT = 20_000_000


@pytest.fixture(scope="module", autouse=True)
def without_great_expectations():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "require_landing", lambda *_: None)
        yield


def day_of(case: Case) -> date:
    """Every case has a day of its own, so that all land at once."""
    return FIRST + timedelta(days=CASES.index(case))


class Landed:
    """A home with a sound delivery in force for every day, upon which the whole corpus came.

    Not so for the empty ones: in the place of another they would be held.
    """

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder, max_delivery_bytes=LIMIT)
        for case in CASES:
            if case.reason or case.loaded + case.rejected:
                self.home.deliver("calls", {"call_id": f"before-{CASES.index(case)}"}, day=day_of(case))
        self.home.land(LAST)
        self.before = (self.home.in_force, self.home.counts, self.home.files("archive"))
        for case in CASES:
            self.home.put(name_of("calls", day_of(case), case.form), case.content)
        self.told = self.home.land(LAST)
        self.verdicts = {each.day: each for each in self.home.history}
        self.counts, self.archive = self.home.counts, self.home.files("archive")
        self.rejected = self.home.files("rejected")


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    return Landed(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_delivery_becomes_what_it_deserves(landed, case):
    day = ("calls", day_of(case))
    delivery = landed.verdicts[day]
    assert (delivery.verdict, delivery.reason) == ("rejected" if case.reason else "accepted", case.reason)
    if case.reason:
        # What stood stands, in the ledger, in the archive and in the warehouse.
        in_force, counts, archive = landed.before
        assert landed.home.in_force[day] == in_force[day]
        assert landed.counts[day] == counts[day] == (1, 0)
        assert (
            landed.archive[Path(in_force[day]).relative_to("archive").as_posix()]
            == archive[Path(in_force[day]).relative_to("archive").as_posix()]
        )
        name = Path(delivery.stored_as).name
        assert landed.rejected[name] == case.content
        assert json.loads(landed.rejected[f"{name}.reason.json"])["reason"] == case.reason
    else:
        assert landed.counts[day] == (case.loaded, case.rejected)
        assert delivery.record_count == case.loaded + case.rejected
        assert (landed.home.settings.home / delivery.stored_as).read_bytes() == case.content


def test_every_row_of_the_corpus_is_loaded_or_rejected_by_the_count_of_another_reader(landed):
    """Python's reader agrees on all files that both take, where a lone return is no line end to it."""
    compared = 0
    for case in CASES:
        if case.reason or case.form != "csv" or b"\x00" in case.content:
            continue
        csv.field_size_limit(10_000_000)
        text = case.content.decode("utf-8-sig")
        records = [record for record in csv.reader(io.StringIO(text, newline="")) if record]
        assert sum(landed.counts["calls", day_of(case)]) == len(records) - 1, case.what
        compared += 1
    assert compared > 20


def test_the_corpus_leaves_an_empty_inbox_and_a_sound_home(landed):
    assert os.listdir(landed.home.inbox) == []
    assert Counter(each.verdict for each in landed.verdicts.values()) == {
        "accepted": sum(not case.reason for case in CASES),
        "rejected": sum(bool(case.reason) for case in CASES),
    }
    told = landed.told
    assert (told.loaded_rows, told.rejected_rows) == (
        sum(case.loaded for case in CASES if not case.reason),
        sum(case.rejected for case in CASES if not case.reason),
    )
    assert landed.home.ask("select count(*) from raw.landing_notes where note = 'unknown_columns'") == [(1,)]


def test_the_latest_of_an_id_that_came_with_other_content_across_files_stays_with_its_file(landed):
    """Both rows are kept under their delivery and number; which of them is current the models say (1.5)."""
    home = landed.home
    found = home.ask("select delivery_id, record_no from raw.calls where call_id = 'c1'")
    assert len(found) == len(set(found)) > 10


# --- Names --------------------------------------------------------------------------------------------------------


def test_a_hostile_name_is_rejected_and_leads_nowhere(tmp_path):
    home = Home(tmp_path / "deep" / "home")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.csv").write_bytes(TEN)
    for name in NAMES:
        (home.inbox / name).write_bytes(TEN)
    sound = home.deliver("calls", {})
    told = home.land()
    assert told.accepted == (sound,)
    assert len(told.rejected) == len(NAMES)
    assert {reason for _, reason in told.rejected} == {
        "its name is malformed: expected <feed>_<YYYYMMDD>.csv, .csv.gz or .parquet"
    }
    assert os.listdir(home.inbox) == []
    for each in home.history:
        place = home.settings.home / each.stored_as
        assert place.is_file()
        assert place.resolve().is_relative_to(home.settings.home.resolve())
        assert place.name.isascii()
        assert place.name.isprintable()
    assert len({each.stored_as for each in home.history}) == len(NAMES) + 1
    assert sorted(os.listdir(tmp_path)) == ["deep", "outside"]
    assert (outside / "precious.csv").read_bytes() == TEN


SPECIAL = {
    "a link to a file": lambda path: path.symlink_to("/etc/passwd"),
    "a link to a folder": lambda path: path.symlink_to("/"),
    "a link to nothing": lambda path: path.symlink_to("nothing-is-here"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a pipe": os.mkfifo,
    "a device": lambda path: os.mknod(path, 0o20600, os.makedev(1, 5)),
    "a folder with files": lambda path: (path.mkdir(), (path / "x.csv").write_bytes(TEN)),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_what_is_no_file_is_moved_unread(tmp_path):
    home = Home(tmp_path)
    days = [DAY - timedelta(days=number) for number in range(len(SPECIAL))]
    for day, make in zip(days, SPECIAL.values(), strict=True):
        make(home.inbox / name_of("calls", day))
    os.mkfifo(home.inbox / "pipe")
    told = home.land()
    assert Counter(reason for _, reason in told.rejected)["it is not a regular file"] == len(SPECIAL)
    assert len(told.rejected) == len(SPECIAL) + 1
    assert os.listdir(home.inbox) == []
    for day in days:
        assert os.path.lexists(home.settings.rejected / name_of("calls", day))
    assert home.in_force == {}


# --- Fuzz ---------------------------------------------------------------------------------------------------------

# CALLFREE_FUZZ=N tries so many damaged deliveries, other ones each time; `make test` tries a few, always the same.
TRIES = int(os.environ.get("CALLFREE_FUZZ", "0"))
SEEDS = [case for case in CASES if len(case.content) < 20_000]


@st.composite
def damaged(draw) -> tuple[str, bytes]:
    """A case of the corpus with a few bytes changed, cut, doubled or put in; or bytes of any kind."""
    case = draw(st.sampled_from(SEEDS))
    content = bytearray(case.content)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        piece = draw(
            st.one_of(st.binary(max_size=5), st.sampled_from([b'"', b",", b"\n", b"\r", b"\x00", b'""', b"\xff"]))
        )
        length = draw(st.sampled_from([0, 0, 1, 2, 50]))
        content[at : at + length] = piece
    form = draw(st.sampled_from([case.form] * 6 + ["csv", "csv.gz", "parquet"]))
    return form, bytes(content)


@settings(
    max_examples=max(TRIES // 20, 8), deadline=None, derandomize=not TRIES, database=None, print_blob=bool(TRIES),
    phases=[Phase.generate] if not TRIES else list(Phase), suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.lists(damaged(), min_size=20, max_size=20))
def test_whatever_comes_has_a_verdict_and_all_its_rows(tmp_path_factory, files):
    """Twenty damaged deliveries a landing: never an error, always a verdict, always reconciled, one sound file kept."""
    home = Home(tmp_path_factory.mktemp("fuzz"), max_delivery_bytes=LIMIT, max_rejected_share=0.5)
    for number, (form, content) in enumerate(files):
        home.put(name_of("calls", FIRST + timedelta(days=number), form), content)
    sound = home.deliver("app_events", {})
    home.land(LAST)
    assert os.listdir(home.inbox) == []
    history = home.history
    assert len(history) == len(files) + 1
    counts = home.counts
    for each in history:
        assert each.verdict in ("accepted", "rejected")
        place = home.settings.home / each.stored_as
        if each.verdict == "accepted":
            assert sum(counts[each.day]) == each.record_count
            assert counts[each.day][1] == each.rejected_count
        elif each.sha256:
            number = (each.business_date - FIRST).days
            assert place.read_bytes() == files[number][1]
            assert each.reason
    assert home.in_force["app_events", DAY] == f"archive/app_events/{sound}"
