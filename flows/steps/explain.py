"""A subscriber's story: why it has what it has, and not what it has not.

Nothing is decided here. States and what-ifs are rows of the marts, and their words are the mart `words`, so that the
story cannot disagree with the grants. Only published copies are read, so it can be told while a run goes on.
"""

import re
from datetime import UTC, date, datetime
from typing import Any

from flows.errors import WrongUsage
from flows.settings import Settings
from flows.steps.start import LOCAL
from flows.steps.warehouse import Connection, connect, rows

Row = dict[str, Any]

_STEPS = (
    ("app installed", "installed_at"),
    ("signed in to the portal", "signed_in_at"),
    ("video watched", "video_watched_at"),
    ("enrolled", "enrolled_at"),
    ("withdrawn from the programme", "withdrawn_at"),
)


def explain(settings: Settings, subscriber_id: str, day: date | None = None) -> Row:
    """The story as of the latest run or, with a day, of the latest run for a business date up to it.

    Instants are local with their offset, volumes in MB, lengths in seconds; every `told` is a plain sentence. The
    shape is described in docs/care.md. Raises WrongUsage for a subscriber that no delivery named.
    """
    if day is None:
        marts = settings.marts
        if not marts.is_file():
            raise WrongUsage("There has been no run yet, so there is nothing to explain.")
    else:
        # Brings dbt along.
        from flows.steps.as_of import marts_as_of

        marts = marts_as_of(settings, day)
    with connect(marts, read_only=True) as connection:
        return {"asked_for": day} | Story(connection, subscriber_id).told()


