"""What gets out of a home and who gets at it: SQL stays inside, files are for their owner, or for one group."""

import csv
import grp
import io
import os
import stat
from datetime import date

import duckdb
import pytest

from expectations import dialect
from flows.errors import CallfreeError
from flows.settings import DEFAULT_POLICY, Settings
from flows.steps import home as homes
from flows.steps import ledger, policy, raw_tables, transform
from flows.steps.derivation import derive
from flows.steps.home import lock
from flows.steps.warehouse import attach, connect
from test_recovery import Home

# --- SQL ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path):
    settings = Settings(home=tmp_path / "home")
    settings.make_folders()
    return settings


OUTSIDE = {
    "reading a file": "select * from read_text('{outside}')",
    "reading it as a table": "select * from '{outside}'",
    "climbing out of the home": "select * from read_csv('{home}/../secret.csv')",
    "writing a file": "copy (select 1) to '{outside}.copy'",
    "attaching a database": "attach '{outside}.duckdb'",
    "asking the network": "select * from read_csv('http://127.0.0.1:9/x.csv')",
    "loading an extension": "install httpfs",
    "letting go of the rule": "set enable_external_access = true",
    "widening the rule": "set allowed_directories = ['/']",
    "spilling elsewhere": "set temp_directory = '{outside}.tmp'",
}


