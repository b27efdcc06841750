"""The rules of the programme in plain Python: what the pipeline is measured against.

Written from the specification alone, in its order and its words, so that a mistake made in SQL is not made
here a second time. `ReferenceHome` is one home folder without the folder: deliveries go in, the daily job
runs, and what it wrote and decided can be looked at. Every run works everything out anew from the deliveries
in force; only draws, enrolments, grants, releases and the policy in use are remembered, as in the ledger.

A comment `# open:` marks a place where the specification can be read in two ways.
"""

import hashlib
from collections import defaultdict
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path

from reference_files import BERLIN, ONE_DAY, Row, local_date
from reference_kpis import Pilot, kpi_file, rows_of
from reference_landing import Landing
from reference_out import GRANT_COLUMNS, Grant, csv_text, json_text
from reference_policy import Policy, PolicyError, Terms, UsedPolicy, Wave, read_policy
from reference_rules import Known, enrolment, members, plus_months

DAYS_UNTIL_OVERDUE = 7
TermsOf = dict[str, tuple[Wave, Terms, str]]  # of each member: its wave, the terms it signed up to, its arm


class ReferenceHome:
    def __init__(
        self,
        policy_dir: Path,
        max_delivery_bytes: int = 8 * 2**30,
        max_rejected_share: Fraction = Fraction(5, 100),
    ):
        self.policy_dir = Path(policy_dir)
        self.landing = Landing(max_delivery_bytes, max_rejected_share)
        self.latest: date | None = None
        self.used = UsedPolicy()
        self.outbox: dict[str, bytes] = {}
        self.problem = ""  # why the last run exited with 2
        # The ledger.
        self.draws: dict[str, list[tuple[str, str]]] = {}
        self.enrolments: dict[str, tuple[datetime, date]] = {}
        self.grants: list[Grant] = []
        self.posted: dict[date, int] = {}  # files for a business date
        self.files: list[str] = []
        self.last_sha256: str | None = None
        self.allowed_rejections: dict[tuple[str, int, int], int] = {}  # by releases
        # What the latest run found.
        self.quarters: dict[tuple[str, int], tuple[bool, int, int]] = {}
        self.rejected_entries: dict[tuple[str, int, int], int] = {}
        self.parked: set[tuple[str, int, int]] = set()
        self.overpaid: dict[tuple[str, int, int], int] = {}
        self.lapsed_enrolments: set[str] = set()
        self.unknown_acks: set[str] = set()
        self.contradicting_acks: set[str] = set()
        self.overdue_waves: set[str] = set()
        self.memberless_waves: set[str] = set()
        self.waiting_waves: set[str] = set()
        self.unattributed_calls: set[str] = set()

    # ------------------------------------------------------------ deliveries and operators

    def deliver(self, name: str, content: bytes) -> None:
        self.landing.inbox[name] = content

    def waive(self, feed: str, day: date, reason: str) -> int:
        return 0 if reason and self.landing.waive(feed, day) else 2

    def accept(self, name: str, reason: str) -> int:
        return 0 if reason and self.landing.accept(name) else 2

    def refuse(self, name: str, reason: str) -> int:
        return 0 if reason and self.landing.refuse(name) else 2

    def release(self, *grant_ids: str, reason: str) -> int:
        key_of = {grant.grant_id: grant.key for grant in self.grants}
        keys = {key_of.get(grant_id) for grant_id in grant_ids}
        return self.release_keys(keys) if reason and keys <= self.parked else 2

    def release_all(self, reason: str) -> int:
        # open: with nothing parked, "all" is about something that is not there.
        return self.release_keys(set(self.parked)) if reason else 2

    def release_keys(self, keys: set[tuple[str, int, int]]) -> int:
        # open: "one more attempt" counts from the rejections there are, also where a grant of several entries
        # had more of them than max_attempts when it was released.
        for key in keys:
            self.allowed_rejections[key] = self.rejected_entries[key] + 1
        self.parked -= keys
        return 0 if keys else 2

    @property
    def in_force(self) -> dict[tuple[str, date], str]:
        return {day: delivery.name for day, delivery in self.landing.in_force.items()}

    @property
    def row_counts(self) -> dict[tuple[str, date], tuple[int, int]]:
        return {day: (len(delivery.rows), delivery.rejected_rows) for day, delivery in self.landing.in_force.items()}

    @property
    def held(self) -> set[str]:
        return {each.name for each in self.landing.deliveries if each.verdict == "held"}

    @property
    def rejected(self) -> set[str]:
        return {each.name for each in self.landing.deliveries if each.verdict in ("rejected", "refused")}

    # ------------------------------------------------------------ the daily job

    def run(self, d: date) -> int:
        if d >= datetime.now(BERLIN).date() or (self.latest is not None and d < self.latest):
            self.problem = f"{d} is an impossible date"
            return 2
        try:
            policy = read_policy(self.policy_dir)
            self.used.check(policy)
        except PolicyError as error:
            self.problem = str(error)
            return 2

        is_delivery_rejected = self.landing.land(d)
        known = Known(self.landing, d)
        self.draw(policy, known)
        terms_of = {
            subscriber_id: (policy.waves[wave_id], policy.terms[policy.waves[wave_id].terms_id], arm)
            for wave_id, members in self.draws.items()
            for subscriber_id, arm in members
        }
        is_current = all(self.landing.is_complete_from_its_start(feed, d) for feed in ("subscribers", "app_events"))
        self.enrol(terms_of, known, is_current)
        self.judge(terms_of, known, policy)
        entitled = self.entitlements(terms_of)
        self.weigh(terms_of, known, entitled)
        self.post(terms_of, known, entitled if is_current else {})
        self.compare_arms(policy, known, entitled)
        self.latest = d
        self.used.remember(policy, d, list(self.draws))

        # open: a held delivery that a later one moved to rejected/ needs nobody any more.
        needs_a_person = is_delivery_rejected or self.held or self.overdue_waves or self.memberless_waves or self.parked
        return 3 if needs_a_person else 0

    # ------------------------------------------------------------ 1.3 the draw

    def draw(self, policy: Policy, known: Known) -> None:
        self.overdue_waves, self.memberless_waves, self.waiting_waves = set(), set(), set()
        for wave in sorted(policy.waves.values(), key=lambda wave: (wave.invite_on, wave.wave_id)):
            if wave.wave_id in self.draws or wave.invite_on > known.d + ONE_DAY:
                continue
            started = self.landing.start("subscribers")
            is_ready = (
                started is not None
                and started < wave.invite_on
                and self.landing.is_complete_from_its_start("subscribers", known.d, with_waivers=False)
            )
            # open: a wave that is overdue is only that, even where nobody would be eligible.
            if known.d - wave.invite_on > DAYS_UNTIL_OVERDUE * ONE_DAY:
                self.overdue_waves.add(wave.wave_id)
            elif self.waiting_waves or not is_ready:
                self.waiting_waves.add(wave.wave_id)
            elif not (eligible := self.eligible(wave, known)):
                self.memberless_waves.add(wave.wave_id)
            else:
                self.draws[wave.wave_id] = members(wave, eligible)
                self.invite(wave, known)

    def eligible(self, wave: Wave, known: Known) -> list[str]:
        drawn = {subscriber_id for draw in self.draws.values() for subscriber_id, _ in draw}
        found = []
        for subscriber_id in known.subscriber_ids - drawn:
            state = known.state_at_the_end_of(wave.invite_on - ONE_DAY, subscriber_id)
            if (
                state
                and state["status"] == "active"
                and state["marketing_consent"] == "true"
                and state["email"] != ""
                and wave.takes(state["brand"])
            ):
                found.append(subscriber_id)
        return found

    def invite(self, wave: Wave, known: Known) -> None:
        lines = []
        for subscriber_id, arm in sorted(self.draws[wave.wave_id]):
            state = known.state_at_the_end_of(known.d, subscriber_id)
            may_be_written_to = (
                state["status"] == "active" and state["marketing_consent"] == "true" and state["email"] != ""
            )
            if arm == "treatment" and may_be_written_to:
                lines.append((subscriber_id, state["email"], wave.wave_id, wave.invite_on))
        # open: a wave whose treatment members may none of them be written to has a file without lines.
        name = f"invitations_{wave.wave_id}"
        content = csv_text(("subscriber_id", "email", "wave_id", "invite_on"), lines)
        self.outbox[f"invitations/{name}.csv"] = content
        self.outbox[f"invitations/{name}.manifest.json"] = json_text({
            "file": f"{name}.csv",
            "wave_id": wave.wave_id,
            "invite_on": wave.invite_on,
            "lines": len(lines),
            "sha256": hashlib.sha256(content).hexdigest(),
        })  # fmt: skip

    # ------------------------------------------------------------ 1.4 enrolment

    def enrol(self, terms_of: TermsOf, known: Known, is_current: bool) -> None:
        today = {}
        for subscriber_id, (wave, terms, arm) in terms_of.items():
            if arm == "treatment":
                enrolled_at = enrolment(subscriber_id, wave, terms, known)
                if enrolled_at is not None:
                    today[subscriber_id] = (enrolled_at, local_date(enrolled_at))
        if is_current:
            self.enrolments = today | self.enrolments  # what is recorded stays
        self.lapsed_enrolments = set(self.enrolments) - set(today)

    # ------------------------------------------------------------ 1.5 and 1.6 contacts, quarters, streaks

    def judge(self, terms_of: TermsOf, known: Known, policy: Policy) -> None:
        self.unattributed_calls = set()
        calls_of: dict[str, list[Row]] = defaultdict(list)
        for call in known.current_calls:
            if call["voided"] == "true":
                continue
            subscriber_id = known.owner(call)
            if subscriber_id is None:
                self.unattributed_calls.add(call["call_id"])
            else:
                calls_of[subscriber_id].append(call)

        self.quarters = {}
        for subscriber_id, (enrolled_at, enrolled_on) in self.enrolments.items():
            _, terms, _ = terms_of[subscriber_id]
            contacts_on = [
                call.on
                for call in calls_of[subscriber_id]
                if call["direction"] == "inbound"
                and policy.line_counts(call["line"], call.on)
                and policy.outcome_counts(call["outcome"], call.on)
                and int(call["duration_s"]) >= terms.min_contact_seconds
                and call.at >= enrolled_at
            ]
            streak = 0
            for k in range(1, terms.quarters + 1):
                first, until = plus_months(enrolled_on, 3 * (k - 1)), plus_months(enrolled_on, 3 * k)
                settled_on = until - ONE_DAY + terms.settlement_days * ONE_DAY
                if not self.landing.is_complete("calls", enrolled_on, settled_on, known.d):
                    break
                contact_count = sum(first <= on < until for on in contacts_on)
                streak = 0 if contact_count else streak + 1
                self.quarters[subscriber_id, k] = (True, contact_count, streak)

    # ------------------------------------------------------------ 1.7 entitlement

    def entitlements(self, terms_of: TermsOf) -> dict[tuple[str, int, int], tuple[int, date, date]]:
        """Volume and nominal period, of the welcome of all who enrolled and of each decided quarter."""
        found = {}
        for subscriber_id, (_, enrolled_on) in self.enrolments.items():
            _, terms, _ = terms_of[subscriber_id]
            start = enrolled_on + ONE_DAY
            found[subscriber_id, 0, 0] = (terms.welcome_mb, start, plus_months(start, 1))
            for k in range(1, terms.quarters + 1):
                if (subscriber_id, k) not in self.quarters:
                    break
                _, _, streak = self.quarters[subscriber_id, k]
                volume = terms.mb_per_month(streak) if streak >= 1 else 0
                for m in (1, 2, 3):
                    found[subscriber_id, k, m] = (
                        volume,
                        plus_months(enrolled_on, 3 * k + m - 1) + terms.settlement_days * ONE_DAY,
                        plus_months(enrolled_on, 3 * k + m) + terms.settlement_days * ONE_DAY,
                    )
        return found

    def is_due(self, key: tuple[str, int, int], nominal_start: date, known: Known) -> bool:
        subscriber_id, quarter, _ = key
        if nominal_start > known.d + ONE_DAY:
            return False
        state = known.state_at_the_end_of(known.d, subscriber_id)
        if state is None or state["status"] != "active":
            return False
        withdrawals = known.events(subscriber_id, "programme_withdrawn")
        return quarter == 0 or not any(event.on < nominal_start for event in withdrawals)

    # ------------------------------------------------------------ 1.8 posting

    def weigh(self, terms_of: TermsOf, known: Known, entitled: dict) -> None:
        """What billing said, and from it what is issued, parked and overpaid."""
        answers: dict[str, set[str]] = defaultdict(set)
        for ack in known.acks:
            answers[ack["grant_id"]].add(ack["status"])
        self.contradicting_acks = {grant_id for grant_id, said in answers.items() if len(said) == 2}
        self.unknown_acks = set(answers) - {grant.grant_id for grant in self.grants}

        self.issued: dict[tuple[str, int, int], int] = defaultdict(int)
        self.rejected_entries = defaultdict(int)
        for grant in self.grants:
            if answers.get(grant.grant_id) == {"rejected"}:
                self.rejected_entries[grant.key] += 1
            else:
                self.issued[grant.key] += grant.volume_mb

        # open: with its last attempt rejected a grant is parked, whether anything is still missing or not.
        self.parked = {
            key
            for key, rejected in self.rejected_entries.items()
            if rejected >= self.allowed_rejections.get(key, terms_of[key[0]][1].max_attempts)
        }
        self.overpaid = {
            key: self.issued[key] - volume for key, (volume, _, _) in entitled.items() if self.issued[key] > volume
        }

    def post(self, terms_of: TermsOf, known: Known, entitled: dict) -> None:
        batch = []
        for key, (volume, nominal_start, nominal_end) in entitled.items():
            missing = volume - self.issued[key]
            if missing <= 0 or key in self.parked or not self.is_due(key, nominal_start, known):
                continue
            subscriber_id, k, m = key
            wave, terms, _ = terms_of[subscriber_id]
            entry_no = sum(grant.key == key for grant in self.grants) + 1
            valid_from = max(nominal_start, known.d + ONE_DAY)
            batch.append(Grant(
                f"{subscriber_id}.{f'Q{k}M{m}' if k else 'W'}.{entry_no}",
                subscriber_id,
                known.state_at_the_end_of(known.d, subscriber_id)["msisdn"],
                "loyalty" if k else "welcome",
                k, m, missing,
                valid_from, valid_from + (nominal_end - nominal_start),
                wave.wave_id, terms.terms_id,
            ))  # fmt: skip
        batch.sort(key=lambda grant: grant.grant_id.encode())
        self.grants.extend(batch)
        if batch or known.d not in self.posted:
            self.publish(known.d, batch)

    def publish(self, d: date, batch: list[Grant]) -> None:
        number = self.posted[d] = self.posted.get(d, 0) + 1
        name = f"grants_{d:%Y%m%d}_{number:02}"
        lines = [tuple(getattr(grant, column) for column in GRANT_COLUMNS) for grant in batch]
        content = csv_text(GRANT_COLUMNS, lines)
        sha256 = hashlib.sha256(content).hexdigest()
        self.files.append(f"{name}.csv")
        self.outbox[f"grants/{name}.csv"] = content
        self.outbox[f"grants/{name}.manifest.json"] = json_text({
            "file": f"{name}.csv",
            "business_date": d,
            "sequence": len(self.files),
            "lines": len(batch),
            "volume_mb": sum(grant.volume_mb for grant in batch),
            "sha256": sha256,
            "previous_sha256": self.last_sha256,
        })  # fmt: skip
        self.last_sha256 = sha256

    # ------------------------------------------------------------ 3 the KPIs

    def compare_arms(self, policy: Policy, known: Known, entitled: dict) -> None:
        self.weigh_again(known)
        waves = []
        for wave_id in self.draws:
            pilot = self.pilot(policy.waves[wave_id], policy, known, entitled)
            waves.append((wave_id, rows_of(pilot, known, self.landing, policy)))
        self.outbox[f"kpis/kpis_{known.d:%Y%m%d}.csv"] = kpi_file(waves)

    def weigh_again(self, known: Known) -> None:
        """What is issued once the run has posted."""
        answers: dict[str, set[str]] = defaultdict(set)
        for ack in known.acks:
            answers[ack["grant_id"]].add(ack["status"])
        self.issued = defaultdict(int)
        for grant in self.grants:
            if answers.get(grant.grant_id) != {"rejected"}:
                self.issued[grant.key] += grant.volume_mb

    def pilot(self, wave: Wave, policy: Policy, known: Known, entitled: dict) -> Pilot:
        members = dict(self.draws[wave.wave_id])
        decided = defaultdict(list)
        for (subscriber_id, k), (_, contact_count, _) in self.quarters.items():
            if subscriber_id in members:
                decided[k].append(contact_count == 0)

        def is_there(subscriber_id: str) -> bool:
            state = known.state_at_the_end_of(known.d, subscriber_id)
            is_gone = state is not None and state["status"] == "terminated"
            return not is_gone and not known.events(subscriber_id, "programme_withdrawn")

        granted = sum(volume for key, volume in self.issued.items() if key[0] in members)
        owed = sum(
            max(volume - self.issued[key], 0)
            for key, (volume, _, _) in entitled.items()
            if key[0] in members and key not in self.parked and is_there(key[0])
        )
        return Pilot(
            wave=wave,
            terms=policy.terms[wave.terms_id],
            members=self.draws[wave.wave_id],
            invited=self.outbox[f"invitations/invitations_{wave.wave_id}.csv"].count(b"\n") - 1,
            enrolled_on={each: on for each, (_, on) in self.enrolments.items() if each in members},
            decided=decided,
            granted_mb=granted,
            committed_mb=granted + owed,
        )
