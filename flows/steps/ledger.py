"""The ledger: what cannot be derived again. It only grows, and only this module writes it (rule 1.8)."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from flows.errors import CallfreeError
from flows.settings import Settings
from flows.steps import crash_points, outgoing, warehouse
from flows.steps.policy import Policy, UsedRows
from flows.steps.warehouse import Connection, connect, connect_to_read, insert, rows, transaction

_SCHEMA = """
create table if not exists deliveries (
    delivery_id integer primary key,
    feed varchar,
    business_date date,
    file_name varchar not null,
    sha256 varchar,
    verdict varchar not null check (verdict in ('accepted', 'rejected', 'held', 'repeated')),
    reason varchar,
    -- Where the file lies, below the home folder.
    stored_as varchar,
    record_count bigint not null check (record_count >= 0),
    rejected_count bigint not null check (rejected_count between 0 and record_count),
    -- The held delivery that an operator's word turned into this one.
    held_delivery_id integer references deliveries (delivery_id),
    run_on date not null,
    recorded_at timestamp not null,
    check (verdict <> 'accepted' or (feed is not null and business_date is not null and sha256 is not null))
);
create table if not exists decisions (
    decision_id integer primary key,
    kind varchar not null check (kind in ('waive', 'accept', 'refuse', 'release')),
    feed varchar,
    business_date date,
    delivery_id integer references deliveries (delivery_id),
    subscriber_id varchar,
    quarter integer,
    month integer,
    -- A release allows one attempt more than had been rejected by then.
    allowed_attempts integer,
    reason varchar not null check (reason <> ''),
    decided_at timestamp not null,
    check (kind <> 'waive' or (feed is not null and business_date is not null)),
    check (kind not in ('accept', 'refuse') or delivery_id is not null),
    check (kind <> 'release' or (
        subscriber_id is not null and quarter is not null and month is not null and allowed_attempts is not null
    ))
);
create table if not exists policy_rows (
    policy_file varchar,
    row_key varchar,
    content varchar not null,
    used_from_run_on date not null,
    primary key (policy_file, row_key)
);
create table if not exists draws (
    wave_id varchar primary key,
    terms_id varchar not null,
    invite_on date not null,
    drawn_in_run_on date not null,
    eligible_count bigint not null check (eligible_count > 0)
);
-- Members, enrolments and grants have no keys: a key is an index of millions of rows, held in memory whole. Instead the
-- transaction that posts asks (`_NEVER`) whether a row is there twice, or of nobody.
create table if not exists members (
    subscriber_id varchar not null,
    wave_id varchar not null,
    arm varchar not null check (arm in ('treatment', 'control')),
    draw_rank bigint not null check (draw_rank >= 1),
    -- Empty for those whom the invitation file does not name.
    invitation_email varchar,
    check (arm = 'treatment' or invitation_email is null)
);
create table if not exists enrolments (
    subscriber_id varchar not null,
    wave_id varchar not null,
    enrolled_at timestamp not null,
    enrolled_on date not null,
    recorded_in_run_on date not null
);
create table if not exists batches (
    sequence integer primary key check (sequence >= 1),
    business_date date not null,
    batch_no integer not null check (batch_no >= 1),
    file_name varchar not null unique,
    line_count bigint not null check (line_count >= 0),
    volume_mb bigint not null check (volume_mb >= 0),
    sha256 varchar not null,
    previous_sha256 varchar check ((previous_sha256 is null) = (sequence = 1)),
    unique (business_date, batch_no)
);
create table if not exists grants (
    grant_id varchar not null,
    sequence integer not null,
    subscriber_id varchar not null,
    msisdn varchar not null,
    kind varchar not null check (kind in ('welcome', 'loyalty')),
    quarter integer not null check (quarter >= 0),
    month integer not null check (month between 0 and 3),
    entry_no integer not null check (entry_no >= 1),
    volume_mb bigint not null check (volume_mb > 0),
    valid_from date not null,
    valid_until date not null check (valid_until > valid_from),
    wave_id varchar not null,
    terms_id varchar not null,
    check ((kind = 'welcome') = (quarter = 0) and (quarter = 0) = (month = 0)),
    -- So an entry of a subscriber's month is there once, as its grant_id is.
    check (
        grant_id = subscriber_id
            || case when quarter = 0 then '.W.' else '.Q' || quarter || 'M' || month || '.' end
            || entry_no
    )
);
create table if not exists policies (
    policy_sha256 varchar primary key,
    -- The five files as they were checked, as JSON.
    content varchar not null
);
-- One row per run that posted, repeats included, and how far the ledger went then: what the run knew.
create table if not exists runs (
    run_no integer primary key check (run_no >= 1),
    business_date date not null,
    policy_sha256 varchar not null references policies (policy_sha256),
    last_delivery_id integer not null,
    last_decision_id integer not null,
    last_sequence integer not null references batches (sequence),
    posted_at timestamp not null
);
-- Batches above the budget of their run: they were not posted, unless a person approved just this one.
create table if not exists held_batches (
    held_no integer primary key,
    business_date date not null,
    -- The number that the batch would have had, and the digest of its file.
    sequence integer not null check (sequence >= 1),
    sha256 varchar not null,
    line_count bigint not null check (line_count >= 0),
    volume_mb bigint not null check (volume_mb >= 0),
    held_at timestamp not null
);
create table if not exists approvals (
    held_no integer primary key references held_batches (held_no),
    reason varchar not null check (reason <> ''),
    approved_at timestamp not null
);
create table if not exists publications (
    file_name varchar primary key,
    published_at timestamp not null
);
"""

# What goes out as files, but for the KPIs: grants with their digest, invitations with their wave.
FILES_OUT = """(
    select file_name, sha256, null as wave_id from batches
    union all
    select 'invitations_' || wave_id || '.csv', null, wave_id from draws
)"""


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Connection]:
    """The ledger alone, its tables made on first use."""
    with connect(settings.ledger) as connection:
        if not warehouse.is_held_open(settings.ledger):
            _make_tables(connection)
        yield connection


@contextmanager
def held_open(settings: Settings) -> Iterator[None]:
    """Warehouse and ledger stay open for the block, the ledger with its tables. A block within opens nothing."""
    with warehouse.kept_open(settings.warehouse, settings.ledger, settings.memory):
        with connect(settings.ledger) as connection:
            _make_tables(connection)
        yield


def _make_tables(connection: Connection) -> None:
    tables = connection.execute("select count(*) from duckdb_tables() where database_name = current_database()")
    # To ask is cheaper than to say all of it.
    if tables.fetchone() != (_SCHEMA.count("create table"),):
        connection.execute(_SCHEMA)


@contextmanager
def open_copy(path: Path) -> Iterator[Connection]:
    """A copy of the ledger, to be read only."""
    with connect_to_read(path) as connection:
        yield connection


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


# --- What is known ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delivery:
    """A delivery as the ledger holds it."""

    delivery_id: int
    feed: str | None
    business_date: date | None
    file_name: str
    sha256: str | None
    verdict: str
    reason: str | None
    stored_as: str | None
    record_count: int
    rejected_count: int
    held_delivery_id: int | None
    run_on: date

    @property
    def day(self) -> tuple[str | None, date | None]:
        return (self.feed, self.business_date)


def deliveries(connection: Connection, after: int = 0) -> list[Delivery]:
    """Every delivery there ever was, or was since one, in order."""
    return [
        Delivery(**row)
        for row in rows(
            connection,
            "select delivery_id, feed, business_date, file_name, sha256, verdict, reason, stored_as,"
            " record_count, rejected_count, held_delivery_id, run_on from deliveries where delivery_id > ?"
            " order by delivery_id",
            [after],
        )
    ]


def in_force(history: list[Delivery]) -> dict[tuple, Delivery]:
    """The delivery in force for each feed and business date."""
    return {delivery.day: delivery for delivery in history if delivery.verdict == "accepted"}


def still_held(history: list[Delivery], refused: set[int]) -> list[Delivery]:
    """Deliveries that wait for an operator's word: no later delivery of the day that is not itself rejected."""
    latest = {delivery.day: delivery for delivery in history if delivery.verdict != "rejected"}
    judged = refused | {delivery.held_delivery_id for delivery in history}
    return [
        delivery for delivery in latest.values() if delivery.verdict == "held" and delivery.delivery_id not in judged
    ]


