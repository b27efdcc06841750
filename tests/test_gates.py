"""What passes the gates, what does not, and what a gate never tells."""

import shutil
import socket
import subprocess
import sys
from datetime import date
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from expectations import grant_batch, landing
from flows.errors import GateFailed
from flows.steps.gates import GateResult, check_batch, check_landing, require_batch

FEEDS = tuple(landing.BY_FEED)
BUSINESS_DATE = date(2017, 9, 1)
PROJECT = Path(__file__).parent.parent

# One delivery a feed; calls came with a rejected row too.
SOUND_WAREHOUSE = """
create schema raw; create schema posting; create schema policy; create schema intermediate;

create table raw.landing (
    delivery_id integer, feed varchar, business_date date,
    record_count integer, loaded_count integer, rejected_count integer
);
insert into raw.landing values
    (11, 'subscribers', '2017-09-01', 2, 2, 0),
    (12, 'app_events', '2017-09-01', 1, 1, 0),
    (13, 'calls', '2017-09-01', 3, 2, 1),
    (14, 'mail_events', '2017-09-01', 1, 1, 0),
    (15, 'grant_acks', '2017-09-01', 1, 1, 0);

create table raw.rejected_rows (
    delivery_id integer, feed varchar, record_no integer, reason varchar, fields varchar[]
);
insert into raw.rejected_rows values
    (13, 'calls', 2, 'duration_s is malformed', ['call-2', 'x']),
    (3, 'calls', 1, null, ['of an earlier landing']);

create table raw.subscribers (
    delivery_id integer, record_no integer, subscriber_id varchar, msisdn varchar, email varchar, brand varchar,
    tariff varchar, status varchar, marketing_consent boolean, activated_on date, changed_at timestamp, changed_on date
);
insert into raw.subscribers values
    (11, 1, 'anna', '+4915110000001', 'anna@example.org', 'blue', 'S', 'active', true, '2016-01-01',
     '2017-09-01 08:00:00', '2017-09-01'),
    (11, 2, 'ben', '+4915110000002', null, 'blue', null, 'terminated', false, null,
     '2017-08-31 22:30:00', '2017-09-01');

create table raw.app_events (
    delivery_id integer, record_no integer, event_id varchar, subscriber_id varchar, event_type varchar,
    occurred_at timestamp, occurred_on date, platform varchar, app_version varchar
);
insert into raw.app_events values
    (12, 1, 'app:1', 'anna', 'app_installed', '2017-09-01 08:00:00', '2017-09-01', 'ios', null);

create table raw.calls (
    delivery_id integer, record_no integer, call_id varchar, record_version integer, subscriber_id varchar,
    msisdn varchar, direction varchar, line varchar, started_at timestamp, started_on date, duration_s integer,
    outcome varchar, voided boolean
);
insert into raw.calls values
    (13, 1, 'call-1', 1, 'anna', null, 'inbound', 'service', '2017-09-01 08:00:00', '2017-09-01', 0,
     'answered', false),
    -- Cut differently by its source: a day late.
    (13, 3, 'call-3', 2, null, '+4915110000002', 'outbound', ' ', '2017-09-02 21:59:59', '2017-09-02', 61,
     'abandoned', true),
    -- Unsound, but of an earlier landing.
    (3, 1, null, 0, '', 'x', '', '', null, null, -1, '', null);

create table raw.mail_events (
    delivery_id integer, record_no integer, event_id varchar, subscriber_id varchar, wave_id varchar,
    event_type varchar, occurred_at timestamp, occurred_on date
);
insert into raw.mail_events values (14, 1, 'mail:1', 'anna', 'w1', 'sent', '2017-09-01 08:00:00', '2017-09-01');

create table raw.grant_acks (
    delivery_id integer, record_no integer, grant_id varchar, status varchar, reason varchar,
    processed_at timestamp, processed_on date
);
insert into raw.grant_acks values
    (15, 1, 'anna.W.1', 'rejected', null, '2017-09-01 08:00:00', '2017-09-01');

create table policy.terms (
    terms_id varchar, welcome_mb integer, quarters integer, min_contact_seconds integer, settlement_days integer,
    enrolment_days integer, max_attempts integer
);
insert into policy.terms values ('pilot', 600, 3, 10, 2, 90, 3);
create table policy.reward_tiers (terms_id varchar, streak integer, mb_per_month integer);
insert into policy.reward_tiers values ('pilot', 1, 100), ('pilot', 2, 200), ('pilot', 3, 300);

-- anna's welcome was rejected and is due again; ben's second month was late and partly issued; cleo's is parked.
create table intermediate.int_entitlements (
    subscriber_id varchar, quarter integer, month integer, entitled_mb bigint, issued_mb bigint, missing_mb bigint,
    is_parked boolean, entitlement_state varchar
);
insert into intermediate.int_entitlements values
    ('anna', 0, 0, 600, 0, 600, false, 'due'),
    ('ben', 1, 2, 200, 100, 100, false, 'due'),
    ('ben', 1, 3, 200, 0, 200, false, 'to_come'),
    ('cleo', 0, 0, 600, 0, 600, true, 'parked');

create table posting.grants_due (
    grant_id varchar, subscriber_id varchar, msisdn varchar, kind varchar, quarter integer, month integer,
    entry_no integer, volume_mb bigint, valid_from date, valid_until date, wave_id varchar, terms_id varchar,
    nominal_from date, nominal_until date, entitled_mb bigint, issued_mb bigint, business_date date
);
insert into posting.grants_due values
    ('anna.W.2', 'anna', '+4915110000001', 'welcome', 0, 0, 2, 600, '2017-09-02', '2017-10-03', 'w1', 'pilot',
     '2017-07-01', '2017-08-01', 600, 0, '2017-09-01'),
    ('ben.Q1M2.2', 'ben', '+4915110000002', 'loyalty', 1, 2, 2, 100, '2017-09-02', '2017-10-02', 'w1', 'pilot',
     '2017-09-02', '2017-10-02', 200, 100, '2017-09-01');
"""

