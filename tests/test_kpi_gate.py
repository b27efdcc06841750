"""The gate before the KPI file: sound figures pass, and every sentence has figures that break it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from expectations import kpi_file
from flows.errors import GateFailed
from flows.steps.gates import check_kpis, require_kpis
from flows.steps.warehouse import connect
from test_kpis import CONTROL, QUARTERS, TREATMENT, figures

WAREHOUSE = """
create schema marts;
create table marts.kpis (
    figure_no integer, wave_id varchar, kpi varchar, arm varchar, quarter integer, value double, ci_low double,
    ci_high double, n bigint
);
create table marts.kpi_moments (wave_id varchar, arm varchar, member_count bigint, contact_sum hugeint);
create table marts.grants (grant_id varchar, answer varchar);
insert into marts.grants values ('a.W.1', 'accepted'), ('b.W.1', 'rejected'), ('b.W.2', 'unanswered');
"""
LEDGER = """
create table draws (wave_id varchar);
create table grants (grant_id varchar, wave_id varchar, volume_mb bigint);
insert into draws values ('w');
insert into grants values ('a.W.1', 'w', 600), ('b.W.1', 'w', 600), ('b.W.2', 'w', 600);
"""
OF = "update marts.kpis set {} where kpi = '{}'"
BROKEN = {
    ("figures", "every figure is one that the specification names"): OF.format("kpi = 'luck'", "attrition_p"),
    ("figures", "every figure is about the arm that the specification says"): OF.format("arm = null", "invited"),
    ("figures", "call-free quarters have a quarter, and nothing else has"): OF.format("quarter = 1", "granted_mb"),
    ("figures", "no figure comes twice"): OF.format("quarter = 1", "call_free_quarters_share"),
    ("figures", "every figure has a value, save a p where nothing varies"): OF.format("value = null", "net_eur"),
    ("figures", "every number is finite"): OF.format("ci_high = 'inf'", "itt_contacts_cuped"),
    ("figures", "every interval holds its value"): OF.format("value = ci_high + 0.1", "tot_contacts"),
    ("figures", "every share and every p lies between 0 and 1"): OF.format("value = 1.1", "itt_contacts_p"),
    ("figures", "no step of the way has more members than the arm"): OF.format("value = n + 1", "signed_in"),
    ("figures", "the arms' means are their contacts by their members"): OF.format(
        "value = value + 0.001", "contacts_per_member"
    ),
    ("figures", "granted_mb is what the ledger says"): OF.format("value = 1800", "granted_mb"),
    ("figures", "nothing granted is left out of what is committed"): OF.format("value = 1199", "committed_mb"),
    ("figures", "contacts are saved where treatment calls less"): OF.format(
        "value = -value, ci_low = -ci_high, ci_high = -ci_low", "saved_contacts"
    ),
    ("figures", "what remains is what is saved less what it costs"): OF.format("value = value + 1", "net_eur"),
    ("figures_of_waves", "every drawn wave has the figures of its two arms"): "delete from marts.kpis where n = 3",
}


@dataclass(frozen=True)
class Places:
    warehouse: Path
    ledger: Path
    reports: Path


@pytest.fixture
def places(tmp_path) -> Places:
    places = Places(tmp_path / "warehouse.duckdb", tmp_path / "ledger.duckdb", tmp_path / "reports")
    with connect(places.ledger) as connection:
        connection.execute(LEDGER)
    with connect(places.warehouse) as connection:
        connection.execute(WAREHOUSE)
        for arm, row in (("treatment", TREATMENT), ("control", CONTROL)):
            connection.execute(
                "insert into marts.kpi_moments values ('w', ?, ?, ?)", [arm, row["member_count"], row["contact_sum"]]
            )
        for number, (*names, estimate, n) in enumerate(figures(quarters=QUARTERS), 1):
            connection.execute(
                "insert into marts.kpis values (?, ?, ?, ?, ?, ?, ?, ?, ?)", [number, *names, *estimate, n]
            )
    return places


def test_sound_figures_pass_and_so_does_a_home_without_a_wave(places):
    assert check_kpis(places).failed == ()
    index = (places.reports / "data_docs" / "index.html").read_text()
    assert '<a class="passed" href="latest/kpis.html">passed</a>' in index
    with connect(places.warehouse) as connection:
        connection.execute("delete from marts.kpis; delete from marts.kpi_moments")
    with connect(places.ledger) as connection:
        connection.execute("delete from draws; delete from grants")
    assert check_kpis(places).failed == ()


@pytest.mark.parametrize("check", BROKEN, ids=" - ".join)
def test_a_broken_figure_fails(places, check):
    with connect(places.warehouse) as connection:
        connection.execute(BROKEN[check])
    failed = check_kpis(places).failed
    assert check in {tuple(line.split(": ")[:2]) for line in failed}
    assert all("not so for" in line for line in failed)


def test_every_sentence_has_a_figure_that_breaks_it():
    assert {(suite.name, sentence) for suite in kpi_file.SUITES for sentence in suite.checks} == set(BROKEN)


def test_who_reads_that_the_gate_failed_learns_that_the_grants_went_out(places):
    with connect(places.warehouse) as connection:
        connection.execute(BROKEN["figures", "no figure comes twice"])
    with pytest.raises(GateFailed, match=r"kpis gate failed: .* The grants were posted, the KPI file was not written"):
        require_kpis(places, None)
