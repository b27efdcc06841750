"""An ordinary day derives what concerns it alone, and every table says what the whole derivation says."""

import os
import shutil
from collections.abc import Callable
from copy import copy
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given

from derived_twice import DerivedTwice
from flows.errors import CallfreeError, WrongUsage
from flows.steps import last_derivation, marts, operator, restoring, transform
from flows.steps import run as steps
from flows.steps.audit import audit
from flows.steps.feeds import DAILY_FEEDS
from flows.steps.warehouse import connect
from test_properties import agree_in, few
from test_recovery import FIRST, Home, header
from world_strategy import daily_worlds

TERMS = (
    "terms_id,welcome_mb,quarters,min_contact_seconds,settlement_days,enrolment_days,max_attempts\nt,600,2,10,2,40,1\n"
)


class Days(Home):
    """A home in which anna, bert, carl and fred enrol on the 3rd of July, fred with a line that is not active."""

    def enrol(self) -> None:
        (self.settings.policy / "terms.csv").write_text(TERMS)
        waves = self.settings.policy / "waves.csv"
        waves.write_text(waves.read_text().replace(",2,0,s,*", ",9,0,s,*"))
        everybody = ("anna", "bert", "carl", "dora", "fred")
        self.deliver_until(
            date(2017, 7, 1),
            subscribers="".join(state(who, number, "2017-06-01T08") for number, who in enumerate(everybody)),
        )
        self.deliver_until(date(2017, 7, 2))
        self.run(date(2017, 7, 2))
        self.deliver_until(
            date(2017, 7, 3),
            subscribers=state("fred", 4, "2017-07-03T20", "suspended"),
            app_events="".join(
                event(f"{who}{hour}", who, kind, f"2017-07-03T{hour}")
                for who in ("anna", "bert", "carl", "fred")
                for hour, kind in ((10, "app_installed"), (11, "portal_login"), (12, "video_completed"))
            ),
        )
        self.run(date(2017, 7, 3))

    def next(self, **rows: str) -> int:
        """The run of the next day, with rows of its deliveries."""
        acks = rows.pop("grant_acks", None)
        today = self.day
        if acks:
            self.answer(today, acks)
        self.deliver_until(today, **rows)
        return self.run(today)

    def jump(self, day: date) -> None:
        """To a day later on, with a run that derives all."""
        self.deliver_until(day)
        self.run(day)


def state(who: str, number: int, at: str, status: str = "active") -> str:
    return f"{who},{msisdn(number)},{who}@example.org,o2,M,{status},true,,{at}:00:00+02:00\n"


def msisdn(number: int) -> str:
    return f"+49176555000{number:02}"


def event(event_id: str, who: str, kind: str, at: str) -> str:
    return f"{event_id},{who},{kind},{at}:00:00+02:00,,\n"


def call(call_id: str, who: str, at: str, number: int | None = None, version: int = 1) -> str:
    named = "" if number is None else msisdn(number)
    return f"{call_id},{version},{who},{named},inbound,service,{at}:00:00+02:00,60,answered,false\n"


def ack(grant_id: str, at: str) -> str:
    return f"{grant_id},rejected,BARRED,{at}:00:00+02:00\n"


@pytest.fixture
def twice(monkeypatch):
    """Every derivation is done twice, and compared."""
    found = DerivedTwice(monkeypatch)
    monkeypatch.setattr(steps, "derive", found.derive)
    return found


@pytest.fixture
def was_ordinary(monkeypatch):
    """What each derivation found of its day."""
    found, why_all = [], last_derivation.why_all

    def asked(*arguments) -> str | None:
        why = why_all(*arguments)
        found.append(why is None)
        return why

    monkeypatch.setattr(last_derivation, "why_all", asked)
    return found