def refused(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """Of the ways out those that are shut."""
    outside = settings.home.parent / "secret.csv"
    outside.write_text("number\n+4917655000001\n")
    found = []
    for way, sql in OUTSIDE.items():
        try:
            connection.execute(sql.format(outside=outside, home=settings.home)).fetchall()
        except (duckdb.PermissionException, duckdb.InvalidInputException):
            found.append(way)
    return found


def test_no_sql_of_a_step_gets_out_of_the_home(settings):
    with ledger.open_ledger(settings) as connection:
        assert refused(connection, settings) == list(OUTSIDE)
    with connect(settings.warehouse, ledger=settings.ledger) as connection:
        assert refused(connection, settings) == list(OUTSIDE)
        attach(connection, settings.published / "marts.duckdb", "published")
        with connect(settings.warehouse) as another:
            assert refused(another, settings) == list(OUTSIDE)


def test_nor_does_a_step_of_a_run_which_holds_its_files_open(settings, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    with ledger.held_open(settings):
        for path in (settings.warehouse, settings.ledger):
            with connect(path) as connection:
                assert refused(connection, settings) == list(OUTSIDE)
                assert connection.execute("select current_setting('TimeZone')").fetchone() == ("UTC",)


def test_no_check_gets_out_of_the_home(settings):
    with connect(settings.warehouse, ledger=settings.ledger):
        pass
    wrapped = dialect.EagerDuckDB().connect(database=str(settings.warehouse), attach={"ledger": str(settings.ledger)})
    try:
        assert refused(wrapped._ConnectionWrapper__c, settings) == list(OUTSIDE)
    finally:
        wrapped.close()


def test_no_model_gets_out_of_the_home(settings, monkeypatch):
    with ledger.open_ledger(settings):
        pass
    with connect(settings.warehouse) as connection:
        raw_tables.create_raw_tables(connection)
        connection.execute("insert into raw.run values ('2017-07-16', true)")
    compiled = transform.compiled
    reading = OUTSIDE["reading a file"].format(outside=settings.home.parent / "secret.csv")
    wrong = transform.Node("outside", "table", "posting", reading)
    monkeypatch.setattr(transform, "compiled", lambda settings: [*compiled(settings), wrong])
    with pytest.raises(CallfreeError, match=r"outside \(PermissionException\)"):
        derive(settings, policy.load(DEFAULT_POLICY))


def test_a_large_query_may_still_spill_into_the_home(settings):
    with connect(settings.warehouse) as connection:
        connection.execute("set memory_limit = '60MB'")
        connection.execute("set threads = 1")
        found = connection.execute(
            "select count(*) from (select range, md5(range::varchar) as hash from range(2000000) order by hash)"
        )
        assert found.fetchone() == (2_000_000,)


# --- Files --------------------------------------------------------------------------------------------------------


def modes(settings: Settings, folder: str = "") -> dict[str, str]:
    root = settings.home.absolute() / folder
    found = {str(path.relative_to(root)): path for path in (root, *root.rglob("*")) if not path.is_symlink()}
    return {name: oct(stat.S_IMODE(path.stat().st_mode)) for name, path in found.items()}


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A home in which a library call did it all, under the usual mask of a login."""
    before = os.umask(0o022)
    try:
        home = Home(tmp_path_factory.mktemp("lived"))
        home.enrol()
        home.run(date(2017, 7, 3))
        yield home
    finally:
        os.umask(before)


def test_what_is_written_is_for_its_owner_whoever_called(lived):
    # What a sender wrote keeps its mode; the folder around it is shut.
    open_to_others = {name for name, mode in modes(lived.settings).items() if int(mode, 8) & 0o077}
    assert {name for name in open_to_others if not name.startswith("archive/")} == set()
    assert not any((lived.settings.home / name).is_dir() for name in open_to_others)
    assert os.umask(0o022) == 0o022


def test_a_home_made_by_a_run_is_shut(tmp_path):
    settings = Settings(home=tmp_path / "below" / "home")
    with lock(settings, "a test"):
        pass
    assert {mode for name, mode in modes(settings).items() if (settings.home / name).is_dir()} == {"0o700"}


# --- One group ----------------------------------------------------------------------------------------------------

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to a group it is not in")


def another_group() -> str:
    return next(group.gr_name for group in grp.getgrall() if group.gr_gid != os.getegid())


@is_root
def test_a_group_gets_what_is_handed_out_and_nothing_else(lived):
    group = another_group()
    settings = lived.settings.model_copy(update={"group": group})
    with lock(settings, "a test"):
        pass
    lived.settings, own = settings, lived.settings
    lived.deliver_until(date(2017, 7, 4))
    assert lived.run(date(2017, 7, 4)) == 0
    lived.settings = own
    number = grp.getgrnam(group).gr_gid
    assert modes(settings)["."] == "0o710"
    assert modes(settings, "inbox")["."] == "0o2770"
    for folder in ("outbox", "published"):
        for name, mode in modes(settings, folder).items():
            path = settings.home / folder / name
            assert path.stat().st_gid == number, path
            expected = "0o640" if path.is_file() else "0o2750" if folder == "published" else "0o2770"
            assert mode == expected, path
    assert "grants/grants_20170704_01.csv" in modes(settings, "outbox")
    for folder in ("archive", "rejected", "held", ".work"):
        assert int(modes(settings, folder)["."], 8) & 0o077 == 0
    assert int(modes(settings)["ledger.duckdb"], 8) & 0o077 == 0


@is_root
def test_what_others_of_the_group_put_into_the_outbox_is_left_to_them(tmp_path):
    settings = Settings(home=tmp_path / "home", group=another_group())
    settings.make_folders()
    taken = settings.grants_outbox / "taken.log"
    taken.write_text("all of them")
    taken.chmod(0o664)
    os.chown(taken, 12345, -1)
    with lock(settings, "a test"):
        pass
    assert taken.stat().st_mode & 0o777 == 0o664


def test_a_group_that_nobody_knows_is_wrong_usage(tmp_path):
    with pytest.raises(ValueError, match="no group of this name"):
        Settings(home=tmp_path, group="nobody-knows-this-group")


def test_a_group_that_the_owner_is_not_in_is_told(tmp_path, monkeypatch):
    def forbidden(*_arguments):
        raise PermissionError

    monkeypatch.setattr(homes.os, "chown", forbidden)
    settings = Settings(home=tmp_path / "home", group=another_group())
    with pytest.raises(CallfreeError, match="cannot be given to the group of CALLFREE_GROUP"):
        with lock(settings, "a test"):
            pass


# --- Spreadsheets -------------------------------------------------------------------------------------------------

FORMULAS = (
    "=cmd|' /C calc'!A0", "+1@example.org", "-2+3@example.org", "@SUM(1+1)", "\t=1", " =1", "\r=1", "a;=1", "a\n+1",
    "\uff1d1",
)  # fmt: skip
HARMLESS = ("anna@example.org", '"a, b"@example.org', "a-b+c=d@example.org", "'=1", "0@example.org")


def test_an_address_that_a_spreadsheet_would_run_is_in_no_file_and_reported(tmp_path):
    home = Home(tmp_path)
    waves = home.settings.policy / "waves.csv"
    waves.write_text(waves.read_text().replace("2,0,s", "50,0,s"))
    rows = "".join(
        f"{number:02d},+4917112345{number:02d},{quoted(email)},o2,M,active,true,,2017-06-01T08:00:00+02:00\n"
        for number, email in enumerate(FORMULAS + HARMLESS)
    )
    home.deliver_until(date(2017, 7, 1), subscribers=rows)
    home.deliver_until(date(2017, 7, 2))
    assert home.run(date(2017, 7, 2)) == 0
    invited = csv.DictReader(io.StringIO(home.outbox["invitations/invitations_w.csv"].decode(), newline=""))
    assert [line["email"] for line in invited] == list(HARMLESS)
    assert home._subjects("withheld_address") == {f"{number:02d}" for number in range(len(FORMULAS))}
    assert len(home.draws["w"]) == len(FORMULAS) + len(HARMLESS)


def quoted(email: str) -> str:
    return '"' + email.replace('"', '""') + '"'
