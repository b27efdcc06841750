"""Arrivals: files of the inbox on their way to a verdict, and the places where they lie before and after it.

A run claims the files that it judges: they leave the inbox by a rename, so that what a sender puts there meanwhile
is another file. After the ledger has spoken, `clear` takes the claimed file away; what a crash leaves claimed is
put right by the next landing.
"""

import json
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from itertools import chain, count
from pathlib import Path

from flows.errors import masked
from flows.settings import Settings
from flows.steps import crash_points, ledger
from flows.steps.feeds import DIGEST_SUFFIX, DeliveryName, is_not_yet, parse_name
from flows.steps.files import free_name, move, put_beside, sha256_of, write_whole
from flows.steps.ledger import Delivery

REASON_SUFFIX = ".reason.json"
_SINCE = ".since"


@dataclass
class Arrival:
    """A file on its way to a verdict."""

    path: Path
    # Its name as it came.
    file_name: str
    parsed: DeliveryName | None
    sha256: str | None = None
    held_delivery_id: int | None = None
    delivery_id: int = 0
    verdict: str = ""
    reason: str | None = None
    record_count: int = 0
    rejected_count: int = 0
    rows: list[dict] = field(default_factory=list)

    @property
    def day(self) -> tuple[str, date] | None:
        return (self.parsed.feed, self.parsed.business_date) if self.parsed else None

    def reject(self, reason: str) -> None:
        self.verdict, self.reason = "rejected", reason

    def as_delivery(self, stored_as: str | None, run_on: date) -> Delivery:
        """The arrival as the ledger will hold it."""
        return Delivery(
            delivery_id=self.delivery_id,
            feed=self.parsed.feed if self.parsed else None,
            business_date=self.parsed.business_date if self.parsed else None,
            file_name=safe_name(self.file_name),
            sha256=self.sha256,
            verdict=self.verdict,
            reason=self.reason,
            stored_as=stored_as,
            record_count=self.record_count,
            rejected_count=self.rejected_count,
            held_delivery_id=self.held_delivery_id,
            run_on=run_on,
        )


# --- Before the verdict -------------------------------------------------------------------------------------------


def claim(settings: Settings, business_date: date, last_known: int) -> list[Arrival]:
    """Take the files that this run looks at out of the inbox; those bad at first sight have their verdict.

    A file whose name is claimed already waits for the next call. The number of the last delivery is noted beside
    them: only a later one can be about what is claimed, the same bytes may have been judged before.
    """
    settings.claimed.mkdir(mode=0o700, exist_ok=True)
    crash_points.passed("the folder of claimed files is there")
    write_whole(settings.claimed / _SINCE, [str(last_known).encode()])
    for path in sorted(settings.inbox.iterdir()):
        if _is_looked_at(path, business_date) and not os.path.lexists(settings.claimed / path.name):
            path.rename(settings.claimed / path.name)
            crash_points.passed("a file is claimed")
            _claim_digest(settings, path.name)
    arrivals = []
    for path in sorted(settings.claimed.iterdir()):
        if path.name.endswith(DIGEST_SUFFIX) or not _is_looked_at(path, business_date):
            continue
        # Where a sender has put another file of that name there meanwhile, the digest is of that one.
        if not os.path.lexists(settings.inbox / path.name):
            _claim_digest(settings, path.name)
        arrival = Arrival(path, path.name, parse_name(path.name))
        if arrival.parsed is None:
            arrival.reject("its name is malformed: expected <feed>_<YYYYMMDD>.csv, .csv.gz or .parquet")
        elif not stat.S_ISREG(path.lstat().st_mode):
            arrival.reject("it is not a regular file")
        arrivals.append(arrival)
    files_of = Counter(arrival.day for arrival in arrivals if arrival.day)
    for arrival in arrivals:
        if files_of[arrival.day] > 1:
            arrival.reject("the inbox holds another file for the same feed and date")
    return arrivals


def _claim_digest(settings: Settings, name: str) -> None:
    beside = settings.inbox / (name + DIGEST_SUFFIX)
    if os.path.isfile(beside):  # Path.is_file stops at a name that is too long
        beside.rename(settings.claimed / beside.name)
        crash_points.passed("a digest is claimed")