def live(home: Days, ordinary: Callable[..., None], jump: Callable[[date], None]) -> None:
    """Days on each of which somebody is concerned for another reason."""
    home.enrol()
    # What was posted is in the ledger: grants, and an enrolment without one.
    ordinary()
    # Calls by name and by number.
    ordinary(calls=call("c1", "anna", "2017-07-05T10") + call("c2", "", "2017-07-05T11", number=1))
    # It was not anna, it was carl.
    ordinary(calls=call("c1", "carl", "2017-07-05T10", version=2))
    # The number had changed hands before bert's call.
    ordinary(subscribers=state("eva", 1, "2017-07-05T01"))
    # Somebody unknown with carl's number; then she becomes known.
    ordinary(calls=call("c3", "gina", "2017-07-08T10", number=2))
    ordinary(subscribers=state("gina", 30, "2017-07-01T08"))
    # Rows of the day to come: of a subscriber, a call, an answer, and an event whose id another had until then.
    ordinary(
        subscribers=state("fred", 4, "2017-07-11T08"),
        calls=call("c4", "dora", "2017-07-11T08"),
        app_events=event("x", "anna", "programme_withdrawn", "2017-07-11T08")
        + event("x", "bert", "programme_withdrawn", "2017-07-10T08"),
        grant_acks=ack("carl.W.1", "2017-07-11T08"),
    )
    ordinary()
    # Bert is concerned, and anna is not, who has the event that both claim.
    ordinary(app_events=event("b1", "bert", "portal_login", "2017-07-12T08"))
    # Billing answers, and an operator lets go.
    ordinary(grant_acks=ack("bert.W.1", "2017-07-13T08"))
    operator.release(home.settings, ("bert.W.1",), False, "unbarred")
    ordinary()
    assert "bert.W.2" in home.posted()
    # What happened days ago and comes now.
    ordinary(app_events=event("d1", "dora", "app_installed", "2017-07-10T08"))
    ordinary(grant_acks=ack("anna.W.1", "2017-07-10T09"))

    # Q1 ends on the 3rd of October, is decided on the 4th, and pays from the 5th.
    jump(date(2017, 10, 1))
    for _ in range(4):
        ordinary()
    assert "bert.Q1M1.1" in home.posted()
    jump(date(2017, 11, 2))
    for _ in range(3):
        ordinary()
    assert "bert.Q1M2.1" in home.posted()


def test_whoever_a_day_concerns_is_found(tmp_path, twice):
    home = Days(tmp_path)

    def ordinary(**rows: str) -> None:
        before = twice.ordinary
        home.next(**rows)
        assert twice.ordinary == before + 1, f"{home.day} was no ordinary day"

    live(home, ordinary, home.jump)
    assert twice.known > twice.ordinary


def test_a_correction_is_told_by_an_ordinary_day(tmp_path):
    home = Days(tmp_path)
    home.enrol()
    home.jump(date(2017, 10, 1))
    for _ in range(4):
        home.next()
    assert {"anna.Q1M1.1", "bert.Q1M1.1"} <= set(home.posted())
    today = home.day
    home.deliver_until(today, calls=call("c1", "anna", "2017-08-01T10"))
    (correction,) = steps.run_day(home.settings, today).corrections
    assert (correction.is_up, correction.subscriber_ids) == (False, ("anna",))
    with connect(home.settings.warehouse) as connection:
        assert connection.execute("select follows is not null from raw.derived").fetchone() == (True,)
    # It is told once.
    home.deliver_until(home.day)
    assert steps.run_day(home.settings, home.day - timedelta(days=1)).corrections == ()


def test_what_is_published_after_ordinary_days_is_what_follows_from_archive_and_ledger(tmp_path, was_ordinary):
    home = Days(tmp_path)

    def audited() -> None:
        assert [finding for finding in audit(home.settings) if not finding.is_well] == []

    def jump(day: date) -> None:
        audited()
        home.jump(day)

    live(home, home.next, jump)
    audited()
    assert was_ordinary.count(True) > 10


@few
@given(daily_worlds())
def test_ordinary_days_of_any_world_say_what_all_derived_anew_says(world):
    with pytest.MonkeyPatch.context() as monkeypatch:
        twice = DerivedTwice(monkeypatch)
        monkeypatch.setattr(steps, "derive", twice.derive)
        agree_in(world)
    # Otherwise nothing was compared.
    assert min(twice.ordinary, twice.known) > 1


# What a model of a subscriber reads besides that subscriber's rows: whenever one of these changes, rows change of
# subscribers to whom nothing has happened. `concerned` must find them, or `last_derivation` say that the day is no
# ordinary one.
MOVING = ("raw.run", "int_run", "int_feed_days", "int_waves", "kpi_waves", "pilot_waves", "int_last_drawn", "batch_due")
READ_BY = {
    "int_calls": {"raw.run"},
    "int_subscriber_states": {"raw.run"},
    "int_enrolment_steps": {"raw.run"},
    "int_members": {"int_run", "int_waves"},
    "int_enrolments": {"int_run"},
    "int_contacts": set(),
    "int_contact_months": set(),
    "int_quarters": {"int_feed_days"},
    "int_entitlements": {"int_run", "raw.run"},
    "enrolments_due": set(),
    "grants_due": {"int_run"},
    "enrolments": set(),
    "members": set(),
    "subscribers": set(),
    "contacts": set(),
    "draw_outcomes": {"int_waves", "pilot_waves", "int_last_drawn"},
    "quarters": {"raw.run"},
    "quarters_without_contacts": {"raw.run"},
    "entitlements": {"int_run", "raw.run"},
    "coming": {"raw.run"},
    "grants": {"batch_due", "raw.run"},
    "kpi_members": {"kpi_waves"},
}


