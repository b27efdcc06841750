"""A landing that breaks off is mended by the next."""

import hashlib
from pathlib import Path

import pytest

from flows.errors import GateFailed
from flows.steps import arrivals, gates, ledger
from landing_home import ACKS, DAY, DIGEST, Home, calls, csv_of, name_of

pytestmark = pytest.mark.usefixtures("no_gates")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


class Crash(BaseException):
    """The process ends here."""


def crash_before(module, name):
    def crash(*_arguments):
        raise Crash

    return module, name, crash


def crash_after(module, name):
    original = getattr(module, name)

    def crash(*arguments, **options):
        original(*arguments, **options)
        raise Crash

    return module, name, crash


def crash_at_the_inbox(on_digest: bool):
    """Ends when a file, or a digest, is about to leave the inbox."""
    unlink = Path.unlink

    def crash(path, missing_ok=False):
        if path.parent.name in ("inbox", ".claimed") and (path.suffix == ".sha256") == on_digest:
            raise Crash
        unlink(path, missing_ok)

    return Path, "unlink", crash


CRASHES = {
    "after the first file was claimed": crash_after(Path, "rename"),
    "before the gate": crash_before(gates, "require_landing"),
    "before the first file has its second place": crash_before(arrivals, "put_beside"),
    "after the first file has its second place": crash_after(arrivals, "put_beside"),
    "before a reason is written": crash_before(arrivals, "_write_reason"),
    "before the line in the ledger": crash_before(ledger, "record_deliveries"),
    "after the line in the ledger": crash_after(ledger, "record_deliveries"),
    "before a digest leaves the inbox": crash_at_the_inbox(on_digest=True),
    "before a file leaves the inbox": crash_at_the_inbox(on_digest=False),
    "after the first file left the inbox": crash_after(arrivals, "clear"),
    "when something is moved": crash_before(arrivals, "move"),
    "after something was moved": crash_after(arrivals, "move"),
}


def busy_home(folder: Path) -> Home:
    """A home whose inbox holds a delivery for every verdict, each with its digest."""
    home = Home(folder)
    home.deliver("calls", *calls(4))
    home.deliver("subscribers", {}, {}, {}, {})
    home.deliver("grant_acks", {})
    home.land()
    home.deliver("subscribers", {})
    home.land()  # is held
    arriving = {
        name_of("calls"): csv_of("calls", *calls(1, "held")),
        name_of("subscribers"): csv_of("subscribers", {}, {}, {}),
        name_of("grant_acks"): ACKS,
        name_of("mail_events"): csv_of("mail_events", {}),
        name_of("app_events"): b"damaged",
        "malformed.csv": b"anything",
    }
    for name, content in arriving.items():
        home.put(name, content, hashlib.sha256(content).hexdigest())
    return home


def what_stands(home: Home) -> dict:
    return {
        "in force": {day: home.files(Path(place).parent)[Path(place).name] for day, place in home.in_force.items()},
        "counts": home.counts,
        "held": [(delivery.file_name, delivery.stored_as) for delivery in home.held],
        "inbox": home.files("inbox"),
        "archive": home.files("archive"),
        "files held": home.files("held"),
        "files rejected": home.files("rejected"),
    }


@pytest.fixture(scope="module")
def without_a_crash(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "require_landing", lambda *_: None)
        home = busy_home(tmp_path_factory.mktemp("calm"))
        told = home.land()
        assert (len(told.accepted), len(told.repeated), len(told.held), len(told.rejected)) == (2, 1, 1, 2)
        home.land()
        return what_stands(home)


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_is_mended_by_the_next_landing(tmp_path, monkeypatch, without_a_crash, crash):
    home = busy_home(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*CRASHES[crash])
        with pytest.raises(Crash):
            home.land()
    home.land()
    assert what_stands(home) == without_a_crash


def test_a_digest_left_by_a_crash_does_not_reject_a_later_delivery_of_that_name(home, monkeypatch):
    home.put(name_of("grant_acks"), ACKS, DIGEST)
    with monkeypatch.context() as patch:
        patch.setattr(*crash_after(ledger, "record_deliveries"))
        with pytest.raises(Crash):
            home.land()
    home.land()
    assert home.files("inbox") == {}
    home.deliver("grant_acks", {}, {"grant_id": "bert.W.1"})
    assert home.land().accepted == ("grant_acks_20170825.csv",)


def test_a_gate_that_fails_accepts_nothing_and_leaves_the_inbox_as_it_was(home, monkeypatch):
    home.put(name_of("grant_acks"), ACKS, DIGEST)
    home.put("malformed.csv", b"")
    before = home.files("inbox")

    def fail(settings, *_):
        raise GateFailed("landing", ("grant_acks: every row has its id: not so for 1 row",), "page.html")

    with monkeypatch.context() as patch:
        patch.setattr(gates, "require_landing", fail)
        with pytest.raises(GateFailed, match="every row has its id"):
            home.land()
    assert home.files("inbox") == before
    assert (home.history, home.files("archive"), home.files("rejected")) == ([], {}, {})
    assert home.land().accepted == ("grant_acks_20170825.csv",)
    assert home.counts == {("grant_acks", DAY): (1, 0)}


def test_a_warehouse_that_is_lost_is_read_again_from_the_archive(home):
    home.deliver("calls", *calls(4))
    home.deliver("grant_acks", {}, "too,few")
    home.land()
    home.settings.warehouse.unlink()
    home.land()
    assert home.counts == {("calls", DAY): (4, 0), ("grant_acks", DAY): (1, 1)}


def test_an_archive_that_was_changed_is_not_read_again(home):
    home.deliver("grant_acks", {})
    home.land()
    (home.settings.archive / "grant_acks" / name_of("grant_acks")).write_bytes(csv_of("grant_acks"))
    home.settings.warehouse.unlink()
    with pytest.raises(Exception, match="missing or was changed: put the delivery back as it came"):
        home.land()


def test_a_file_that_a_crash_left_claimed_keeps_its_digest_when_another_of_its_name_has_come(home):
    name = name_of("grant_acks")
    home.settings.claimed.mkdir()
    (home.settings.claimed / name).write_bytes(ACKS)
    (home.settings.claimed / f"{name}.sha256").write_text("0" * 64)
    home.put(name, csv_of("grant_acks", {}, {"grant_id": "bert.W.1"}))
    told = home.land()
    assert [rejected for rejected, _ in told.rejected] == [name]
    assert told.accepted == (name,)
    assert home.counts == {("grant_acks", DAY): (2, 0)}
    assert home.files("inbox") == {}


def test_a_file_that_a_crash_left_claimed_does_not_take_the_digest_of_another_of_its_name(home):
    name, newer = name_of("grant_acks"), csv_of("grant_acks", {}, {"grant_id": "bert.W.1"})
    home.settings.claimed.mkdir()
    (home.settings.claimed / name).write_bytes(ACKS)
    home.put(name, newer, hashlib.sha256(newer).hexdigest())
    assert (home.land().rejected, home.counts) == ((), {("grant_acks", DAY): (2, 0)})
    assert home.files("inbox") == {}
    # And a digest that is wrong is that of the newer.
    home.settings.claimed.mkdir()
    (home.settings.claimed / name).write_bytes(ACKS)
    home.put(name, csv_of("grant_acks"), "0" * 64)
    assert [rejected for rejected, _ in home.land().rejected] == [name]
    assert home.counts == {("grant_acks", DAY): (1, 0)}
