"""The alerts: Prefect's automations as values, each told by a webhook, by e-mail or by both.

A flow that ends in a state of a certain name is the event that an automation waits for. Events and messages carry
counts, dates, names of feeds and of runs, and nothing of a person.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from prefect.automations import AutomationCore, CallWebhook, EventTrigger, Posture, SendNotification
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient

from flows.settings import Settings

NEEDS_A_PERSON = "NeedsAPerson"
FEED_LATE = "FeedLate"
# A run that is late by so much, though the limit of the pool would let it start, did not start.
START_WITHIN = timedelta(minutes=15)

_RUN = {"prefect.resource.id": "prefect.flow-run.*"}
_OURS = {"prefect.resource.id": "prefect.tag.callfree", "prefect.resource.role": "tag"}
_MESSAGE = "{{ flow_run.state.message }}"


@dataclass(frozen=True)
class Alert:
    """What is told, and the events that a run of ours must show, or must not fail to show, for it."""

    name: str
    what: str
    expect: frozenset[str]
    after: frozenset[str] = field(default_factory=frozenset)
    within: timedelta = timedelta(0)

    def trigger(self) -> EventTrigger:
        return EventTrigger(
            match=_RUN,
            match_related=_OURS,
            for_each={"prefect.resource.id"},
            after={f"prefect.flow-run.{name}" for name in self.after},
            expect={f"prefect.flow-run.{name}" for name in self.expect},
            posture=Posture.Proactive if self.after else Posture.Reactive,
            threshold=1,
            within=self.within,
        )


ALERTS = (
    Alert("callfree: a run failed", "failed", frozenset({"Failed", "Crashed", "TimedOut"})),
    Alert(
        "callfree: a run did not start",
        "did not start",
        expect=frozenset({"Pending", "Running", "Completed", "Failed", "Crashed", "Cancelled"}),
        after=frozenset({"Late"}),
        within=START_WITHIN,
    ),
    Alert("callfree: a feed is late", "a feed is late", frozenset({FEED_LATE})),
    Alert("callfree: something needs a person", "needs a person", frozenset({NEEDS_A_PERSON})),
)


def put(client: SyncPrefectClient, settings: Settings, alerts: tuple[Alert, ...] = ALERTS) -> list[str]:
    """Make the automations on the server what the values say, and return their names; without a target there are none.

    What bears one of the names and is no longer wanted goes.
    """
    webhook, email = _webhook(settings), _email(settings)
    wanted = alerts if webhook or email else ()
    for alert in alerts:
        for old in client.read_automations_by_name(alert.name):
            client.delete_automation(old.id)
    for alert in wanted:
        client.create_automation(
            AutomationCore(
                name=alert.name,
                description="Made by callfree, and made anew whenever it deploys.",
                trigger=alert.trigger(),
                actions=[action for action in (_call(webhook, alert), _mail(email, alert)) if action],
            )
        )
    return [alert.name for alert in wanted]


def _webhook(settings: Settings):
    if settings.alert_webhook is None:
        return None
    block = Webhook(url=settings.alert_webhook, headers={"Content-Type": "application/json"})
    return block.save("callfree-alerts", overwrite=True)


def _email(settings: Settings):
    if settings.alert_email is None:
        return None
    # This block hands any address to Apprise, and it is the plainest of those that every server knows: decisions/.
    return SlackWebhook(url=settings.alert_email).save("callfree-alerts-by-email", overwrite=True)


def _call(block_id, alert: Alert) -> CallWebhook | None:
    if block_id is None:
        return None
    payload = (
        f'{{"alert": "{alert.name}", "run": {{{{ flow_run.name | tojson }}}},'
        ' "message": {{ flow_run.state.message | string | tojson }}, "url": {{ flow_run | ui_url | string | tojson }}}'
    )
    return CallWebhook(block_document_id=block_id, payload=payload)


def _mail(block_id, alert: Alert) -> SendNotification | None:
    if block_id is None:
        return None
    return SendNotification(
        block_document_id=block_id,
        subject=f"callfree: {{{{ flow_run.name }}}}: {alert.what}",
        body=f"{_MESSAGE}\n\n{{{{ flow_run | ui_url }}}}\n",
    )
