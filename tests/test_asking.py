"""Those who ask: care, analysts and billing, in a home that has lived a quarter of the pilot."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli import main
from flows.settings import PROJECT
from flows.steps.explain import explain
from flows.steps.feeds import DAILY_FEEDS
from flows.steps.status import read_status
from flows.steps.warehouse import connect
from pipeline import PipelineHome
from story_comparison import told_difference
from test_interfaces import outbox_errors
from test_recovery import header

POLICY = {
    "terms": (
        "terms_id,welcome_mb,quarters,min_contact_seconds,settlement_days,enrolment_days,max_attempts\n"
        "t,600,2,10,2,90,3\n"
    ),
    "reward_tiers": "terms_id,streak,mb_per_month\nt,1,100\nt,2,200\n",
    "waves": (
        "wave_id,terms_id,invite_on,treatment_size,control_size,seed,brands\n"
        "w,t,2017-07-03,3,1,s,eins\nlater,t,2018-07-03,3,1,s,*\n"
    ),
    "hotline_lines": "line,valid_from,counts,label\nservice,2000-01-01,true,\n",
    "contact_outcomes": "outcome,valid_from,counts,label\nanswered,2000-01-01,true,\n",
}
# The seed ranks gus, anna, ben and ida, in this order.
SUBSCRIBERS = {
    "anna": "anna@example.org,eins,M,active,true",
    "ben": "ben@example.org,eins,M,active,true",
    "gus": "gus@example.org,eins,M,active,true",
    "ida": "ida@example.org,eins,M,active,true",
    "off": "off@example.org,eins,M,suspended,true",
    "silent": "silent@example.org,eins,M,active,false",
    "mailless": ",eins,M,active,true",
    "zwei": "zwei@example.org,zwei,M,active,true",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Anna, ben and gus are invited, ida is control; anna and ben enrol, and ben calls on the 3rd of August."""
    folder = tmp_path_factory.mktemp("asked")
    policy = folder / "policy"
    policy.mkdir()
    for name, content in POLICY.items():
        (policy / f"{name}.csv").write_text(content)
    home = PipelineHome(folder / "home", policy)
    rows = {
        "subscribers_20170701.csv": "".join(
            f"{name},+4917100000{number:02},{rest},,2017-06-01T08:00:00+02:00\n"
            for number, (name, rest) in enumerate(SUBSCRIBERS.items())
        ),
        "app_events_20170703.csv": "".join(
            f"{name}{step},{name},{step},2017-07-03T{hour}:00:00+02:00,,\n"
            for name in ("anna", "ben")
            for step, hour in (("app_installed", "09"), ("portal_login", "10"), ("video_completed", "11"))
        ),
        "calls_20170803.csv": "c1,1,ben,,inbound,service,2017-08-03T12:30:00+02:00,284,answered,false\n",
    }
    day = date(2017, 7, 1)
    while day <= date(2017, 10, 10):
        for feed in DAILY_FEEDS:
            name = f"{feed}_{day:%Y%m%d}.csv"
            home.deliver(name, (header(feed) + rows.get(name, "")).encode())
        day += timedelta(days=1)
    assert home.run(date(2017, 7, 2)) == 0
    assert home.run(date(2017, 7, 10)) == 0
    home.deliver(
        "grant_acks_20170711.csv",
        (header("grant_acks") + "anna.W.1,accepted,,2017-07-11T08:00:00Z\n"
         "ben.W.1,rejected,BARRED,2017-07-11T08:00:00Z\n").encode(),
    )  # fmt: skip
    assert home.run(date(2017, 10, 10)) == 0
    return home


def call(home, *arguments: str):
    environment = {"CALLFREE_HOME": str(home.settings.home), "CALLFREE_POLICY": str(home.settings.policy)}
    return CliRunner().invoke(main, list(arguments), env=environment)


# --- Care ---------------------------------------------------------------------------------------------------------


def test_care_hears_which_call_broke_a_quarter_and_what_it_would_be_worth_without(home):
    story = explain(home.settings, "ben")
    first = story["quarters"][0]
    assert first["quarter_state"] == "broken"
    assert [(row["started_at"].isoformat(), row["line"], row["duration_s"]) for row in first["contacts"]] == [
        ("2017-08-03T12:30:00+02:00", "service", 284)
    ]
    assert [row["told"] for row in first["without_contacts"]] == [
        "Without the call of 3 August 2017, quarter 1 would be worth 100 MB a month.",
        "Without the call of 3 August 2017, quarter 2 would be worth 200 MB a month.",
    ]


