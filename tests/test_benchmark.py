"""The benchmark cannot rot: callfree and the scripts that it is measured against write the same lines."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deliveries import FIRST_DAY, deliver, last_day
from flows.settings import PROJECT, Settings
from flows.steps.run import run_day
from goals import goals, read_results
from lines import Difference, require_equal
from page import PAGE, page

BENCHMARKS = PROJECT / "benchmarks"
# The first quarter of those who enrol early is decided, and its first month is due.
MONTHS = 4


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "world"
    deliver(2000, folder, MONTHS, processes=1)
    return folder


def by_script(name: str, world: Path, grants: Path, *arguments: str) -> Path:
    command = [sys.executable, BENCHMARKS / f"by_{name}.py", world / "inbox", grants, *arguments]
    subprocess.run(command, check=True)
    return grants


def test_callfree_and_both_scripts_write_the_same_bytes(world, tmp_path):
    last = last_day(MONTHS)
    home = tmp_path / "home"
    (home / "inbox").mkdir(parents=True)
    for path in (world / "inbox").iterdir():
        (home / "inbox" / path.name).hardlink_to(path)
    settings = Settings(home=home, policy=world / "policy")
    settings.make_folders()
    for day in (FIRST_DAY, last):
        run_day(settings, day)

    date = ("--date", str(last))
    line_count = require_equal(
        settings.grants_outbox / f"grants_{last:%Y%m%d}_01.csv",
        by_script("polars", world, tmp_path / "polars.csv", *date),
        by_script("duckdb", world, tmp_path / "duckdb.csv", *date),
        by_script("duckdb", world, tmp_path / "duckdb_with_state.csv", *date, "--database", str(tmp_path / "state")),
    )
    # Welcome for two in five, and loyalty for those who enrolled early.
    assert line_count > 2000 * 0.42


def test_a_difference_is_noticed_and_named(tmp_path):
    names = ("callfree", "same", "other", "shorter")
    ours, same, other, shorter = (tmp_path / f"{name}.csv" for name in names)
    for path, lines in (
        (ours, "h\na,1\nb,2\n"),
        (same, "h\na,1\nb,2\n"),
        (other, "h\na,1\nb,3\n"),
        (shorter, "h\na,1\n"),
    ):
        path.write_text(lines)
    assert require_equal(ours, same) == 2
    with pytest.raises(Difference, match=r"line 3 of callfree\.csv is not that of other\.csv"):
        require_equal(ours, same, other)
    with pytest.raises(Difference, match=r"line 3 of callfree\.csv is not that of shorter\.csv"):
        require_equal(ours, shorter)


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path):
    def delivered(name: str, seed: int) -> dict[str, bytes]:
        deliver(100, tmp_path / name, 1, seed, processes=1)
        return {path.name: path.read_bytes() for path in (tmp_path / name / "inbox").iterdir()}

    first = delivered("first", 1)
    assert delivered("again", 1) == first
    other = delivered("other", 2)
    assert other.keys() == first.keys()
    assert other != first


def test_the_page_says_what_was_measured_and_which_goals_are_missed():
    cost = {"cpu_s": 16.0, "wall_s": 9.0, "peak_mb": 4100, "cpu_s_of_each": [16.0]}
    half = cost | {"cpu_s": 8.0}
    told = {what: verdict for what, _, _, verdict in goals({"idle": {"0": {"embedded": cost, "served": half}}})}
    assert told["`callfree run` with nothing to do, embedded"] is False
    assert told["whole history, 10 million subscribers, validation included"] is None

    history = {"callfree": cost, "duckdb": half, "polars": half, "lines": 7}
    verdicts = {what: (figure, verdict) for what, _, figure, verdict in goals({"history": {"10000000": history}})}
    assert verdicts["whole history, 10 million subscribers, validation included"] == (
        "2.0 x (16.0 CPU s against 8.0 CPU s)",
        False,
    )
    assert verdicts["peak memory at 10 million"] == ("4.1 GB", False)


def test_the_page_is_what_the_results_say():
    results = read_results()
    assert PAGE.read_text() == page(results)
    shown = re.findall(r"\((images/\w+\.svg)\)", PAGE.read_text())
    assert [name for name in shown if not (PAGE.parent / name).exists()] == []
