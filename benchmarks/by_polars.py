"""The job of callfree as one hand-written Polars script: deliveries in, sorted grant lines out. For the benchmark.

    .venv/bin/python benchmarks/by_polars.py DELIVERIES GRANTS.csv --date D

As someone writes it who knows Polars, the rules and these very data; what it takes for granted is said in
`by_duckdb.py`. Files are read one after another, and of each only what matters is kept.
"""

import argparse
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from itertools import product
from pathlib import Path

import polars as pl
from dateutil.relativedelta import relativedelta
from isal import igzip

INVITED_AT = datetime(2017, 7, 17)
ENROL_UNTIL = datetime(2017, 10, 15)


def frames(files: Iterable[Path], *columns: str) -> Iterator[pl.DataFrame]:
    for path in files:
        frame = pl.read_csv(igzip.decompress(path.read_bytes()), columns=list(columns), infer_schema=False)
        if len(frame):
            yield frame


def key(column: str = "subscriber_id") -> pl.Expr:
    return pl.col(column).str.slice(1).cast(pl.Int32).alias("s")


def moment(column: str) -> pl.Expr:
    return pl.col(column).str.head(19).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us").alias("moment")


def read_base(file: Path) -> pl.DataFrame:
    (base,) = frames([file], "subscriber_id", "msisdn", "status")
    return base.select(key(), "msisdn", "status")


def read_changes(files: list[Path]) -> pl.DataFrame:
    """Every change with the time until which it held."""
    return (
        pl.concat(
            frame.select(key(), "msisdn", "status", moment("changed_at"))
            for frame in frames(files, "subscriber_id", "msisdn", "status", "changed_at")
        )
        .sort("s", "moment")
        .with_columns(pl.col("moment").shift(-1).over("s").alias("until"))
    )


def read_events(files: list[Path]) -> pl.DataFrame:
    return pl.concat(
        frame.filter(pl.col("event_type") != "video_started").select(
            key(),
            pl.col("event_type").cast(pl.Categorical),
            moment("occurred_at"),
        )
        for frame in frames(files, "subscriber_id", "event_type", "occurred_at")
    )


