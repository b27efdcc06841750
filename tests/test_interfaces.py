"""The files for billing and the mailing house keep the schemas that we hand out, and broken ones do not."""

import csv
import hashlib
import json
from pathlib import Path

import jsonschema
import pytest
from frictionless import Detector, Resource, Schema, system

from flows.settings import PROJECT
from flows.steps import outgoing, publish
from flows.steps.feeds import FEEDS

SCHEMAS = PROJECT / "docs" / "schemas"
GRANTS = (
    "grant_id,subscriber_id,msisdn,kind,quarter,month,volume_mb,valid_from,valid_until,wave_id,terms_id\n"
    "S1.Q1M1.1,S1,+4915550000123,loyalty,1,1,100,2017-12-07,2018-01-07,pilot,pilot-2017\n"
    "S1.W.1,S1,+4915550000123,welcome,0,0,600,2017-09-02,2017-10-02,pilot,pilot-2017\n"
)
ANSWERS = "grant_id,status,reason,processed_at\nS1.W.1,rejected,BARRED,2017-12-07T07:00:00Z\n"
INVITATIONS = "subscriber_id,email,wave_id,invite_on\nS1,anna@example.org,pilot,2017-09-01\n"
KPIS = (
    "wave_id,kpi,arm,quarter,value,ci_low,ci_high,n\n"
    "pilot,enrolment_rate,treatment,,0.25,0.2,0.3,900\npilot,itt_contacts,,,-0.1,,,1800\n"
)
SHA = "a" * 64
MANIFEST = {
    "file": "grants_20171206_01.csv", "business_date": "2017-12-06", "sequence": 7, "lines": 1, "volume_mb": 100,
    "sha256": SHA, "previous_sha256": SHA,
}  # fmt: skip


def table_errors(content: str | bytes, name: str) -> list[str]:
    """What frictionless finds wrong with a file, as types of error."""
    content = content.encode() if isinstance(content, str) else content
    schema = Schema.from_descriptor(str(SCHEMAS / f"{name}.schema.json"))
    with system.use_context(trusted=True):
        report = Resource(data=content, format="csv", schema=schema, detector=Detector(schema_sync=False)).validate()
    return [error[0] for error in report.flatten(["type"])]


def manifest_errors(manifest: dict, name: str) -> list[str]:
    schema = json.loads((SCHEMAS / f"{name}.manifest.schema.json").read_text())
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest)]


@pytest.mark.parametrize(
    ("name", "content"),
    [("grants", GRANTS), ("grant_acks", ANSWERS), ("invitations", INVITATIONS), ("kpis", KPIS)],
)
def test_a_file_as_it_should_be_keeps_its_schema(name, content):
    assert table_errors(content, name) == []


@pytest.mark.parametrize(
    ("name", "content", "before", "after"),
    [
        ("grants", GRANTS, "+4915550000123", "015550000123"),
        ("grants", GRANTS, "loyalty,1", "bonus,1"),
        ("grants", GRANTS, ",600,", ",0,"),
        ("grants", GRANTS, "2017-09-02", "02.09.2017"),
        ("grants", GRANTS, "S1.W.1", "S1.Q1M1.1"),
        ("grants", GRANTS, "kind,quarter", "quarter,kind"),
        ("grants", GRANTS, ",pilot-2017\n", "\n"),
        ("grant_acks", ANSWERS, "rejected", "refused"),
        ("grant_acks", ANSWERS, "07:00:00Z", "07:00:00"),
        ("invitations", INVITATIONS, "anna@example.org", ""),
        ("invitations", INVITATIONS, "S1,", ","),
        ("kpis", KPIS, "enrolment_rate", "enrollment_rate"),
        ("kpis", KPIS, "0.25", "a quarter"),
    ],
)
def test_a_broken_file_does_not_keep_its_schema(name, content, before, after):
    assert before in content
    assert table_errors(content.replace(before, after), name) != []


