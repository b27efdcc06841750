"""What is told of subscribers must be what ledger and marts say, and what the pipeline does without the calls."""

import json
import re

from flows.steps import policy
from flows.steps.derivation import derive
from flows.steps.explain import Story
from flows.steps.warehouse import connect, rows
from world_comparison import difference


def story_difference(home) -> str | None:
    """The first thing told in a home that is not so. Derives the home's warehouse anew, so it comes last."""
    return told_difference(home) or what_if_difference(home)


def told_difference(home) -> str | None:
    """Every subscriber's story against the ledger's grants and the marts of the last run."""
    with connect(home.settings.marts, read_only=True) as marts:
        names = [row["subscriber_id"] for row in rows(marts, "from subscribers")]
        stories = {name: Story(marts, name).told() for name in names}
    text = json.dumps(stories, default=str)
    if found := re.search(r"\{\w+\}|@|\+\d{8}", text):
        return f"told: something that must not be there, {text[found.start() - 40 : found.end()]}"
    granted = {
        (entry["grant_id"], entry["volume_mb"], entry["valid_from"], entry["file_name"])
        for story in stories.values()
        for row in story["grants"]
        for entry in row["entries"]
    }
    posted = home._ask(
        "select grant_id, grants.volume_mb, valid_from, file_name from ledger.grants"
        " inner join ledger.batches on grants.sequence = batches.sequence"
        f" where list_contains({names!r}, subscriber_id)"
    )
    drawn = {
        name: (story["membership"]["wave_id"], story["membership"]["arm"])
        for name, story in stories.items()
        if story["membership"]
    }
    members = home._ask(
        f"select subscriber_id, wave_id, arm from ledger.members where list_contains({names!r}, subscriber_id)"
    )
    outcomes = {
        (name, draw["wave_id"])
        for name, story in stories.items()
        for draw in story["draws"]
        if draw["draw_outcome"] == "drawn"
    }
    missing = {
        (name, row["quarter"], row["month"]): (row["entitlement_state"], row["missing_mb"], row["overpaid_mb"])
        for name, story in stories.items()
        for row in story["grants"]
    }
    entitled = home._ask(
        "select subscriber_id, quarter, month, entitlement_state, missing_mb, overpaid_mb from marts.entitlements"
        f" where list_contains({names!r}, subscriber_id)"
    )
    contacts = {
        (name, quarter["quarter"]): (quarter["contact_count"], quarter["streak"])
        for name, story in stories.items()
        for quarter in story["quarters"]
        if quarter["is_decided"]
    }
    listed = {
        (name, quarter["quarter"]): (len(quarter["contacts"]), quarter["streak"])
        for name, story in stories.items()
        for quarter in story["quarters"]
        if quarter["is_decided"]
    }
    decided = {key: row[1:] for key, row in home.quarters.items() if key[0] in names}
    return (
        difference("told grants", set(posted), granted)
        or difference("told members", {name: tuple(rest) for name, *rest in members}, drawn)
        or difference("told draws", {(name, wave) for name, wave, _ in members}, outcomes)
        or difference("told entitlements", {tuple(row[:3]): tuple(row[3:]) for row in entitled}, missing)
        or difference("told quarters", decided, contacts)
        or difference("told contacts", decided, listed)
    )


def what_if_difference(home) -> str | None:
    """For each subscriber with contacts, one quarter of them is taken back and the pipeline derives: is it as told?"""
    told = home._ask(
        "select subscriber_id, quarter, without_quarter, is_decided, streak, mb_per_month"
        " from marts.quarters_without_contacts"
        " qualify without_quarter = max(without_quarter) over (partition by subscriber_id)"
    )
    if not told:
        return None
    before = home._ask("select subscriber_id, quarter, is_decided, streak, mb_per_month from marts.quarters")
    with connect(home.settings.warehouse) as warehouse:
        warehouse.execute(
            """
            update raw.calls set voided = true
            where call_id in (
                select contacts.call_id
                from marts.contacts
                inner join marts.quarters_without_contacts as without
                    on contacts.subscriber_id = without.subscriber_id and contacts.quarter = without.without_quarter
                where without.without_quarter = (
                    select max(others.without_quarter) from marts.quarters_without_contacts as others
                    where others.subscriber_id = without.subscriber_id
                )
            )
            """
        )
        warehouse.execute("update raw.run set is_posting = true")
    derive(home.settings, policy.load(home.settings.policy))
    expected = {tuple(row[:2]): tuple(row[2:]) for row in before}
    expected |= {(who, quarter): tuple(rest) for who, quarter, _, *rest in told}
    after = home._ask("select subscriber_id, quarter, is_decided, streak, mb_per_month from marts.quarters")
    entitled = home._ask(
        "select subscriber_id, quarter, month, entitled_mb from marts.entitlements where quarter > 0 and is_decided"
    )
    worth = {
        (who, quarter, month): (mb if streak else 0)
        for (who, quarter), (is_decided, streak, mb) in expected.items()
        for month in (1, 2, 3)
        if is_decided
    }
    return difference(
        "quarters without contacts", expected, {tuple(row[:2]): tuple(row[2:]) for row in after}
    ) or difference("entitled without contacts", worth, {tuple(row[:3]): row[3] for row in entitled})
