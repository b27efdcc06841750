"""An operator's words: each is kept with its reason, and one about something that is not there does nothing (2.5)."""

from datetime import date, timedelta

import pytest

from flows.errors import CallfreeError, WrongUsage
from flows.steps import ledger, operator
from flows.steps.warehouse import connect, rows
from landing_home import DAY, Home, calls, held_calls, name_of

TODAY = date(2017, 9, 1)


@pytest.fixture
def home(tmp_path, no_gates):
    return Home(tmp_path)


def decisions(home: Home) -> list[tuple]:
    with ledger.open_ledger(home.settings) as connection:
        found = rows(connection, "select * from decisions order by decision_id")
    return [
        tuple(value for name, value in row.items() if value is not None and name not in ("decision_id", "decided_at"))
        for row in found
    ]


def refused(word, *arguments) -> str:
    """What is told about an operator's word that is wrong usage."""
    with pytest.raises(WrongUsage) as caught:
        word(*arguments)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- waive --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", ["subscribers", "app_events", "calls"])
def test_a_past_day_without_a_delivery_can_be_waived(home, feed):
    told = operator.waive(home.settings, feed, DAY, "the switch was down", TODAY)
    assert told == f"{feed} of 2017-08-25 is waived: from the next run on that day counts as complete."
    assert decisions(home) == [("waive", feed, DAY, "the switch was down")]


def test_a_day_waived_twice_is_waived_once(home):
    operator.waive(home.settings, "calls", DAY, "the switch was down", TODAY)
    assert operator.waive(home.settings, "calls", DAY, "again", TODAY) == "calls of 2017-08-25 is waived already."
    assert len(decisions(home)) == 1


@pytest.mark.parametrize("feed", ["mail_events", "grant_acks", "policies", "Calls", ""])
def test_a_feed_that_need_not_come_every_day_cannot_be_waived(home, feed):
    assert "cannot be waived" in refused(operator.waive, home.settings, feed, DAY, "why not", TODAY)
    assert decisions(home) == []


def test_a_day_that_is_not_over_cannot_be_waived(home):
    for day in (TODAY, TODAY + timedelta(days=1)):
        assert "is not over yet" in refused(operator.waive, home.settings, "calls", day, "why not", TODAY)
    operator.waive(home.settings, "calls", TODAY - timedelta(days=1), "it is over", TODAY)
    assert len(decisions(home)) == 1


def test_a_day_that_was_delivered_cannot_be_waived(home):
    home.deliver("calls")
    home.land()
    assert "has been delivered" in refused(operator.waive, home.settings, "calls", DAY, "why not", TODAY)
    assert decisions(home) == []


def test_a_day_whose_only_delivery_was_rejected_can_be_waived(home):
    home.put(name_of("calls"), b"damaged")
    home.land()
    operator.waive(home.settings, "calls", DAY, "there is no other", TODAY)
    assert decisions(home) == [("waive", "calls", DAY, "there is no other")]


# --- accept and refuse --------------------------------------------------------------------------------------------


def test_a_held_delivery_can_be_accepted_once(home):
    name = held_calls(home)
    assert operator.accept(home.settings, name, "a quiet day") == f"{name} is accepted: the next run loads it."
    assert "is accepted already" in refused(operator.accept, home.settings, name, "again")
    assert [decision[0] for decision in decisions(home)] == ["accept"]


def test_what_was_accepted_can_still_be_refused_before_the_next_run(home):
    name = held_calls(home)
    operator.accept(home.settings, name, "a quiet day")
    operator.refuse(home.settings, name, "it was not")
    assert home.land().accepted == ()
    assert home.counts == {("calls", DAY): (4, 0)}


def test_what_was_accepted_and_is_lost_can_be_refused(home):
    name = held_calls(home)
    operator.accept(home.settings, name, "quiet")
    (home.settings.held / name).unlink()
    with pytest.raises(CallfreeError, match=f"put the delivery back as it came, or callfree refuse {name}"):
        home.land()
    operator.refuse(home.settings, name, "lost")
    assert home.land().accepted == ()
    assert home.counts == {("calls", DAY): (4, 0)}


