"""Messages: what a sink is told about a group, frozen when it is planned, so that a repeat says the same."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from pipeline.domain.alert import Severity
from pipeline.domain.times import utc_text
from pipeline.oncall.groups import Group
from pipeline.oncall.routing import SinkKind

_NAMESPACE: Final = UUID("8f0d8d3c-7c2a-5a90-b8d8-3e0cb2f3a6f1")
REPEAT: Final = "REPEATED, because nobody knows whether it arrived before: "
"""Begins a message that may stand there already, at a sink that takes no key."""
_MINUTE_MS: Final = 60_000
_SEVERITIES: Final = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


class MessageKind(StrEnum):
    TRIGGERED = "TRIGGERED"
    COUNTED = "COUNTED"  # there are many more of it by now
    ESCALATED = "ESCALATED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"
    NOTICED = "NOTICED"  # what asks for nothing: a change, or good news


class Message(NamedTuple):
    """at_ms: when it was planned. number: of the messages to this sink about this group. by, note: a person's."""

    delivery_id: str
    group_id: str
    sink: str
    number: int
    kind: MessageKind
    code: str
    scope: str
    severity: Severity
    summary: str
    evidence: dict[str, str]
    records: int
    opened_at_ms: int
    at_ms: int
    by: str | None = None
    note: str | None = None

    @property
    def title(self) -> str:
        """One line, without the summary."""
        match self.kind:
            case MessageKind.TRIGGERED | MessageKind.NOTICED:
                times = f", {self.records:,} times" if self.records > 1 else ""
                said = f"{self.severity} {self.code}{times}"
            case MessageKind.COUNTED:
                said = f"{self.severity} {self.code}, {self.records:,} times"
            case MessageKind.ESCALATED:
                said = f"NOT ACKNOWLEDGED for {self.minutes} minutes: {self.severity} {self.code}"
            case MessageKind.ACKNOWLEDGED:
                said = f"Acknowledged by {self.by}: {self.code}"
            case MessageKind.RESOLVED:
                said = f"Over: {self.code}"
        return said if self.scope == "all" else f"{said} ({self.scope})"

    @property
    def minutes(self) -> int:
        return max(0, self.at_ms - self.opened_at_ms) // _MINUTE_MS

    def facts(self) -> dict[str, str]:
        """The lines below the summary, by name, in order."""
        found = {"Scope": self.scope, "Alerts": f"{self.records:,}", "Since": utc_text(self.opened_at_ms)}
        if self.by is not None:
            found["By"] = self.by
        if self.note:
            found["Note"] = self.note
        found["Group"] = self.group_id
        return found


def delivery_id_of(group_id: str, sink: str, number: int) -> str:
    return str(uuid5(_NAMESPACE, f"{group_id}|{sink}|{number}"))


def message_about(
    group: Group, sink: str, number: int, kind: MessageKind, at_ms: int, by: str | None = None, note: str | None = None
) -> Message:
    return Message(
        delivery_id_of(group.group_id, sink, number),
        group.group_id,
        sink,
        number,
        kind,
        group.key.code,
        group.key.scope,
        group.key.severity,
        group.summary,
        group.evidence,
        group.records,
        group.opened_at_ms,
        at_ms,
        by,
        note,
    )


def urgency(message: Message) -> tuple[int, bool]:
    """Sort messages to one sink, the most urgent first: by severity, and what calls somebody before what goes on."""
    return _SEVERITIES.index(message.severity), message.kind not in (MessageKind.TRIGGERED, MessageKind.ESCALATED)


def message_fields(message: Message) -> dict[str, object]:
    """As JSON holds it."""
    return message._asdict()


def message_of(fields: Mapping[str, object]) -> Message:
    """Raises TypeError, KeyError or ValueError where these are not a message's fields."""
    read = dict(fields)
    kind, severity = MessageKind(str(read.pop("kind"))), Severity(str(read.pop("severity")))
    return Message(kind=kind, severity=severity, **read)  # type: ignore[arg-type]


def is_keyed(sink: SinkKind, kind: MessageKind) -> bool:
    """Whether the sink knows a message again by its key, so that a repeat is no second one."""
    match sink:
        case SinkKind.PAGERDUTY:
            return kind is not MessageKind.NOTICED  # a change event has no key
        case SinkKind.ALERTMANAGER | SinkKind.WEBHOOK:
            return True
        case SinkKind.SLACK | SinkKind.EMAIL:
            return False


def is_sent(sink: SinkKind, kind: MessageKind) -> bool:
    """Whether a sink is told of this: Alertmanager keeps states, and knows of no acknowledgement."""
    return not (sink is SinkKind.ALERTMANAGER and kind is MessageKind.ACKNOWLEDGED)
