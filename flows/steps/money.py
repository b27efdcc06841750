"""What the programme costs and saves, at several prices of data and costs of a contact.

Volumes are in MB, and a GB has 1000 of them. The cost is taken as certain, as the KPI `net_eur` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.steps.effects import Effect

MB_PER_GB = 1000


@dataclass(frozen=True)
class Case:
    """One price of data (EUR a GB) with one cost of a contact (EUR): what it comes to, in EUR."""

    eur_per_gb: float
    eur_per_contact: float
    cost: float
    saved: Effect
    net: Effect


def cases(
    committed_mb: float, saved_contacts: Effect, eur_per_gb: Sequence[float], eur_per_contact: Sequence[float]
) -> list[Case]:
    """Each price with each cost."""
    found = []
    for contact in eur_per_contact:
        for price in eur_per_gb:
            cost = committed_mb / MB_PER_GB * price
            saved = saved_contacts.times(contact)
            found.append(Case(price, contact, cost, saved, saved.plus(-cost)))
    return found


@dataclass(frozen=True)
class BreakEven:
    """Where savings and cost are equal: the price of a GB for a cost of a contact, or the other way round."""

    given: float
    value: float
    low: float | None
    high: float | None


def break_even_price(committed_mb: float, saved_contacts: Effect, eur_per_contact: float) -> BreakEven | None:
    """The dearest GB (EUR) at which it pays; below 0: it pays at no price. None while nothing is committed."""
    if committed_mb <= 0:
        return None
    price = saved_contacts.times(eur_per_contact * MB_PER_GB / committed_mb)
    return BreakEven(eur_per_contact, price.value, price.low, price.high)


def break_even_contact(committed_mb: float, saved_contacts: Effect, eur_per_gb: float) -> BreakEven | None:
    """The cheapest contact (EUR) at which it pays. None where no contact is saved; a bound that is None is endless."""
    if saved_contacts.value <= 0:
        return None
    cost = committed_mb / MB_PER_GB * eur_per_gb
    low, high = saved_contacts.low, saved_contacts.high
    return BreakEven(
        eur_per_gb,
        cost / saved_contacts.value,
        cost / high if high is not None and high > 0 else None,
        cost / low if low is not None and low > 0 else None,
    )


@dataclass(frozen=True)
class Rollout:
    """N lines invited as treatment was, over a window as long as the pilot's so far."""

    lines: int
    committed_mb: float
    saved_contacts: Effect
    cost: float
    net: Effect


def rollout(
    lines: Sequence[int],
    committed_mb_per_member: float,
    saved_per_member: Effect,
    eur_per_gb: float,
    eur_per_contact: float,
) -> list[Rollout]:
    """What an invitation of so many lines would mean, at one price and one cost."""
    found = []
    for count in lines:
        volume = committed_mb_per_member * count
        saved = saved_per_member.times(count)
        cost = volume / MB_PER_GB * eur_per_gb
        found.append(Rollout(count, volume, saved, cost, saved.times(eur_per_contact).plus(-cost)))
    return found