class Story:
    """The rows about one subscriber, each with its words."""

    def __init__(self, connection: Connection, subscriber_id: str) -> None:
        self.connection = connection
        self.subscriber_id = subscriber_id
        found = rows(connection, "select about, code, told from words")
        self.words = {(word["about"], word["code"]): word["told"] for word in found}

    def told(self) -> Row:
        run = rows(self.connection, "select business_date from run")[0]
        line = self._rows("select brand, status, has_marketing_consent, activated_on from subscribers")
        membership = self._membership()
        if not line and not membership:
            # What does not look like an id could be a number.
            name = self.subscriber_id if re.fullmatch(r"[A-Za-z0-9_-]{1,32}", self.subscriber_id) else "That"
            raise WrongUsage(f"{name} is no subscriber that a delivery has named up to {run['business_date']}.")
        quarters = self._quarters()
        grants = self._grants()
        return {
            "subscriber_id": self.subscriber_id,
            "as_of": run["business_date"],
            "subscriber": line[0] if line else None,
            "draws": self._draws(),
            "waves_not_drawn": self._waves_not_drawn() if not membership else [],
            "membership": membership,
            "quarters": quarters,
            "grants": grants,
            "coming": self._coming(),
            "missing_deliveries": self._missing(membership, quarters, grants),
        }

    def _rows(self, sql: str, more: str = "") -> list[Row]:
        return rows(self.connection, f"{sql} where subscriber_id = ? {more}", [self.subscriber_id])

    def _say(self, about: str, code: str, row: Row) -> str:
        return self.words[about, code].format_map({name: plainly(value) for name, value in row.items()})

    def _draws(self) -> list[Row]:
        found = self._rows(
            "select wave_id, invite_on, draw_outcome, draw_rank, drawn_count, eligible_count from draw_outcomes",
            "order by invite_on, wave_id",
        )
        return [row | {"told": self._say("draw", row["draw_outcome"], row)} for row in found]

    def _waves_not_drawn(self) -> list[Row]:
        found = rows(
            self.connection,
            "select wave_id, invite_on, wave_state from pilot_waves where wave_state <> 'drawn'"
            " order by invite_on, wave_id",
        )
        return [row | {"told": self._say("wave", row["wave_state"], row)} for row in found]

    def _membership(self) -> Row | None:
        found = self._rows(
            "select wave_id, terms_id, arm, is_invited, invite_on, enrol_until, installed_at, signed_in_at,"
            " video_watched_at, enrolled_at, withdrawn_at, enrolment_state from members"
        )
        if not found:
            return None
        member = {name: local(value) for name, value in found[0].items()}
        steps = [{"step": step, "at": member.pop(column)} for step, column in _STEPS]
        facts = found[0] | {"enrolled_at": local(found[0]["enrolled_at"])}
        lapsed = self._rows("select is_lapsed from enrolments", "and is_lapsed")
        return member | {
            "is_lapsed": bool(lapsed),
            "steps": sorted((step for step in steps if step["at"]), key=lambda step: step["at"]),
            "told": self._say("enrolment", member["enrolment_state"], facts)
            + (f" {self._say('enrolment', 'lapsed', facts)}" if lapsed else ""),
        }

    def _quarters(self) -> list[Row]:
        contacts = self._rows(
            "select quarter, started_at, line, duration_s, outcome from contacts",
            "and quarter is not null order by started_at",
        )
        what_if = self._rows(
            "select without_quarter, without_count, quarter, is_decided, streak, mb_per_month"
            " from quarters_without_contacts",
            "order by without_quarter, quarter",
        )
        found = self._rows(
            "select quarter, quarter_from, quarter_until, decidable_on, is_decided, quarter_state, contact_count,"
            " streak, mb_per_month, rewarded_from from quarters",
            "order by quarter",
        )
        for row in found:
            those = [
                {name: local(value) for name, value in contact.items() if name != "quarter"}
                for contact in contacts
                if contact["quarter"] == row["quarter"]
            ]
            row["told"] = self._say("quarter", row["quarter_state"], row)
            row["contacts"] = those
            row["without_contacts"] = [
                self._what_if(other, those) for other in what_if if other["without_quarter"] == row["quarter"]
            ]
        return found

    def _what_if(self, row: Row, contacts: list[Row]) -> Row:
        days = list(dict.fromkeys(plainly(contact["started_at"].date()) for contact in contacts))
        facts = row | {"calls": days[0] if len(days) == 1 else f"{', '.join(days[:-1])} and {days[-1]}"}
        told = self._say("without", "one" if row["without_count"] == 1 else "many", facts)
        return {name: row[name] for name in ("quarter", "is_decided", "streak", "mb_per_month")} | {"told": told}

    def _grants(self) -> list[Row]:
        entries = self._rows(
            "select quarter, month, grant_id, volume_mb, valid_from, valid_until, file_name, posted_in_run_on,"
            " answer, rejection_reason, answered_on from grants",
            "order by quarter, month, entry_no",
        )
        found = self._rows(
            "select quarter, month, nominal_from, nominal_until, entitlement_state, entitled_mb, issued_mb,"
            " missing_mb, overpaid_mb, rejected_count from entitlements",
            "order by quarter, month",
        )
        return [
            row
            | {
                "told": self._say("grant", row["entitlement_state"], row)
                + (f" {self._say('grant', 'overpaid', row)}" if row["overpaid_mb"] else ""),
                "entries": [
                    {name: value for name, value in entry.items() if name not in ("quarter", "month")}
                    | {"told": self._say("answer", entry["answer"], entry)}
                    for entry in entries
                    if (entry["quarter"], entry["month"]) == (row["quarter"], row["month"])
                ],
            }
            for row in found
        ]

    def _coming(self) -> list[Row]:
        found = self._rows(
            "select comes_on, what, quarter, month, volume_mb from coming", "order by comes_on, what, quarter, month"
        )
        return [row | {"told": self._say("coming", row["what"], row)} for row in found]

    def _missing(self, membership: Row | None, quarters: list[Row], grants: list[Row]) -> list[Row]:
        """Deliveries that are missing, where something of the story waits for them."""
        states = [row["quarter_state"] for row in quarters] + [row["entitlement_state"] for row in grants]
        states += [membership["enrolment_state"]] if membership else []
        if not {"waiting", "undecided"} & set(states):
            return []
        return rows(self.connection, "select feed, missing_days from waiting where what = 'deliveries' order by feed")


def local(value: Any) -> Any:
    """An instant of the marts (UTC) as local time; any other value as it is."""
    return value.replace(tzinfo=UTC).astimezone(LOCAL) if isinstance(value, datetime) else value


def plainly(value: Any) -> str:
    """A day and a time as people write them."""
    if isinstance(value, datetime):
        return f"{value.day} {value:%B %Y, %H:%M}"
    return f"{value.day} {value:%B %Y}" if isinstance(value, date) else str(value)
