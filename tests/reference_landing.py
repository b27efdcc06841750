"""Which delivery is in force, held or rejected, and what is known of a feed. Part of the reference.

Sections 1.1 (completeness) and 2.2 (files, again, held, not yet).
"""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from fractions import Fraction
from statistics import median

from reference_files import (
    BERLIN,
    ONE_DAY,
    REQUIRED_FEEDS,
    Row,
    Unreadable,
    feed_and_date,
    is_not_yet,
    read_delivery,
)


@dataclass
class Delivery:
    name: str
    content: bytes
    feed: str | None = None  # None where the name is malformed
    business_date: date | None = None
    verdict: str = ""  # in force, replaced, held, accepted (in force from the next run), rejected, refused
    reason: str = ""
    rows: list[Row] = field(default_factory=list)
    rejected_rows: int = 0
    all_rows: int = 0


class Landing:
    """The inbox, every delivery that came, and what operators said about deliveries."""

    def __init__(self, max_bytes: int, max_rejected_share: Fraction):
        self.max_bytes = max_bytes
        self.max_rejected_share = max_rejected_share
        self.inbox: dict[str, bytes] = {}
        self.deliveries: list[Delivery] = []
        self.of_day: dict[tuple[str | None, date | None], list[Delivery]] = defaultdict(list)
        self.in_force: dict[tuple[str, date], Delivery] = {}
        self.waived: set[tuple[str, date]] = set()

    # -- operators

    def waive(self, feed: str, day: date) -> bool:
        # open: a day whose only delivery is rejected or held is "open", so it may be waived; one that was
        # waived before may be waived again, which changes nothing.
        if feed not in REQUIRED_FEEDS or day >= datetime.now(BERLIN).date() or (feed, day) in self.in_force:
            return False
        self.waived.add((feed, day))
        return True

    def accept(self, name: str) -> bool:
        held = self.named(name, "held")
        for delivery in held:
            delivery.verdict = "accepted"
        return bool(held)

    def refuse(self, name: str) -> bool:
        # open: a name may stand for several deliveries; all that can be refused are.
        refusable = self.named(name, "held", "rejected")
        for delivery in refusable:
            delivery.verdict = "refused"
        return bool(refusable)

    def named(self, name: str, *verdicts: str) -> list[Delivery]:
        return [each for each in self.deliveries if each.name == name and each.verdict in verdicts]

    # -- a run

    def land(self, d: date) -> bool:
        """Lands what is there for a run of `d`; says whether a delivery was rejected."""
        by_date = sorted((each for each in self.deliveries if each.verdict == "accepted"), key=business_date_of)
        for delivery in by_date:
            self.put_in_force(delivery)

        arrived = []
        names = [name for name in self.inbox if not is_not_yet(name)]
        # open: a digest without its file waits for it.
        for name in [name for name in names if not name.endswith(".sha256")]:
            meaning = feed_and_date(name)
            if meaning and meaning[1] > d:
                continue
            arrived.append(Delivery(name, self.inbox[name], *(meaning or (None, None))))

        rejected = False
        files_of = Counter((each.feed, each.business_date) for each in arrived)
        for delivery in sorted(arrived, key=business_date_of):
            try:
                self.read(delivery, files_of[delivery.feed, delivery.business_date])
            except Unreadable as why:
                delivery.verdict, delivery.reason = "rejected", str(why)
                rejected = True
            else:
                self.settle(delivery)
            self.deliveries.append(delivery)
            self.of_day[delivery.feed, delivery.business_date].append(delivery)
        for delivery in arrived:
            del self.inbox[delivery.name]
            self.inbox.pop(f"{delivery.name}.sha256", None)
        return rejected

    def read(self, delivery: Delivery, files_of_the_day: int) -> None:
        if delivery.feed is None:
            raise Unreadable("its name is malformed")
        if files_of_the_day > 1:
            raise Unreadable("another file for the same feed and date")
        digest = self.inbox.get(f"{delivery.name}.sha256")
        if digest is not None:
            first_word = (digest.decode("utf-8", "replace").split("\n")[0].split() or [""])[0]
            if first_word.lower() != hashlib.sha256(delivery.content).hexdigest():
                raise Unreadable("its digest does not match")
        delivery.rows, delivery.rejected_rows, delivery.all_rows = read_delivery(
            delivery.name, delivery.content, self.max_bytes, self.max_rejected_share
        )

    def settle(self, delivery: Delivery) -> None:
        """In force, held, or the same again."""
        day = (delivery.feed, delivery.business_date)
        for other in self.of_day[day]:
            if other.verdict == "held":
                other.verdict, other.reason = "rejected", "a later delivery came"
        before = self.in_force.get(day)
        if before and before.content == delivery.content:
            delivery.verdict = "same"
        elif self.has_too_few_rows(delivery, before):
            delivery.verdict = "held"
        else:
            self.put_in_force(delivery)

    def has_too_few_rows(self, delivery: Delivery, before: Delivery | None) -> bool:
        if delivery.feed in ("calls", "subscribers") and before and 2 * delivery.all_rows < before.all_rows:
            return True
        if delivery.feed != "calls":
            return False
        days_before = [delivery.business_date - n * ONE_DAY for n in range(1, 15)]
        counts = [self.in_force["calls", day].all_rows for day in days_before if ("calls", day) in self.in_force]
        return len(counts) >= 7 and median(counts) >= 1000 and 10 * delivery.all_rows < median(counts)

    def put_in_force(self, delivery: Delivery) -> None:
        day = (delivery.feed, delivery.business_date)
        if day in self.in_force:
            self.in_force[day].verdict = "replaced"
        delivery.verdict = "in force"
        self.in_force[day] = delivery

    # -- what is known

    def start(self, feed: str) -> date | None:
        """The earliest business date of which any delivery came."""
        dates = [each.business_date for each in self.deliveries if each.feed == feed and each.verdict != "refused"]
        return min(dates, default=None)

    def is_complete(self, feed: str, first: date, last: date, d: date, with_waivers: bool = True) -> bool:
        """Whether `feed` is complete from `first` to `last`, by what the run for `d` knows."""
        if last > d:
            return False
        days = [first + n * ONE_DAY for n in range((last - first).days + 1)]
        return all((feed, day) in self.in_force or (with_waivers and (feed, day) in self.waived) for day in days)

    def is_complete_from_its_start(self, feed: str, d: date, with_waivers: bool = True) -> bool:
        start = self.start(feed)
        return start is not None and self.is_complete(feed, start, d, d, with_waivers)

    def rows(self, feed: str, d: date) -> list[Row]:
        """The rows that the run for `d` knows, in the order in which they came."""
        known = [
            row
            for (of, business_date), delivery in self.in_force.items()
            if of == feed and business_date <= d
            for row in delivery.rows
            if row.on <= d
        ]
        return sorted(known, key=lambda row: row.order)


def business_date_of(delivery: Delivery) -> date:
    return delivery.business_date or date.min
