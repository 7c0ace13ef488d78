"""The sinks: each sends a message in its own words, and says what the answer means for the message.

An answer counts only where it is whole enough to say so. No answer, a torn one, a gateway's error and, where the sink
takes no key, any error of the server's own leave a message in doubt. A redirect is an answer of somebody else, and so
is one that says "fine" in words that the sink never uses: a login page, or whatever serves the address by now.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

from standardwebhooks.webhooks import Webhook

from pipeline.io.clock import now_ms
from pipeline.oncall.messages import Message, MessageKind
from pipeline.oncall.outbox import Answer, Result, recipient_id
from pipeline.oncall.routing import Routes, Sink, SinkKind
from pipeline.oncall.sinks import rendering
from pipeline.oncall.sinks.http_client import HttpAnswer, HttpClient, NoAnswer, NotSent
from pipeline.oncall.sinks.mail_client import MailClient
from pipeline.oncall.sinks.rendering import Json, Setting

TOO_MANY: Final = 429
GONE: Final = 410
_HOPELESS: Final = frozenset({400, 405, 406, 413, 414, 415, 422, GONE})
"""Answers to which the same message is never right; of 401, 403 and 404 somebody can mend the cause."""
_MAY_HAVE_ARRIVED: Final = frozenset({408, 500, 502, 504})
_SLACK_HOPELESS: Final = frozenset(
    {"msg_too_long", "invalid_blocks", "no_text", "too_many_attachments", "invalid_arguments"}
)
_SLACK_DOUBTFUL: Final = frozenset({"internal_error", "fatal_error", "request_timeout"})
_THREAD: Final = re.compile(r"\d{1,20}\.\d{1,20}", re.ASCII)
ALERTMANAGER_BATCH: Final = 64


class Send(NamedTuple):
    """A message to send now. thread: the receipt of the first message of its group at this sink.

    waiting: the recipients who alone are to get it, by `recipient_id`; empty for all.
    """

    message: Message
    is_repeat: bool
    firing_until_ms: int
    thread: str | None
    waiting: tuple[str, ...] = ()


class SinkClient(Protocol):
    def send(self, send: Send) -> Result:
        """Send one message. It may take about half a minute."""

    def beat(self, every_ms: int) -> Result:
        """Send a heartbeat, where the sink can watch for one."""


class SinkUnusable(Exception):
    """A sink's certificates can't be read. The message names the sink."""


def client_of(sink: Sink, routes: Routes) -> SinkClient:
    """Raises SinkUnusable."""
    try:
        match sink.kind:
            case SinkKind.PAGERDUTY:
                return PagerDuty(sink, routes)
            case SinkKind.ALERTMANAGER:
                return Alertmanager(sink, routes)
            case SinkKind.SLACK:
                return Slack(sink, routes)
            case SinkKind.WEBHOOK:
                return SignedWebhook(sink, routes)
            case SinkKind.EMAIL:
                return Mail(sink, routes)
    except (OSError, ssl.SSLError) as error:
        raise SinkUnusable(f"the certificates of the sink {sink.name} can't be read") from error


class _Http:
    def __init__(self, sink: Sink, routes: Routes) -> None:
        self.sink, self.routes, self._client = sink, routes, HttpClient(sink.ca_file)

    def setting(self, message: Message) -> Setting:
        return Setting(self.routes.source, self.routes.runbook_of(message.code), self.sink.shows_evidence)

    def posted(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> HttpAnswer | Result:
        """The answer, or what the lack of one means."""
        try:
            return self._client.post(
                self.sink.address.rstrip("/") + path if path else self.sink.address, body, headers or {}
            )
        except NotSent as error:
            return Result(Answer.LATER, f"it can't be reached ({error})")
        except NoAnswer as error:
            return Result(Answer.IN_DOUBT, f"it does not answer ({error})")

    def beat(self, every_ms: int) -> Result:
        raise AssertionError(f"the routes allow no heartbeat to this sink, each {every_ms} ms or otherwise")


class PagerDuty(_Http):
    """Events API v2, and its change events."""

    def send(self, send: Send) -> Result:
        message, key = send.message, self.sink.secret or ""
        if message.kind is MessageKind.NOTICED:
            change = rendering.pagerduty_change(message, self.setting(message), key, is_repeat=send.is_repeat)
            return _by_word(self.posted("/v2/change/enqueue", _json(change)), _is_pagerduty)
        event = rendering.pagerduty_event(message, self.setting(message), key)
        return _by_word(self.posted("/v2/enqueue", _json(event)), _is_pagerduty)


class Alertmanager(_Http):
    """POST /api/v2/alerts. The service sends what fires again before `firing_until_ms`."""

    def send(self, send: Send) -> Result:
        message = send.message
        match message.kind:
            case MessageKind.RESOLVED:
                ends_at_ms = message.at_ms
            case MessageKind.NOTICED:
                ends_at_ms = message.at_ms + rendering.RESOLVED_MS
            case _:
                ends_at_ms = send.firing_until_ms
        alert = rendering.alertmanager_alert(message, self.setting(message), ends_at_ms)
        return self.post_alerts([alert])

    def post_alerts(self, alerts: list[Json]) -> Result:
        """Send alerts, a bounded number in a request; the first answer that is no delivery is the result."""
        for start in range(0, len(alerts), ALERTMANAGER_BATCH):
            headers = {"Authorization": f"Bearer {self.sink.secret}"} if self.sink.secret is not None else {}
            answer = self.posted("/api/v2/alerts", _json(alerts[start : start + ALERTMANAGER_BATCH]), headers)
            result = _by_word(answer, _is_alertmanager)
            if result.answer is not Answer.DELIVERED:
                return result
        return Result(Answer.DELIVERED)

    def beat(self, every_ms: int) -> Result:
        now = now_ms()
        return self.post_alerts([rendering.alertmanager_heartbeat(self.routes.source, now, now + 3 * every_ms)])


class Slack(_Http):
    """chat.postMessage, with a bot's token. It says in the body what became of a message."""

    def send(self, send: Send) -> Result:
        message = send.message
        is_repeat, setting = send.is_repeat, self.setting(message)
        body = rendering.slack_message(message, setting, self.sink.channel, send.thread, is_repeat=is_repeat)
        headers = {"Authorization": f"Bearer {self.sink.secret}", "Content-Type": "application/json; charset=utf-8"}
        answer = self.posted("/api/chat.postMessage", _json(body), headers)
        if isinstance(answer, Result) or answer.status != 200:
            return _by_status(answer)
        said = _object(answer.body)
        if said is None:
            return Result(Answer.IN_DOUBT, "its answer is torn")
        if said.get("ok") is True:
            return Result(Answer.DELIVERED, receipt=_thread(said.get("ts")))
        return _slack_error(str(said.get("error", "")), answer.retry_after_s)


