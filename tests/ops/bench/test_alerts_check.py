"""The checker of the alerts bench finds what must not be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from ops.bench.alerts.check import Sinks, check
from ops.bench.alerts.sinks import HttpSink, MailSink, Manner, Taken
from pipeline.oncall.messages import REPEAT, Message, MessageKind
from pipeline.oncall.outbox import AttemptKind, Delivery
from pipeline.oncall.sinks.rendering import (
    Setting,
    alertmanager_alert,
    email_message,
    pagerduty_event,
    slack_message,
    webhook_event,
)
from tests.oncall.given import group, message
from tests.records import NOON_MS

SETTING = Setting("bench", "docs/runbooks/X.md", shows_evidence=False)
NAMES = ("pager", "alertmanager", "slack", "hook", "mail")


def taken(body: object, at_s: float = 0.0, **headers: str) -> Taken:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Taken("/", named, json.dumps(body).encode(), Manner.TAKES, at_s)


def told(about: Message, *, is_repeat: bool = False) -> str:
    return email_message(about, SETTING, "a@b.example", ("c@d.example",), is_repeat=is_repeat).as_string()


class Scene:
    """One message to each sink, which took it once."""

    def __init__(self) -> None:
        self.messages = {name: message(sink=name) for name in NAMES}
        self.deliveries = [Delivery(each, True, NOON_MS, end=AttemptKind.DELIVERED) for each in self.messages.values()]
        self.sinks = Sinks(HttpSink(), HttpSink(), HttpSink(), HttpSink(), MailSink())
        pager, hook = self.messages["pager"], self.messages["hook"]
        self.sinks.pager.asked.append(taken(pagerduty_event(pager, SETTING, "0" * 32)))
        self.sinks.alertmanager.asked.append(taken([alertmanager_alert(pager, SETTING, NOON_MS)]))
        self.sinks.slack.asked.append(self.slack(is_repeat=False))
        self.sinks.hook.asked.append(taken(webhook_event(hook, SETTING), webhook_id=hook.delivery_id))
        self.sinks.mail.taken.append(told(self.messages["mail"]))

    def slack(self, *, is_repeat: bool, at_s: float = 0.0) -> Taken:
        return taken(slack_message(self.messages["slack"], SETTING, "C1", None, is_repeat=is_repeat), at_s)

    def violations(self) -> tuple[str, ...]:
        return check([group()], self.deliveries, self.sinks, set()).violations

    def end(self, name: str, end: AttemptKind | None) -> None:
        number = NAMES.index(name)
        self.deliveries[number] = replace(self.deliveries[number], end=end)


def test_what_went_well_has_no_violation() -> None:
    assert () == Scene().violations()


def test_repeat_that_says_so_is_none() -> None:
    scene = Scene()
    scene.sinks.slack.asked.append(scene.slack(is_repeat=True, at_s=2.0))
    scene.sinks.mail.taken.append(told(scene.messages["mail"], is_repeat=True))
    assert REPEAT in scene.sinks.slack.asked[1].body.decode()
    assert () == scene.violations()


def resolved_and_triggered_again(scene: Scene) -> None:
    over = message(MessageKind.RESOLVED)
    again = scene.sinks.pager.asked[0]
    scene.sinks.pager.asked += [taken(pagerduty_event(over, SETTING, "0" * 32)), again]


PLANTED: dict[str, tuple[Callable[[Scene], object], str]] = {
    "a message that has not ended": (lambda scene: scene.end("hook", None), "lost"),
    "an end that nobody was told of": (lambda scene: scene.end("slack", AttemptKind.GAVE_UP), "lost"),
    "a doubt that nobody was told of": (lambda scene: scene.end("mail", AttemptKind.DOUBTFUL), "lost"),
    "a webhook that never came": (lambda scene: scene.sinks.hook.asked.clear(), "lost"),
    "a mail that never came": (lambda scene: scene.sinks.mail.taken.clear(), "lost"),
    "a page that never came": (lambda scene: scene.sinks.pager.asked.clear(), "lost"),
    "a repeat that says nothing": (
        lambda scene: scene.sinks.slack.asked.append(scene.slack(is_repeat=False, at_s=2.0)),
        "twice",
    ),
    "two repeats": (
        lambda scene: scene.sinks.mail.taken.extend([told(scene.messages["mail"], is_repeat=True)] * 2),
        "twice",
    ),
    "another key": (lambda scene: scene.sinks.hook.asked.append(taken({}, webhook_id="other")), "twice"),
    "an incident after its end": (resolved_and_triggered_again, "pages"),
    "too many a second": (
        lambda scene: scene.sinks.slack.asked.append(scene.slack(is_repeat=True, at_s=0.5)),
        "pace",
    ),
}


@pytest.mark.parametrize(("plant", "kind"), PLANTED.values(), ids=PLANTED)
def test_planted_fault_is_found(plant: Callable[[Scene], object], kind: str) -> None:
    scene = Scene()
    plant(scene)
    assert any(each.startswith(kind) for each in scene.violations())
