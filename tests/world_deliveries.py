"""What the files of a world look like: plain, in other dress, with rows that are wrong, or spoilt as a whole."""

import csv
import gzip
import io
from datetime import date

from reference_files import FEEDS, ONE_DAY
from world_lives import Dice

# Rows that are rejected, and rows of which only a value is lost. {day} is the delivery's.
WRONG_ROWS = {
    "subscribers": (
        "s00,+4917655500000,s00@example.org,o2,M,active,true,,{day}T08:00:00",
        "s00,+4917655500000,s00@example.org,o2,M,active,true,,{day}T24:00:00Z",
        "s00,+4917655500000,s00@example.org,o2,M,active,true,,{after_next}T00:00:00+00:00",
        "s00,+4917655500000,s00@example.org,o2,M,active,True,,{day}T08:00:00Z",
        "s 1,+4917655500000,s00@example.org,o2,M,active,true,,{day}T08:00:00Z",
        "s01,017655500000,s00@example.org,o2,M,active,true,,{day}T08:00:00Z",
        "s01,+4917655500001,s01@example.org,,M,active,true,,{day}T08:00:00Z",
        "s01,+4917655500001,,o2,,gone,true,,{day}T08:00:00Z",
        's02,+4917655500002," ","o2",,active,true,2014-02-30,{day}T08:00:00Z',
        's03,+4917655500003,"a\n\nb@example.org",o2,,active,true,soon,{day}T08:00:00+02:00',
    ),
    "app_events": (
        ",s00,video_completed,{day}T08:00:00Z,android,5.1",
        "x1,,video_completed,{day}T08:00:00Z,android,5.1",
        "x2,s00,video_seen,{day}T08:00:00Z,android,5.1",
        "x3,s00,video_completed,{day} 08:00:00Z,android,5.1",
        "x4,s00,video_completed,{day}T08:00:00Z,android",
        "x5,s01,app_installed,{day}T08:00:00.5+02:00,,",
    ),
    "calls": (
        "x1,0,s00,+4917655500000,inbound,service,{day}T08:00:00Z,600,answered,false",
        "x2,1,s00,+4917655500000,inbound,service,{day}T08:00:00Z,5.7,answered,false",
        "x3,1,s00,+4917655500000,inbound,service,{day}T08:00:00Z,1000000000,answered,false",
        "x4,1,s00,+4917655500000,inbound,,{day}T08:00:00Z,600,answered,false",
        "x5,1,s00,+4917655500000,inbound,service,{day}T08:00:00Z,600,answered,",
        "x6,1,s00,+4917655500000,inbound,service,{day}T08:00Z,600,answered,false",
        "x7,1,s 0,+4917655500000,inbound,service,{day}T08:00:00Z,600,answered,false",
        "x8,1,,4917655500001,inbound,service,{day}T08:00:00Z,600,answered,false",
        "x9,007,s02,,inbound,service,{day}T08:00:00Z,000000600,answered,false",
    ),
}


def wrong_row(dice: Dice, feed: str, day: date) -> str:
    return dice.pick(*WRONG_ROWS[feed]).format(day=day, after_next=day + 2 * ONE_DAY)


def dressed(dice: Dice, feed: str, rows: list[str]) -> bytes:
    """The same rows as another sender would write them."""
    content = csv_of(feed, rows)
    match dice.pick("windows", "blank lines", "no last line end", "columns", "quoted"):
        case "windows":
            return b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")
        case "blank lines":
            return content.replace(b"Z\n", b"Z\n\n") + b"\n\n"
        case "no last line end":
            return content.removesuffix(b"\n")
    table = list(csv.reader(io.StringIO(content.decode(), newline="")))
    order = dice.random.sample(range(len(table[0])), len(table[0]))
    # Rows with the wrong number of fields keep it, and what they mean is lost either way.
    mixed = [[row[n] for n in order] + ["new"] if len(row) == len(order) else row for row in table]
    text = io.StringIO(newline="")
    quoting = dice.pick(csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows(mixed)
    return text.getvalue().encode()


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def csv_of(feed: str, rows: list[str]) -> bytes:
    return (FEEDS[feed].header + "".join(row + "\n" for row in rows)).encode()


def spoilt(dice: Dice, feed: str, rows: list[str]) -> bytes:
    """Content that makes the whole delivery be rejected."""
    match dice.pick("quote", "column", "rows", "utf-8"):
        case "quote":
            return csv_of(feed, rows) + b'"never closed'
        case "column":
            return csv_of(feed, rows).replace(b"subscriber_id", b"subscriber", 1)
        case "rows":
            return csv_of(feed, [*rows, *["too,few"] * (2 + len(rows))])
    return csv_of(feed, rows) + b"\xff"


def again(dice: Dice, feed: str, rows: list[str], others: list[str]) -> bytes:
    """What a redelivery of a day holds."""
    match dice.pick("less", "half", "none", "same", "more", "gone wrong", "other order"):
        case "less":
            return csv_of(feed, rows[:-1])
        case "half":
            return csv_of(feed, rows[: len(rows) // 2 + dice.number(-1, 1)])
        case "none":
            return csv_of(feed, [])
        case "more":
            return csv_of(feed, [*rows, *others[:3]])
        case "gone wrong":
            return spoilt(dice, feed, rows)
        case "other order":
            return csv_of(feed, rows[::-1])
    return csv_of(feed, rows)