def test_a_manifest_as_it_should_be_keeps_its_schema():
    assert manifest_errors(MANIFEST, "grants") == []
    assert manifest_errors(MANIFEST | {"sequence": 1, "previous_sha256": None}, "grants") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"file": "grants_2017-12-06.csv"},
        {"business_date": "20171206"},
        {"sequence": 0},
        {"lines": "1"},
        {"volume_mb": 1.5},
        {"sha256": "A" * 64},
        {"previous_sha256": None},
        {"sequence": 1},
        {"note": "more"},
    ],
)
def test_a_broken_manifest_does_not_keep_its_schema(wrong):
    assert manifest_errors(MANIFEST | wrong, "grants") != []


def test_a_manifest_that_lacks_an_entry_does_not_keep_its_schema():
    for entry in MANIFEST:
        assert manifest_errors({name: value for name, value in MANIFEST.items() if name != entry}, "grants") != []


def columns_of(name: str) -> list[str]:
    return [field["name"] for field in json.loads((SCHEMAS / f"{name}.schema.json").read_text())["fields"]]


def test_the_schemas_have_the_columns_that_are_written_and_read():
    assert columns_of("grants") == list(outgoing.GRANT_COLUMNS)
    assert columns_of("invitations") == list(outgoing.INVITATION_COLUMNS)
    assert columns_of("grant_acks") == [column.name for column in FEEDS["grant_acks"].columns]


def outbox_errors(outbox: Path) -> list[str]:
    """What is wrong with the files that a home has put out: their schemas, their manifests and the chain of these."""
    found, chain = [], {}
    for path in sorted(outbox.rglob("*.csv")):
        name = path.parent.name
        content = path.read_bytes()
        found += [f"{path.name}: {error}" for error in table_errors(content, name)]
        if name == "kpis":
            continue
        manifest = json.loads(publish.manifest_path(path).read_text())
        found += [f"{path.name}: {error}" for error in manifest_errors(manifest, name)]
        if manifest["sha256"] != hashlib.sha256(content).hexdigest():
            found.append(f"{path.name}: the digest differs")
        if manifest["lines"] != len(list(csv.DictReader(content.decode().splitlines()))):
            found.append(f"{path.name}: the lines differ")
        if name == "grants":
            chain[manifest["sequence"]] = manifest
    if sorted(chain) != list(range(1, len(chain) + 1)):
        found.append("the sequence has a gap")
    for number in range(2, len(chain) + 1):
        if chain[number]["previous_sha256"] != chain[number - 1]["sha256"]:
            found.append(f"the chain breaks at {number}")
    return found


def samples_of(page: Path) -> dict[str, str]:
    """The fenced blocks of a page of documentation, by the file name in the line before."""
    found, name, lines = {}, "", None
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            if lines is None:
                lines = []
            else:
                found[name] = "\n".join(lines) + "\n"
                lines = None
        elif lines is not None:
            lines.append(line)
        elif line.startswith("`") and line.rstrip(":").endswith("`"):
            name = line.strip("`:")
    return found


def test_the_samples_of_the_documentation_keep_the_schemas():
    samples = samples_of(PROJECT / "docs" / "billing-interface.md")
    checked = set()
    for name, content in samples.items():
        kind = name.split("_2")[0].split("_pilot")[0]
        if name.endswith(".manifest.json"):
            assert manifest_errors(json.loads(content), kind) == [], name
        elif name.endswith(".csv"):
            assert table_errors(content, kind) == [], name
        checked.add(kind)
    assert checked >= {"grants", "grant_acks", "invitations"}
    for name in ("grants_20171206_01", "invitations_pilot-2017"):
        manifest = json.loads(samples[f"{name}.manifest.json"])
        assert manifest["sha256"] == hashlib.sha256(samples[f"{name}.csv"].encode()).hexdigest()
        assert manifest["file"] == f"{name}.csv"
