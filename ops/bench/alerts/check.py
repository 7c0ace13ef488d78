"""Checks that hold for everything that the sinks took, compared with the outbox, message by message."""

from __future__ import annotations

import email
import email.policy
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ops.bench.alerts.sinks import HttpSink, MailSink, Taken
from pipeline.oncall.groups import Group
from pipeline.oncall.messages import REPEAT, MessageKind
from pipeline.oncall.outbox import AttemptKind, Delivery

SLACK_GAP_S = 0.9
"""Between two requests to one channel: a second, less what the clock and the threads may differ."""


class Sinks(NamedTuple):
    pager: HttpSink
    alertmanager: HttpSink
    slack: HttpSink
    hook: HttpSink
    mail: MailSink


class Report(NamedTuple):
    """lost: messages that no sink took and nobody was told of. doubtful: those that were told of as such."""

    messages: int
    lost: int
    doubtful: int
    copies: dict[str, int]
    repeats: dict[str, int]
    violations: tuple[str, ...]


def check(groups: Sequence[Group], deliveries: Sequence[Delivery], sinks: Sinks, told: set[str]) -> Report:
    """told: the ids of messages that ALERT_NOT_DELIVERED names on alerts.v1."""
    copies = _copies(sinks)
    violations = [
        *_lost(deliveries, copies, told),
        *_twice(deliveries, copies),
        *_grouped(groups, sinks),
        *_paced(sinks),
    ]
    ends = Counter(delivery.end for delivery in deliveries)
    lost = sum(1 for each in violations if each.startswith("lost"))
    total = {name: sum(len(found) for found in by_id.values()) for name, by_id in copies.items()}
    repeats = {name: sum(len(found) - 1 for found in by_id.values()) for name, by_id in copies.items()}
    return Report(len(deliveries), lost, ends[AttemptKind.DOUBTFUL], total, repeats, tuple(violations))


Copies = dict[str, dict[str, list[str]]]
"""The texts that a sink took, by sink and by what it would know a message by."""


def _copies(sinks: Sinks) -> Copies:
    found: Copies = {name: defaultdict(list) for name in Sinks._fields}
    for taken in sinks.pager.taken:
        found["pager"][_pager_key(taken)].append(taken.body.decode())
    for taken in sinks.hook.taken:
        found["hook"][taken.headers["webhook-id"]].append(taken.body.decode())
    for taken in sinks.alertmanager.taken:
        for alert in taken.json:
            found["alertmanager"][alert["labels"]["group"]].append(alert["endsAt"])
    for taken in sinks.slack.taken:
        blocks = taken.json["blocks"]
        group = next(field["text"] for field in blocks[2]["fields"] if field["text"].startswith("Group: "))
        found["slack"][f"{group} {blocks[0]['text']['text']}"].append(blocks[1]["text"]["text"])
    for text in sinks.mail.taken:
        mail = email.message_from_string(text, policy=email.policy.default)
        found["mail"][str(mail["Message-ID"]).strip("<>").partition("@")[0]].append(mail.get_content())
    return found


def _pager_key(taken: Taken) -> str:
    event = taken.json
    return str(event.get("dedup_key") or event["payload"]["custom_details"]["Group"])


def _lost(deliveries: Sequence[Delivery], copies: Copies, told: set[str]) -> Iterator[str]:
    for delivery in deliveries:
        message = delivery.message
        if delivery.end is None:
            yield f"lost: {message.kind} to {message.sink} has not ended"
        elif delivery.end is not AttemptKind.DELIVERED and message.delivery_id not in told:
            yield f"lost: {message.kind} to {message.sink} ended as {delivery.end}, and nobody was told"
        elif delivery.end is AttemptKind.DELIVERED and not _is_there(delivery, copies):
            yield f"lost: {message.kind} to {message.sink} is said to have arrived, and the sink has none"


def _is_there(delivery: Delivery, copies: Copies) -> bool:
    message = delivery.message
    match message.sink:
        case "hook" | "mail":
            return message.delivery_id in copies[message.sink]
        case "slack":
            return any(key.startswith(f"Group: {message.group_id}") for key in copies["slack"])
        case _:
            return message.group_id in copies[message.sink]


def _twice(deliveries: Sequence[Delivery], copies: Copies) -> Iterator[str]:
    """At sinks with a key no second key for a message; elsewhere one repeat at most, and it says so."""
    planned = {each.message.delivery_id for each in deliveries if each.message.sink == "hook"}
    yield from (f"twice: the webhook has the unknown id {each}" for each in copies["hook"].keys() - planned)
    for name in ("hook", "pager"):
        groups = {each.message.group_id for each in deliveries if each.message.sink == name}
        keys = copies[name].keys()
        if name == "pager" and keys - groups:
            yield "twice: PagerDuty has keys of no group"
    for same in copies["hook"].values():
        if len(set(same)) > 1:
            yield "twice: a webhook's repeat says something else"
    changes = {key: [text for text in texts if "dedup_key" not in text] for key, texts in copies["pager"].items()}
    for name, by_key in (("slack", copies["slack"]), ("mail", copies["mail"]), ("pager, as changes,", changes)):
        for key, texts in by_key.items():
            if len(texts) > 2:
                yield f"twice: {len(texts)} copies at {name} of {key}"
            if len(texts) == 2 and [REPEAT in _unfolded(text) for text in texts].count(True) != 1:
                yield f"twice: a repeat at {name} doesn't say so"


def _grouped(groups: Sequence[Group], sinks: Sinks) -> Iterator[str]:
    """A group is one incident, told of with the logarithm of its alerts; nothing triggers it after it is over."""
    incidents = {taken.json["dedup_key"] for taken in sinks.pager.taken if "dedup_key" in taken.json}
    wanted = {group.group_id for group in groups if not group.is_notice and group.key.scope != "sink:pager"}
    if incidents != wanted:
        yield f"pages: {len(incidents)} incidents of {len(wanted)} groups"
    over: set[str] = set()
    for taken in sinks.pager.taken:
        event = taken.json
        if event.get("event_action") == "resolve":
            over.add(event["dedup_key"])
        elif event.get("dedup_key") in over:
            yield "pages: an incident was triggered again after it was over"


def _paced(sinks: Sinks) -> Iterator[str]:
    times = [taken.at_s for taken in sinks.slack.asked]
    if any(later - earlier < SLACK_GAP_S for earlier, later in pairwise(times)):
        yield "pace: more than a message a second to the channel"


def pages(deliveries: Sequence[Delivery]) -> int:
    """Messages that ask a person to do something."""
    asking = (MessageKind.TRIGGERED, MessageKind.COUNTED, MessageKind.ESCALATED)
    return sum(1 for delivery in deliveries if delivery.message.sink == "pager" and delivery.message.kind in asking)


def _unfolded(text: str) -> str:
    return text.replace("=\n", "").replace("\n", " ")
