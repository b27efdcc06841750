"""Guard rails for people: a budget above which nothing is posted, and a word for what was granted and changed."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from flows.errors import BatchHeld, CallfreeError, WrongUsage
from flows.steps import budget, gates, ledger, operator, policy, run
from flows.steps.run import run_day
from flows.steps.run_page import run_page
from flows.steps.status import read_status, refresh_status
from flows.steps.warehouse import connect
from test_recovery import Home

ENROLLED = date(2017, 7, 3)
NOTHING = {"max_grants_per_run": 0}


@pytest.fixture(scope="module", autouse=True)
def without_great_expectations():
    """The gates have tests of their own, and take as long as all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "require_landing", passed)
        patch.setattr(run, "require_batch", passed)
        yield


def passed(*_arguments) -> None:
    """A gate that lets everything through."""


class HeldHome(Home):
    """A home in which the batch with anna's welcome is held, and what the ledger and the outbox had before."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.enrol()
        self.before = (register(self), self.outbox)
        self.error = held(self, ENROLLED, max_grants_per_run=0, max_mb_per_run=500)
        shutil.copytree(self.settings.home, folder / "kept")

    def renew(self) -> None:
        """As it was, at the same place: elsewhere dbt would read its project anew."""
        shutil.rmtree(self.settings.home)
        shutil.copytree(self.settings.home.with_name("kept"), self.settings.home)
        self.day = ENROLLED + timedelta(days=1)

    def judge(self, **limits: int | None) -> None:
        """The judgement of the budget alone, upon what was derived."""
        budget.require_budget(with_limits(self, **limits), ENROLLED)


@pytest.fixture(scope="module")
def held_home(tmp_path_factory):
    return HeldHome(tmp_path_factory.mktemp("held"))


@pytest.fixture
def home(held_home):
    held_home.renew()
    return held_home


def with_limits(home: Home, **limits: int | None):
    return home.settings.model_copy(update=limits)


def held(home: Home, day: date, **limits: int | None) -> BatchHeld:
    with pytest.raises(BatchHeld) as caught:
        run_day(with_limits(home, **limits), day)
    return caught.value


def register(home: Home) -> list[tuple]:
    """All that a posting puts into the ledger."""
    return [
        tuple(home._ask(f"select count(*) from ledger.{table}")[0])
        for table in ("draws", "members", "enrolments", "batches", "grants", "policy_rows")
    ]


def change_the_batch(home: Home, change: str) -> None:
    with connect(home.settings.warehouse) as connection:
        connection.execute(f"update posting.grants_due set {change}")


MUST_NEVER_BE = {
    "1 members are drawn twice": """
        insert into posting.members_due by name
        select subscriber_id, wave_id, arm, draw_rank + 1 as draw_rank from ledger.members limit 1
    """,
    "1 ranks of a draw are given twice": """
        insert into posting.members_due by name
        select 'x' as subscriber_id, wave_id, arm, draw_rank from ledger.members limit 1
    """,
    "1 members are of no draw": """
        insert into posting.members_due (subscriber_id, wave_id, arm, draw_rank) values ('x', 'nowhere', 'control', 1)
    """,
    "1 subscribers are enrolled twice": "insert into posting.enrolments_due from posting.enrolments_due",
    "1 enrolments are of no member": "update posting.enrolments_due set wave_id = 'another'",
    "1 grants are there twice": "insert into posting.grants_due from posting.grants_due",
    "1 grants are of nobody who is enrolled": """
        update posting.grants_due set subscriber_id = 'nobody', grant_id = 'nobody.W.1'
    """,
}


def test_all_that_must_never_be_is_tried():
    assert {told.partition(" ")[2] for told in MUST_NEVER_BE} == set(ledger._NEVER)


@pytest.mark.parametrize("told", MUST_NEVER_BE)
def test_what_must_never_be_is_not_posted_and_nothing_with_it(home, told):
    with connect(home.settings.warehouse, ledger=home.settings.ledger) as connection:
        connection.execute(MUST_NEVER_BE[told])
    before = register(home)
    with pytest.raises(CallfreeError, match=rf"^{told}\. Nothing was posted\.$"):
        ledger.post(home.settings, ENROLLED, policy.load(home.settings.policy))
    assert register(home) == before


@pytest.mark.parametrize(
    ("other", "told"),
    [("enrolments", "1 grants are there twice"), ("grants", "1 subscribers are enrolled twice")],
)
def test_what_was_posted_before_is_not_posted_again(home, other, told):
    terms = policy.load(home.settings.policy)
    ledger.post(home.settings, ENROLLED, terms)
    before = register(home)
    with connect(home.settings.warehouse) as connection:
        connection.execute(f"delete from posting.{other}_due")
        connection.execute(
            "update posting.batch_due set sequence = sequence + 1, batch_no = batch_no + 1, file_name = 'another'"
        )
    with pytest.raises(CallfreeError, match=told):
        ledger.post(home.settings, ENROLLED, terms)
    assert register(home) == before


# --- The budget ---------------------------------------------------------------------------------------------------


def test_a_batch_above_the_budget_is_not_posted_and_nothing_with_it(home):
    assert (register(home), home.outbox) == home.before
    assert home.error.exit_status == 1
    assert "\n" not in str(home.error)
    assert "anna" not in str(home.error) + "".join(home.error.details)


@pytest.mark.parametrize("limit", [{"max_grants_per_run": 0}, {"max_mb_per_run": 599}])
def test_either_limit_holds_a_batch(home, limit):
    with pytest.raises(BatchHeld):
        home.judge(**limit)


def test_a_batch_at_the_limit_passes(home):
    home.judge(max_grants_per_run=1, max_mb_per_run=600)


def test_what_is_held_says_what_it_would_have_posted_and_why_that_is_odd(home):
    assert home.error.details == (
        "It would have posted 1 grants, 600 MB:",
        "  welcome, wave w: 1 grants, 600 MB (usually 0 grants)",
        "That is odd:",
        "  1 grants are more than 0 (CALLFREE_MAX_GRANTS_PER_RUN)",
        "  600 MB are more than 500 (CALLFREE_MAX_MB_PER_RUN)",
    )
    status = read_status(home.settings)
    assert tuple(status["failed_run"]["details"]) == home.error.details
    assert status["held_batch"] == {
        "business_date": "2017-07-03", "grant_count": 1, "volume_mb": 600, "is_approved": False,
    }  # fmt: skip


def test_days_without_a_run_are_named_as_a_reason(home):
    with connect(home.settings.warehouse, ledger=home.settings.ledger) as connection:
        assert budget._gap(connection, ENROLLED) == ()
        assert budget._gap(connection, date(2017, 7, 5)) == (
            "the latest batch was for 2017-07-02, 3 days before: this one holds what fell due since",
        )


def test_without_a_number_the_budget_is_all_that_the_policy_can_owe_to_the_members_drawn(home):
    home.judge()
    with connect(home.settings.warehouse, ledger=home.settings.ledger) as connection:
        # One subscriber is drawn: 600 MB of welcome, and 3 x 100 MB for the one quarter of the terms.
        assert connection.execute(budget._MOST).fetchone() == (1, 4, 900)
    change_the_batch(home, "volume_mb = 900")
    home.judge()
    change_the_batch(home, "volume_mb = 901")
    with pytest.raises(BatchHeld, match="901 MB are more than 900"):
        home.judge()


def test_an_approved_batch_is_posted_by_the_next_run_and_only_once(home):
    assert "callfree run --date 2017-07-03" in operator.approve(home.settings, "checked with billing")
    refresh_status(home.settings)
    assert read_status(home.settings)["held_batch"]["is_approved"]
    settings = with_limits(home, **NOTHING)
    outcome = run_day(settings, ENROLLED)
    assert (outcome.exit_status, outcome.posting.grant_count, outcome.posting.enrolment_count) == (0, 1, 1)
    assert home.posted() == ["anna.W.1"]
    assert read_status(home.settings)["held_batch"] is None
    assert run_day(settings, ENROLLED).posting.grant_count == 0
    assert home.posted() == ["anna.W.1"]
    assert home._ask("select reason from ledger.approvals") == [("checked with billing",)]
    with pytest.raises(WrongUsage, match="No batch is held"):
        operator.approve(home.settings, "too late")


@pytest.mark.parametrize(
    "change", ["msisdn = '+491719999999'", "volume_mb = 601", "valid_from = valid_from + 1"], ids=lambda text: text[:9]
)
def test_the_word_is_for_that_very_batch(home, change):
    operator.approve(home.settings, "checked")
    home.judge(**NOTHING)
    change_the_batch(home, change)
    with pytest.raises(BatchHeld):
        home.judge(**NOTHING)
    operator.approve(home.settings, "checked again")
    home.judge(**NOTHING)


def test_the_word_is_for_that_date(home):
    operator.approve(home.settings, "checked")
    with pytest.raises(BatchHeld):
        budget.require_budget(with_limits(home, **NOTHING), ENROLLED + timedelta(days=1))


def test_the_same_batch_held_again_is_held_once(home):
    with pytest.raises(BatchHeld):
        home.judge(**NOTHING)
    assert home._ask("select count(*) from ledger.held_batches") == [(1,)]


def test_a_word_needs_a_reason_and_is_said_once(home):
    with pytest.raises(WrongUsage, match="reason is empty"):
        operator.approve(home.settings, " ")
    operator.approve(home.settings, "checked")
    with pytest.raises(WrongUsage, match="approved already"):
        operator.approve(home.settings, "again")


def test_the_hold_stands_in_the_ledger_before_it_is_told(home, monkeypatch):
    change_the_batch(home, "volume_mb = 601")
    monkeypatch.setattr(ledger, "record_held_batch", failing)
    with pytest.raises(OSError, match="No space left"):
        home.judge(**NOTHING)


def failing(*_arguments):
    raise OSError(28, "No space left on device")


def not_since(*_arguments):
    failing()


not_since.__name__ = "landing_since"


# --- Corrections --------------------------------------------------------------------------------------------------


def call(version: int, voided: str) -> str:
    return f"c1,{version},anna,,inbound,service,2017-08-01T10:00:00+02:00,60,answered,{voided}\n"


def test_a_correction_of_what_was_granted_is_told_in_the_run_that_posts_by_it(home):
    def told(outcome):
        return [line for line in outcome.lines() if line.startswith("corrected")]

    home.deliver_until(date(2017, 10, 5))
    outcome = run_day(home.settings, date(2017, 10, 5))
    assert (outcome.posting.grant_count, told(outcome)) == (2, [])
    home.deliver_until(date(2017, 10, 6), calls=call(1, "false"))
    # It is told by the run that comes to its end.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "landing_since", not_since)
        with pytest.raises(CallfreeError, match="No space left"):
            run_day(home.settings, date(2017, 10, 6))
    outcome = run_day(home.settings, date(2017, 10, 6))
    assert told(outcome) == [
        "corrected: 1 entitlements of 1 subscribers with grants are 100 MB lower:"
        " overpaid, nothing is taken back (anna)"
    ]
    assert "corrected: 1 entitlements" in run_page(home.settings, outcome)
    home.rebuild()
    # The next month of the quarter is due again, and held at first.
    home.deliver_until(date(2017, 11, 7), calls=call(2, "true"))
    held(home, date(2017, 11, 7), **NOTHING)
    outcome = run_day(home.settings, date(2017, 11, 7))
    assert told(outcome) == [
        "corrected: 1 entitlements of 1 subscribers with grants are 100 MB higher: made good (anna)"
    ]
    assert run_day(home.settings, date(2017, 11, 7)).corrections == ()


# --- Sizes --------------------------------------------------------------------------------------------------------


def test_a_delivery_much_larger_than_usual_is_loaded_and_reported(home):
    event = "e{},anna,app_installed,2017-07-01T09:00:00+02:00,,\n"
    for number in range(8):
        count = 500 if number == 7 else 100
        day = ENROLLED + timedelta(days=1 + number)
        home.deliver_until(day, app_events="".join(event.format(n) for n in range(count)))
    outcome = run_day(home.settings, day)
    assert outcome.landing.loaded_rows >= 1200
    assert outcome.exit_status == 0
    assert "new: 1 deliveries much larger than usual (app_events_20170711.csv)" in outcome.lines()
    assert read_status(home.settings)["exception_subjects"]["larger_than_usual"] == ["app_events_20170711.csv"]