SOUND_LEDGER = """
create table grants (
    grant_id varchar primary key, subscriber_id varchar, quarter integer, month integer, entry_no integer,
    volume_mb integer
);
insert into grants values ('anna.W.1', 'anna', 0, 0, 1, 600), ('ben.Q1M2.1', 'ben', 1, 2, 1, 100);
"""

# For each sentence of the landing's suites: what breaks it, and nothing in another suite.
BROKEN_LANDINGS = {
    ("landing", "every delivery is of a feed that was checked"): (
        "insert into raw.landing values (16, 'faxes', '2017-09-01', 0, 0, 0)"
    ),
    ("landing", "every delivery stands there once"): (
        "insert into raw.landing select * from raw.landing where feed = 'calls'"
    ),
    ("landing", "every delivery has its business date"): (
        "insert into raw.landing values (16, 'calls', null, 0, 0, 0)"
    ),
    ("landing", "the records read are those loaded and those rejected"): (
        "update raw.landing set record_count = 4 where feed = 'calls'"
    ),
    ("landing", "the table holds the rows that were loaded"): "delete from raw.calls where record_no = 3",
    ("landing", "the rejected rows were kept"): "delete from raw.rejected_rows where delivery_id = 13",
    ("landing", "every rejected row has its reason"): "update raw.rejected_rows set reason = ''",
    ("landing", "no record number comes twice in a delivery"): (
        "update raw.rejected_rows set record_no = 1 where delivery_id = 13"
    ),
    ("landing", "record numbers start at 1"): "update raw.calls set record_no = 0 where call_id = 'call-1'",
    ("subscribers", "every row came with a delivery of its own feed"): (
        "insert into raw.subscribers select 12, * exclude (delivery_id) from raw.subscribers limit 1"
    ),
    ("subscribers", "every changed_on is the date of changed_at in Berlin"): (
        # In UTC it is the day before.
        "update raw.subscribers set changed_on = '2017-08-31' where subscriber_id = 'ben'"
    ),
    ("subscribers", "no row is more than a day ahead of its business date"): (
        "update raw.subscribers set changed_at = '2017-09-02 22:00:00', changed_on = '2017-09-03'"
    ),
    ("subscribers", "every subscriber_id is well formed"): "update raw.subscribers set subscriber_id = 'an na'",
    ("subscribers", "every msisdn is well formed"): "update raw.subscribers set msisdn = null",
    ("subscribers", "every subscriber has a brand"): "update raw.subscribers set brand = ''",
    ("subscribers", "every status is in its list"): "update raw.subscribers set status = 'Active'",
    ("subscribers", "every subscriber consents or not"): "update raw.subscribers set marketing_consent = null",
    ("subscribers", "an absent email or tariff is null"): "update raw.subscribers set email = ''",
    ("app_events", "every row came with a delivery of its own feed"): (
        "insert into raw.app_events select 11, * exclude (delivery_id) from raw.app_events"
    ),
    ("app_events", "every occurred_on is the date of occurred_at in Berlin"): (
        "update raw.app_events set occurred_on = null"
    ),
    ("app_events", "no row is more than a day ahead of its business date"): (
        "update raw.app_events set occurred_at = '2017-09-02 22:00:00', occurred_on = '2017-09-03'"
    ),
    ("app_events", "every event_id is well formed"): "update raw.app_events set event_id = repeat('x', 65)",
    ("app_events", "every subscriber_id is well formed"): "update raw.app_events set subscriber_id = null",
    ("app_events", "every event_type is in its list"): "update raw.app_events set event_type = null",
    ("app_events", "an absent platform or app_version is null"): "update raw.app_events set app_version = ''",
    ("calls", "every row came with a delivery of its own feed"): (
        "insert into raw.calls select 12, * exclude (delivery_id) from raw.calls where record_no = 3"
    ),
    ("calls", "every started_on is the date of started_at in Berlin"): (
        "update raw.calls set started_at = null where delivery_id = 13"
    ),
    ("calls", "no row is more than a day ahead of its business date"): (
        "update raw.calls set started_at = '2017-09-02 22:00:00', started_on = '2017-09-03' where record_no = 3"
    ),
    ("calls", "every call_id is well formed"): "update raw.calls set call_id = null where record_no = 3",
    ("calls", "every record_version is an integer from 1"): "update raw.calls set record_version = 0",
    ("calls", "every subscriber_id is well formed or absent"): "update raw.calls set subscriber_id = ''",
    ("calls", "every msisdn is well formed or absent"): "update raw.calls set msisdn = '015110000001'",
    ("calls", "every direction is in its list"): "update raw.calls set direction = 'inbound '",
    ("calls", "every call names its line"): "update raw.calls set line = null",
    ("calls", "every duration_s is an integer from 0"): "update raw.calls set duration_s = -1",
    ("calls", "every outcome is in its list"): "update raw.calls set outcome = null",
    ("calls", "every call is voided or not"): "update raw.calls set voided = null",
    ("mail_events", "every row came with a delivery of its own feed"): (
        "insert into raw.mail_events select 11, * exclude (delivery_id) from raw.mail_events"
    ),
    ("mail_events", "every occurred_on is the date of occurred_at in Berlin"): (
        "update raw.mail_events set occurred_on = '2017-08-31'"
    ),
    ("mail_events", "no row is more than a day ahead of its business date"): (
        "update raw.mail_events set occurred_at = '2017-09-02 22:00:00', occurred_on = '2017-09-03'"
    ),
    ("mail_events", "every event_id is well formed"): "update raw.mail_events set event_id = 'a b'",
    ("mail_events", "every subscriber_id is well formed"): "update raw.mail_events set subscriber_id = ''",
    ("mail_events", "every wave_id is well formed"): "update raw.mail_events set wave_id = repeat('w', 33)",
    ("mail_events", "every event_type is in its list"): "update raw.mail_events set event_type = 'clicked'",
    ("grant_acks", "every row came with a delivery of its own feed"): (
        "insert into raw.grant_acks select 11, * exclude (delivery_id) from raw.grant_acks"
    ),
    ("grant_acks", "every processed_on is the date of processed_at in Berlin"): (
        "update raw.grant_acks set processed_on = '2017-09-02'"
    ),
    ("grant_acks", "no row is more than a day ahead of its business date"): (
        "update raw.grant_acks set processed_at = '2017-09-02 22:00:00', processed_on = '2017-09-03'"
    ),
    ("grant_acks", "every grant_id has 1 to 64 characters"): "update raw.grant_acks set grant_id = ''",
    ("grant_acks", "every status is in its list"): "update raw.grant_acks set status = 'pending'",
    ("grant_acks", "an absent reason is null"): "update raw.grant_acks set reason = ''",
}

