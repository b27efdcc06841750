"""The models keep the rules, say what they are, and agree with other people's calendars."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from flows.errors import CallfreeError
from flows.settings import DEFAULT_POLICY, Settings
from flows.steps import ledger, policy, raw_tables, report_facts, transform
from flows.steps.derivation import derive
from flows.steps.feeds import DAILY_FEEDS, FEEDS, parse_name
from flows.steps.staging import Candidate, Stage
from flows.steps.warehouse import attach, connect
from test_recovery import Home

# Beside the repository: what independent engines say of the calendar.
CALENDAR = Path(__file__).resolve().parents[2] / "shared" / "data" / "calendar"

needs_calendar = pytest.mark.skipif(
    not CALENDAR.is_dir(), reason=f"the calendars of other engines are not beside the repository, at {CALENDAR}"
)


class Derived:
    """A home, and dbt at work on it."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.target = settings.work / "dbt"

    @classmethod
    def empty(cls, settings: Settings) -> "Derived":
        """In a home without a single delivery."""
        settings.make_folders()
        with ledger.open_ledger(settings):
            pass
        with connect(settings.warehouse) as connection:
            raw_tables.create_raw_tables(connection)
            connection.execute("insert into raw.run values ('2017-07-16', true)")
        return cls(settings)

    def _arguments(self, *command: str) -> list[str]:
        return [
            *command,
            "--project-dir", str(transform.DBT_PROJECT), "--profiles-dir", str(transform.DBT_PROJECT),
            "--target-path", str(self.target), "--log-path", str(self.target),
            "--quiet", "--log-level", "none", "--no-use-colors", "--no-version-check",
        ]  # fmt: skip

    def dbt(self, *command: str) -> dict[str, str]:
        """The status of every node that the command ran, by its full id."""
        with self._environment():
            # Which nodes failed is read below.
            with suppress(CallfreeError):
                transform.invoke(self._arguments(*command))
        results = json.loads((self.target / "run_results.json").read_text())["results"]
        return {result["unique_id"]: result["status"] for result in results}

    def render(self, sql: str) -> str:
        """What dbt makes of a query with macros."""
        from dbt.adapters.duckdb import connections
        from dbt.cli.main import dbtRunner

        with self._environment():
            try:
                result = dbtRunner().invoke(self._arguments("compile", "--no-introspect", "--inline", sql))
            finally:
                connections.DuckDBConnectionManager.close_all_connections()
        assert result.success, result.exception
        return result.result.results[0].node.compiled_code

    @contextmanager
    def _environment(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CALLFREE_WAREHOUSE", str(self.settings.warehouse))
            patch.setenv("CALLFREE_LEDGER", str(self.settings.ledger))
            patch.setenv("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
            yield


@pytest.fixture(scope="module")
def derived(tmp_path_factory) -> Derived:
    return Derived.empty(Settings(home=tmp_path_factory.mktemp("home"), policy=DEFAULT_POLICY))


@pytest.fixture(scope="module")
def built(derived) -> dict[str, str]:
    """Everything built once, with unit tests and data tests."""
    return derived.dbt("build")


@pytest.fixture(scope="module")
def manifest(derived, built) -> dict:
    return json.loads((derived.target / "manifest.json").read_text())


def _of_kind(statuses: dict[str, str], kind: str) -> dict[str, str]:
    return {unique_id: status for unique_id, status in statuses.items() if unique_id.split(".")[0] == kind}


# --- Rules --------------------------------------------------------------------------------------------------------


def test_every_unit_test_of_a_model_passes(built):
    unit_tests = _of_kind(built, "unit_test")
    assert [name for name, status in unit_tests.items() if status not in ("pass", "skipped")] == []
    # Finding none, or skipping what hangs on a broken model, would pass as well.
    assert Counter(unit_tests.values())["pass"] == len(unit_tests) > 70


def test_every_model_that_decides_something_has_a_unit_test(manifest):
    tested = {test["model"] for test in manifest["unit_tests"].values()}
    models = {node["name"] for node in manifest["nodes"].values() if node["resource_type"] == "model"}
    # The rest select columns, or join what others decided; data tests and stories look at them.
    assert models - tested == {
        "stg_grant_acks",
        "int_grants_posted",
        "int_exits",
        "int_members",
        "contacts",
        "feed_days",
        "kpis",
        "subscribers",
        "words",
    }


def test_an_empty_home_passes_every_data_test(built):
    data_tests = _of_kind(built, "test")
    assert [name for name, status in data_tests.items() if status != "pass"] == []
    assert len(data_tests) > 30


def test_every_model_is_built(built, manifest):
    expected = {
        unique_id
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "ephemeral"
    }
    done = {unique_id for unique_id, status in built.items() if status == "success"}
    assert expected - done == set()


def _tables(settings: Settings) -> dict[str, tuple]:
    """What was derived: columns and rows of each table by its name."""
    with connect(settings.warehouse, ledger=settings.ledger) as connection:
        found = connection.execute(
            "select schema_name, table_name, list((column_name, data_type) order by column_index)"
            " from duckdb_columns() where database_name = current_database() and schema_name <> 'raw' and not internal"
            " group by all order by all"
        ).fetchall()
        return {
            f"{schema}.{table}": (columns, connection.execute(f'from "{schema}"."{table}" order by all').fetchall())
            for schema, table, columns in found
        }


def _comments(database: Path, schema: str) -> set[tuple]:
    """What the marts of a database say of themselves and of their columns."""
    with connect(database) as connection:
        return set(
            connection.execute(
                "select table_name, null, comment from duckdb_tables() where schema_name = $1 and table_name <> 'run'"
                " union all select view_name, null, comment from duckdb_views() where schema_name = $1 and not internal"
                " union all select table_name, column_name, comment from duckdb_columns()"
                " where schema_name = $1 and table_name <> 'run' and not internal",
                [schema],
            ).fetchall()
        )


def test_what_a_run_derives_is_what_dbt_builds(tmp_path):
    home = Home(tmp_path)
    home.enrol()
    assert home.run(date(2017, 7, 3)) == 0
    derive(home.settings, policy.load(home.settings.policy))
    by_the_run = _tables(home.settings)
    # The policy is that of the home, and stays where it is.
    by_dbt = Derived(home.settings)
    statuses = by_dbt.dbt("build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "seed")
    assert set(statuses.values()) == {"success", "pass", "no-op"}
    found = _tables(home.settings)
    assert by_the_run.keys() == found.keys()
    assert [name for name in found if found[name] != by_the_run[name]] == []
    assert sum(len(rows) for _, rows in found.values()) > 100
    assert _comments(home.settings.marts, "main") == _comments(home.settings.warehouse, "marts")
    tests = _of_kind(statuses, "test")
    assert {node.name for node in transform.compiled(home.settings) if node.kind == "test"} == {
        name.split(".")[2] for name in tests
    }


def test_the_models_are_compiled_once_for_each_version_of_them(tmp_path, monkeypatch):
    settings, versions = Settings(home=tmp_path), []

    def compile_now() -> list[transform.Node]:
        versions.append(transform.digest_of_models())
        return [transform.Node(versions[-1], "view", "marts", "select 1")]

    monkeypatch.setattr(transform, "_COMPILED", tmp_path / "none.json")
    monkeypatch.setattr(transform, "_compile", compile_now)
    for version in ("first", "first", "second", "second", "first"):
        monkeypatch.setattr(transform, "digest_of_models", lambda version=version: version)
        assert [node.name for node in transform.compiled(settings)] == [version]
    assert versions == ["first", "second", "first"]
    # Another process reads what this one has written.
    transform._nodes_of.cache_clear()
    assert [node.name for node in transform.compiled(settings)] == ["first"]
    assert len(versions) == 3
    transform._nodes_of.cache_clear()


def test_a_run_knows_all_that_dbt_is_told_of_a_model_and_a_test(manifest):
    nodes = manifest["nodes"].values()
    assert {node["config"]["materialized"] for node in nodes} == {"seed", "view", "table", "ephemeral", "test"}
    tests = [node["config"] for node in nodes if node["resource_type"] == "test"]
    assert {(test["severity"].lower(), test["limit"], test["where"], test["fail_calc"]) for test in tests} == {
        ("error", None, None, "count(*)")
    }
    assert [node["name"] for node in nodes if node["config"].get("pre-hook") or node["config"].get("post-hook")] == []


# One row or two for each data test, that it must not let pass. The homes of other tests never see them.
BROKEN_LEDGER = """
insert into draws values ('w1', 'pilot-2017', '2017-07-17', '2017-07-16', 5);
insert into members values ('anna', 'w1', 'treatment', 1, null);
insert into enrolments values ('anna', 'w1', '2017-07-18 09:00:00', '2017-07-18', '2017-07-18');
insert into batches values (1, '2017-07-18', 1, 'a', 1, 600, 'digest', null), (2, '2017-07-19', 1, 'b', 0, 0, 'c', 'x');
insert into grants values
    ('anna.W.1', 1, 'anna', '+49111111111', 'welcome', 0, 0, 1, 600, '2017-07-19', '2017-08-19', 'w1', 'pilot-2017');
"""
BROKEN_WAREHOUSE = """
insert into policy.terms select * from policy.terms;
insert into policy.reward_tiers values ('unknown', 0, 100);
insert into policy.waves (wave_id, terms_id, treatment_size, control_size) values ('w9', 'unknown', 0, 0);
insert into policy.hotline_lines (line) values ('service');
insert into policy.contact_outcomes (outcome) values ('answered');
insert into raw.run values (null, null);
insert into intermediate.int_run values (null, null, null);
insert into posting.grants_due (grant_id, subscriber_id, quarter, month, entry_no, volume_mb)
    values ('anna.W.1', 'anna', 0, 0, 1, 600);
insert into posting.batch_due (sequence, line_count, volume_mb) values (9, 1, 600);
insert into posting.members_due (subscriber_id) values ('anna');
insert into intermediate.int_subscriber_states (brand) values ('eins');
insert into marts.pilot_waves (wave_id, wave_state, eligible_count, treatment_count, control_count) values
    ('pilot-2017', 'drawn', 5, 1, 0), ('odd', 'odd', 0, 0, 0);
insert into marts.members (subscriber_id, arm, enrolment_state) values ('carl', 'control', 'odd');
insert into marts.enrolments (subscriber_id, enrolled_on) values ('stranger', '2017-07-18');
insert into intermediate.int_contacts (line) values ('service');
insert into marts.quarters (subscriber_id, quarter, is_decided, decidable_on, quarter_state)
    values ('stranger', 1, true, '2017-10-19', 'odd');
insert into marts.entitlements (subscriber_id, terms_id, quarter, month, entitled_mb, entry_count, entitlement_state)
    values ('nobody', 'pilot-2017', 1, 1, 301, 1, 'due'), ('nobody', 'pilot-2017', 1, 2, 0, 0, 'odd');
insert into marts.grants (grant_id, subscriber_id, quarter, month, entry_no, volume_mb, sequence, answer)
    values ('carl.W.2', 'carl', 0, 0, 2, 600, 1, 'odd');
insert into marts.feed_days (feed) values ('calls');
insert into marts.draw_outcomes (subscriber_id, draw_outcome) values ('anna', 'odd');
insert into marts.quarters_without_contacts (subscriber_id) values ('anna');
insert into marts.coming (subscriber_id) values ('anna');
insert into marts.reconciliation (sequence) values (1);
insert into marts.words (about) values ('draw');
insert into marts.kpi_waves (wave_id) values ('w9');
insert into marts.kpi_members (subscriber_id) values ('carl');
insert into marts.kpi_moments (wave_id) values ('w9');
insert into marts.report_months (wave_id) values ('w9');
"""


def test_every_data_test_finds_what_it_is_there_for(tmp_path):
    broken = Derived.empty(Settings(home=tmp_path, policy=DEFAULT_POLICY))
    broken.dbt("build", "--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
    with ledger.open_ledger(broken.settings) as connection:
        connection.execute(BROKEN_LEDGER)
    with connect(broken.settings.warehouse) as connection:
        connection.execute(BROKEN_WAREHOUSE)
    statuses = _of_kind(broken.dbt("test", "--exclude-resource-type", "unit_test"), "test")
    assert Counter(statuses.values()) == {"fail": len(statuses)}, [
        name for name, status in statuses.items() if status != "fail"
    ]


def test_a_posted_grant_and_one_that_is_due_are_one_list(derived):
    # An ephemeral model cannot be unit-tested by dbt, so its query meets a small database here.
    query = derived.render("select grant_id, sequence, posted_in_run_on, file_name from {{ ref('int_grants_posted') }}")
    connection = duckdb.connect()
    connection.execute("""
        attach ':memory:' as warehouse; attach ':memory:' as ledger; create schema warehouse.posting;
        create table ledger.batches as
            select 1 as sequence, date '2017-07-18' as business_date, 'first.csv' as file_name;
        create table ledger.grants as
            select
                'anna.W.1' as grant_id, 1 as sequence, 'anna' as subscriber_id, 'welcome' as kind, 0 as quarter,
                0 as month, 1 as entry_no, 600 as volume_mb, date '2017-07-19' as valid_from,
                date '2017-08-19' as valid_until, 'w1' as wave_id, 't' as terms_id;
        create table warehouse.posting.batch_due as
            select 2 as sequence, date '2017-10-20' as business_date, 'second.csv' as file_name;
        create table warehouse.posting.grants_due as
            select grants.* exclude (sequence) replace ('anna.Q1M1.1' as grant_id) from ledger.grants;
    """)
    assert sorted(connection.execute(query).fetchall()) == [
        ("anna.Q1M1.1", 2, date(2017, 10, 20), "second.csv"),
        ("anna.W.1", 1, date(2017, 7, 18), "first.csv"),
    ]


# --- Words --------------------------------------------------------------------------------------------------------


def _described(manifest: dict) -> list[dict]:
    nodes = [node for node in manifest["nodes"].values() if node["resource_type"] in ("model", "seed")]
    return nodes + list(manifest["sources"].values())


def test_every_table_says_what_it_is(manifest):
    assert [node["name"] for node in _described(manifest) if not node["description"].strip()] == []


def test_every_column_is_described(manifest, derived, built):
    undescribed = [
        f"{node['name']}.{name}"
        for node in _described(manifest)
        for name, column in node["columns"].items()
        if not column["description"].strip()
    ]
    assert undescribed == []


def test_the_columns_that_are_described_are_those_that_are_there(manifest, derived, built):
    with connect(derived.settings.warehouse) as connection:
        attach(connection, derived.settings.ledger, "ledger", read_only=True)
        found = connection.execute(
            "select database_name, schema_name, table_name, column_name from duckdb_columns() where not internal"
        ).fetchall()
    there: dict[tuple, list[str]] = {}
    for database, schema, table, column in found:
        there.setdefault((database, schema, table), []).append(column)
    wrong = {}
    for node in _described(manifest):
        if node.get("config", {}).get("materialized") == "ephemeral":
            continue
        columns = there[(node["database"], node["schema"], node["name"])]
        if sorted(columns) != sorted(node["columns"]):
            wrong[node["name"]] = set(columns) ^ set(node["columns"])
    assert wrong == {}


def test_a_seed_has_the_columns_of_the_policy(manifest):
    seeds = [node for node in manifest["nodes"].values() if node["resource_type"] == "seed"]
    headers = {path.stem: next(csv.reader(path.open())) for path in DEFAULT_POLICY.glob("*.csv")}
    assert {seed["name"]: list(seed["config"]["column_types"]) for seed in seeds} == headers


def test_the_daily_feeds_of_the_models_are_those_of_the_interface(manifest):
    said = manifest["macros"]["macro.callfree.daily_feeds"]["macro_sql"]
    assert re.findall("'(.*?)'", said) == list(DAILY_FEEDS)


def test_every_model_has_an_owner_and_every_consumer_is_named(manifest):
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    assert [node["name"] for node in models if not node["config"].get("group")] == []
    assert all(group["owner"]["name"] for group in manifest["groups"].values())
    exposures = {exposure["name"]: exposure for exposure in manifest["exposures"].values()}
    assert {"grant_file", "invitation_file", "kpi_file", "pilot_report"} <= exposures.keys()
    assert [name for name, exposure in exposures.items() if not exposure["depends_on"]["nodes"]] == []
    read = {name.split(".")[-1] for name in exposures["pilot_report"]["depends_on"]["nodes"]}
    assert set(report_facts._NEEDED) <= read


def test_every_state_is_told_in_words(manifest, derived, built):
    told = {
        "draw": ("draw_outcomes", "draw_outcome", set()),
        "wave": ("pilot_waves", "wave_state", {"drawn"}),
        "enrolment": ("members", "enrolment_state", {"lapsed"}),
        "quarter": ("quarters", "quarter_state", set()),
        "grant": ("entitlements", "entitlement_state", {"overpaid"}),
        "answer": ("grants", "answer", set()),
    }
    states = {}
    for node in manifest["nodes"].values():
        if node.get("test_metadata", {}).get("name") == "accepted_values":
            arguments = node["test_metadata"]["kwargs"]
            states[node["attached_node"].split(".")[-1], arguments["column_name"]] = set(arguments["values"])
    with connect(derived.settings.warehouse) as connection:
        words = connection.execute("select about, list(code) from marts.words group by about").fetchall()
    for about, codes in words:
        if about in told:
            model, column, beside = told[about]
            # Beside the states: what is told of something else, and states that are never told here.
            assert set(codes) ^ states[model, column] == beside, about


# --- The calendar -------------------------------------------------------------------------------------------------


def _cases(name: str) -> duckdb.DuckDBPyConnection:
    """A database that holds somebody's cases as text, in the table `cases`."""
    connection = duckdb.connect()
    connection.execute("create table cases as select * from read_csv(?, all_varchar = true)", [str(CALENDAR / name)])
    return connection


@needs_calendar
def test_a_date_plus_months_is_what_sixteen_engines_say(derived):
    query = derived.render("""
        select count(*), count(*) filter (
            where {{ add_months('cast(start_date as date)', 'months') }} = cast(expected as date)
        )
        from cases
    """)
    cases, right = _cases("date_plus_months.csv").execute(query).fetchone()
    assert cases > 11_000
    assert right == cases


def test_whole_months_end_where_the_months_that_are_added_do(derived):
    """A contact's quarter is found by months between two dates, and the quarter's days by months added to one."""
    query = derived.render("""
        with starts as (
            select cast(unnest(generate_series(date '2015-01-01', date '2020-12-31', interval 1 day)) as date) as day
        ),

        -- The last day of a quarter, and the first of the next.
        ends as (
            select
                starts.day,
                quarters.quarter,
                {{ add_months('starts.day', '3 * quarters.quarter') }} as quarter_until
            from starts
            cross join (select unnest(range(1, 13)) as quarter) as quarters
        )

        select
            count(*),
            count(*) filter (where {{ whole_months('day', add_days('quarter_until', -1)) }} // 3 + 1 = quarter),
            count(*) filter (where {{ whole_months('day', 'quarter_until') }} // 3 + 1 = quarter + 1)
        from ends
    """)
    count, last_days, first_days = duckdb.connect().execute(query).fetchone()
    assert count > 26_000
    assert last_days == first_days == count


@needs_calendar
def test_a_local_day_begins_and_ends_when_others_say(derived):
    query = derived.render("""
        select count(*), count(*) filter (
            where
                {{ local_midnight('local_date') }} = strptime(start_utc, '%Y-%m-%dT%H:%MZ')
                and {{ local_midnight(add_days('cast(local_date as date)', 1)) }}
                = strptime(next_day_start_utc, '%Y-%m-%dT%H:%MZ')
        )
        from cases
    """)
    cases, right = _cases("berlin_day_lengths.csv").execute(query).fetchone()
    assert cases > 40
    assert right == cases


@needs_calendar
def test_the_landing_dates_an_instant_as_others_do(tmp_path):
    with (CALENDAR / "berlin_day_lengths.csv").open() as handle:
        days = list(csv.DictReader(handle))
    expected, lines = {}, ["event_id,subscriber_id,event_type,occurred_at"]
    for day in days:
        local_date = date.fromisoformat(day["local_date"])
        begins = datetime.fromisoformat(day["start_utc"])
        ends = datetime.fromisoformat(day["next_day_start_utc"])
        for name, instant, on in (
            ("first", begins, local_date),
            ("before", begins - timedelta(seconds=1), local_date - timedelta(days=1)),
            ("last", ends - timedelta(seconds=1), local_date),
        ):
            event_id = f"{name}-{local_date}"
            expected[event_id] = on
            lines.append(f"{event_id},anna,app_installed,{instant:%Y-%m-%dT%H:%M:%S}Z")
    delivery = tmp_path / "app_events_20991231.csv"
    delivery.write_text("\n".join(lines) + "\n")
    connection = duckdb.connect()
    raw_tables.create_raw_tables(connection)
    stage = Stage(connection, FEEDS["app_events"], [Candidate(1, delivery, parse_name(delivery.name))], 10**9)
    stage.keep([1])
    found = dict(connection.execute("select event_id, occurred_on from raw.app_events").fetchall())
    assert found == expected