def decided(connection: Connection, kind: str) -> set[int]:
    """The deliveries that an operator accepted, or refused."""
    found = connection.execute("select delivery_id from decisions where kind = ?", [kind]).fetchall()
    return {row[0] for row in found if row[0] is not None}


def latest_run(connection: Connection) -> date | None:
    """The business date of the latest run that posted."""
    return connection.execute("select max(business_date) from batches").fetchone()[0]


def next_sequence(connection: Connection) -> int:
    """The number that the next batch will have, where the ledger is attached."""
    return connection.execute("select coalesce(max(sequence), 0) + 1 from ledger.batches").fetchone()[0]


@dataclass(frozen=True)
class HeldBatch:
    """A batch above the budget of its run, known by its date, its number and the digest of its file."""

    business_date: date
    sequence: int
    sha256: str
    line_count: int
    volume_mb: int


def held_batch(connection: Connection) -> tuple[int, HeldBatch] | None:
    """The number and the content of the batch that is held now: the latest one, as long as nothing was posted since."""
    found = rows(
        connection,
        "select held_no, business_date, sequence, sha256, line_count, volume_mb from held_batches"
        " where sequence > (select coalesce(max(sequence), 0) from batches) order by held_no desc limit 1",
    )
    return (found[0].pop("held_no"), HeldBatch(**found[0])) if found else None