def test_what_was_refused_cannot_be_accepted(home):
    name = held_calls(home)
    assert operator.refuse(home.settings, name, "half is missing") == f"{name} is refused and lies in rejected/."
    assert "No delivery called" in refused(operator.accept, home.settings, name, "or was it right")


@pytest.mark.parametrize("word", [operator.accept, operator.refuse])
@pytest.mark.parametrize("name", ["calls_20170824.csv", "calls_20170825", "", "../held/calls_20170825.csv"])
def test_a_word_about_a_delivery_that_is_not_there_does_nothing(home, word, name):
    held_calls(home)
    assert refused(word, home.settings, name, "mistyped").startswith(f"No delivery called {name} is held")
    assert decisions(home) == []
    assert home.names("held") == {name_of("calls")}


@pytest.mark.parametrize("word", [operator.accept, operator.refuse])
def test_a_delivery_in_force_can_neither_be_accepted_nor_refused(home, word):
    name = home.deliver("calls")
    home.land()
    assert refused(word, home.settings, name, "it is wrong").startswith(f"No delivery called {name} is held")


def test_a_delivery_held_under_another_name_goes_by_both_names(home):
    name = held_calls(home)
    home.deliver("calls", *calls(1, "again"))
    home.land()
    (held,) = home.held
    assert held.stored_as == f"held/{name}.2"
    operator.accept(home.settings, f"{name}.2", "a quiet day")
    assert "is accepted already" in refused(operator.accept, home.settings, name, "again")


def test_a_rejected_delivery_can_be_refused_once(home):
    name = home.put(name_of("calls"), b"damaged")
    home.land()
    told = operator.refuse(home.settings, name, "not one of ours")
    assert told == f"{name} is refused: it no longer counts for the start of its feed."
    assert refused(operator.refuse, home.settings, name, "again").startswith(f"No delivery called {name} is held or")
    assert home.names("rejected") == {name}


def test_of_rejected_deliveries_of_one_name_each_can_be_refused_by_its_name_in_the_folder(home):
    name = home.put(name_of("calls"), b"damaged")
    home.land()
    home.put(name, b"damaged too")
    home.land()
    assert home.names("rejected") == {name, f"{name}.2"}
    operator.refuse(home.settings, f"{name}.2", "not one of ours")
    operator.refuse(home.settings, name, "neither is the first")
    assert sorted(decision[1] for decision in decisions(home)) == [1, 2]


# --- release ------------------------------------------------------------------------------------------------------


@pytest.fixture
def parked(home):
    """A home after a run: the welcome and a month of anna are parked, bert's welcome is not."""
    with ledger.open_ledger(home.settings) as connection:
        connection.execute("""
            insert into draws values ('pilot', 'pilot-2017', '2017-07-17', '2017-07-16', 2);
            insert into members values ('anna', 'pilot', 'treatment', 1, null), ('bert', 'pilot', 'treatment', 2, null);
            insert into enrolments
                select subscriber_id, wave_id, '2017-07-20', '2017-07-20', '2017-07-20' from members;
            insert into batches values (1, '2017-08-25', 1, 'grants_20170825_01.csv', 4, 1900, 'sha', null);
            insert into grants
                select grant_id, 1, subscriber_id, '+491', if(quarter = 0, 'welcome', 'loyalty'),
                    quarter, month, entry_no, 100, '2017-08-26', '2017-09-26', 'pilot', 'pilot-2017'
                from (values
                    ('anna.W.1', 'anna', 0, 0, 1), ('anna.W.2', 'anna', 0, 0, 2), ('anna.Q1M2.1', 'anna', 1, 2, 1),
                    ('bert.W.1', 'bert', 0, 0, 1)
                ) as posted (grant_id, subscriber_id, quarter, month, entry_no);
        """)
    with connect(home.settings.warehouse) as connection:
        connection.execute("""
            create schema marts;
            create table marts.exceptions (kind varchar);
            create table marts.entitlements as
                from (values ('anna', 0, 0, 2, true), ('anna', 1, 2, 1, true), ('bert', 0, 0, 0, false))
                as entitled (subscriber_id, quarter, month, rejected_count, is_parked);
        """)
    return home


