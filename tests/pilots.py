"""Invented pilots as the report reads them: the tables of sums, made from members one by one."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from flows.steps.report_facts import Facts

INVITE_ON = date(2017, 7, 17)
CLOSES_ON = date(2018, 10, 15)
NOBODY = Facts(date(2018, 7, 16), *([] for _ in range(11)))


def member(arm="treatment", brand="o2", y=0, x=0, is_enrolled=False, ended=False):
    return {"arm": arm, "brand": brand, "y": y, "x": x, "is_enrolled": is_enrolled, "ended": ended}


def crowd(treatment=400, control=200, effect=-0.25, seed=1):
    """A pilot of some size that works, or not."""
    rng = np.random.default_rng(seed)
    found = []
    for arm, count in (("treatment", treatment), ("control", control)):
        for place in range(count):
            rate = 0.5 if place % 5 < 3 else 2.4
            enrolled = arm == "treatment" and place % 2 == 0
            rate_after = rate * (1 + effect) if arm == "treatment" else rate
            brand = ("o2", "blau", "fonic")[place % 3]
            found.append(
                member(arm, brand, int(rng.poisson(rate_after)), int(rng.poisson(rate / 4)), enrolled, place % 20 == 7)
            )
    return found


def pilot(members, window_days=300, **changes) -> Facts:
    """The facts of one wave, `w1`. All contacts are spread over the months; the ladder has one decided quarter."""
    until = INVITE_ON + timedelta(days=window_days)
    size = Counter(one["arm"] for one in members)
    rows = {
        "waves": [
            {
                "wave_id": "w1", "wave_no": 1, "terms_id": "pilot-2017", "invite_on": INVITE_ON, "window_until": until,
                "window_closes_on": CLOSES_ON, "window_days": window_days, "counting_call_count": 1000,
                "unattributed_call_count": 50, "treatment_size": size["treatment"], "control_size": size["control"],
                "quarters": 3, "settlement_days": 2, "enrolment_days": 90, "mb_by_streak": "100,200,300",
                "delivered_days": window_days, "waived_days": 0, "missing_days": 0, "contact_count": 800,
                "unattributed_contact_count": 40, "line_count": 2000,
                **changes,
            }
        ],
        "moments": [_moments(arm, [one for one in members if one["arm"] == arm]) for arm in ("treatment", "control")],
        "cells": _cells(members),
    }  # fmt: skip
    if window_days:
        rows |= _windowed(members, window_days)
    enrolled = sum(one["is_enrolled"] for one in members)
    if enrolled:
        rows["volumes"] = [
            {
                "wave_id": "w1",
                "welcome_mb": 600 * enrolled,
                "loyalty_mb": 0,
                "due_mb": 0,
                "to_come_mb": 0,
                "parked_mb": 0,
            }
        ]
        rows["standing"] = [
            {
                "cut_on": cut_on, "wave_id": "w1", "enrolled_on": INVITE_ON + timedelta(days=10), "ended_count": ended,
                "streak": ended, "has_called_since": False, "has_left": False, "member_count": enrolled,
            }
            for cut_on, ended in ((NOBODY.business_date, 3), (date(2018, 4, 16), 2))
        ]  # fmt: skip
        rows["ended_quarters"] = [
            {
                "cut_on": row["cut_on"], "wave_id": "w1", "quarter": quarter, "streak_before": quarter - 1,
                "is_call_free": True, "quarter_count": enrolled,
            }
            for row in rows["standing"]
            for quarter in range(1, row["ended_count"] + 1)
        ]  # fmt: skip
        rows["fell_due"] = [{"cut_on": date(2018, 4, 16), "wave_id": "w1", "period": 1, "due_mb": 300 * enrolled}]
    return replace(NOBODY, **rows)


def _moments(arm, members):
    y, x = [one["y"] for one in members], [one["x"] for one in members]
    enrolled = sum(one["is_enrolled"] for one in members)
    return {
        "wave_id": "w1", "arm": arm, "member_count": len(members), "invited_count": len(members) * (arm == "treatment"),
        "installed_count": enrolled, "signed_in_count": enrolled, "watched_count": enrolled, "enrolled_count": enrolled,
        "contact_sum": sum(y), "contact_square_sum": sum(one * one for one in y), "before_sum": sum(x),
        "before_square_sum": sum(one * one for one in x), "call_free_count": y.count(0),
        "product_sum": sum(one * other for one, other in zip(x, y, strict=True)),
        "terminated_count": sum(one["ended"] for one in members), "granted_mb": 600 * enrolled,
        "committed_mb": 900 * enrolled,
    }  # fmt: skip


def _cells(members):
    groups = {}
    for one in members:
        groups.setdefault((one["arm"], one["brand"], min(one["x"], 3)), []).append(one)
    return [
        {
            **_moments(arm, found), "brand": brand, "tariff": "S", "before_group": group, "line_age_count": len(found),
            "line_age_sum": 100 * len(found), "line_age_square_sum": 10_000 * len(found),
            "line_age_before_sum": 100 * sum(one["x"] for one in found),
            "before_known_sum": sum(one["x"] for one in found),
        }
        for (arm, brand, group), found in sorted(groups.items())
    ]  # fmt: skip


def _windowed(members, window_days):
    first = Counter((one["arm"], one["y"] * 7 % window_days, True) for one in members if one["y"])
    first.update((one["arm"], window_days, False) for one in members if not one["y"])
    months, steps = [], Counter()
    for month in range(1, window_days // 31 + 1):
        for arm in ("treatment", "control"):
            y = [one["y"] // 9 + (one["y"] % 9 >= month) for one in members if one["arm"] == arm]
            if y:
                months.append(
                    {
                        "wave_id": "w1", "arm": arm, "month": month, "member_count": len(y), "contact_sum": sum(y),
                        "contact_square_sum": sum(one * one for one in y),
                    }
                )  # fmt: skip
    for one in members:
        steps[one["arm"], one["is_enrolled"], int(one["y"] < 2)] += 1
    return {
        "first_contacts": [
            {
                "wave_id": "w1", "arm": arm, "day": day, "first_contact_count": count * called,
                "left_count": count * (not called),
            }
            for (arm, day, called), count in sorted(first.items())
        ],
        "months": months,
        "ladder": [
            {
                "wave_id": "w1", "arm": arm, "is_enrolled": is_enrolled, "quarter": 1, "streak": streak,
                "earned_mb": 300 * streak, "total_mb": 300 * streak, "member_count": count,
            }
            for (arm, is_enrolled, streak), count in sorted(steps.items())
            if window_days > 95
        ],
        "quarters": [
            {"wave_id": "w1", "quarter": 1, "streak": streak, "quarter_count": count}
            for (_, is_enrolled, streak), count in sorted(steps.items())
            if is_enrolled
        ],
    }  # fmt: skip
