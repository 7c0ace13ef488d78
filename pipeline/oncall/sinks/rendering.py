"""Messages in the words of each sink: PagerDuty's events, Alertmanager's alerts, Slack's blocks, webhooks, e-mail.

Lengths are the sinks' own limits. What an alert quotes goes out only to a sink that `shows_evidence`, and stands apart
there: whoever may write alerts.v1 names it, and would put another runbook or summary in the place of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Final, NamedTuple

from pipeline.domain.alert import Severity
from pipeline.domain.free_text import shown
from pipeline.domain.times import utc_text
from pipeline.oncall.messages import REPEAT, Message, MessageKind

Json = dict[str, object]

PAGERDUTY_SUMMARY_MAX: Final = 1024
SUBJECT_MAX: Final = 200
SLACK_HEADER_MAX: Final = 150
SLACK_TEXT_MAX: Final = 3_000
SLACK_FIELD_MAX: Final = 2_000
EVIDENCE_FIELDS_MAX: Final = 20
EVIDENCE_CHARACTERS_MAX: Final = 500
LABEL_CHARACTERS_MAX: Final = 300
HEARTBEAT: Final = "ALERTS_HEARTBEAT"
RESOLVED_MS: Final = 5 * 60_000
"""For so long Alertmanager is told again that a group is over, as it asks of its clients."""
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_]")
_PAGERDUTY_SEVERITY: Final = {Severity.CRITICAL: "critical", Severity.WARNING: "warning", Severity.INFO: "info"}
_ACTION: Final = {
    MessageKind.TRIGGERED: "trigger",
    MessageKind.COUNTED: "trigger",
    MessageKind.ESCALATED: "trigger",
    MessageKind.ACKNOWLEDGED: "acknowledge",
    MessageKind.RESOLVED: "resolve",
}


class Setting(NamedTuple):
    """What is the same for every message to a sink. runbook: an address, or a path in the repository."""

    source: str
    runbook: str
    shows_evidence: bool


def pagerduty_event(message: Message, setting: Setting, routing_key: str) -> Json:
    """For /v2/enqueue. The group is the key: whatever comes again under it is the same incident."""
    event: Json = {
        "routing_key": routing_key,
        "event_action": _ACTION[message.kind],
        "dedup_key": message.group_id,
    }
    if event["event_action"] != "trigger":
        return event
    payload: Json = {
        "summary": _cut(f"{message.title}: {message.summary}", PAGERDUTY_SUMMARY_MAX),
        "source": setting.source,
        "severity": _PAGERDUTY_SEVERITY[message.severity],
        "timestamp": utc_text(message.opened_at_ms),
        "component": message.scope,
        "class": message.code,
        "custom_details": _details(message, setting),
    }
    return event | {"payload": payload, "client": setting.source, **_links(setting)}


def pagerduty_change(message: Message, setting: Setting, routing_key: str, *, is_repeat: bool) -> Json:
    """For /v2/change/enqueue, which takes no key."""
    summary = f"{REPEAT if is_repeat else ''}{message.title}: {message.summary}"
    payload: Json = {
        "summary": _cut(summary, PAGERDUTY_SUMMARY_MAX),
        "source": setting.source,
        "timestamp": utc_text(message.at_ms),
        "custom_details": _details(message, setting),
    }
    return {"routing_key": routing_key, "payload": payload, **_links(setting)}


def alertmanager_alert(message: Message, setting: Setting, ends_at_ms: int) -> Json:
    """One alert of POST /api/v2/alerts.

    Its labels are its key, so they are the same in every message about a group. They are written as Prometheus' rules
    write theirs.
    """
    link = {"generatorURL": setting.runbook} if _is_link(setting.runbook) else {}
    return {
        "labels": {
            "alertname": message.code,
            "scope": _cut(message.scope, LABEL_CHARACTERS_MAX),
            "severity": str(message.severity),
            "source": setting.source,
            "group": message.group_id,
        },
        "annotations": {
            "summary": _plain(message.summary),
            "alerts": str(message.records),
            "runbook_url": setting.runbook,
            **({} if not setting.shows_evidence else _annotations(message)),
        },
        "startsAt": utc_text(min(message.opened_at_ms, ends_at_ms)),  # else it is refused, as after a clock put back
        "endsAt": utc_text(ends_at_ms),
        **link,
    }


def alertmanager_heartbeat(source: str, at_ms: int, ends_at_ms: int) -> Json:
    """An alert that always fires: where it does not, nobody is told of anything."""
    return {
        "labels": {"alertname": HEARTBEAT, "severity": str(Severity.INFO), "source": source},
        "annotations": {"summary": "Alerts are read and sent."},
        "startsAt": utc_text(at_ms),
        "endsAt": utc_text(ends_at_ms),
    }


def slack_message(message: Message, setting: Setting, channel: str, thread: str | None, *, is_repeat: bool) -> Json:
    """For chat.postMessage. All text is plain, so nothing that an alert quotes mentions anybody or is a link."""
    title, summary = message.title, f"{REPEAT if is_repeat else ''}{message.summary}"
    fields = [_text(f"{name}: {value}", SLACK_FIELD_MAX) for name, value in message.facts().items()]
    blocks: list[Json] = [
        {"type": "header", "text": _text(title, SLACK_HEADER_MAX)},
        {"type": "section", "text": _text(summary, SLACK_TEXT_MAX)},
        {"type": "section", "fields": fields[:10]},
    ]
    if setting.shows_evidence and message.evidence:
        lines = "\n".join(f"{name}: {value}" for name, value in _evidence(message).items())
        blocks.append({"type": "section", "text": _text(lines, SLACK_TEXT_MAX)})
    blocks.append({"type": "context", "elements": [_text(f"Runbook: {setting.runbook}", SLACK_FIELD_MAX)]})
    answer: Json = {
        "channel": channel,
        "text": _escaped(f"{title}: {summary}"),
        "blocks": blocks,
        "unfurl_links": False,
    }
    if thread is not None:
        is_for_all = message.kind in (MessageKind.ESCALATED, MessageKind.RESOLVED)
        answer |= {"thread_ts": thread, "reply_broadcast": is_for_all}
    return answer


def webhook_event(message: Message, setting: Setting) -> Json:
    """The body of a webhook, as Standard Webhooks shapes it."""
    data: Json = {
        "group": message.group_id,
        "number": message.number,
        "code": message.code,
        "scope": message.scope,
        "severity": message.severity.value,
        "summary": message.summary,
        "alerts": message.records,
        "opened_at": utc_text(message.opened_at_ms),
        "by": message.by,
        "note": message.note,
        "runbook": setting.runbook,
        "source": setting.source,
    }
    if setting.shows_evidence:
        data["evidence"] = dict(message.evidence)
    return {"type": f"alert.{message.kind.lower()}", "timestamp": utc_text(message.at_ms), "data": data}


def webhook_heartbeat(source: str, at_ms: int) -> Json:
    return {"type": "alerts.heartbeat", "timestamp": utc_text(at_ms), "data": {"source": source}}


def email_message(
    message: Message, setting: Setting, sender: str, recipients: tuple[str, ...], *, is_repeat: bool
) -> EmailMessage:
    """The same Message-ID in a repeat, which many servers know again; one thread a group."""
    domain = sender.rpartition("@")[2]
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, ", ".join(recipients)
    again = "[repeat] " if is_repeat else ""
    mail["Subject"] = _cut(f"{again}[{setting.source}] {message.title}: {message.summary}", SUBJECT_MAX)
    mail["Message-ID"] = f"<{message.delivery_id}@{domain}>"
    mail["References"] = f"<{message.group_id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    lines = [f"{REPEAT if is_repeat else ''}{_plain(message.summary)}", ""]
    lines += [f"{name}: {_plain(value)}" for name, value in message.facts().items()]
    lines.append(f"Runbook: {setting.runbook}")
    if setting.shows_evidence and message.evidence:
        lines += ["", "The alert quotes:", *(f"  {name}: {value}" for name, value in _evidence(message).items())]
    mail.set_content("\n".join([*lines, ""]))
    return mail


def _details(message: Message, setting: Setting) -> Mapping[str, object]:
    facts: dict[str, object] = {**message.facts(), "Runbook": setting.runbook}
    return facts | {"Evidence": _evidence(message)} if setting.shows_evidence else facts


def _annotations(message: Message) -> dict[str, str]:
    """Alertmanager refuses an alert of which one annotation has a name that Prometheus doesn't allow."""
    found: dict[str, str] = {}
    for name, value in _evidence(message).items():
        allowed = f"evidence_{_NOT_IN_NAMES.sub('_', name)}"
        found[allowed if allowed not in found else f"{allowed}_{len(found)}"] = value
    return found


def _evidence(message: Message) -> dict[str, str]:
    pairs = sorted(message.evidence.items())[:EVIDENCE_FIELDS_MAX]
    return {_cut(name, 100): _cut(value, EVIDENCE_CHARACTERS_MAX) for name, value in pairs}


def _links(setting: Setting) -> Json:
    return {"links": [{"href": setting.runbook, "text": "Runbook"}]} if _is_link(setting.runbook) else {}


def _is_link(runbook: str) -> bool:
    return runbook.startswith(("https://", "http://"))


def _text(text: str, longest: int) -> Json:
    return {"type": "plain_text", "text": _cut(text, longest) or "-", "emoji": False}


def _escaped(text: str) -> str:
    """As Slack's fallback text is written: without it, <!channel> would call everybody."""
    cut = _cut(text, SLACK_TEXT_MAX // 2)
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, longest: int) -> str:
    plain = _plain(text)
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def _plain(text: str) -> str:
    """On one line, with characters that act on a terminal or that nobody sees as their code points."""
    return shown(" ".join(text.split()))