def test_no_model_of_a_subscriber_reads_anything_else_that_moves(tmp_path):
    """Where this fails, think of whom a day concerns (`flows/steps/concerned.py`), and of which days are ordinary
    (`last_derivation.py`), before the list is made longer."""
    nodes = {node.name: node for node in transform.compiled(Home(tmp_path).settings) if node.kind != "test"}
    names = {f'"raw"."{name[4:]}"' if name.startswith("raw.") else f'."{name}"': name for name in MOVING}

    def moving(node: transform.Node) -> set[str]:
        found = {name for quoted, name in names.items() if quoted in node.sql}
        # Views are read as what they read.
        views = [view for view in nodes.values() if view.kind == "view" and view.name != node.name]
        return found.union(*(moving(view) for view in views if f'."{view.name}"' in node.sql))

    assert {name: moving(node) for name, node in nodes.items() if node.unique_key} == READ_BY


# --- What is no ordinary day --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def some_days(tmp_path_factory):
    """A home after an ordinary day."""
    home = Days(tmp_path_factory.mktemp("days"))
    home.enrol()
    home.next()
    return home


@pytest.fixture
def home(some_days, tmp_path):
    shutil.copytree(some_days.settings.home, tmp_path / "home")
    shutil.copytree(some_days.settings.policy, tmp_path / "policy")
    found = copy(some_days)
    places = {"home": tmp_path / "home", "policy": tmp_path / "policy"}
    found.settings = some_days.settings.model_copy(update=places)
    return found


def replaced(home: Days) -> None:
    home.deliver("calls_20170704.csv", (header("calls") + call("c1", "anna", "2017-07-04T08")).encode())


def missing(home: Days) -> None:
    home.day += timedelta(days=1)


def missing_calls(home: Days) -> None:
    for feed in DAILY_FEEDS:
        if feed != "calls":
            home.deliver(f"{feed}_{home.day:%Y%m%d}.csv", header(feed).encode())
    home.day += timedelta(days=1)


def begins_earlier(home: Days) -> None:
    day = FIRST - timedelta(days=1)
    home.deliver(f"calls_{day:%Y%m%d}.csv", header("calls").encode())


def waived(home: Days) -> None:
    lost = home.day
    missing(home)
    for feed in DAILY_FEEDS:
        operator.waive(home.settings, feed, lost, "lost", home.day)


def changed_policy(home: Days) -> None:
    lines = home.settings.policy / "hotline_lines.csv"
    lines.write_text(lines.read_text() + "shop,2017-07-05,true,\n")


def new_wave(home: Days, invite_on: date) -> None:
    waves = home.settings.policy / "waves.csv"
    waves.write_text(waves.read_text() + f"v,t,{invite_on},1,0,s,*\n")


def draw(home: Days) -> None:
    new_wave(home, home.day + timedelta(days=1))


def rebuilt(home: Days) -> None:
    home.rebuild()


def not_posted(home: Days) -> None:
    def broken(*_arguments):
        raise CallfreeError("the machine stops")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "require_batch", broken)
        patch.setattr(broken, "__name__", "require_batch")
        with pytest.raises(CallfreeError, match="the machine stops"):
            home.next()


def restored(home: Days) -> None:
    """To a copy of another history, with as many runs."""
    restoring.restore(home.settings, None, is_replacing=True, is_voiding=True)


def other_models(home: Days) -> None:
    with connect(home.settings.warehouse) as connection:
        connection.execute("update raw.derived set rules = 'those of an earlier version'")


MORE = (
    replaced, missing, missing_calls, begins_earlier, waived, changed_policy, draw, rebuilt, not_posted, restored,
    other_models,
)  # fmt: skip


@pytest.mark.parametrize("happens", MORE, ids=lambda happens: happens.__name__)
def test_a_day_on_which_more_happens_derives_all(home, was_ordinary, happens):
    happens(home)
    home.next()
    assert was_ordinary[-1] is False


def test_a_day_on_which_nothing_else_happens_is_ordinary(home, was_ordinary):
    home.next(calls=call("c1", "anna", "2017-07-05T08"))
    assert was_ordinary == [True]


def test_the_same_day_again_is_ordinary_too(home, was_ordinary):
    home.next()
    home.run(home.day - timedelta(days=1))
    assert was_ordinary == [True, True]


