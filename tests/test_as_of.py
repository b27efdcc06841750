"""The marts of an earlier date are those that the run of that date has published."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from flows.errors import WrongUsage
from flows.steps import as_of
from flows.steps.as_of import KNOWN, marts_as_of, run_as_of
from flows.steps.home import lock
from flows.steps.warehouse import connect
from test_house_rules import LEDGER_TABLES
from test_recovery import Home, header


def tables_of(path: Path) -> dict[str, list[tuple]]:
    """Every table of published marts, its rows sorted."""
    with connect(path, read_only=True) as marts:
        names = [name for (name,) in marts.execute("select table_name from duckdb_tables()").fetchall()]
        return {name: sorted(marts.execute(f"from {name}").fetchall(), key=repr) for name in names}


def test_every_table_of_the_ledger_that_models_read_is_cut():
    assert set(KNOWN) == set(LEDGER_TABLES) - {
        "policy_rows", "policies", "runs", "publications", "held_batches", "approvals",
    }  # fmt: skip


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A home of a few runs, a repeat and a word, and what was published after the last run of each date."""
    home = Home(tmp_path_factory.mktemp("lived"))
    home.enrol()
    published = {}

    def run(day: date) -> None:
        home.run(day)
        published[day] = tables_of(home.settings.marts)

    run(date(2017, 7, 3))
    home.answer(date(2017, 7, 4), "anna.W.1,rejected,BARRED,2017-07-04T07:00:00Z\n")
    home.deliver_until(date(2017, 7, 4))
    run(date(2017, 7, 4))
    home.release("anna.W.1", reason="unbarred")
    waves = home.settings.policy / "waves.csv"
    waves.write_text(waves.read_text() + "later,t,2018-07-03,1,0,s,*\n")
    # A day without calls: a repeat of the date lands them.
    home.deliver("subscribers_20170705.csv", header("subscribers").encode())
    home.deliver("app_events_20170705.csv", header("app_events").encode())
    run(date(2017, 7, 5))
    home.deliver("calls_20170705.csv", header("calls").encode())
    # A correction of an earlier day, known from now on only.
    home.deliver(
        "subscribers_20170701.csv",
        (header("subscribers") + "anna,+491711234567,,o2,L,active,true,,2017-06-01T08:00:00+02:00\n").encode(),
    )
    run(date(2017, 7, 5))
    return home, published


def test_the_marts_of_a_date_are_those_published_in_its_run(lived):
    home, published = lived
    for day, tables in published.items():
        assert tables_of(marts_as_of(home.settings, day)) == tables, day


def test_a_date_without_a_run_is_answered_by_the_latest_run_before(lived):
    home, _ = lived
    assert run_as_of(home.settings, date(2017, 7, 8)).business_date == date(2017, 7, 5)
    with pytest.raises(WrongUsage, match="no run for 2017-06-30"):
        marts_as_of(home.settings, date(2017, 6, 30))


def test_an_earlier_date_can_be_asked_for_while_a_run_holds_the_home(lived):
    home, published = lived
    shutil.rmtree(home.settings.work / "as_of")
    with lock(home.settings, "a run"), connect(home.settings.ledger), connect(home.settings.warehouse):
        assert tables_of(marts_as_of(home.settings, date(2017, 7, 4))) == published[date(2017, 7, 4)]


def test_the_past_is_derived_with_the_memory_that_was_set(lived, monkeypatch):
    home, _ = lived
    shutil.rmtree(home.settings.work / "as_of", ignore_errors=True)
    limits = []

    def derive(past, policy):
        with connect(past.warehouse) as connection:
            limits.append(connection.execute("select current_setting('memory_limit')").fetchone()[0])
        return as_of_derive(past, policy)

    as_of_derive = as_of.derive
    monkeypatch.setattr(as_of, "derive", derive)
    marts_as_of(home.settings.model_copy(update={"memory": "512MB"}), date(2017, 7, 4))
    assert limits == ["488.2 MiB"]


def test_a_past_of_other_prices_is_another_past(lived):
    home, _ = lived
    day = date(2017, 7, 4)
    dearer = home.settings.model_copy(update={"eur_per_mb": home.settings.eur_per_mb * 10})
    assert marts_as_of(home.settings, day) == marts_as_of(home.settings, day) != marts_as_of(dearer, day)


def test_nothing_but_the_marts_is_left_of_the_scratch_home(lived):
    home, _ = lived
    marts_as_of(home.settings, date(2017, 7, 4))
    left = list((home.settings.work / "as_of").iterdir())
    assert [path.name for path in left if not path.name.startswith("run_") or path.suffix != ".duckdb"] == []