BROKEN_BATCHES = {
    ("grants", "every subscriber_id, wave_id and terms_id is well formed"): (
        "update posting.grants_due set wave_id = null"
    ),
    ("grants", "every msisdn is well formed"): "update posting.grants_due set msisdn = '4915110000001'",
    ("grants", "every grant_id is composed of subscriber, month and entry"): (
        "update posting.grants_due set grant_id = 'ben.Q1M3.2' where subscriber_id = 'ben'"
    ),
    ("grants", "no grant_id comes twice"): "update posting.grants_due set grant_id = 'anna.W.2'",
    ("grants", "no grant_id is in the ledger already"): (
        "update posting.grants_due set grant_id = 'anna.W.1', entry_no = 1 where subscriber_id = 'anna'"
    ),
    ("grants", "every entry follows the last one in the ledger"): (
        "update posting.grants_due set grant_id = 'anna.W.3', entry_no = 3 where subscriber_id = 'anna'"
    ),
    # The second grant hides the missing one from the totals.
    ("grants", "a subscriber has one grant for a quarter and month"): (
        "update posting.grants_due set subscriber_id = 'ben', quarter = 1, month = 2"
    ),
    ("grants", "a welcome is quarter 0, a loyalty grant one of three months"): (
        "update posting.grants_due set kind = 'loyalty' where quarter = 0"
    ),
    ("grants", "no quarter is beyond the terms"): "update policy.terms set quarters = 0",
    ("grants", "every volume is one that the terms can give"): "update policy.terms set welcome_mb = 500",
    ("grants", "every volume is what was entitled less what was issued"): (
        "update posting.grants_due set issued_mb = 0 where subscriber_id = 'ben'"
    ),
    ("grants", "every grant answers an entitlement that is due"): (
        "update posting.grants_due set entitled_mb = entitled_mb + 100, issued_mb = issued_mb + 100"
    ),
    ("grants", "every grant starts at its nominal start, or tomorrow when that is past"): (
        "update posting.grants_due set valid_from = '2017-09-01', valid_until = '2017-10-02' where quarter = 0"
    ),
    ("grants", "no grant is posted before its time"): (
        "update posting.grants_due set nominal_from = '2017-09-03', nominal_until = '2017-10-03',"
        " valid_from = '2017-09-03', valid_until = '2017-10-03' where quarter = 1"
    ),
    ("grants", "every grant lasts as long as its nominal period"): (
        "update posting.grants_due set valid_until = valid_until - 1"
    ),
    ("grants", "the batch has one business date"): (
        "update posting.grants_due set business_date = '2017-08-31', valid_from = '2017-09-01',"
        " valid_until = '2017-10-02' where quarter = 0"
    ),
    ("batch_totals", "there are as many grants as entitlements due and missing"): (
        "delete from posting.grants_due where quarter = 0"
    ),
    ("batch_totals", "the grants sum to what is due and missing"): (
        "update intermediate.int_entitlements set missing_mb = missing_mb + 1"
    ),
}