def test_care_hears_of_each_grant_its_file_and_billings_answer(home):
    welcome = explain(home.settings, "ben")["grants"][0]
    assert [(entry["grant_id"], entry["file_name"], entry["answer"]) for entry in welcome["entries"]] == [
        ("ben.W.1", "grants_20170710_01.csv", "rejected"),
        ("ben.W.2", "grants_20171010_01.csv", "unanswered"),
    ]


def test_care_hears_what_comes_next_and_on_which_day(home):
    coming = [(row["comes_on"], row["what"], row["volume_mb"]) for row in explain(home.settings, "anna")["coming"]]
    assert coming == [
        (date(2017, 11, 5), "grant", 100),
        (date(2017, 12, 5), "grant", 100),
        (date(2018, 1, 5), "decision", None),
        (date(2018, 1, 5), "reward", 200),
    ]


@pytest.mark.parametrize(
    ("subscriber_id", "outcome"),
    [
        ("anna", "drawn"),
        ("ida", "drawn"),
        ("off", "not_active"),
        ("silent", "no_consent"),
        ("mailless", "no_email"),
        ("zwei", "other_brand"),
    ],
)
def test_care_hears_why_a_subscriber_was_drawn_or_not(home, subscriber_id, outcome):
    story = explain(home.settings, subscriber_id)
    assert [draw["draw_outcome"] for draw in story["draws"]] == [outcome]
    assert [wave["wave_id"] for wave in story["waves_not_drawn"]] == ([] if outcome == "drawn" else ["later"])


def test_what_is_told_is_what_ledger_and_marts_say(home):
    assert told_difference(home) is None


def test_the_story_fits_a_screen_and_names_no_number_and_no_address(home):
    shown = call(home, "explain", "ben")
    assert shown.exit_code == 0
    assert "Without the call of 3 August 2017, quarter 1 would be worth 100 MB a month." in shown.output
    assert len(shown.output.splitlines()) < 40
    assert not re.search(r"\+49|@", shown.output)


def test_the_story_for_machines_is_json_with_the_documented_keys(home):
    story = json.loads(call(home, "explain", "ben", "--json").output)
    documented = re.findall(r"^\| `(\w+)` \|", (PROJECT / "docs" / "care.md").read_text(), re.MULTILINE)
    assert list(story) == documented


def test_an_earlier_day_is_told_as_it_was_known_then(home):
    shown = call(home, "explain", "ben", "--date", "2017-08-01", "--json")
    story = json.loads(shown.output)
    assert (story["asked_for"], story["as_of"]) == ("2017-08-01", "2017-07-10")
    assert story["quarters"][0]["quarter_state"] == "call_free_so_far"
    assert [entry["answer"] for entry in story["grants"][0]["entries"]] == ["unanswered"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nobody"], "nobody is no subscriber"),
        (["+4917100000001"], "That is no subscriber"),
        (["anna", "--date", "2017-06-30"], "There was no run for 2017-06-30 or before."),
    ],
)
def test_what_cannot_be_explained_is_wrong_usage_in_one_line(home, arguments, told):
    result = call(home, "explain", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


# --- Analysts -----------------------------------------------------------------------------------------------------

PAGE = (PROJECT / "docs" / "analysts.md").read_text()
QUESTIONS = re.findall(r"^## (\d+\..*?)\n.*?```sql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)


def test_there_are_twelve_questions():
    assert [int(title.split(".")[0]) for title, _ in QUESTIONS] == list(range(1, 13))


@pytest.mark.parametrize("sql", [sql for _, sql in QUESTIONS], ids=[title for title, _ in QUESTIONS])
def test_a_question_of_the_documentation_has_an_answer(home, sql):
    with connect(home.settings.marts, read_only=True) as marts:
        assert marts.execute(sql).fetchall()


def test_every_table_and_column_that_is_published_is_described(home):
    with connect(home.settings.marts, read_only=True) as marts:
        undescribed = marts.execute(
            "select table_name, column_name from duckdb_columns() where comment is null and not internal"
            " union all select table_name, null from duckdb_tables() where comment is null and not internal"
        ).fetchall()
        (count,) = marts.execute("select count(*) from duckdb_columns() where not internal").fetchone()
    assert undescribed == []
    assert count > 150


def test_no_number_and_no_address_is_published(home):
    with connect(home.settings.marts, read_only=True) as marts:
        columns = marts.execute(
            "select table_name, column_name, data_type from duckdb_columns() where database_name = current_database()"
        ).fetchall()
        assert [name for _, name, _ in columns if re.search("msisdn|e_?mail|phone", name)] == []
        # Any column that could hold text: a number of eight digits that is no date or digest, or an address.
        for table, column, kind in columns:
            if kind not in ("DATE", "BIGINT", "INTEGER", "BOOLEAN", "TIMESTAMP", "DOUBLE"):
                found = marts.execute(
                    f"""select count(*) from {table}
                    where regexp_matches(cast("{column}" as varchar), '[+][0-9]{{6}}|@')"""
                ).fetchone()
                assert found == (0,), f"{table}.{column}"


READER = """
import sys, time
from pathlib import Path

marts, stop, how = sys.argv[1:]
count, days = 0, set()
while not Path(stop).exists():
    if how == "duckdb":
        import duckdb
        with duckdb.connect(marts, read_only=True) as connection:
            days |= {row[0] for row in connection.execute("select business_date from run").fetchall()}
            assert connection.execute("select count(*) from grants").fetchone()[0] > 0
    else:
        import sqlalchemy
        engine = sqlalchemy.create_engine(f"duckdb:///{marts}", connect_args={"read_only": True})
        with engine.connect() as connection:
            days |= {row[0] for row in connection.execute(sqlalchemy.text("select business_date from run"))}
            assert connection.execute(sqlalchemy.text("select count(*) from grants")).scalar() > 0
        engine.dispose()
    count += 1
print(count, *sorted(map(str, days)))
"""


def test_many_read_the_marts_while_a_run_replaces_them(home, tmp_path):
    stop = tmp_path / "stop"
    for feed in DAILY_FEEDS:
        home.deliver(f"{feed}_20171011.csv", header(feed).encode())
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(home.settings.marts), str(stop), how],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for how in ("duckdb", "duckdb", "sqlalchemy")
    ]
    try:
        assert home.run(date(2017, 10, 11)) == 0
        home.rebuild()
    finally:
        stop.touch()
    for reader in readers:
        said, failed = reader.communicate(timeout=60)
        assert reader.returncode == 0, failed
        count, *days = said.split()
        assert int(count) > 5
        assert days[-1] == "2017-10-11"


