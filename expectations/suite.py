"""A suite as a value: a query, and the sentences that must hold of each of its rows, with their SQL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

# A check that fails lists no more rows than this: one broken delivery may hold millions.
ROWS_COUNTED = 1000

# The patterns of the interface (2.2). They are said again here, and not taken from the code that lands:
# a gate that shares its words with what it guards passes the same mistakes.
NAME = "[A-Za-z0-9_-]{1,32}"  # subscriber_id, wave_id
EVENT_ID = "[A-Za-z0-9_.:-]{1,64}"  # event_id, call_id
MSISDN = "[+][0-9]{8,15}"


@dataclass(frozen=True, eq=False)
class Suite:
    """What must hold of every row of `rows`.

    A check whose SQL is null for a row fails for it: what cannot be judged is not sound. So a required value
    needs no check of its own, and an optional one says `x is null or ...`.
    """

    name: str
    rows: str
    checks: Mapping[str, str]
    # The rows cost a join or an aggregate: they are computed once, not once a check.
    is_computed: bool = False
    # The rows are many: those that break any check are sifted out in one pass, and each check is asked of these.
    is_sifted: bool = False

    @property
    def all_checks(self) -> str:
        """The condition that every check holds."""
        return " and ".join(f"({condition})" for condition in self.checks.values())

    def sifted_rows(self) -> str:
        """The rows for which some check does not hold."""
        return f"select * from ({self.rows}) as candidates where ({self.all_checks}) is not true"

    def queries(self, sentences: Iterable[str]) -> list[str]:
        """What shows the rows for which these sentences do not hold, to be run by hand."""
        return [
            f"create or replace temp view checked as {self.rows}",
            *(f"select * from checked where ({self.checks[sentence]}) is not true" for sentence in sentences),
        ]

    def in_one(self) -> "ExpectationSuite":
        """The whole as one expectation, in Great Expectations' terms."""
        return self._expectations({"every check holds": self.all_checks})

    def one_by_one(self) -> "ExpectationSuite":
        """An expectation for each check."""
        return self._expectations(self.checks)

    def _expectations(self, checks: Mapping[str, str]) -> "ExpectationSuite":
        """Their queries select a constant: no value can get out."""
        # It takes seconds to import, and most commands need no gate.
        import great_expectations
        from great_expectations.expectations import UnexpectedRowsExpectation

        def query(condition: str) -> str:
            # Great Expectations fills in `{batch}`, so the braces of a pattern are doubled.
            condition = condition.replace("{", "{{").replace("}", "}}")
            return f"select 1 from {{batch}} where ({condition}) is not true limit {ROWS_COUNTED}"

        return great_expectations.ExpectationSuite(
            self.name,
            expectations=[
                UnexpectedRowsExpectation(unexpected_rows_query=query(condition), description=sentence)
                for sentence, condition in checks.items()
            ],
        )


def landed(feed: str, instant: str) -> str:
    """The rows of a feed that came with this landing, each with what is known of its delivery and its local date.

    No local date comes back once it is over: where the first and the last instant with a date are dated rightly, so
    are all between them, and the time zone need not be asked for each.
    """
    local_date = _local_date(instant)
    of_this_landing = (
        f"raw.{feed} as landed inner join raw.landing as landing on landed.delivery_id = landing.delivery_id"
    )
    ends = " and ".join(f"{local_date} = {_date_in_berlin(f'{end}({instant})')}" for end in ("min", "max"))
    return (
        f"select landed.*, landing.feed as delivery_feed, landing.business_date, dates.are_right as has_right_ends"
        f" from {of_this_landing}"
        f" left join (select {local_date}, {ends} as are_right from {of_this_landing} group by {local_date}) as dates"
        f" on landed.{local_date} = dates.{local_date}"
    )


def _local_date(instant: str) -> str:
    return instant.removesuffix("_at") + "_on"


def _date_in_berlin(instant: str) -> str:
    return f"cast(timezone('Europe/Berlin', timezone('UTC', {instant})) as date)"


def matches(column: str, pattern: str) -> str:
    """The whole value has this form."""
    return f"regexp_full_match({column}, '{pattern}')"


def one_of(column: str, values: Iterable[str]) -> str:
    """The value is in its list."""
    return f"{column} in ({', '.join(repr(value) for value in values)})"


def is_counting(column: str, minimum: int) -> str:
    """An integer of 1 to 9 digits, from `minimum`."""
    return f"{column} between {minimum} and 999999999"


def not_empty(*columns: str) -> str:
    """An absent text is null, and never an empty one: everything after it asks for null only."""
    return " and ".join(f"{column} is distinct from ''" for column in columns)


def of_the_feed(feed: str, instant: str) -> dict[str, str]:
    """What holds of every feed: whose row it is, and when it happened."""
    local_date = _local_date(instant)
    return {
        "every row came with a delivery of its own feed": f"delivery_feed = '{feed}'",
        f"every {local_date} is the date of {instant} in Berlin": (
            f"case when has_right_ends then {instant} is not null else {local_date} = {_date_in_berlin(instant)} end"
        ),
        "no row is more than a day ahead of its business date": f"{local_date} <= business_date + 1",
    }