@pytest.fixture(scope="module")
def sound_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sound")
    run_sql(home / "warehouse.duckdb", SOUND_WAREHOUSE)
    run_sql(home / "ledger.duckdb", SOUND_LEDGER)
    return home


@pytest.fixture(scope="module")
def same_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for all tests, as one process has for all its runs: what a gate keeps between calls is used."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def settings(sound_home: Path, same_home: Path, tmp_path: Path) -> SimpleNamespace:
    for name in ("warehouse.duckdb", "ledger.duckdb"):
        shutil.copy(sound_home / name, same_home / name)
    return SimpleNamespace(
        warehouse=same_home / "warehouse.duckdb", ledger=same_home / "ledger.duckdb", reports=tmp_path / "reports"
    )


def run_sql(path: Path, sql: str) -> None:
    with duckdb.connect(path) as connection:
        connection.execute(sql)


def write_from_another_process(path: Path) -> None:
    write = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('create table written (a integer)')"
    subprocess.run([sys.executable, "-c", write, str(path)], check=True)


def failed_checks(result: GateResult) -> set[tuple[str, str]]:
    """Suite and sentence of what failed."""
    return {tuple(line.split(": ")[:2]) for line in result.failed}


def everything_written(folder: Path) -> str:
    return "\n".join(path.read_text() for path in folder.rglob("*") if path.is_file())


