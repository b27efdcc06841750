"""The marts as a run of the past knew them, derived anew from what ledger and archive held then.

It works while another run goes on: that one holds `ledger.duckdb`, so a copy is kept for readers (`keep_ledger`). A
scratch home stands in for the installation: its ledger is cut to what the run knew, its archive is the real one.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from flows.errors import WrongUsage
from flows.settings import Settings
from flows.steps import ledger, policy
from flows.steps.derivation import derive
from flows.steps.files import copy_whole
from flows.steps.home import lock
from flows.steps.kpis import fill_table
from flows.steps.landing import restore
from flows.steps.marts import publish_marts
from flows.steps.transform import digest_of_models
from flows.steps.warehouse import attach, closed, connect, rows

# Which rows of each table of the ledger a run knew once it had posted.
KNOWN = {
    "deliveries": "delivery_id <= $last_delivery_id",
    "decisions": "decision_id <= $last_decision_id",
    "draws": "drawn_in_run_on <= $business_date",
    "members": "wave_id in (select wave_id from source.draws where drawn_in_run_on <= $business_date)",
    "enrolments": "recorded_in_run_on <= $business_date",
    "batches": "sequence <= $last_sequence",
    "grants": "sequence <= $last_sequence",
}
# The derived are kept, since a past that was asked for is soon asked for again.
_KEPT = 5


@dataclass(frozen=True)
class PastRun:
    """A run that posted, and how far the ledger went then."""

    run_no: int
    business_date: date
    policy: str
    last_delivery_id: int
    last_decision_id: int
    last_sequence: int


def keep_ledger(settings: Settings) -> None:
    """Copy the ledger for those who read while a run holds it. It names numbers, so it is not published."""
    with ledger.open_ledger(settings) as connection:
        connection.execute("checkpoint")
    with closed(settings.ledger):
        copy_whole(settings.ledger, settings.readable_ledger)


def forget_the_past(settings: Settings) -> None:
    """After a restore: the numbers of runs that the ledger lost are given again, to others."""
    shutil.rmtree(settings.work / "as_of", ignore_errors=True)
    keep_ledger(settings)


def run_as_of(settings: Settings, day: date) -> PastRun:
    """The latest run for a business date up to the day. Raises WrongUsage where there was none."""
    with connect(_readable_ledger(settings), read_only=True) as connection:
        found = rows(
            connection,
            "select run_no, business_date, content as policy, last_delivery_id, last_decision_id, last_sequence"
            " from runs inner join policies on runs.policy_sha256 = policies.policy_sha256"
            " where business_date <= ? order by run_no desc limit 1",
            [day],
        )
    if not found:
        raise WrongUsage(f"There was no run for {day} or before.")
    return PastRun(**found[0])


def marts_as_of(settings: Settings, day: date) -> Path:
    """The marts as the latest run for a business date up to the day has published them, in a file of their own.

    Its table `run` names the business date. The rules are those of today's code, the policy is that of the run.
    Raises WrongUsage where there was no run yet, CallfreeError where the archive lacks a delivery.
    """
    run = run_as_of(settings, day)
    folder = settings.work / "as_of"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"run_{run.run_no:06d}_{_digest_of_rules(settings)[:12]}.duckdb"
    if kept.is_file():
        os.utime(kept)
        return kept
    derive_past(settings, run, kept)
    for old in sorted(folder.glob("run_*.duckdb"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return kept


def _digest_of_rules(settings: Settings) -> str:
    """Of models, steps and prices: what was derived by others is not today's answer."""
    digest = hashlib.sha256(f"{digest_of_models()} {settings.eur_per_mb} {settings.eur_per_contact}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def derive_past(settings: Settings, run: PastRun, marts: Path) -> None:
    """Derive all that a run knew from archive and ledger, and leave its marts in a file. Raises CallfreeError."""
    with tempfile.TemporaryDirectory(prefix=f"run_{run.run_no:06d}_", dir=marts.parent) as scratch:
        past = settings.model_copy(update={"home": Path(scratch), "policy": Path(scratch, "policy")})
        past.archive.symlink_to(settings.archive, target_is_directory=True)
        past.make_folders()
        _cut_ledger(settings, past, run)
        policy.restore(run.policy, past.policy)
        with ledger.held_open(past):
            restore(past, run.business_date)
            derive(past, policy.load(past.policy))
            fill_table(past)
            publish_marts(past)
        os.replace(past.marts, marts)


def _readable_ledger(settings: Settings) -> Path:
    if not settings.readable_ledger.is_file():
        with lock(settings, "copying the ledger for readers"):
            keep_ledger(settings)
    return settings.readable_ledger


def _cut_ledger(settings: Settings, past: Settings, run: PastRun) -> None:
    with ledger.open_ledger(past) as connection:
        # A connection reaches no further than its own folder.
        source = past.home / "source.duckdb"
        copy_whole(_readable_ledger(settings), source)
        attach(connection, source, "source", read_only=True)
        for table, known in KNOWN.items():
            parameters = {name: value for name, value in vars(run).items() if f"${name}" in known}
            connection.execute(f"insert into {table} by name select * from source.{table} where {known}", parameters)
        connection.execute("detach source")
