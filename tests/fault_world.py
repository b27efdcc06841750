"""A small world in which as much as possible happens in one run: the stage for the faults."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest

from flows.steps import backups, gates, ledger, outgoing
from flows.steps.feeds import DAILY_FEEDS, FEEDS
from flows.steps.landing import land
from flows.steps.publish import publish
from flows.steps.warehouse import transaction
from pipeline import PipelineHome

POLICY = {
    "terms": (
        "terms_id,welcome_mb,quarters,min_contact_seconds,settlement_days,enrolment_days,max_attempts\n"
        "t,600,1,10,2,90,1\n"
    ),
    "reward_tiers": "terms_id,streak,mb_per_month\nt,1,100\n",
    "waves": (
        "wave_id,terms_id,invite_on,treatment_size,control_size,seed,brands\n"
        "w,t,2017-07-03,4,1,s,*\nx,t,2017-10-05,1,1,s,*\n"
    ),
    "hotline_lines": "line,valid_from,counts,label\nservice,2000-01-01,true,\n",
    "contact_outcomes": "outcome,valid_from,counts,label\nanswered,2000-01-01,true,\n",
}
FIRST, EVE, ENROLMENT, NEXT = (date(2017, 7, number) for number in (1, 2, 3, 4))
# The run before, and the run in which much happens: a quarter ends, a wave is drawn, deliveries of every kind.
BEFORE, BUSY = date(2017, 10, 3), date(2017, 10, 4)
MEMBERS = ("anna", "bert", "carl", "dora", "emil")


def header(feed: str) -> str:
    return ",".join(column.name for column in FEEDS[feed].columns) + "\n"


def subscriber(number: int, who: str, at: str = "2017-06-01T08:00:00+02:00") -> str:
    return f"{who},+4917112345{number:02},{who}@example.org,o2,M,active,true,,{at}\n"


def newcomers(day: date, *numbers: int) -> str:
    """Rows of subscribers who came after the first wave was drawn."""
    return "".join(subscriber(number, f"new{number}", f"{day}T08:00:00+02:00") for number in numbers)


def events_of(who: str, day: date) -> str:
    kinds = ("app_installed,{}T09", "portal_login,{}T10", "video_completed,{}T11")
    return "".join(f"{who}{n},{who},{kind.format(day)}:00:00+02:00,,\n" for n, kind in enumerate(kinds))


def call_of(number: int, who: str, day: date) -> str:
    return f"c{number},1,{who},,inbound,service,{day}T12:00:00+02:00,60,answered,false\n"


class FaultHome(PipelineHome):
    """The home of this world below a folder, and its life up to the faults."""

    def __init__(self, folder: Path, **settings) -> None:
        policy = folder / "policy"
        policy.mkdir(parents=True, exist_ok=True)
        for name, content in POLICY.items():
            if not (policy / f"{name}.csv").is_file():
                (policy / f"{name}.csv").write_text(content)
        super().__init__(folder / "home", policy, **settings)

    def put(self, feed: str, day: date, rows: str = "", has_digest: bool = False) -> str:
        """A delivery in the inbox; with a digest beside it where asked for."""
        name, content = f"{feed}_{day:%Y%m%d}.csv", (header(feed) + rows).encode()
        if has_digest:
            (self.settings.inbox / f"{name}.sha256").write_text(hashlib.sha256(content).hexdigest())
        self.deliver(name, content)
        return name

    def put_days(self, first: date, last: date, **rows: str) -> None:
        """A delivery of each daily feed for each day; the named feeds have rows on the last."""
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            for feed in DAILY_FEEDS:
                self.put(feed, day, rows.get(feed, "") if day == last else "")

    # --- Its life -------------------------------------------------------------------------------------------------

    def until_the_draw(self) -> None:
        """All is there for the run of the eve, which draws the first wave."""
        self.put_days(FIRST, FIRST, subscribers="".join(map(subscriber, range(len(MEMBERS)), MEMBERS)))
        self.run(FIRST)
        self.put_days(EVE, EVE)

    def enrolled(self) -> None:
        """Two have enrolled and have their welcome."""
        self.run(EVE)
        self.put_days(ENROLMENT, ENROLMENT, app_events="".join(events_of(who, ENROLMENT) for who in MEMBERS[:3]))
        self.run(ENROLMENT)

    def until_the_busy_day(self) -> None:
        """Three months later: one grant is parked, four deliveries are held."""
        enrolled = [who for (who,) in self._ask("select subscriber_id from ledger.enrolments order by all")]
        self.put_days(ENROLMENT + timedelta(days=1), BEFORE)
        for day in held_days():
            self.put("subscribers", day, newcomers(day, 11, 12, 13))
        self.put("grant_acks", date(2017, 7, 5), f"{enrolled[0]}.W.1,rejected,BARRED,2017-07-05T07:00:00Z\n")
        self.run(BEFORE - timedelta(days=1))
        for day in held_days():
            self.put("subscribers", day, newcomers(day, 11))
        self.run(BEFORE)

    def busy_morning(self) -> None:
        """Operators have spoken, and deliveries of every kind lie in the inbox."""
        accepted, refused, _displaced, _waiting = held_days()
        self.accept(f"subscribers_{accepted:%Y%m%d}.csv", "they are gone")
        self.refuse(f"subscribers_{refused:%Y%m%d}.csv", "a mistake")
        self.release_all("unbarred")
        self.busy_deliveries()

    def busy_deliveries(self) -> None:
        _accepted, _refused, displaced, _waiting = held_days()
        (late,) = self._ask(
            "select min(subscriber_id) from ledger.members where arm = 'treatment' and wave_id = 'w'"
            " and subscriber_id not in (select subscriber_id from ledger.enrolments)"
        )[0]
        self.put_days(BUSY, BUSY, app_events=events_of(late, date(2017, 9, 29)), calls=call_of(1, "emil", BUSY))
        # In the order of the verdicts: replaced, repeated, one held displaced, another held, rejected in many ways.
        self.put("calls", date(2017, 10, 1), call_of(2, "emil", date(2017, 10, 1)), has_digest=True)
        self.put("app_events", date(2017, 10, 2), has_digest=True)
        self.put("subscribers", displaced, newcomers(displaced, 11, 12), has_digest=True)
        self.put("subscribers", FIRST, subscriber(0, "anna"), has_digest=True)
        self.put("grant_acks", date(2017, 10, 3), "nobody.W.1,accepted,,2017-10-03T07:00:00Z\n")
        inbox = self.settings.inbox
        (inbox / "grant_acks_20171003.csv.gz").write_bytes(b"damaged")
        (inbox / "mail_events_20171003.csv").write_bytes(b'"never closed')
        (inbox / "mail_events_20171003.csv.sha256").write_text("0" * 64)
        (inbox / "malformed.csv").write_bytes(b"")
        (inbox / "calls_20171003.csv").mkdir()
        (inbox / "calls_20171003.csv" / "inside").write_bytes(b"1")
        os.mkfifo(inbox / "app_events_20171001.csv")
        (inbox / "subscribers_20171001.csv").symlink_to("nowhere")


class BookHome(FaultHome):
    """A home whose runs land and publish as any, but what dbt would find due is put into the ledger by hand."""

    def run(self, day: date) -> int:
        with without_gates():
            land(self.settings, day)
        self._post(day)
        backups.back_up(self.settings)
        publish(self.settings)
        backups.back_up(self.settings)
        return 0

    def release_all(self, reason: str) -> int:
        """Nothing is derived, so nothing is parked."""
        return 2

    def _post(self, day: date) -> None:
        with ledger.open_ledger(self.settings) as connection, transaction(connection):
            if connection.execute("select 1 from batches where business_date = ?", [day]).fetchone():
                return
            if day == EVE:
                connection.execute("insert into draws values ('w', 't', ?, ?, 2)", [ENROLMENT, EVE])
                connection.execute("insert into members values ('anna', 'w', 'treatment', 1, 'anna@example.org')")
                connection.execute("insert into members values ('bert', 'w', 'treatment', 2, null)")
                connection.execute("insert into members values ('carl', 'w', 'treatment', 3, null)")
            connection.execute("create or replace temp table due as select * exclude (sequence) from grants limit 0")
            for number, who in enumerate(("anna", "bert") if day == ENROLMENT else ()):
                connection.execute(
                    "insert into enrolments values (?, 'w', '2017-07-03 09:00', '2017-07-03', ?)", [who, day]
                )
                connection.execute(
                    "insert into due values (?, ?, ?, 'welcome', 0, 0, 1, 600, ?, ?, 'w', 't')",
                    [f"{who}.W.1", who, f"+49171123450{number}", NEXT, NEXT + timedelta(days=31)],
                )
            last = connection.execute("select sequence, sha256 from batches order by sequence desc limit 1").fetchone()
            sequence, previous = (last[0] + 1, last[1]) if last else (1, None)
            connection.execute(
                "insert into batches select ?, ?, 1, ?, count(*), coalesce(sum(volume_mb), 0), ?, ? from due",
                [sequence, day, f"grants_{day:%Y%m%d}_01.csv", outgoing.digest(connection, "due"), previous],
            )
            connection.execute("insert into grants by name select *, ? as sequence from due", [sequence])
            connection.execute("drop table due")


@contextmanager
def without_gates() -> Iterator[None]:
    """Great Expectations takes seconds to come, and is the subject elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "require_landing", lambda *_: None)
        yield


def held_days() -> list[date]:
    """Days of subscribers of which a short replacement is held; one each to accept, refuse, displace, and leave."""
    return [date(2017, 8, number) for number in (1, 2, 3, 4)]