def test_a_parked_grant_is_released_by_the_name_of_any_of_its_entries(parked):
    told = operator.release(parked.settings, ("anna.W.1",), False, "billing is mended")
    assert told == "1 parked grants are released: the next run tries once more."
    assert decisions(parked) == [("release", "anna", 0, 0, 3, "billing is mended")]


def test_two_entries_of_one_grant_release_it_once(parked):
    operator.release(parked.settings, ("anna.W.1", "anna.W.2", "anna.W.1"), False, "billing is mended")
    assert decisions(parked) == [("release", "anna", 0, 0, 3, "billing is mended")]


def test_all_parked_grants_are_released_at_once(parked):
    operator.release(parked.settings, (), True, "billing is mended")
    assert decisions(parked) == [
        ("release", "anna", 0, 0, 3, "billing is mended"),
        ("release", "anna", 1, 2, 2, "billing is mended"),
    ]


@pytest.mark.parametrize(
    "grant_id", ["bert.W.1", "anna.W.3", "anna.Q1M2.2", "carl.W.1", "anna.Q2M1.1", "anna", "", "anna.w.1"]
)
def test_what_is_not_parked_or_not_there_cannot_be_released_and_nothing_with_it_is(parked, grant_id):
    assert refused(operator.release, parked.settings, ("anna.W.1", grant_id), False, "billing is mended") == (
        f"{grant_id} is not parked: see callfree status."
    )
    assert decisions(parked) == []


def test_what_was_released_is_not_released_again_before_the_next_run(parked):
    operator.release(parked.settings, ("anna.W.1",), False, "billing is mended")
    assert "is not parked" in refused(operator.release, parked.settings, ("anna.W.1",), False, "again")
    operator.release(parked.settings, (), True, "the others")
    assert [decision[:4] for decision in decisions(parked)] == [("release", "anna", 0, 0), ("release", "anna", 1, 2)]
    assert "No grant is parked" in refused(operator.release, parked.settings, (), True, "once more")


def test_without_the_warehouse_what_is_parked_is_not_known(parked):
    for harm in (parked.settings.warehouse.unlink, with_no_marts):
        harm(*([parked.settings] if harm is with_no_marts else []))
        requires_a_rebuild(parked)


def with_no_marts(settings):
    """As a rebuild leaves it that is killed."""
    with connect(settings.warehouse) as connection:
        connection.execute("create schema raw")


def requires_a_rebuild(parked):
    for grant_ids, is_all in (((), True), (("anna.W.1",), False)):
        with pytest.raises(CallfreeError, match="callfree rebuild first"):
            operator.release(parked.settings, grant_ids, is_all, "billing is mended")


def test_before_the_first_run_nothing_is_parked(home):
    assert "No grant is parked" in refused(operator.release, home.settings, (), True, "why not")
    assert "anna.W.1 is not parked" in refused(operator.release, home.settings, ("anna.W.1",), False, "why not")


@pytest.mark.parametrize("reason", ["", " ", "\n\t"])
def test_no_word_is_taken_without_a_reason(parked, reason):
    for word, arguments in (
        (operator.waive, ("calls", DAY, reason, TODAY)),
        (operator.accept, (name_of("calls"), reason)),
        (operator.refuse, (name_of("calls"), reason)),
        (operator.release, (("anna.W.1",), False, reason)),
        (operator.release, ((), True, reason)),
    ):
        assert refused(word, parked.settings, *arguments) == "The reason is empty: say why."
    assert decisions(parked) == []