def test_the_metrics_of_the_pilot_can_be_asked_for(home, tmp_path):
    project = shutil.copytree(PROJECT / "semantics", tmp_path / "semantics")
    environment = os.environ | {
        "CALLFREE_MARTS": str(home.settings.marts),
        "CALLFREE_METRICS": str(tmp_path / "metrics.duckdb"),
        "DBT_PROFILES_DIR": str(project),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }
    tools = Path(sys.executable).parent

    def tool(*command: str) -> None:
        done = subprocess.run(
            [tools / command[0], *command[1:]], cwd=project, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    tool("dbt", "build", "--quiet", "--no-version-check")
    asked = "enrolment_rate,contacts_per_member,granted_mb,call_free_quarters_share"
    tool("mf", "query", "--metrics", asked, "--group-by", "member__arm", "--csv", str(tmp_path / "found.csv"))
    with open(tmp_path / "found.csv", newline="") as file:
        found = {row["member__arm"]: row for row in csv.DictReader(file)}
    of_treatment = {name: float(value) for name, value in found["treatment"].items() if name != "member__arm"}
    # Three members, two of them enrolled, one call, two welcomes of which one was rejected and posted again, one month.
    assert of_treatment == pytest.approx(
        {"enrolment_rate": 2 / 3, "contacts_per_member": 1 / 3, "granted_mb": 1300, "call_free_quarters_share": 1 / 2}
    )


# --- Billing ------------------------------------------------------------------------------------------------------


def test_the_reconciliation_adds_up_to_what_the_ledger_posted(home):
    with connect(home.settings.marts, read_only=True) as marts:
        found = marts.execute(
            "select sum(grant_count), sum(volume_mb), count(distinct sequence) from reconciliation"
        ).fetchone()
    (posted,) = home._ask(
        "select (select count(*) from ledger.grants), (select sum(volume_mb) from ledger.grants),"
        " (select count(*) from ledger.batches)"
    )
    assert found == posted


def test_the_page_for_billing_is_written_with_each_run(home):
    page = (home.settings.reports / "billing.html").read_text()
    assert f"As known in the run for {read_status(home.settings)['last_run']}" in page
    assert "BARRED" in page
    assert "<td>grants_20170710_01.csv</td>" in page
    assert not re.search(r"https?://|\+49|@", page)


def test_all_that_is_put_out_keeps_the_schemas(home):
    assert outbox_errors(Path(home.settings.home) / "outbox") == []


def test_a_file_that_was_changed_on_its_way_is_found(home, tmp_path):
    shutil.copytree(Path(home.settings.home) / "outbox", tmp_path / "outbox")
    changed = tmp_path / "outbox" / "grants" / "grants_20170710_01.csv"
    changed.write_bytes(changed.read_bytes().replace(b",600,", b",900,"))
    assert "grants_20170710_01.csv: the digest differs" in outbox_errors(tmp_path / "outbox")
