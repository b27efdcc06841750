"""What is installed is pinned to the byte, and a bill of materials can be made of it (`make sbom`)."""

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from flows.settings import PROJECT

# What runs; with what tests and measures it.
LOCKS = {name: (PROJECT / f"{name}.lock").read_text() for name in ("requirements", "requirements-dev")}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def pinned(lock: str) -> dict[str, list[tuple[str, str]]]:
    """Each package with its versions and hashes; one that differs from platform to platform has several."""
    found: dict[str, list[tuple[str, str]]] = {}
    for entry in LOCKS[lock].replace("\\\n", " ").splitlines():
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)==(\S+)( *;.*?)?((?: +--hash=sha256:[0-9a-f]{64})+) *", entry)
        assert match, f"not a pinned and hashed package: {entry[:80]}"
        found.setdefault(canonical(match[1]), []).append((match[2], match[4]))
    return found


def asked_for(lock: str) -> list[tuple[str, str]]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + (project["optional-dependencies"]["dev"] if lock == "requirements-dev" else [])
    return [(canonical(name), version) for name, version in (each.split(";")[0].split("==") for each in asked)]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_to_one_version_and_its_bytes(lock):
    assert len(pinned(lock)) > 100
    assert all(len({version for version, _ in each}) == len(each) for each in pinned(lock).values())


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_names_no_address_and_no_file(lock):
    assert not re.search(r"://|file:|^-|@ |index-url", LOCKS[lock], re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_holds_what_the_project_asks_for(lock):
    for name, version in asked_for(lock):
        assert version in {found for found, _ in pinned(lock)[name]}, name


def test_what_runs_is_tested_to_the_byte_and_what_tests_does_not_run():
    runs, tested = pinned("requirements"), pinned("requirements-dev")
    assert all(tested[name] == each for name, each in runs.items())
    assert {"pytest", "selenium", "polars", "hypothesis"} <= tested.keys() - runs.keys()


def test_the_makefile_installs_by_hash_and_nothing_else():
    installs = [line for line in (PROJECT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs
    for line in installs:
        assert "--no-deps" in line
        assert "--require-hashes" in line or ("--editable ." in line and "--no-build-isolation" in line)


def bill(target: Path) -> bytes:
    """What `make sbom` writes."""
    (recipe,) = re.findall(r"^sbom:.*\n((?:\t.*\n)+)", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    words = recipe.replace("\\\n", " ").replace('""', "EMPTY").split()[1:]
    arguments = ["" if word == "EMPTY" else str(target) if word == "sbom.cdx.json" else word for word in words]
    subprocess.run([sys.executable, "-m", "cyclonedx_py", *arguments], cwd=PROJECT, check=True, capture_output=True)
    return target.read_bytes()


def test_the_bill_of_materials_is_what_runs_and_can_be_made_again(tmp_path):
    content = bill(tmp_path / "one.json")
    assert content == bill(tmp_path / "two.json")
    components = json.loads(content)["components"]
    assert {canonical(each["name"]) for each in components} == set(pinned("requirements"))
    for each in components:
        (source,) = each["externalReferences"]
        assert len(source["hashes"]) == dict(pinned("requirements")[canonical(each["name"])])[each["version"]].count(
            "sha256:"
        )
        assert each["purl"].startswith(f"pkg:pypi/{canonical(each['name'])}@{each['version']}")
    # No address of a registry, no folder of this machine.
    assert not re.search(r"https?://|file:|\"/(home|root|tmp|work|usr)", json.dumps(components))