class SignedWebhook(_Http):
    """A webhook as Standard Webhooks has it: the message's id is the key, the same in each repeat."""

    def send(self, send: Send) -> Result:
        body = _json(rendering.webhook_event(send.message, self.setting(send.message)))
        return self._signed(send.message.delivery_id, body)

    def beat(self, every_ms: int) -> Result:  # noqa: ARG002 - whoever watches knows how often it comes
        now = now_ms()
        return self._signed(f"heartbeat-{now}", _json(rendering.webhook_heartbeat(self.routes.source, now)))

    def _signed(self, webhook_id: str, body: bytes) -> Result:
        """Signed with every secret there is, so that one can be replaced by another without a gap."""
        at, secrets = datetime.fromtimestamp(int(time.time()), UTC), (self.sink.secret or "").split()
        signatures = [Webhook(secret).sign(webhook_id, at, body.decode()) for secret in secrets]
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        return _by_form(self.posted("", body, headers))


class Mail:
    def __init__(self, sink: Sink, routes: Routes) -> None:
        self._sink, self._routes, self._client = sink, routes, MailClient(sink)

    def send(self, send: Send) -> Result:
        message, sink = send.message, self._sink
        setting = Setting(self._routes.source, self._routes.runbook_of(message.code), sink.shows_evidence)
        mail = rendering.email_message(message, setting, sink.sender, sink.recipients, is_repeat=send.is_repeat)
        recipients = [each for each in sink.recipients if not send.waiting or recipient_id(each) in send.waiting]
        if not recipients:
            return Result(Answer.NEVER, "the routes name none of those any more who are still to get it")
        return self._client.send(mail, recipients)

    def beat(self, every_ms: int) -> Result:
        raise AssertionError(f"the routes allow no heartbeat to this sink, each {every_ms} ms or otherwise")


