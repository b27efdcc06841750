"""dbt, Great Expectations and Prefect failing: nothing is posted on doubt, nothing posted is forgotten."""

import sqlite3
import subprocess

import pytest

from fault_stage import quickly, run_for
from fault_world import BUSY, ENROLMENT, EVE, FaultHome
from faults import assert_same, standing
from flows.errors import CallfreeError
from flows.steps import gates, transform
from flows.steps.run import run_day
from flows.steps.transform import Node
from promises import broken_promises
from test_kills import cli

pytestmark = pytest.mark.promise(8)


def broken_data(_home: FaultHome) -> None:
    """A test of the data finds a row."""
    compiled = transform.compiled
    wrong = Node("there_is_no_number", "test", "raw", "select '+4917155500001' as number")
    transform.compiled = lambda settings: [*compiled(settings), wrong]


def broken_model(_home: FaultHome) -> None:
    compiled = transform.compiled
    wrong = Node("broken", "table", "posting", "select cast('+4917155500001' as integer) as number")
    transform.compiled = lambda settings: [*compiled(settings), wrong]


def dbt_raises(_home: FaultHome) -> None:
    def fails(_settings):
        raise RuntimeError("+4917155500001")

    transform.compiled = fails


def nothing_is_answered(_home: FaultHome) -> None:
    from expectations import check

    check.check = lambda *_arguments: []


def great_expectations_raises(_home: FaultHome) -> None:
    from expectations import check

    def fails(*_arguments):
        raise RuntimeError("+4917155500001")

    check.check = fails


def the_batch_gate_answers_nothing(_home: FaultHome) -> None:
    require = gates.require_landing

    def landing_passes(*arguments):
        require(*arguments)
        nothing_is_answered(_home)

    gates.require_landing = landing_passes


FAILING = {
    "a test of the data fails": broken_data,
    "a model cannot be derived": broken_model,
    "dbt raises": dbt_raises,
    "Great Expectations answers nothing": nothing_is_answered,
    "Great Expectations raises": great_expectations_raises,
    "the gate before posting answers nothing": the_batch_gate_answers_nothing,
}


# A batch without a grant is not asked about.
WITH_GRANTS = ("the gate before posting answers nothing",)


@pytest.mark.faults
@pytest.mark.parametrize("fault", FAILING)
def test_where_a_judge_fails_nothing_is_posted_and_the_next_run_does_it_all(stage, fault, tried):
    state, day = ("busy_morning", BUSY) if fault in WITH_GRANTS else ("until_the_draw", EVE)

    def failing(home: FaultHome):
        FAILING[fault](home)
        before = home.outbox
        with pytest.raises(CallfreeError) as failed:
            run_day(home.settings, day)
        assert home.outbox == before
        return failed.value.exit_status, str(failed.value)

    stage.bring(state)
    exit_status, line = stage.do(failing)
    assert exit_status == 1
    assert "+49" not in line
    found, broken = stage.do(lambda home: (quickly(run_for(day))(home), standing(home), broken_promises(home))[1:])
    stage.bring(state)
    expected = stage.do(lambda home: (quickly(run_for(day))(home), standing(home))[1])
    assert_same(expected, found, fault)
    assert broken == []
    tried("judges that fail", 1)


@pytest.mark.faults
@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "a folder"])
def test_with_prefects_database_out_of_reach_the_run_is_right_and_its_exit_status_true(stage, is_locked, tried):
    stage.bring("until_the_draw")
    expected = stage.do(lambda home: (quickly(run_for(EVE))(home), standing(home))[1])
    stage.bring("until_the_draw")
    database = stage.home.settings.work / "prefect" / "prefect.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    holder = None
    if is_locked:
        holder = sqlite3.connect(database)
        holder.execute("create table held (number)")
        holder.execute("begin exclusive")
    else:
        database.mkdir()
    process = cli(stage.home, EVE)
    try:
        # A busy machine is no verdict.
        _, told = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    finally:
        if holder:
            holder.close()
    assert process.returncode == 0, told
    assert_same(expected, stage.do(standing), told)
    tried("Prefect's database out of reach", 1)


@pytest.mark.faults
def test_a_run_after_one_without_its_judges_posts_once(stage):
    stage.bring("enrolled")
    assert stage.do(broken_promises) == []
    stage.do(quickly(run_for(ENROLMENT)))
    assert stage.do(broken_promises) == []
