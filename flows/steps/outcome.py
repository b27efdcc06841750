"""What a run came to, for the exit status, the screen and the run's page in Prefect."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from flows.errors import masked
from flows.steps.corrections import Correction
from flows.steps.kpis import Kpis
from flows.steps.landing import Landing
from flows.steps.ledger import Posting
from flows.steps.publish import Published
from flows.steps.status import KINDS_FOR_A_PERSON, needs_a_person

# How each kind of exception is told to people.
KINDS = {
    "parked_grant": "grants parked: rejected too often, released by an operator's word",
    "overpaid_grant": "grants overpaid",
    "lapsed_enrolment": "enrolments that today's data would not give",
    "overdue_wave": "waves overdue, not drawn",
    "memberless_wave": "waves without anybody eligible",
    "unattributed_calls": "calls of nobody",
    "unknown_line": "calls on lines without a row in the policy",
    "unknown_outcome": "calls with outcomes without a row in the policy",
    "unknown_ack": "answers for unknown grants",
    "contradicting_ack": "grants both accepted and rejected",
    "rejected_rows": "rows rejected",
    "emptied_values": "malformed values loaded as empty",
    "unknown_columns": "unknown columns not loaded",
    "smaller_than_usual": "deliveries much smaller than usual",
    "larger_than_usual": "deliveries much larger than usual",
    "withheld_address": "members not in the invitation file: their address is a spreadsheet's formula",
    "waived_but_delivered": "deliveries that came although waived",
    "early_start": "feeds that begin over a month before their second delivery: a wrong date in a name?",
}
# Those whose subject is a subscriber, or a grant of one.
_OF_PERSONS = (
    "parked_grant", "overpaid_grant", "lapsed_enrolment", "unknown_ack", "contradicting_ack", "withheld_address",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a run did, what waits, and whether something needs a person."""

    business_date: date
    landing: Landing
    posting: Posting
    published: Published
    kpis: Kpis
    new_exceptions: tuple[dict[str, Any], ...]
    status: dict[str, Any]
    corrections: tuple[Correction, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 done; 3 done, but something needs a person (2.5)."""
        return 3 if self.landing.rejected or needs_a_person(self.status) else 0

    def needs(self) -> str:
        """What a person must look at, in one line of counts."""
        kinds = {row["kind"]: row["item_count"] for row in self.status["exceptions"]}
        told = [f"{len(self.landing.rejected)} deliveries rejected"] if self.landing.rejected else []
        told += [f"{len(self.status['held'])} deliveries held"] if self.status["held"] else []
        told += [f"{kinds[kind]} {KINDS[kind]}" for kind in KINDS_FOR_A_PERSON if kind in kinds]
        told += [f"{len(altered)} files altered in the outbox"] if (altered := self.status["altered_files"]) else []
        return f"{self.business_date} is done, but needs a person: {'; '.join(told)}. See callfree status."

    def headline(self) -> str:
        """The run in one line."""
        return f"{self.business_date}: {self.posting.grant_count} grants, {self.posting.volume_mb} MB"

    def lines(self, names_persons: bool = True) -> list[str]:
        """The run in plain sentences, with the subscribers and grants they are about or without."""
        landing, posting = self.landing, self.posting
        told = [
            f"landed {len(landing.accepted)} deliveries with {landing.loaded_rows} rows"
            + (f", {landing.rejected_rows} rows rejected" if landing.rejected_rows else "")
            + (f"; {len(landing.repeated)} repeats" if landing.repeated else "")
        ]
        told += [f"drew wave {wave_id}" for wave_id in posting.drawn_waves]
        told += [f"recorded {posting.enrolment_count} enrolments"] if posting.enrolment_count else []
        told.append(quarters_sentence(self.status))
        told.append(f"posted {posting.grant_count} grants, {posting.volume_mb} MB")
        told += [f"published {name}" for name in (*self.published.invitation_files, *self.published.grant_files)]
        told.append(self.kpis.sentence())
        return told + self.to_know(names_persons)

    def to_know(self, names_persons: bool = True) -> list[str]:
        """What a person should know of: what came and was not taken, what changed, what waits, and what is new."""
        told = [f"rejected {name}: {reason}" for name, reason in self.landing.rejected]
        told += [f"held {held['file']}: {held['reason']}" for held in self.status["held"]]
        # Others may have named them after a person.
        shown = str if names_persons else masked
        told += [
            f"altered in the outbox: {shown(row['file'])}: {row['problem']}" for row in self.status["altered_files"]
        ]
        told += [f"corrected: {correction.sentence(names_persons)}" for correction in self.corrections]
        told += [f"waiting: {sentence}" for sentence in waiting_sentences(self.status)]
        told += [f"new: {sentence}" for sentence in _by_kind(self.new_exceptions, names_persons)]
        return told


def quarters_sentence(status: dict[str, Any]) -> str:
    """How many quarters are decided, and how many of them were call-free."""
    quarters = status["quarters"]
    return (
        f"quarters: {quarters['decided_count']} decided, {quarters['call_free_count']} of them call-free,"
        f" {quarters['open_count']} open"
    )


def waiting_sentences(status: dict[str, Any]) -> list[str]:
    """What waits, and for which days of which feed."""
    return [_waiting_sentence(row) for row in status["waiting"]]


def _waiting_sentence(row: dict[str, Any]) -> str:
    days = row["missing_days"].split(", ") if row["missing_days"] else []
    shown = ", ".join(days[:5]) + (f" and {len(days) - 5} more" if len(days) > 5 else "")
    for_what = f"{row['feed']} of {shown}" if days else f"{row['feed']}, of which no delivery has come"
    return for_what if row["what"] == "deliveries" else f"{row['item_count']} {row['what']} for {for_what}"


def _by_kind(exceptions: tuple[dict[str, Any], ...], names_persons: bool) -> list[str]:
    counts: dict[str, int] = {}
    subjects: dict[str, list[str]] = {}
    for row in exceptions:
        counts[row["kind"]] = counts.get(row["kind"], 0) + row["item_count"]
        if names_persons or row["kind"] not in _OF_PERSONS:
            subjects.setdefault(row["kind"], []).append(row["subject"])
    return [
        f"{count} {KINDS.get(kind, kind)}{_first_few(subjects[kind]) if kind in subjects else ''}"
        for kind, count in counts.items()
    ]


def _first_few(subjects: list[str]) -> str:
    return f" ({', '.join(subjects[:3])}{', ...' if len(subjects) > 3 else ''})"