def enrol(events: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    def of(kind: str) -> pl.DataFrame:
        return events.filter(pl.col("event_type") == kind).select("s", "moment")

    installs = of("app_installed").group_by("s").agg(pl.col("moment").min().alias("since"))
    logins = (
        of("portal_login")
        .join(installs, on="s")
        .filter(pl.col("moment") >= pl.col("since"))
        .group_by("s")
        .agg(pl.col("moment").min().alias("since"))
    )
    videos = (
        of("video_completed")
        .join(logins, on="s")
        .filter(pl.col("moment") >= pl.col("since"), pl.col("moment") >= INVITED_AT)
        .select("s", "moment")
    )
    # Few are ever not active.
    pauses = changes.filter(pl.col("status") != "active").select("s", pl.col("moment").alias("from"), "until")
    missed = videos.join(pauses, on="s").filter(
        pl.col("moment") >= pl.col("from"), pl.col("until").is_null() | (pl.col("moment") < pl.col("until"))
    )
    return (
        videos.join(missed, on=["s", "moment"], how="anti")
        .group_by("s")
        .agg(pl.col("moment").min().alias("enrolled_at"))
        .join(
            of("programme_withdrawn").group_by("s").agg(pl.col("moment").min().alias("withdrawn_at")),
            on="s",
            how="left",
        )
        .filter(
            pl.col("enrolled_at") < ENROL_UNTIL,
            pl.col("withdrawn_at").is_null() | (pl.col("withdrawn_at") > pl.col("enrolled_at")),
        )
        .select(
            "s",
            "enrolled_at",
            pl.col("enrolled_at").dt.date().alias("enrolled_on"),
            pl.col("withdrawn_at").dt.date().alias("withdrawn_on"),
        )
    )


def read_calls(files: list[Path], enrolled: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The contacts of those enrolled in their three quarters, and every correction."""
    until = enrolled.select("s", "enrolled_at", pl.col("enrolled_on").dt.offset_by("9mo").alias("ends_on"))
    is_contact = (
        (pl.col("direction") == "inbound")
        & pl.col("line").is_in(["service", "tech"])
        & pl.col("outcome").is_in(["answered", "self_service"])
        & (pl.col("voided") == "false")
        & (pl.col("duration_s").cast(pl.Int32) >= 10)
    )
    contacts, corrections = [], []
    columns = ["call_id", "record_version", "subscriber_id", "msisdn", "direction", "line", "started_at"]
    for frame in frames(files, *columns, "duration_s", "outcome", "voided"):
        is_first = pl.col("record_version") == "1"
        kept = frame.filter(is_contact | ~is_first).select(
            "call_id",
            pl.col("record_version").cast(pl.Int8),
            key(),
            pl.when(pl.col("subscriber_id").is_null()).then("msisdn").alias("msisdn"),
            moment("started_at"),
            is_contact.alias("is_contact"),
        )
        corrections.append(kept.filter(pl.col("record_version") > 1))
        first = kept.filter(pl.col("record_version") == 1)
        of_enrolled = first.join(until, on="s").filter(
            pl.col("moment") >= pl.col("enrolled_at"), pl.col("moment") < pl.col("ends_on")
        )
        contacts += [of_enrolled.select(kept.columns), first.filter(pl.col("s").is_null())]
    return pl.concat(contacts), pl.concat(corrections)


def broken(
    contacts: pl.DataFrame, corrections: pl.DataFrame, base: pl.DataFrame, changes: pl.DataFrame, enrolled: pl.DataFrame
) -> pl.DataFrame:
    """A bit for each quarter with a contact."""
    latest = (
        pl.concat([corrections, contacts.join(corrections, on="call_id", how="semi")])
        .sort("record_version")
        .unique("call_id", keep="last")
    )
    current = pl.concat([contacts.join(corrections, on="call_id", how="anti"), latest.filter("is_contact")])
    # The few calls that carry only a number: whose it was then.
    nameless = current.filter(pl.col("s").is_null()).drop("s")
    first_change = changes.group_by("s").agg(pl.col("moment").min().alias("until"))
    numbers = pl.concat(
        [
            base.join(nameless, on="msisdn", how="semi")
            .join(first_change, on="s", how="left")
            .with_columns(pl.lit(datetime.min).cast(pl.Datetime("us")).alias("from")),
            changes.rename({"moment": "from"}),
        ],
        how="diagonal",
    ).filter(pl.col("status") != "terminated")
    found = nameless.join(numbers, on="msisdn").filter(
        pl.col("moment") >= pl.col("from"), pl.col("until").is_null() | (pl.col("moment") < pl.col("until"))
    )
    on = pl.col("moment").dt.date()
    months = (
        (on.dt.year() - pl.col("enrolled_on").dt.year()).cast(pl.Int32) * 12
        + on.dt.month().cast(pl.Int32)
        - pl.col("enrolled_on").dt.month()
    )
    is_short = pl.col("enrolled_on").dt.offset_by(pl.format("{}mo", months)) > on
    return (
        pl.concat([current.filter(pl.col("s").is_not_null()).select("s", "moment"), found.select("s", "moment")])
        .join(enrolled, on="s")
        .filter(pl.col("moment") >= pl.col("enrolled_at"))
        .with_columns(((months - is_short.cast(pl.Int32)) // 3).alias("quarter"))
        .filter(pl.col("quarter") < 3)
        .group_by("s")
        .agg(pl.lit(2, pl.Int32).pow(pl.col("quarter")).bitwise_or().alias("mask"))
    )


def dues(days: Iterable[date], day: date) -> pl.DataFrame:
    """What is due for each day of enrolment and mask of broken quarters, in the order in which grant ids sort."""
    rows = []
    for enrolled_on, mask in product(days, range(8)):
        streak = 0
        for quarter in (1, 2, 3):
            streak = 0 if mask >> (quarter - 1) & 1 else streak + 1
            for month in (1, 2, 3):
                since, until = (
                    enrolled_on + relativedelta(months=3 * quarter + month - less, days=2) for less in (1, 0)
                )
                rows.append((enrolled_on, mask, quarter, month, 100 * streak, since, until))
        since = enrolled_on + relativedelta(days=1)
        rows.append((enrolled_on, mask, 0, 0, 600, since, since + relativedelta(months=1)))
    names = ["enrolled_on", "mask", "quarter", "month", "volume_mb", "since", "until"]
    valid_from = pl.max_horizontal("since", pl.lit(day + relativedelta(days=1)))
    return (
        pl.DataFrame(rows, schema=names, orient="row")
        .filter(pl.col("volume_mb") > 0, pl.col("since") <= day + relativedelta(days=1))
        .with_columns(
            pl.col("mask").cast(pl.Int32),
            pl.when(pl.col("quarter") == 0)
            .then(pl.lit(".W.1"))
            .otherwise(pl.format(".Q{}M{}.1", "quarter", "month"))
            .alias("tag"),
            pl.when(pl.col("quarter") == 0).then(pl.lit("welcome")).otherwise(pl.lit("loyalty")).alias("kind"),
            valid_from.alias("valid_from"),
            (valid_from + (pl.col("until") - pl.col("since"))).alias("valid_until"),
        )
    )


def main(deliveries: Path, grants: Path, day: date) -> None:
    found = [path for path in sorted(deliveries.glob("*.csv.gz")) if path.name[-15:-7] <= f"{day:%Y%m%d}"]
    first, *later = [path for path in found if path.name.startswith("subscribers")]
    base, changes = read_base(first), read_changes(later)
    enrolled = enrol(read_events([path for path in found if path.name.startswith("app_events")]), changes)
    contacts, corrections = read_calls([path for path in found if path.name.startswith("calls")], enrolled)
    masks = broken(contacts, corrections, base, changes, enrolled)
    del contacts, corrections
    latest = changes.filter(pl.col("until").is_null()).select(
        "s", pl.col("msisdn").alias("new_msisdn"), pl.col("status").alias("new_status")
    )
    due = (
        enrolled.join(base, on="s")
        .join(latest, on="s", how="left")
        .join(masks, on="s", how="left")
        .filter(pl.coalesce("new_status", "status") == "active")
        .select(
            pl.format("S{}", pl.col("s").cast(pl.String).str.zfill(8)).alias("subscriber_id"),
            pl.coalesce("new_msisdn", "msisdn").alias("msisdn"),
            "enrolled_on",
            "withdrawn_on",
            pl.col("mask").fill_null(0),
        )
        .sort("subscriber_id")
    )
    steps = dues(enrolled["enrolled_on"].unique(), day)
    with open(grants, "wb") as file:
        for number, piece in enumerate(due.iter_slices(500_000)):
            piece.join(steps, on=["enrolled_on", "mask"], maintain_order="left_right").filter(
                pl.col("withdrawn_on").is_null()
                | (pl.col("quarter") == 0)
                | (pl.col("withdrawn_on") >= pl.col("since"))
            ).select(
                (pl.col("subscriber_id") + pl.col("tag")).alias("grant_id"),
                "subscriber_id",
                "msisdn",
                "kind",
                "quarter",
                "month",
                "volume_mb",
                "valid_from",
                "valid_until",
                pl.lit("bench").alias("wave_id"),
                pl.lit("pilot-2017").alias("terms_id"),
            ).write_csv(file, include_header=number == 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("deliveries", type=Path)
    parser.add_argument("grants", type=Path)
    parser.add_argument("--date", type=date.fromisoformat, required=True)
    given = parser.parse_args()
    main(given.deliveries, given.grants, given.date)