def test_the_day_of_the_invitation_derives_all(tmp_path, was_ordinary):
    home = Days(tmp_path)
    home.deliver_until(date(2017, 7, 1), subscribers=state("anna", 0, "2017-06-01T08"))
    home.deliver_until(date(2017, 7, 2))
    # The draw, and twice the same day again: nobody is drawn any more.
    for _ in range(3):
        home.run(date(2017, 7, 2))
    was_ordinary.clear()
    home.next()
    home.next()
    assert was_ordinary == [False, True]


def test_the_day_of_a_draw_derives_all(home, was_ordinary):
    new_wave(home, home.day + timedelta(days=3))
    # The policy is another one.
    home.next()
    was_ordinary.clear()
    for _ in range(2):
        home.next()
    assert was_ordinary == [True, False]


def test_the_day_before_it_is_too_late_to_enrol_derives_all(home, was_ordinary):
    # Invited for the 3rd of July with 40 days, so on the 12th of August it is too late.
    home.jump(date(2017, 8, 9))
    was_ordinary.clear()
    for _ in range(3):
        home.next()
    assert was_ordinary == [True, False, True]


def test_an_ordinary_day_that_fails_derives_all(home, was_ordinary):
    with connect(home.settings.warehouse) as connection:
        connection.execute("delete from marts.grants where subscriber_id = 'anna'")
    assert home.next() == 0
    assert was_ordinary == [True]
    assert all(finding.is_well for finding in audit(home.settings))


def test_once_a_week_all_is_derived(home, was_ordinary):
    for _ in range(7):
        home.next()
    # Whole on the 3rd, ordinary on the six days after it.
    assert was_ordinary == [True] * 5 + [False, True]


# --- What is published --------------------------------------------------------------------------------------------


def rewrite(published: Path) -> None:
    """A row that nobody derived, of somebody whom the next day does not concern."""
    with connect(published) as connection:
        connection.execute("update enrolments set wave_id = 'touched' where subscriber_id = 'carl'")


def test_of_an_ordinary_day_only_the_rows_of_those_concerned_are_published_anew(home):
    rewrite(home.settings.marts)
    mark_as_published(home)
    home.next(calls=call("c1", "anna", "2017-07-05T08"))
    assert {finding.subject for finding in audit(home.settings) if not finding.is_well} == {"enrolments"}


@pytest.mark.parametrize("touch", [Path.unlink, rewrite, lambda published: published.write_bytes(b"no database")])
def test_what_others_have_touched_is_published_whole(home, touch):
    mark_as_published(home)
    touch(home.settings.marts)
    home.next()
    assert all(finding.is_well for finding in audit(home.settings))


def test_what_is_damaged_without_a_trace_is_published_whole(home):
    damaged = bytearray(home.settings.marts.read_bytes())
    damaged[4096:] = bytes(len(damaged) - 4096)
    home.settings.marts.write_bytes(damaged)
    mark_as_published(home)
    home.next()
    assert all(finding.is_well for finding in audit(home.settings))


def mark_as_published(home: Days) -> None:
    with connect(home.settings.warehouse) as connection:
        connection.execute(
            "update raw.made set state = ? where thing = 'marts.duckdb'", [marts._mark_of(home.settings.marts)]
        )


# --- The audit ----------------------------------------------------------------------------------------------------


def test_an_audit_makes_the_readers_copy_of_the_ledger_where_it_is_lost(home):
    home.next()
    home.settings.readable_ledger.unlink()
    assert all(finding.is_well for finding in audit(home.settings))


def test_an_audit_names_the_table_that_says_something_else(home):
    home.next(calls=call("c1", "anna", "2017-07-05T08"))
    assert [finding.told for finding in audit(home.settings) if finding.subject == "contacts"] == ["1 rows"]
    assert all(finding.is_well for finding in audit(home.settings))
    # As if a day had not found whom it concerns.
    with connect(home.settings.warehouse) as connection:
        connection.execute("update marts.members set enrolment_state = 'waiting' where subscriber_id = 'bert'")
        connection.execute("delete from intermediate.int_contacts")
        connection.execute("update raw.made set state = 'touched' where thing = 'marts.duckdb'")
    steps.publish_marts(home.settings)
    wrong = {finding.subject: finding.told for finding in audit(home.settings) if not finding.is_well}
    assert wrong.keys() == {"contacts", "members"}
    assert wrong["members"].startswith("derived anew it has other rows: callfree rebuild puts it right")
    assert wrong["contacts"].startswith("derived anew it has 1 rows, where 0 are published")
    home.rebuild()
    with pytest.raises(WrongUsage, match="there was a rebuild, which derives everything"):
        audit(home.settings)
    home.next()
    assert all(finding.is_well for finding in audit(home.settings))
    assert not list(home.settings.work.glob("audit_*"))
    assert os.listdir(home.settings.inbox) == []
