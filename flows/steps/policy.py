"""The programme's policy: five CSV files that its owner may change, checked to the cell (rule 1.2)."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from flows.errors import WrongUsage
from flows.steps.files import write_whole


def _digits(value: str) -> str:
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise ValueError("must be a whole number from 0")
    return value


def _flag(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def _day(value: str) -> date:
    try:
        day = date.fromisoformat(value)
        # Python knows more ways to write a date.
        if day.isoformat() == value:
            return day
    except ValueError:
        pass
    raise ValueError("must be a date like 2017-07-17")


def _brands(value: str) -> str:
    names = value.split("|")
    if "" in names or len(set(names)) < len(names) or ("*" in names and len(names) > 1):
        raise ValueError("must be * or different brands joined with |")
    return value


# These stand in files that go out; a spreadsheet would take one that begins with a hyphen for a formula.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,31}$")]
Whole = Annotated[int, BeforeValidator(_digits)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Day = Annotated[date, BeforeValidator(_day)]
Text = Annotated[str, Field(min_length=1)]


class Terms(BaseModel):
    """The rules that a wave signed up to. Sizes in MB, durations in seconds and days."""

    terms_id: Name
    welcome_mb: Whole
    # `kpi_members` has a bit for each.
    quarters: Annotated[Whole, Field(ge=1, le=100)]
    min_contact_seconds: Whole
    settlement_days: Annotated[Whole, Field(le=3650)]
    enrolment_days: Annotated[Whole, Field(le=36500)]
    max_attempts: Annotated[Whole, Field(ge=1)]


class RewardTier(BaseModel):
    """A streak of at least so many quarters earns so many MB a month."""

    terms_id: Name
    streak: Annotated[Whole, Field(ge=1)]
    mb_per_month: Whole


class Wave(BaseModel):
    """One draw of the pilot."""

    wave_id: Name
    terms_id: Name
    invite_on: Day
    treatment_size: Whole
    control_size: Whole
    seed: str
    brands: Annotated[str, BeforeValidator(_brands)]


class HotlineLine(BaseModel):
    """Whether calls on a line count, from a day on."""

    line: Text
    valid_from: Day
    counts: Flag
    label: str


class ContactOutcome(BaseModel):
    """Whether calls with an outcome count, from a day on."""

    outcome: Text
    valid_from: Day
    counts: Flag
    label: str


@dataclass(frozen=True)
class _File:
    model: type[BaseModel]
    key: tuple[str, ...]


_FILES = {
    "terms": _File(Terms, ("terms_id",)),
    "reward_tiers": _File(RewardTier, ("terms_id", "streak")),
    "waves": _File(Wave, ("wave_id",)),
    "hotline_lines": _File(HotlineLine, ("line", "valid_from")),
    "contact_outcomes": _File(ContactOutcome, ("outcome", "valid_from")),
}

# A used row of the policy: its file and key, and its content without the label.
UsedRows = dict[tuple[str, str], str]


@dataclass(frozen=True)
class Policy:
    """The five tables, checked."""

    terms: tuple[Terms, ...]
    reward_tiers: tuple[RewardTier, ...]
    waves: tuple[Wave, ...]
    hotline_lines: tuple[HotlineLine, ...]
    contact_outcomes: tuple[ContactOutcome, ...]

    def used(self, drawn_waves: Iterable[str], latest_run: date | None) -> UsedRows:
        """What is fixed once these waves are drawn and this run is done."""
        drawn = set(drawn_waves)
        terms_in_use = {wave.terms_id for wave in self.waves if wave.wave_id in drawn}
        is_used: dict[str, Callable[[Any], bool]] = {
            "terms": lambda row: row.terms_id in terms_in_use,
            "reward_tiers": lambda row: row.terms_id in terms_in_use,
            "waves": lambda row: row.wave_id in drawn,
            "hotline_lines": lambda row: latest_run is not None and row.valid_from <= latest_run,
            "contact_outcomes": lambda row: latest_run is not None and row.valid_from <= latest_run,
        }
        return {
            (name, _key(file, row)): json.dumps(row.model_dump(mode="json", exclude={"label"}), sort_keys=True)
            for name, file in _FILES.items()
            for row in getattr(self, name)
            if is_used[name](row)
        }

    def kept(self) -> str:
        """The policy as one text, for the ledger to keep."""
        files = {
            f"{name}.csv": _as_csv(
                list(file.model.model_fields), [row.model_dump(mode="json") for row in getattr(self, name)]
            )
            for name, file in _FILES.items()
        }
        return json.dumps(files, sort_keys=True)


def restore(kept: str, folder: Path) -> None:
    """Write the five files of a policy that the ledger kept."""
    for name, content in json.loads(kept).items():
        write_whole(folder / name, [content.encode()])


def _as_csv(columns: list[str], table: list[dict]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in table:
        writer.writerow(str(value).lower() if isinstance(value, bool) else value for value in row.values())
    return text.getvalue()


def _key(file: _File, row: BaseModel) -> str:
    return ", ".join(str(getattr(row, column)) for column in file.key)


def load(folder: Path) -> Policy:
    """Read and check the five files. Raises WrongUsage naming file, column and row, the first after the header as 1."""
    tables = {name: _read(folder / f"{name}.csv", file) for name, file in _FILES.items()}
    known_terms = {row.terms_id for row in tables["terms"]}
    for name in ("reward_tiers", "waves"):
        for number, row in enumerate(tables[name], 1):
            if row.terms_id not in known_terms:
                _broken(f"{name}.csv", number, "terms_id", f"{row.terms_id} is not in terms.csv")
    for number, wave in enumerate(tables["waves"], 1):
        if wave.treatment_size + wave.control_size == 0:
            _broken("waves.csv", number, "treatment_size", "a wave needs members")
    numbered = enumerate(tables["reward_tiers"], 1)
    tiers = sorted(numbered, key=lambda item: (item[1].terms_id, item[1].streak))
    for (_, lower), (number, upper) in pairwise(tiers):
        if lower.terms_id == upper.terms_id and upper.mb_per_month < lower.mb_per_month:
            _broken("reward_tiers.csv", number, "mb_per_month", f"falls below that of streak {lower.streak}")
    return Policy(**{name: tuple(rows) for name, rows in tables.items()})


def _read(path: Path, file: _File) -> list[Any]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            lines = [line for line in csv.reader(handle, strict=True) if line]
    except FileNotFoundError:
        raise WrongUsage(f"The policy lacks {path.name}: put all five files into {path.parent}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongUsage(f"The policy's {path.name} cannot be read as CSV in UTF-8 ({error}).") from None
    header = lines[0] if lines else []
    columns = list(file.model.model_fields)
    for column in columns:
        if header.count(column) != 1:
            raise WrongUsage(f"The policy's {path.name} needs the column {column} once in its header.")
    for column in header:
        if column not in columns:
            raise WrongUsage(f"The policy's {path.name} has a column that nobody knows: {column}.")
    rows, keys = [], set()
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(header):
            _broken(
                path.name, number, header[min(len(line), len(header) - 1)], "the row has the wrong number of fields"
            )
        try:
            row = file.model.model_validate(dict(zip(header, line, strict=True)))
        except ValidationError as error:
            first = error.errors()[0]
            _broken(path.name, number, str(first["loc"][0]), first["msg"].removeprefix("Value error, "))
        key = _key(file, row)
        if key in keys:
            _broken(path.name, number, file.key[-1], f"{key} is there twice")
        keys.add(key)
        rows.append(row)
    return rows


def _broken(file_name: str, number: int, column: str, what: str) -> None:
    raise WrongUsage(f"The policy is broken: {file_name}, row {number}, column {column}: {what}.")


def check_unchanged(recorded: UsedRows, used: UsedRows) -> None:
    """What was used is fixed. Raises WrongUsage naming the first difference."""
    # Waves first: without theirs the terms in use would seem gone.
    for (name, key), content in sorted(recorded.items(), key=lambda row: (row[0][0] != "waves", row)):
        now = used.get((name, key))
        if now is None:
            _changed(name, key, "is gone")
        if now != content:
            was, is_now = json.loads(content), json.loads(now)
            column = next(column for column in was if was[column] != is_now[column])
            _changed(name, key, f"{column} was {was[column]} and is {is_now[column]}")
    for name, key in sorted(used.keys() - recorded.keys()):
        _changed(name, key, "was added")


def _changed(name: str, key: str, what: str) -> None:
    raise WrongUsage(
        f"The policy was changed after it was used: {name}.csv, {key}: {what}."
        " Put it back; a correction is a new row that starts later."
    )