def test_a_sound_landing_passes(settings):
    result = check_landing(settings, FEEDS)

    assert result.failed == ()
    assert result.passed
    assert sum(len(suite.checks) for suite in landing.suites(FEEDS)) == len(BROKEN_LANDINGS)


def test_a_sound_batch_passes(settings):
    result = check_batch(settings)

    assert result.failed == ()
    assert result.passed
    assert sum(len(suite.checks) for suite in grant_batch.SUITES) == len(BROKEN_BATCHES)


def test_an_empty_landing_and_an_empty_batch_pass(settings):
    run_sql(settings.warehouse, "delete from raw.landing; delete from posting.grants_due")
    run_sql(settings.warehouse, "delete from intermediate.int_entitlements")

    assert check_landing(settings, ()).passed
    assert check_batch(settings).passed


def test_a_run_without_a_grant_is_checked_only_where_one_is_owed(settings):
    run_sql(settings.warehouse, "delete from posting.grants_due")
    with pytest.raises(GateFailed, match="as many grants as entitlements due"):
        require_batch(settings, BUSINESS_DATE)
    shutil.rmtree(settings.reports)

    run_sql(settings.warehouse, "delete from intermediate.int_entitlements where entitlement_state = 'due'")
    require_batch(settings, BUSINESS_DATE)
    assert not settings.reports.exists()


def test_a_call_that_starts_as_summer_time_ends_is_dated_in_berlin(settings):
    run_sql(
        settings.warehouse,
        """update raw.landing set business_date = '2017-10-29';
        update raw.calls set started_at = '2017-10-28 22:00:00', started_on = '2017-10-29' where record_no = 1;
        update raw.calls set started_at = '2017-10-29 22:59:59', started_on = '2017-10-29' where record_no = 3""",
    )

    assert check_landing(settings, FEEDS).failed == ()


@pytest.mark.parametrize("check", BROKEN_LANDINGS, ids=" - ".join)
def test_a_broken_row_fails_its_landing_suite(settings, check):
    run_sql(settings.warehouse, BROKEN_LANDINGS[check])

    result = check_landing(settings, FEEDS)

    assert not result.passed
    assert check in failed_checks(result)
    assert {suite for suite, _ in failed_checks(result)} == {check[0]}
    assert all("not so for" in line for line in result.failed)


@pytest.mark.parametrize("check", BROKEN_BATCHES, ids=" - ".join)
def test_a_broken_grant_fails_its_batch_suite(settings, check):
    run_sql(settings.warehouse, BROKEN_BATCHES[check])

    result = check_batch(settings)

    assert not result.passed
    assert check in failed_checks(result)
    assert {suite for suite, _ in failed_checks(result)} == {check[0]}
    assert all("not so for" in line for line in result.failed)