def is_approved(connection: Connection, held: HeldBatch) -> bool:
    """Whether a person let exactly this batch through: its date, its number and its bytes."""
    found = connection.execute(
        "select 1 from approvals inner join held_batches as held on approvals.held_no = held.held_no"
        " where held.business_date = ? and held.sequence = ? and held.sha256 = ?",
        [held.business_date, held.sequence, held.sha256],
    )
    return found.fetchone() is not None


def drawn_waves(connection: Connection) -> list[str]:
    return [row[0] for row in connection.execute("select wave_id from draws").fetchall()]


def is_published(connection: Connection, file_name: str) -> bool:
    """Whether a file is marked as published."""
    found = connection.execute("select 1 from publications where file_name = ?", [file_name])
    return found.fetchone() is not None


def files_out(connection: Connection) -> list[tuple[str, str | None]]:
    """Every file that the ledger makes: its name, and its digest where it is recorded."""
    return connection.execute(f"select file_name, sha256 from {FILES_OUT} order by all").fetchall()


def unpublished_files(connection: Connection) -> list[str]:
    """The files that are not marked as published."""
    found = connection.execute(
        f"select file_name from {FILES_OUT} where file_name not in (select file_name from publications) order by all"
    )
    return [row[0] for row in found.fetchall()]


def used_policy(connection: Connection) -> UsedRows:
    """The policy rows that are fixed, as recorded."""
    found = connection.execute("select policy_file, row_key, content from policy_rows").fetchall()
    return {(name, key): content for name, key, content in found}


# --- What is written ----------------------------------------------------------------------------------------------


def record_deliveries(connection: Connection, news: list[Delivery]) -> None:
    """The verdicts of one landing, all or none."""
    with transaction(connection):
        # The table has the columns of a delivery, in that order, and when it was recorded.
        insert(connection, "deliveries", [[*vars(delivery).values(), _now()] for delivery in news])


def record_decision(connection: Connection, kind: str, reason: str, **about) -> None:
    """An operator's word: what it is about by column name."""
    number = connection.execute("select coalesce(max(decision_id), 0) + 1 from decisions").fetchone()[0]
    columns = ["decision_id", "kind", "reason", "decided_at", *about]
    connection.execute(
        f"insert into decisions ({', '.join(columns)}) values ({', '.join('?' * len(columns))})",
        [number, kind, reason, _now(), *about.values()],
    )
    crash_points.passed("a decision is recorded")