def _is_looked_at(path: Path, business_date: date) -> bool:
    """Whether a run for the date judges what lies there. What it may not read waits until it may."""
    if is_not_yet(path.name) or path.name.endswith(DIGEST_SUFFIX):
        return False
    parsed = parse_name(path.name)
    if parsed is not None and parsed.business_date > business_date:
        return False
    mode = path.lstat().st_mode
    if parsed is None and stat.S_ISDIR(mode):
        return False  # subfolders are not read
    return not stat.S_ISREG(mode) or os.access(path, os.R_OK)


def check_digest(arrival: Arrival) -> None:
    """The digest of the file, and whether the one that was sent beside it matches."""
    arrival.sha256 = _digest_of(arrival.path)
    if arrival.sha256 is None:
        return
    beside = arrival.path.with_name(arrival.path.name + DIGEST_SUFFIX)
    if not arrival.verdict and os.path.isfile(beside) and _digest_in(beside) != arrival.sha256:
        arrival.reject("its digest does not match the .sha256 file beside it")


def _digest_in(path: Path) -> str:
    words = path.read_bytes()[:1024].split()
    return words[0].decode("ascii", "replace").lower() if words else ""


# --- After the verdict --------------------------------------------------------------------------------------------


def names_taken(history: list[Delivery]) -> set[str]:
    """The places that the ledger names. None is given away again, or two deliveries would be taken for each other."""
    return {delivery.stored_as for delivery in history if delivery.stored_as}


