"""The pipeline as the properties drive it: the same handles as the reference, read from its files and marts."""

from datetime import date
from pathlib import Path

from flows.errors import CallfreeError, WrongUsage
from flows.settings import Settings
from flows.steps import ledger, operator
from flows.steps.run import rebuild, run_day
from flows.steps.start import today
from flows.steps.status import refresh_status
from flows.steps.warehouse import connect


class PipelineHome:
    """One installation below a folder, run step by step without Prefect and without the command line."""

    def __init__(self, path: Path, policy_dir: Path, **settings) -> None:
        self.settings = Settings(home=path, policy=policy_dir, **settings)
        self.settings.make_folders()

    # --- What others do -------------------------------------------------------------------------------------------

    def deliver(self, name: str, content: bytes) -> None:
        (self.settings.inbox / name).write_bytes(content)

    def waive(self, feed: str, day: date, reason: str) -> int:
        return self._say(operator.waive, feed, day, reason, today())

    def accept(self, name: str, reason: str) -> int:
        return self._say(operator.accept, name, reason)

    def refuse(self, name: str, reason: str) -> int:
        return self._say(operator.refuse, name, reason)

    def release(self, *grant_ids: str, reason: str) -> int:
        return self._say(operator.release, grant_ids, False, reason)

    def release_all(self, reason: str) -> int:
        return self._say(operator.release, (), True, reason)

    def _say(self, word, *arguments) -> int:
        try:
            word(self.settings, *arguments)
        except WrongUsage:
            return 2
        refresh_status(self.settings)
        return 0

    def run(self, day: date) -> int:
        try:
            return run_day(self.settings, day).exit_status
        except CallfreeError as error:
            if error.exit_status == 2:
                return 2
            raise

    def rebuild(self) -> None:
        rebuild(self.settings)

    # --- What came of it ------------------------------------------------------------------------------------------

    @property
    def outbox(self) -> dict[str, bytes]:
        root = self.settings.home / "outbox"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def _ask(self, sql: str) -> list[tuple]:
        with connect(self.settings.warehouse, ledger=self.settings.ledger) as connection:
            return connection.execute(sql).fetchall()

    def _subjects(self, kind: str) -> set[str]:
        return {row[0] for row in self._ask(f"select subject from marts.exceptions where kind = '{kind}'")}

    def _waves(self, state: str) -> set[str]:
        return {row[0] for row in self._ask(f"select wave_id from marts.pilot_waves where wave_state = '{state}'")}

    @property
    def in_force(self) -> dict:
        found = self._ask("select feed, business_date, file_name from staging.stg_deliveries")
        return {(feed, day): name for feed, day, name in found}

    @property
    def row_counts(self) -> dict:
        found = self._ask(
            "select feed, business_date, record_count - rejected_count, rejected_count from staging.stg_deliveries"
        )
        return {(feed, day): counts for feed, day, *pair in found for counts in [tuple(pair)]}

    @property
    def held(self) -> set[str]:
        with ledger.open_ledger(self.settings) as connection:
            held = ledger.still_held(ledger.deliveries(connection), ledger.decided(connection, "refuse"))
        return {delivery.file_name for delivery in held}

    @property
    def rejected(self) -> set[str]:
        names = {path.name for path in self.settings.rejected.iterdir()}
        names = {name for name in names if not name.endswith((".reason.json", ".sha256"))}
        return {name.rstrip("0123456789").removesuffix(".") if name[-1].isdigit() else name for name in names}

    @property
    def draws(self) -> dict:
        drawn: dict[str, list] = {}
        for wave, subscriber, arm in self._ask(
            "select wave_id, subscriber_id, arm from marts.members order by wave_id, draw_rank"
        ):
            drawn.setdefault(wave, []).append((subscriber, arm))
        return drawn

    @property
    def enrolments(self) -> dict:
        found = self._ask("select subscriber_id, enrolled_at, enrolled_on from marts.enrolments")
        return {subscriber: (at, on) for subscriber, at, on in found}

    @property
    def quarters(self) -> dict:
        found = self._ask(
            "select subscriber_id, quarter, is_decided, contact_count, streak from marts.quarters where is_decided"
        )
        return {(subscriber, quarter): tuple(rest) for subscriber, quarter, *rest in found}

    @property
    def parked(self) -> set:
        return set(self._ask("select subscriber_id, quarter, month from marts.entitlements where is_parked"))

    @property
    def overpaid(self) -> dict:
        found = self._ask("select subscriber_id, quarter, month, overpaid_mb from marts.entitlements")
        return {tuple(key): volume for *key, volume in found if volume}

    @property
    def lapsed_enrolments(self) -> set[str]:
        return self._subjects("lapsed_enrolment")

    @property
    def unknown_acks(self) -> set[str]:
        return self._subjects("unknown_ack")

    @property
    def contradicting_acks(self) -> set[str]:
        return self._subjects("contradicting_ack")

    @property
    def overdue_waves(self) -> set[str]:
        return self._waves("overdue")

    @property
    def memberless_waves(self) -> set[str]:
        return self._waves("memberless")

    @property
    def waiting_waves(self) -> set[str]:
        return self._waves("waiting")

    @property
    def unattributed_calls(self) -> set[str]:
        return {
            row[0]
            for row in self._ask(
                "select call_id from intermediate.int_calls where subscriber_id is null and not is_voided"
            )
        }

    def marts(self) -> dict[str, list[tuple]]:
        """Every table that can be derived again, its rows sorted."""
        tables = self._ask(
            "select table_schema, table_name from information_schema.tables"
            " where table_catalog = 'warehouse' and table_schema = 'marts'"
        )
        return {name: sorted(self._ask(f"from {schema}.{name}"), key=repr) for schema, name in tables}