def test_every_sentence_has_a_row_that_breaks_it():
    def sentences(suites):
        return {(suite.name, sentence) for suite in suites for sentence in suite.checks}

    assert sentences(landing.suites(FEEDS)) == set(BROKEN_LANDINGS)
    assert sentences(grant_batch.SUITES) == set(BROKEN_BATCHES)


def test_the_ledger_is_asked_anew_each_time(settings):
    assert check_batch(settings).passed
    run_sql(settings.ledger, "insert into grants values ('anna.W.2', 'anna', 0, 0, 2, 600)")

    assert ("grants", "no grant_id is in the ledger already") in failed_checks(check_batch(settings))


def test_a_landing_of_a_feed_that_is_not_named_fails(settings):
    feeds = [feed for feed in FEEDS if feed != "calls"]

    result = check_landing(settings, feeds)

    assert ("landing", "every delivery is of a feed that was checked") in failed_checks(result)


def test_many_broken_rows_are_counted_up_to_a_limit(settings):
    run_sql(
        settings.warehouse,
        "insert into raw.calls select calls.* replace (null as voided) from raw.calls, range(2000) where record_no = 3",
    )

    result = check_landing(settings, FEEDS)

    assert "calls: every call is voided or not: not so for 1000 rows or more" in result.failed


def test_a_column_that_is_gone_fails_what_asks_for_it_and_nothing_else(settings):
    run_sql(settings.warehouse, "alter table raw.calls drop column voided")

    result = check_landing(settings, FEEDS)

    assert result.failed == ("calls: every call is voided or not: could not be evaluated: BinderException",)


def test_a_table_that_is_gone_fails_its_whole_suite(settings):
    run_sql(settings.warehouse, "drop table raw.mail_events")

    result = check_landing(settings, FEEDS)

    assert result.failed == (
        "landing: every check: could not be evaluated: CatalogException",
        "mail_events: every check: could not be evaluated: CatalogException",
    )


def test_a_file_that_another_process_holds_fails_every_suite(settings):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()",
            str(settings.warehouse),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "open\n"
    try:
        result = check_landing(settings, FEEDS)
    finally:
        holder.communicate("\n")

    assert not result.passed
    assert result.failed == tuple(
        f"{suite.name}: every check: could not be evaluated: IOException" for suite in landing.suites(FEEDS)
    )


def test_a_batch_without_its_ledger_fails_and_lets_go_of_the_warehouse(settings):
    settings.ledger.unlink()

    result = check_batch(settings)

    assert result.failed == tuple(
        f"{suite.name}: every check: could not be evaluated: IOException" for suite in grant_batch.SUITES
    )
    assert not settings.ledger.exists()
    write_from_another_process(settings.warehouse)


def test_an_answer_without_results_is_no_pass(settings, monkeypatch):
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.datasource.fluent.interfaces import Batch

    def silent(*_, **__):
        return ExpectationSuiteValidationResult(success=True, results=[], suite_name="silent", statistics={}, meta={})

    monkeypatch.setattr(Batch, "validate", silent)
    result = check_batch(settings)

    assert not result.passed
    assert result.failed == ("grants: every check: was not evaluated", "batch_totals: every check: was not evaluated")


def test_a_success_without_a_count_is_no_pass(settings, monkeypatch):
    from great_expectations.datasource.fluent.interfaces import Batch

    validate = Batch.validate

    def without_counts(self, expect, **__):
        return validate(self, expect, result_format="BOOLEAN_ONLY")

    monkeypatch.setattr(Batch, "validate", without_counts)
    result = check_batch(settings)

    assert not result.passed
    assert result.failed == ("grants: every check: was not evaluated", "batch_totals: every check: was not evaluated")