def record_held_batch(connection: Connection, held: HeldBatch) -> None:
    """A batch was not posted, since it is above the budget. The same one again is no news."""
    latest = held_batch(connection)
    if latest is not None and latest[1] == held:
        return
    number = connection.execute("select coalesce(max(held_no), 0) + 1 from held_batches").fetchone()[0]
    connection.execute(
        "insert into held_batches values (?, ?, ?, ?, ?, ?, ?)",
        [number, held.business_date, held.sequence, held.sha256, held.line_count, held.volume_mb, _now()],
    )


def record_approval(connection: Connection, held_no: int, reason: str) -> None:
    """A person lets the held batch of this number through."""
    connection.execute("insert into approvals values (?, ?, ?)", [held_no, reason, _now()])


@dataclass(frozen=True)
class Posting:
    """What one posting put into the ledger."""

    business_date: date
    drawn_waves: tuple[str, ...]
    enrolment_count: int
    file_name: str | None
    grant_count: int
    volume_mb: int
    # wave_id, kind, quarter, grant_count, volume_mb
    by_wave: tuple[dict, ...] = ()


def post(settings: Settings, business_date: date, policy: Policy) -> Posting:
    """Post what the run derived: draws, enrolments, grants and the file's record, in one transaction.

    Before it is committed it asks for what must never be: the same grant twice, a grant of nobody. Raises
    CallfreeError where it finds any.
    """
    with connect(settings.warehouse, ledger=settings.ledger) as connection:
        derived_for = connection.execute("select business_date from raw.run").fetchone()[0]
        if derived_for != business_date:
            raise CallfreeError(f"The warehouse was derived for {derived_for}, not for {business_date}: run again.")
        with transaction(connection):
            enrolments, waves = _post_register(connection)
            batch = _post_batch(connection)
            _post_policy(connection, policy, business_date)
            _post_run(connection, policy, business_date)
            _require_never(connection)
        return Posting(
            business_date=business_date,
            drawn_waves=waves,
            enrolment_count=enrolments,
            file_name=batch["file_name"] if batch else None,
            grant_count=batch["line_count"] if batch else 0,
            volume_mb=batch["volume_mb"] if batch else 0,
            by_wave=tuple(
                rows(
                    connection,
                    "select wave_id, kind, quarter, count(*) as grant_count, sum(volume_mb)::bigint as volume_mb"
                    " from posting.grants_due group by wave_id, kind, quarter order by wave_id, quarter",
                )
            ),
        )


def _post_register(connection: Connection) -> tuple[int, tuple[str, ...]]:
    waves = connection.execute("select wave_id from posting.draws_due order by invite_on, wave_id").fetchall()
    connection.execute(
        "insert into ledger.draws (wave_id, terms_id, invite_on, drawn_in_run_on, eligible_count)"
        " select wave_id, terms_id, invite_on, drawn_in_run_on, eligible_count from posting.draws_due"
    )
    connection.execute(
        "insert into ledger.members (subscriber_id, wave_id, arm, draw_rank, invitation_email)"
        " select subscriber_id, wave_id, arm, draw_rank, invitation_email from posting.members_due"
        " order by wave_id, draw_rank"
    )
    (count,) = connection.execute(
        "insert into ledger.enrolments (subscriber_id, wave_id, enrolled_at, enrolled_on, recorded_in_run_on)"
        " select subscriber_id, wave_id, enrolled_at, enrolled_on, recorded_in_run_on from posting.enrolments_due"
        " order by subscriber_id"
    ).fetchone()
    return count, tuple(wave_id for (wave_id,) in waves)


