"""The shadow ladder: what each arm would have earned, had the ladder run for everybody from the invitation on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flows.steps.effects import Effect, difference
from flows.steps.experiment import Moments


@dataclass(frozen=True)
class Shadow:
    """What the ladder gives, in MB over the decided shadow quarters; the welcome volume is left out.

    `earned` is what the enrolled earn on their shadow ladder. `bought` is treatment less control for as many
    members as treatment has: volume that would not have been earned without the programme. The rest, `deadweight`,
    would have been earned by people who did not know of it.
    """

    quarters: int
    treatment_mean: float
    control_mean: float
    per_member: Effect
    earned: float
    bought: Effect
    deadweight: Effect

    def share_of_earned(self, estimate: Effect) -> Effect | None:
        """An estimate as a share of what the enrolled earn."""
        return estimate.times(1 / self.earned) if self.earned > 0 else None


def shadow(rows: Iterable[Mapping[str, Any]]) -> Shadow | None:
    """The shadow ladder of one wave, from `report_ladder`. None without a decided quarter or with too few members."""
    rows = list(rows)
    last = max((row["quarter"] for row in rows), default=0)
    final = [row for row in rows if row["quarter"] == last]
    arms = {arm: _sums(row for row in final if row["arm"] == arm) for arm in ("treatment", "control")}
    if min(arm.n for arm in arms.values()) < 2:
        return None
    treatment, control = arms["treatment"], arms["control"]
    # The ladder is judged when a quarter is decided, not every day: the fixed interval is the one to read.
    spread = float(max(treatment.sample().variance, control.sample().variance, 1))
    per_member = difference(treatment, control, planned_clock=spread)
    earned = _sums(row for row in final if row["is_enrolled"]).y
    bought = per_member.times(treatment.n)
    return Shadow(
        last,
        treatment.y / treatment.n,
        control.y / control.n,
        per_member,
        earned,
        bought,
        bought.times(-1).plus(earned),
    )


def _sums(rows: Iterable[Mapping[str, Any]]) -> Moments:
    total = Moments(0, 0, 0, 0, 0, 0)
    for row in rows:
        n, mb = row["member_count"], row["total_mb"]
        total += Moments(n, n * mb, n * mb * mb, 0, 0, 0)
    return total


def tiers_reached(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By arm, quarter and streak: members, and their share of the arm's."""
    counts: dict[tuple[str, int, int], int] = {}
    for row in rows:
        key = (row["arm"], row["quarter"], row["streak"])
        counts[key] = counts.get(key, 0) + row["member_count"]
    size: dict[tuple[str, int], int] = {}
    for (arm, quarter, _), count in counts.items():
        size[arm, quarter] = size.get((arm, quarter), 0) + count
    return [
        {"arm": arm, "quarter": quarter, "streak": streak, "members": count, "share": count / size[arm, quarter]}
        for (arm, quarter, streak), count in sorted(
            counts.items(), key=lambda item: (item[0][1], item[0][2], item[0][0])
        )
    ]