def test_no_value_of_a_row_gets_out(settings, capfd, caplog):
    canaries = ["4915199999999", "canary@example", "CANARY"]
    run_sql(
        settings.warehouse,
        """
        update raw.calls set call_id = 'CANARY !', msisdn = '+4915199999999 ', line = 'CANARY', direction = 'CANARY';
        update raw.subscribers set subscriber_id = 'CANARY !', email = 'canary@example.org', msisdn = '4915199999999';
        update raw.rejected_rows set reason = null, fields = ['CANARY', '+4915199999999'];
        update posting.grants_due set grant_id = 'CANARY.W.1', subscriber_id = 'CANARY', msisdn = '4915199999999';
        -- A value that cannot be cast stands in the message of the database.
        alter table raw.calls alter duration_s type varchar;
        update raw.calls set duration_s = 'CANARY';
        alter table posting.grants_due alter quarter type varchar;
        update posting.grants_due set quarter = '+4915199999999 (CANARY)';
        alter table raw.landing alter business_date type varchar;
        update raw.landing set business_date = 'canary@example.org'
        """,
    )

    results = [check_landing(settings, FEEDS), check_batch(settings)]

    failed = [line for result in results for line in result.failed]
    assert any("could not be evaluated: ConversionException" in line for line in failed)
    told = "\n".join([everything_written(settings.reports), repr(results), *capfd.readouterr(), caplog.text])
    assert "not so for" in told
    assert [canary for canary in canaries if canary in told] == []


