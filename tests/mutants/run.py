"""Plant one bug after another into a copy of the project: the tests must catch each (`make test-mutants`).

A patch begins with a line that says what the bug would do, and one that names the tests that must see it. A patch that
no longer applies is a failure too: the code went on without it.

    python tests/mutants/run.py [NAME ...]      all of them, or those whose names are given
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PATCHES = Path(__file__).parent
PROJECT = PATCHES.parent.parent
COPIED = (
    "flows",
    "expectations",
    "dbt_project",
    "tests",
    "pyproject.toml",
    "Makefile",
    "requirements.lock",
    "requirements-dev.lock",
)
AT_ONCE = 2
# A bug may make a test wait for ever; so may a busy machine, so it is no verdict.
SECONDS = 900


def judge(patch: Path | None, tests: list[str]) -> tuple[str, str, float]:
    """Whether the bug of the patch is caught, survives, or cannot be planted; what was said; seconds.

    Without a patch the tests must pass, or they would catch anything.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="callfree-mutant-") as folder:
        copy = Path(folder, "project")
        copy.mkdir()
        for name in COPIED:
            source = PROJECT / name
            put = shutil.copytree if source.is_dir() else shutil.copy
            put(source, copy / name)
        # The worked examples lie beside the project.
        if (PROJECT.parent / "shared").is_dir():
            Path(folder, "shared").symlink_to(PROJECT.parent / "shared", target_is_directory=True)
        if patch:
            planted = subprocess.run(["git", "apply", "-C1", patch], cwd=copy, capture_output=True, text=True)
            if planted.returncode:
                return "does not apply", planted.stderr, time.monotonic() - began
        told = run_tests(copy, tests)
    # 1: a test failed. All else, nothing collected for one, says nothing about the bug.
    verdict = {0: "survived", 1: "caught"}.get(told.returncode, f"tests ended with {told.returncode}")
    if not patch:
        verdict = {"survived": "sound", "caught": "fails anyway"}.get(verdict, verdict)
    return verdict, told.stdout[-3000:], time.monotonic() - began


def tests_of(patch: Path) -> list[str]:
    line = next(line for line in patch.read_text().splitlines() if line.startswith("Tests: "))
    return line.removeprefix("Tests: ").split()


def without_a_bug(patches: list[Path]) -> list[list[str]]:
    """The tests of all the patches, once for each file: all of it where one patch wants all of it."""
    files: dict[str, set[str]] = {}
    for patch in patches:
        file, *words = tests_of(patch)
        files.setdefault(file, set()).add(words[-1] if words else "")
    return [
        [file] if "" in words else [file, "-k", " or ".join(sorted(words))] for file, words in sorted(files.items())
    ]


def run_tests(copy: Path, tests: list[str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, f"no end within {SECONDS} s: that says nothing about the bug")


def main(names: list[str]) -> int:
    patches = sorted(PATCHES.glob("*.patch"))
    chosen = [patch for patch in patches if not names or patch.stem in names]
    # Those that take longest go first, so that no process is left with one at the end.
    chosen.sort(key=lambda patch: "test_dbt_project" not in tests_of(patch)[0])
    tasks = [(None, tests) for tests in without_a_bug(chosen)] + [(patch, tests_of(patch)) for patch in chosen]
    began, missed = time.monotonic(), []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for (patch, tests), (verdict, said, seconds) in zip(
            tasks, pool.map(judge, *zip(*tasks, strict=True)), strict=True
        ):
            what = (
                f"{patch.stem}: {patch.read_text().splitlines()[0]}" if patch else f"nothing planted: {' '.join(tests)}"
            )
            print(f"{verdict:<16}{seconds:5.0f} s  {what}", flush=True)
            if verdict != ("caught" if patch else "sound"):
                missed.append(patch.stem if patch else " ".join(tests))
                print(said)
    caught = len(chosen) - len([each for each in missed if each in {patch.stem for patch in chosen}])
    print(f"{caught} of {len(chosen)} planted bugs caught, in {time.monotonic() - began:.0f} s")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