def _by_status(answer: HttpAnswer | Result) -> Result:
    """What a status says; any of 200 to 299 that it was taken."""
    if isinstance(answer, Result):
        return answer
    status, why = answer.status, f"it answers {answer.status}"
    if 200 <= status < 300:
        return Result(Answer.DELIVERED)
    if status == TOO_MANY or status == 503:
        return Result(Answer.LATER, why, answer.retry_after_s)
    if status in _MAY_HAVE_ARRIVED or status >= 600 or status < 200:
        return Result(Answer.IN_DOUBT, why, answer.retry_after_s)
    return Result(Answer.NEVER if status in _HOPELESS else Answer.LATER, why, answer.retry_after_s)


def _by_form(answer: HttpAnswer | Result) -> Result:
    """The same, of a sink whose words nobody knows: a page for people, such as a login, is no answer of a program."""
    result = _by_status(answer)
    if isinstance(answer, HttpAnswer) and result.answer is Answer.DELIVERED and answer.is_page:
        return Result(Answer.IN_DOUBT, f"it answers {answer.status} with a page for people, as a login does")
    return result


def _by_word(answer: HttpAnswer | Result, is_sinks: Callable[[bytes], bool]) -> Result:
    """The same, of a sink that is known by what it says: it was taken where the body, which must be whole, is its."""
    result = _by_status(answer)
    if isinstance(answer, Result) or result.answer is not Answer.DELIVERED:
        return result
    if answer.body is None:
        return Result(Answer.IN_DOUBT, "its answer is torn")
    if not is_sinks(answer.body):
        return Result(Answer.IN_DOUBT, f"it answers {answer.status} in other words than this kind of sink")
    return result


def _is_pagerduty(body: bytes) -> bool:
    """It says `success` of each event that it takes."""
    said = _object(body)
    return said is not None and said.get("status") == "success"


def _is_alertmanager(body: bytes) -> bool:
    """It says nothing of alerts that it takes; what stands before it may add an object, but no page."""
    said = _object(body) if body.strip() else {}
    return said is not None and said.get("status") != "error"


def _thread(said: object) -> str | None:
    """The time by which Slack knows a message again, where it is one."""
    return said if isinstance(said, str) and _THREAD.fullmatch(said) else None


def _slack_error(error: str, retry_after_s: float | None) -> Result:
    known = error if error.isascii() and error.replace("_", "").isalnum() else "an error without a name"
    why = f"it answers {known[:60]}"
    if error in _SLACK_HOPELESS:
        return Result(Answer.NEVER, why)
    if error in _SLACK_DOUBTFUL or not error:
        return Result(Answer.IN_DOUBT, why)
    return Result(Answer.LATER, why, retry_after_s)


def _object(body: bytes | None) -> dict[str, object] | None:
    try:
        read = json.loads(body or b"")
    except (ValueError, RecursionError):  # the latter where it is nested thousands deep
        return None
    return read if isinstance(read, dict) else None


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
