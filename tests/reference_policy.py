"""Policy as section 1.2 says it: read from five CSV files, and fixed once used. Part of the reference."""

import csv
from dataclasses import dataclass
from datetime import date
from pathlib import Path


class PolicyError(Exception):
    """The policy is broken, or what was used of it has changed."""


@dataclass(frozen=True)
class Terms:
    terms_id: str
    welcome_mb: int
    quarters: int
    min_contact_seconds: int
    settlement_days: int
    enrolment_days: int
    max_attempts: int
    tiers: tuple[tuple[int, int], ...]  # (streak, mb_per_month), by streak

    def mb_per_month(self, streak: int) -> int:
        """A streak earns the greatest tier that it reaches."""
        reached = [mb for least, mb in self.tiers if least <= streak]
        return reached[-1] if reached else 0


@dataclass(frozen=True)
class Wave:
    wave_id: str
    terms_id: str
    invite_on: date
    treatment_size: int
    control_size: int
    seed: str
    brands: str

    def takes(self, brand: str) -> bool:
        return self.brands == "*" or brand in self.brands.split("|")


@dataclass(frozen=True)
class Policy:
    terms: dict[str, Terms]
    waves: dict[str, Wave]
    lines: dict[tuple[str, date], bool]  # (line, valid_from) -> counts
    outcomes: dict[tuple[str, date], bool]

    def line_counts(self, line: str, on: date) -> bool:
        return counts_on(self.lines, line, on)

    def outcome_counts(self, outcome: str, on: date) -> bool:
        return counts_on(self.outcomes, outcome, on)


def counts_on(rows: dict[tuple[str, date], bool], name: str, on: date) -> bool:
    """By the row with the greatest `valid_from <=` the date; without a row it does not count."""
    starts = [valid_from for of, valid_from in rows if of == name and valid_from <= on]
    return rows[name, max(starts)] if starts else False


def used_until(rows: dict[tuple[str, date], bool], latest: date) -> dict[tuple[str, date], bool]:
    return {key: counts for key, counts in rows.items() if key[1] <= latest}


def read_policy(folder: Path) -> Policy:
    try:
        tiers: dict[str, dict[int, int]] = {}
        for row in table(folder / "reward_tiers.csv"):
            put(tiers.setdefault(row["terms_id"], {}), int(row["streak"]), int(row["mb_per_month"]))
        terms: dict[str, Terms] = {}
        for row in table(folder / "terms.csv"):
            numbers = {name: int(row[name]) for name in list(Terms.__annotations__)[1:7]}
            put(
                terms,
                row["terms_id"],
                Terms(row["terms_id"], **numbers, tiers=tuple(sorted(tiers.get(row["terms_id"], {}).items()))),
            )
        waves: dict[str, Wave] = {}
        for row in table(folder / "waves.csv"):
            if row["terms_id"] not in terms:
                raise PolicyError(f"wave {row['wave_id']} has terms that are not there")
            put(
                waves,
                row["wave_id"],
                Wave(
                    row["wave_id"],
                    row["terms_id"],
                    date.fromisoformat(row["invite_on"]),
                    int(row["treatment_size"]),
                    int(row["control_size"]),
                    row["seed"],
                    row["brands"],
                ),
            )
        return Policy(
            terms,
            waves,
            counting(folder / "hotline_lines.csv", "line"),
            counting(folder / "contact_outcomes.csv", "outcome"),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise PolicyError(f"the policy is broken: {error!r}") from error  # fmt: skip


def counting(path: Path, name: str) -> dict[tuple[str, date], bool]:
    rows: dict[tuple[str, date], bool] = {}
    for row in table(path):
        put(rows, (row[name], date.fromisoformat(row["valid_from"])), {"true": True, "false": False}[row["counts"]])
    return rows


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file, strict=True))


def put(rows: dict, key, value) -> None:
    if key in rows:
        raise PolicyError(f"{key} is there twice")
    rows[key] = value


@dataclass
class UsedPolicy:
    """What was used and must stay as it is."""

    latest: date | None = None
    lines: dict[tuple[str, date], bool] | None = None
    outcomes: dict[tuple[str, date], bool] | None = None
    waves: dict[str, Wave] | None = None
    terms: dict[str, Terms] | None = None

    def remember(self, policy: Policy, d: date, drawn: list[str]) -> None:
        self.latest = d
        self.lines = used_until(policy.lines, d)
        self.outcomes = used_until(policy.outcomes, d)
        self.waves = {wave_id: policy.waves[wave_id] for wave_id in drawn}
        self.terms = {wave.terms_id: policy.terms[wave.terms_id] for wave in self.waves.values()}

    def check(self, policy: Policy) -> None:
        if self.latest is None:
            return
        if used_until(policy.lines, self.latest) != self.lines:
            raise PolicyError("lines that were used have changed")
        if used_until(policy.outcomes, self.latest) != self.outcomes:
            raise PolicyError("outcomes that were used have changed")
        for wave_id, wave in self.waves.items():
            if policy.waves.get(wave_id) != wave:
                raise PolicyError(f"wave {wave_id} is drawn and has changed")
        for terms_id, terms in self.terms.items():
            if policy.terms.get(terms_id) != terms:
                raise PolicyError(f"terms {terms_id} are used and have changed")