# What the ledger must never hold. Asked of what was posted just now, against all that was posted before.
_NEVER = {
    "members are drawn twice": """
        select members.subscriber_id
        from ledger.members as members
        semi join posting.members_due as due on members.subscriber_id = due.subscriber_id
        group by members.subscriber_id
        having count(*) > 1
    """,
    "ranks of a draw are given twice": """
        select members.wave_id, members.draw_rank
        from ledger.members as members
        semi join posting.members_due as due on members.wave_id = due.wave_id
        group by members.wave_id, members.draw_rank
        having count(*) > 1
    """,
    "members are of no draw": """
        from posting.members_due as due
        anti join ledger.draws as draws on due.wave_id = draws.wave_id
    """,
    "subscribers are enrolled twice": """
        select enrolments.subscriber_id
        from ledger.enrolments as enrolments
        semi join posting.enrolments_due as due on enrolments.subscriber_id = due.subscriber_id
        group by enrolments.subscriber_id
        having count(*) > 1
    """,
    "enrolments are of no member": """
        from posting.enrolments_due as due
        anti join ledger.members as members
            on due.subscriber_id = members.subscriber_id and due.wave_id = members.wave_id
    """,
    "grants are there twice": """
        select grants.grant_id
        from ledger.grants as grants
        semi join posting.grants_due as due on grants.grant_id = due.grant_id
        group by grants.grant_id
        having count(*) > 1
    """,
    "grants are of nobody who is enrolled": """
        from posting.grants_due as due
        anti join ledger.enrolments as enrolments on due.subscriber_id = enrolments.subscriber_id
    """,
}


def _require_never(connection: Connection) -> None:
    for what, found in _NEVER.items():
        (count,) = connection.execute(f"select count(*) from ({found})").fetchone()
        if count:
            raise CallfreeError(f"{count} {what}. Nothing was posted.")


def _post_batch(connection: Connection) -> dict | None:
    found = rows(connection, "select * from posting.batch_due")
    if not found:
        return None
    batch = found[0]
    previous = connection.execute(
        "select sha256 from ledger.batches where sequence = ?", [batch["sequence"] - 1]
    ).fetchone()
    connection.execute(
        "insert into ledger.batches values (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            batch["sequence"], batch["business_date"], batch["batch_no"], batch["file_name"], batch["line_count"],
            batch["volume_mb"], outgoing.digest(connection, "posting.grants_due"), previous and previous[0],
        ],
    )  # fmt: skip
    connection.execute(
        "insert into ledger.grants (grant_id, sequence, subscriber_id, msisdn, kind, quarter, month, entry_no,"
        " volume_mb, valid_from, valid_until, wave_id, terms_id)"
        " select grant_id, ?, subscriber_id, msisdn, kind, quarter, month, entry_no,"
        " volume_mb, valid_from, valid_until, wave_id, terms_id from posting.grants_due order by grant_id",
        [batch["sequence"]],
    )
    return batch


def _post_policy(connection: Connection, policy: Policy, business_date: date) -> None:
    waves = [row[0] for row in connection.execute("select wave_id from ledger.draws").fetchall()]
    found = connection.execute("select policy_file, row_key from ledger.policy_rows").fetchall()
    used = policy.used(waves, business_date)
    news = sorted(used.keys() - set(found))
    insert(connection, "ledger.policy_rows", [(name, key, used[name, key], business_date) for name, key in news])


def _post_run(connection: Connection, policy: Policy, business_date: date) -> None:
    content = policy.kept()
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    known = "select 1 from ledger.policies where policy_sha256 = ?"
    if not connection.execute(known, [sha256]).fetchone():
        connection.execute("insert into ledger.policies values (?, ?)", [sha256, content])
    connection.execute(
        """
        insert into ledger.runs
        select
            (select coalesce(max(run_no), 0) + 1 from ledger.runs),
            ?,
            ?,
            (select coalesce(max(delivery_id), 0) from ledger.deliveries),
            (select coalesce(max(decision_id), 0) from ledger.decisions),
            (select max(sequence) from ledger.batches),
            ?
        """,
        [business_date, sha256, _now()],
    )


def record_publication(connection: Connection, file_name: str) -> None:
    """Mark a file as published: it stands, and so does its manifest where it has one. Once is enough."""
    connection.execute("insert into publications values (?, ?) on conflict do nothing", [file_name, _now()])
    crash_points.passed("a file is marked as published")