def put_in_place(settings: Settings, arrival: Arrival, taken: set[str], run_on: date) -> Delivery:
    """Give the file its durable second place by its verdict. What cannot be linked or copied is moved later."""
    if arrival.verdict == "repeated":
        return arrival.as_delivery(None, run_on)
    folder = {
        "accepted": settings.archive / (arrival.parsed.feed if arrival.parsed else ""),
        "rejected": settings.rejected,
        "held": settings.held,
    }[arrival.verdict]
    home = settings.home.absolute()
    target = folder / _free_or_same(home, folder, safe_name(arrival.file_name), taken, arrival.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    if arrival.sha256 is not None:
        put_beside(arrival.path, target)
    if arrival.verdict != "accepted":
        _write_reason(target, arrival)
    return arrival.as_delivery(str(target.relative_to(home)), run_on)


def _free_or_same(home: Path, folder: Path, name: str, taken: set[str], sha256: str | None) -> str:
    """A name that no delivery has. A file that a crash left there before the ledger knew it is the same."""
    candidates = chain([name], (f"{name}.{number}" for number in count(2)))
    return next(
        candidate
        for candidate in candidates
        if str((folder / candidate).relative_to(home)) not in taken
        and str((folder / candidate).relative_to(home)).removesuffix(REASON_SUFFIX) not in taken
        and (not os.path.lexists(folder / candidate) or _has_digest(folder / candidate, sha256))
    )


def _has_digest(path: Path, sha256: str | None) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def safe_name(name: str) -> str:
    """A name that can be written down: printable, short enough for a suffix, and without a person's number."""
    if parse_name(name):
        return name
    printable = "".join(letter if letter.isprintable() and letter.isascii() else "_" for letter in name)
    return masked(printable)[:180]


def _write_reason(target: Path, arrival: Arrival) -> None:
    reason = {
        "file": safe_name(arrival.file_name),
        "feed": arrival.parsed.feed if arrival.parsed else None,
        "business_date": arrival.parsed.business_date.isoformat() if arrival.parsed else None,
        "verdict": arrival.verdict,
        "reason": arrival.reason,
        "sha256": arrival.sha256,
        "record_count": arrival.record_count,
        "rejected_count": arrival.rejected_count,
        "first_rejected_rows": arrival.rows,
    }
    content = json.dumps(reason, indent=2) + "\n"
    write_whole(target.with_name(target.name + REASON_SUFFIX), [content.encode()])


def clear(path: Path, delivery: Delivery, settings: Settings) -> None:
    """Take a claimed file away, now that the ledger knows it."""
    beside = path.with_name(path.name + DIGEST_SUFFIX)
    target = settings.home.absolute() / (delivery.stored_as or "")
    if os.path.isfile(beside):
        if delivery.verdict in ("accepted", "repeated"):
            beside.unlink()
            crash_points.passed("a digest is cleared")
        else:
            move(beside, target.with_name(target.name + DIGEST_SUFFIX))
    if delivery.sha256 is None:
        move(path, target)
    else:
        path.unlink(missing_ok=True)
        crash_points.passed("a file is cleared")


def recover_claimed(settings: Settings, history: list[Delivery]) -> None:
    """Put right what a landing that did not end left claimed: judged files go, others return to the inbox."""
    if not settings.claimed.is_dir():
        return
    since = _claimed_since(settings)
    latest = {delivery.file_name: delivery for delivery in history if delivery.delivery_id > since}
    for path in sorted(settings.claimed.iterdir()):
        if path.name.endswith(DIGEST_SUFFIX) or is_not_yet(path.name):
            continue
        known = latest.get(safe_name(path.name))
        if known and known.sha256 == _digest_of(path):
            clear(path, known, settings)
        else:
            _give_back(path, settings)
    for path in list(settings.claimed.iterdir()):
        if path.name.endswith(DIGEST_SUFFIX) and not os.path.lexists(
            path.with_name(path.name.removesuffix(DIGEST_SUFFIX))
        ):
            path.unlink()
            crash_points.passed("a digest without its file is cleared")
    if all(is_not_yet(path.name) for path in settings.claimed.iterdir()):
        for path in list(settings.claimed.iterdir()):
            path.unlink()
            crash_points.passed("the note of the claim is cleared")
        settings.claimed.rmdir()


def _claimed_since(settings: Settings) -> int:
    """The number of the last delivery when the files were claimed."""
    note = settings.claimed / _SINCE
    return int(note.read_text()) if note.is_file() else 0


def _digest_of(path: Path) -> str | None:
    """The digest of a file; what is none has none."""
    return sha256_of(path) if stat.S_ISREG(path.lstat().st_mode) else None


def _give_back(path: Path, settings: Settings) -> None:
    """Return a file and its digest to the inbox, unless a sender has put another there meanwhile."""
    beside = path.with_name(path.name + DIGEST_SUFFIX)
    if os.path.lexists(settings.inbox / path.name):
        return
    # The digest goes first: a file without its digest would be believed.
    if os.path.isfile(beside):
        beside.rename(settings.inbox / beside.name)
        crash_points.passed("a digest is given back")
    path.rename(settings.inbox / path.name)
    crash_points.passed("a file is given back")


def drop_late_digests(settings: Settings, history: list[Delivery]) -> None:
    """A digest that came after its delivery had landed would contradict the next delivery of that name."""
    latest = {delivery.file_name: delivery for delivery in history if delivery.verdict == "accepted"}
    for path in list(settings.inbox.glob(f"*{DIGEST_SUFFIX}")):
        name = path.name.removesuffix(DIGEST_SUFFIX)
        if name in latest and not (settings.inbox / name).exists() and _digest_in(path) == latest[name].sha256:
            path.unlink()


def tidy_held(settings: Settings, history: list[Delivery], refused: set[int]) -> None:
    """Bring `held/` in line with the ledger: what no longer waits is loaded, or lies in `rejected/`."""
    home = settings.home.absolute()
    waiting = {delivery.delivery_id for delivery in ledger.still_held(history, refused)}
    judged = {delivery.held_delivery_id for delivery in history}
    for delivery in history:
        if delivery.verdict != "held" or delivery.delivery_id in waiting:
            continue
        place = home / delivery.stored_as
        # The file goes last, so that a crash in between does not part it from its reason.
        leftovers = [suffix for suffix in (REASON_SUFFIX, DIGEST_SUFFIX, "") if _with(place, suffix).is_file()]
        name = free_name(settings.rejected, place.name)
        for suffix in leftovers:
            if delivery.delivery_id in judged:
                _with(place, suffix).unlink()
                crash_points.passed("a held file is cleared")
            else:
                move(_with(place, suffix), settings.rejected / (name + suffix))


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
