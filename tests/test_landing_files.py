"""What becomes of the files of a delivery (2.2): landed, rejected, held."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from flows.errors import CallfreeError
from flows.steps import operator
from flows.steps.landing import Landing
from landing_home import ACKS, DAY, DIGEST, RUN, Home, calls, csv_of, held_calls, name_of

pytestmark = pytest.mark.usefixtures("no_gates")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "calls.csv", "calls_2017-08-25.csv", "calls_20170832.csv", "calls_20170229.csv", "calls_00000825.csv",
        "calls_20170825.CSV", "Calls_20170825.csv", "calls_20170825.csv.zip", "calls_20170825", "calls_20170825.csv.2",
        "calls_20170825.parquet.gz", "call_20170825.csv", "calls__20170825.csv", " calls_20170825.csv",
        "calls_20170825.csv\n", "calls_٢٠١٧٠٨٢٥.csv", "\udcff.csv", "x" * 250,
    ],
    ids=lambda name: ascii(name[:30]),
)  # fmt: skip
def test_a_malformed_name_is_rejected(home, name):
    home.put(os.fsencode(name).decode(errors="surrogateescape"), csv_of("calls", {}))
    ((_, reason),) = home.land().rejected
    assert reason == "its name is malformed: expected <feed>_<YYYYMMDD>.csv, .csv.gz or .parquet"
    assert home.files("inbox") == {}
    assert len(home.names("rejected")) == 1
    assert home.in_force == {}


@pytest.mark.parametrize(
    "name",
    [
        ".calls_20170825.csv",
        "calls_20170825.csv.part",
        "calls_20170825.csv.tmp",
        "calls_20170825.csv.filepart",
        "x.part",
    ],
)
def test_a_file_that_is_still_being_written_is_not_read(home, name):
    home.put(name, b"half of a delive")
    assert home.land() == Landing((), (), (), (), 0, 0)
    assert set(home.files("inbox")) == {name}


def test_a_delivery_of_a_later_day_stays_in_the_inbox_unread(home):
    later = home.put(name_of("calls", RUN + timedelta(days=1)), b"not even a delivery")
    assert home.land().rejected == ()
    assert set(home.files("inbox")) == {later}


def test_a_subfolder_is_not_read(home):
    (home.inbox / "backup").mkdir()
    (home.inbox / "backup" / name_of("calls")).write_bytes(csv_of("calls"))
    assert home.land() == Landing((), (), (), (), 0, 0)
    assert set(home.files("inbox")) == {"backup/calls_20170825.csv"}


def make_link(path: Path) -> None:
    target = path.parent.parent / "elsewhere.csv"
    target.write_bytes(csv_of("calls", {}))
    path.symlink_to(target)


@pytest.mark.parametrize("make", [make_link, os.mkfifo, Path.mkdir], ids=["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_rejected_under_the_name_of_a_delivery(home, make):
    make(home.inbox / name_of("calls"))
    assert home.land().rejected == ((name_of("calls"), "it is not a regular file"),)
    assert os.listdir(home.inbox) == []
    assert os.path.lexists(home.settings.rejected / name_of("calls"))
    assert (home.settings.rejected / f"{name_of('calls')}.reason.json").is_file()


def test_two_files_for_a_feed_and_a_date_are_both_rejected(home):
    home.deliver("grant_acks", {})
    home.put(name_of("grant_acks", form="parquet"), b"")
    home.deliver("grant_acks", {}, day=RUN)
    told = home.land()
    assert told.rejected == (
        ("grant_acks_20170825.csv", "the inbox holds another file for the same feed and date"),
        ("grant_acks_20170825.parquet", "the inbox holds another file for the same feed and date"),
    )
    assert told.accepted == ("grant_acks_20170826.csv",)


@pytest.mark.parametrize(
    "digest", [DIGEST, DIGEST.upper(), f"{DIGEST}  grant_acks_20170825.csv\n", f"{DIGEST}\r\n", f"{DIGEST}\tany\nmore"]
)
def test_a_digest_that_matches_lets_the_delivery_in_and_goes(home, digest):
    name = home.put(name_of("grant_acks"), ACKS, digest)
    assert home.land().accepted == (name,)
    assert home.files("inbox") == {}


@pytest.mark.parametrize("digest", ["", "\n", DIGEST[:-1], DIGEST[::-1], f"grant_acks_20170825.csv {DIGEST}", "\udcff"])
def test_a_digest_that_does_not_match_rejects_the_delivery_and_is_kept_with_it(home, digest):
    name = home.put(name_of("grant_acks"), ACKS)
    (home.inbox / f"{name}.sha256").write_bytes(os.fsencode(digest))
    assert home.land().rejected == ((name, "its digest does not match the .sha256 file beside it"),)
    assert home.files("inbox") == {}
    assert set(home.files("rejected")) == {name, f"{name}.sha256", f"{name}.reason.json"}


def test_a_digest_waits_for_its_delivery(home):
    (home.inbox / f"{name_of('grant_acks')}.sha256").write_text(DIGEST)
    home.land()
    assert set(home.files("inbox")) == {"grant_acks_20170825.csv.sha256"}


def test_a_replacement_takes_the_place_of_the_delivery_whole_and_both_are_kept(home):
    contents = [csv_of("grant_acks", {"grant_id": f"g{number}"}) for number in range(3)]
    for content in contents:
        home.put(name_of("grant_acks"), content)
        home.land()
    archive = home.files("archive/grant_acks")
    assert archive == {
        "grant_acks_20170825.csv": contents[0],
        "grant_acks_20170825.csv.2": contents[1],
        "grant_acks_20170825.csv.3": contents[2],
    }
    assert home.in_force == {("grant_acks", DAY): "archive/grant_acks/grant_acks_20170825.csv.3"}
    home.land()
    assert home.ask("select grant_id from raw.grant_acks") == [("g2",)]


def test_the_same_bytes_again_change_nothing(home):
    home.put(name_of("grant_acks"), ACKS)
    home.land()
    home.put(name_of("grant_acks"), ACKS)
    told = home.land()
    assert (told.accepted, told.repeated, told.loaded_rows) == ((), ("grant_acks_20170825.csv",), 0)
    assert home.files("inbox") == {}
    assert set(home.files("archive/grant_acks")) == {"grant_acks_20170825.csv"}
    assert home.counts == {("grant_acks", DAY): (1, 0)}


def test_what_was_replaced_may_come_again(home):
    other = csv_of("grant_acks", {}, {"grant_id": "bert.W.1"})
    for content in (ACKS, other, ACKS):
        home.put(name_of("grant_acks"), content)
        assert home.land().accepted == ("grant_acks_20170825.csv",)
    assert home.counts == {("grant_acks", DAY): (1, 0)}


def test_a_rejected_replacement_leaves_the_earlier_one_in_force(home):
    home.put(name_of("grant_acks"), ACKS)
    home.land()
    home.put(name_of("grant_acks"), b"no header of ours\n")
    assert home.land().rejected == (("grant_acks_20170825.csv", "a column is missing: grant_id, status, processed_at"),)
    assert home.in_force == {("grant_acks", DAY): "archive/grant_acks/grant_acks_20170825.csv"}
    assert home.counts == {("grant_acks", DAY): (1, 0)}


def test_a_bad_delivery_does_not_keep_the_others_out(home):
    home.put(name_of("calls"), b'call_id\n"')
    home.deliver("grant_acks", {})
    told = home.land()
    assert (told.accepted, [name for name, _ in told.rejected]) == (
        ("grant_acks_20170825.csv",),
        ["calls_20170825.csv"],
    )


@pytest.mark.parametrize(
    ("row_count", "bad", "is_loaded"),
    [(1, 1, True), (2, 1, True), (2, 2, False), (40, 2, True), (39, 2, False), (60, 3, True), (60, 4, False)],
)
def test_a_delivery_is_rejected_with_more_than_one_and_more_than_five_percent_of_its_rows(
    home, row_count, bad, is_loaded
):
    home.deliver("grant_acks", *[{}] * (row_count - bad), *[{"status": "perhaps"}] * bad)
    told = home.land()
    if is_loaded:
        assert home.counts == {("grant_acks", DAY): (row_count - bad, bad)}
    else:
        assert told.rejected == (("grant_acks_20170825.csv", f"{bad} of its {row_count} rows are rejected"),)


def test_how_many_rows_may_be_rejected_can_be_set(tmp_path):
    for share, is_loaded in ((0.29, True), (0.28, False)):
        home = Home(tmp_path / str(share), max_rejected_share=share)
        home.deliver("grant_acks", *[{}] * 71, *["too,few"] * 29)
        assert bool(home.land().accepted) == is_loaded


def test_the_reason_is_written_beside_the_file_without_any_value_of_it(home):
    secret = {"subscriber_id": "SECRET-ID", "email": "SECRET@example.org", "msisdn": "+49SECRET", "brand": "SECRET"}
    name = home.deliver("subscribers", secret, "SECRET,SECRET")
    home.land()
    text = (home.settings.rejected / f"{name}.reason.json").read_text()
    reason = json.loads(text)
    assert "SECRET" not in text
    assert reason["reason"] == "2 of its 2 rows are rejected"
    assert reason["first_rejected_rows"] == [
        {"record": 1, "reason": "msisdn is malformed"},
        {"record": 2, "reason": "wrong number of fields"},
    ]
    assert (reason["feed"], reason["business_date"], reason["record_count"]) == ("subscribers", "2017-08-25", 2)


# --- Held ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", ["calls", "subscribers"])
@pytest.mark.parametrize(
    ("before", "after", "is_held"), [(4, 2, False), (5, 3, False), (5, 2, True), (1, 0, True), (0, 0, False)]
)
def test_a_replacement_with_fewer_than_half_the_rows_is_held(home, feed, before, after, is_held):
    home.deliver(feed, *[{}] * before)
    home.land()
    name = home.put(name_of(feed), csv_of(feed, *[{}] * after).replace(b"08:00:00", b"09:00:00") + b"\n")
    told = home.land()
    assert told.held == ((name,) if is_held else ())
    assert home.names("held") == ({name} if is_held else set())
    assert home.counts == {(feed, DAY): (before if is_held else after, 0)}
    assert home.files("inbox") == {}


def test_a_replacement_of_events_may_be_as_short_as_it_likes(home):
    home.deliver("app_events", *[{}] * 5)
    home.land()
    home.deliver("app_events")
    assert home.land().accepted == ("app_events_20170825.csv",)


def test_rejected_rows_count_for_the_half(home):
    home.deliver("calls", *calls(4))
    home.land()
    home.deliver("calls", *calls(1), "too,few")
    assert home.land().held == ()


def usual_days(home: Home, counts: list[int]) -> None:
    """Calls on the days before DAY, the latest first."""
    for back, count in enumerate(counts, 1):
        home.deliver("calls", *calls(count), day=DAY - timedelta(days=back))


@pytest.mark.parametrize(
    ("usual", "count", "is_held"),
    [
        ([1000] * 7, 99, True),
        ([1000] * 7, 100, False),
        ([1000] * 6, 0, False),
        ([999] * 7, 0, False),
        ([0] * 3 + [1000] * 4, 99, True),
        ([100] * 4 + [1000] * 4, 50, False),
        ([1000] * 4 + [1010] * 4, 100, True),
        ([10] * 14 + [1000] * 20, 0, False),
    ],
    ids=[
        "99 of 1000",
        "a tenth",
        "6 days",
        "median 999",
        "median over zeros",
        "median 550",
        "median 1005",
        "15 days ago",
    ],
)
def test_calls_with_fewer_than_a_tenth_of_the_usual_rows_are_held(home, usual, count, is_held):
    usual_days(home, usual)
    home.land(DAY - timedelta(days=1))
    name = home.deliver("calls", *calls(count))
    assert home.land(DAY).held == ((name,) if is_held else ())


def test_the_usual_is_known_from_deliveries_that_came_in_the_same_run(home):
    usual_days(home, [1000] * 7)
    name = home.deliver("calls", *calls(3))
    assert home.land().held == (name,)


def test_an_accepted_delivery_is_loaded_in_the_next_run(home):
    name = held_calls(home)
    operator.accept(home.settings, name, "a quiet day")
    assert home.counts == {("calls", DAY): (4, 0)}
    assert home.land().accepted == (name,)
    assert home.counts == {("calls", DAY): (1, 0)}
    assert home.in_force == {("calls", DAY): "archive/calls/calls_20170825.csv.2"}
    assert home.files("held") == {}
    assert home.land() == Landing((), (), (), (), 0, 0)


def test_an_accepted_delivery_that_was_changed_since_is_not_loaded(home):
    name = held_calls(home)
    operator.accept(home.settings, name, "a quiet day")
    with (home.settings.held / name).open("ab") as held:
        held.write(b"\n")
    with pytest.raises(CallfreeError, match=f"held/{name} is missing or was changed"):
        home.land()
    assert home.counts == {("calls", DAY): (4, 0)}


def test_an_accepted_delivery_is_loaded_before_the_inbox_is_read(home):
    name = held_calls(home)
    operator.accept(home.settings, name, "a quiet day")
    home.deliver("calls", *calls(2, "later"))
    assert home.land().accepted == (name, name)
    assert home.counts == {("calls", DAY): (2, 0)}
    assert home.in_force == {("calls", DAY): "archive/calls/calls_20170825.csv.3"}
    assert home.files("held") == {}


def test_a_refused_delivery_lies_in_rejected_and_is_never_loaded(home):
    name = held_calls(home)
    operator.refuse(home.settings, name, "half is missing")
    assert home.files("held") == {}
    assert set(home.files("rejected")) == {name, f"{name}.reason.json"}
    home.land()
    assert home.counts == {("calls", DAY): (4, 0)}


def test_a_later_delivery_moves_the_held_one_to_rejected(home):
    name = held_calls(home)
    home.deliver("calls", *calls(3, "whole"))
    assert home.land().accepted == (name,)
    assert (home.names("held"), home.names("rejected"), home.held) == (set(), {name}, [])


def test_the_same_bytes_as_in_force_move_the_held_one_to_rejected(home):
    name = held_calls(home)
    home.deliver("calls", *calls(4))
    assert home.land().repeated == (name,)
    assert (home.names("held"), home.names("rejected"), home.held) == (set(), {name}, [])


def test_a_rejected_delivery_leaves_the_held_one_where_it_is(home):
    name = held_calls(home)
    home.put(name, b"damaged")
    home.land()
    assert home.names("held") == {name}
    assert [delivery.file_name for delivery in home.held] == [name]


def test_what_is_held_lies_in_held_however_often_it_comes(home):
    name = held_calls(home)
    for number in range(3):
        short = csv_of("calls", {"call_id": f"again{number}"})
        home.put(name, short)
        assert home.land().held == (name,)
        (delivery,) = home.held
        assert list(home.names("held")) == [Path(delivery.stored_as).name]
        assert (home.settings.home / delivery.stored_as).read_bytes() == short
    operator.accept(home.settings, name, "a quiet day")
    assert home.land().accepted == (name,)
    assert home.counts == {("calls", DAY): (1, 0)}
    assert home.files("archive/calls")[f"{name}.2"] == short


def test_what_was_refused_may_be_held_again_and_accepted(home):
    name = held_calls(home)
    operator.refuse(home.settings, name, "a mistake")
    home.deliver("calls", *calls(1, "short"))
    assert home.land().held == (name,)
    assert len(home.names("held")) == 1
    operator.accept(home.settings, name, "it was right")
    assert home.land().accepted == (name,)
    assert home.counts == {("calls", DAY): (1, 0)}