def test_a_gate_says_nothing_and_asks_no_network(settings, monkeypatch, capfd, recwarn):
    from expectations import check

    # As in a new process.
    check._bench.cache_clear()

    def refused(*_):
        raise AssertionError("a gate used the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)

    assert check_landing(settings, FEEDS).passed
    assert check_batch(settings).passed
    assert capfd.readouterr() == ("", "")
    assert recwarn.list == []


def test_a_process_that_ran_a_gate_ends_silently(settings):
    gate = (
        "import sys; from pathlib import Path; from types import SimpleNamespace;"
        "from flows.steps.gates import check_batch;"
        "home, reports = map(Path, sys.argv[1:]);"
        "print(check_batch(SimpleNamespace(warehouse=home / 'warehouse.duckdb', ledger=home / 'ledger.duckdb',"
        " reports=reports)).passed)"
    )
    told = subprocess.run(
        [sys.executable, "-c", gate, str(settings.warehouse.parent), str(settings.reports)],
        check=True,
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )

    assert (told.stdout, told.stderr) == ("True\n", "")


@pytest.mark.parametrize("break_it", ["", "alter table raw.calls drop column voided; drop table posting.grants_due"])
def test_another_process_can_write_the_files_after_a_gate(settings, break_it):
    run_sql(settings.warehouse, break_it)
    check_landing(settings, FEEDS)
    check_batch(settings)

    write_from_another_process(settings.warehouse)
    write_from_another_process(settings.ledger)


def test_a_gate_opens_the_warehouse_as_everybody_else_does(settings):
    with duckdb.connect(settings.warehouse):
        assert check_landing(settings, FEEDS).passed


def test_a_gate_leaves_nothing_in_the_warehouse(settings):
    def tables():
        with duckdb.connect(settings.warehouse) as connection:
            return connection.execute("select schema_name, table_name from duckdb_tables() order by all").fetchall()

    before = tables()
    check_landing(settings, FEEDS)
    check_batch(settings)

    assert tables() == before


def test_a_gate_does_without_the_libraries_for_charts_and_leaves_them_to_others(settings):
    ask = """
import sys
from pathlib import Path
from types import SimpleNamespace
from flows.steps.gates import check_landing
home = Path(sys.argv[1])
places = SimpleNamespace(warehouse=home / "warehouse.duckdb", ledger=home / "ledger.duckdb", reports=home / "reports")
assert check_landing(places, ("calls",)).page.is_file()
assert not {"altair", "scipy", "scipy.stats", "rfc3987_syntax"} & sys.modules.keys()
import altair, scipy.stats
assert altair.Chart and scipy.stats.norm.cdf(0) == 0.5
"""
    subprocess.run([sys.executable, "-c", ask, str(settings.warehouse.parent)], check=True, cwd=PROJECT)


def test_the_gates_are_imported_without_great_expectations():
    loaded = "import sys, flows.steps.gates; print('great_expectations' in sys.modules, 'sqlalchemy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True, cwd=PROJECT)

    assert told.stdout == "False False\n"


def test_the_pages_of_both_gates_of_a_run_stand_on_one_index(settings):
    run_sql(settings.warehouse, "update posting.grants_due set msisdn = null")
    landed = check_landing(settings, FEEDS, BUSINESS_DATE)
    batch = check_batch(settings, BUSINESS_DATE)

    docs = settings.reports / "data_docs"
    index = (docs / "index.html").read_text()
    assert (landed.page, batch.page) == (docs / "2017-09-01" / "landing.html", docs / "2017-09-01" / "batch.html")
    assert '<a class="passed" href="2017-09-01/landing.html">passed</a>' in index
    assert '<a class="failed" href="2017-09-01/batch.html">failed</a>' in index
    assert all(sentence in landed.page.read_text() for suite, sentence in BROKEN_LANDINGS)
    assert "every msisdn is well formed: not so for 2 rows" in batch.page.read_text()


def test_a_page_shows_how_to_find_the_rows(settings):
    run_sql(settings.warehouse, "update raw.calls set msisdn = 'x' where record_no = 3")
    page = check_landing(settings, FEEDS).page.read_text()

    (queries,) = (unescape(part.split("</pre>")[0]) for part in page.split("<pre>")[1:])
    with duckdb.connect(settings.warehouse) as connection:
        found = connection.execute(queries)
        calls = [dict(zip([column[0] for column in found.description], row, strict=True)) for row in found.fetchall()]
    assert [call["call_id"] for call in calls] == ["call-3"]


def test_a_page_says_of_each_check_whether_it_holds(settings):
    run_sql(settings.warehouse, "alter table raw.calls drop column voided")
    run_sql(settings.warehouse, "update raw.calls set msisdn = 'x' where record_no = 3")
    page = check_landing(settings, FEEDS).page.read_text()

    table = page.split("<h2>calls</h2>")[1].split("<table")[1].split("</table>")[0]
    assert table.count('<i class="fas fa-check-circle') == len(landing.BY_FEED["calls"].checks) - 2
    assert table.count('<i class="fas fa-times') == 1
    assert table.count('<i class="fas fa-exclamation-triangle') == 1
    assert '{ content: "holds"; }' in page


def test_pages_open_without_a_network(settings):
    check_landing(settings, FEEDS, BUSINESS_DATE)
    check_batch(settings, BUSINESS_DATE)

    written = everything_written(settings.reports)
    assert "://" not in written
    assert "<script" not in written
    assert "<link" not in written


@pytest.mark.parametrize("break_it", ["", "alter table raw.calls drop column voided"])
def test_a_run_repeated_writes_the_same_pages(settings, break_it):
    run_sql(settings.warehouse, break_it)
    check_landing(settings, FEEDS, BUSINESS_DATE)
    before = everything_written(settings.reports)
    check_landing(settings, FEEDS, BUSINESS_DATE)

    assert everything_written(settings.reports) == before


def test_the_pages_of_old_runs_go(settings):
    from expectations.data_docs import RUNS_KEPT

    docs = settings.reports / "data_docs"
    for number in range(RUNS_KEPT + 3):
        old = docs / f"2016-{1 + number // 28:02}-{1 + number % 28:02}"
        old.mkdir(parents=True)
        (old / "batch.html").write_text("<title>Batch: passed</title>")
        # As a run leaves it that is killed while it writes a page.
        (old / ".landing.html.part").touch()

    check_batch(settings, BUSINESS_DATE)

    runs = sorted(path.name for path in docs.iterdir() if path.is_dir())
    assert len(runs) == RUNS_KEPT
    assert runs[-1] == "2017-09-01"
    assert (docs / "index.html").read_text().count("<tr><td>") == RUNS_KEPT
