"""What must hold in every home at any time, checked from its files and its ledger alone.

Written from the specification (1.1, 1.6, 1.7, 2.3), without a line of the pipeline's SQL.
"""

import csv
import hashlib
import json
from datetime import date, timedelta

from flows.steps import ledger

SETTLEMENT_DAYS = 2


def broken_promises(home) -> list[str]:
    """Sentences about what does not hold: twice, lost, too early."""
    return [*_files(home), *_ledger(home)]


def _files(home):
    """Each manifest in the outbox stands beside its file; sequences, digests and grant ids."""
    ids: list[str] = []
    manifests = []
    for path in home.settings.grants_outbox.glob("*.manifest.json"):
        manifest = json.loads(path.read_bytes())
        manifests.append(manifest)
        content = (path.parent / manifest["file"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
            yield f"{manifest['file']} is not what its manifest says"
        lines = list(csv.DictReader(content.decode().splitlines()))
        ids += [line["grant_id"] for line in lines]
        if len(lines) != manifest["lines"] or sum(int(line["volume_mb"]) for line in lines) != manifest["volume_mb"]:
            yield f"{manifest['file']} has not the lines or the volume that its manifest says"
    if len(ids) != len(set(ids)):
        yield "a grant is on two published lines"
    manifests.sort(key=lambda manifest: manifest["sequence"])
    if [manifest["sequence"] for manifest in manifests] != list(range(1, len(manifests) + 1)):
        yield "the sequences have a gap"
    before = None
    for manifest in manifests:
        if manifest["previous_sha256"] != before:
            yield f"{manifest['file']} does not follow the file before"
        before = manifest["sha256"]


def _ledger(home):
    with ledger.open_ledger(home.settings) as connection:
        ask = connection.execute
        calls = {day for (day,) in ask("select business_date from deliveries where verdict = 'accepted'"
                                       " and feed = 'calls' union select business_date from decisions"
                                       " where kind = 'waive' and feed = 'calls'").fetchall()}  # fmt: skip
        enrolled = dict(ask("select subscriber_id, enrolled_on from enrolments").fetchall())
        grants = ask("select grant_id, subscriber_id, quarter, month, valid_from, file_name from grants"
                     " inner join batches on grants.sequence = batches.sequence").fetchall()  # fmt: skip
        published = {name for (name,) in ask("select file_name from publications").fetchall()}
    for grant_id, subscriber_id, quarter, month, valid_from, file_name in grants:
        enrolled_on = enrolled[subscriber_id]
        if quarter:
            until = plus_months(enrolled_on, 3 * quarter) + timedelta(days=SETTLEMENT_DAYS)
            days = {enrolled_on + timedelta(days=number) for number in range((until - enrolled_on).days)}
            if not days <= calls:
                yield f"{grant_id} was decided before calls were complete"
            nominal = plus_months(enrolled_on, 3 * quarter + month - 1) + timedelta(days=SETTLEMENT_DAYS)
        else:
            nominal = enrolled_on + timedelta(days=1)
        if valid_from < nominal:
            yield f"{grant_id} is valid too early"
        if file_name not in published:
            yield f"{file_name} was posted and is not published"


def plus_months(day: date, months: int) -> date:
    """Rule 1.1: the day of the month, clamped to the last."""
    month = day.month - 1 + months
    year, month = day.year + month // 12, month % 12 + 1
    last = (date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)).day
    return date(year, month, min(day.day, last))
