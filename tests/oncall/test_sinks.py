"""Every sink against servers that misbehave: what its answer, or the lack of one, means for the message."""

from __future__ import annotations

import email
import email.policy
import gzip
from collections.abc import Iterator
from dataclasses import replace
from smtplib import SMTP

import pytest
from standardwebhooks.webhooks import Webhook

from ops.bench.alerts.sinks import HttpSink, MailManner, MailSink, Manner, http_sink, mail_sink
from pipeline.oncall.messages import REPEAT, MessageKind
from pipeline.oncall.outbox import Answer, Result, recipient_id
from pipeline.oncall.routing import Routes
from pipeline.oncall.sinks.http_client import _is_page
from pipeline.oncall.sinks.kinds_client import Send, _is_alertmanager, _is_pagerduty, client_of
from tests.oncall.given import GROUP_ID, ROUTING_KEY, SIGNING, TOKEN, message, routes, routes_text
from tests.records import NOON_MS

HTTP_SINKS = ("pager", "alertmanager", "slack", "hook")
MEANING = {
    Manner.TAKES: Answer.DELIVERED,
    Manner.REFUSES_429: Answer.LATER,
    Manner.FAILS_500: Answer.IN_DOUBT,
    Manner.FAILS_503: Answer.LATER,
    Manner.TAKES_BUT_502: Answer.IN_DOUBT,
    Manner.TAKES_BUT_SILENT: Answer.IN_DOUBT,
    Manner.REDIRECTS: Answer.LATER,
    Manner.BAD_400: Answer.NEVER,
    Manner.FORBIDDEN_403: Answer.LATER,
    Manner.GONE_410: Answer.NEVER,
}
DAY_MS = 86_400_000


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as sink:
        yield sink


@pytest.fixture
def mail() -> Iterator[MailSink]:
    with mail_sink() as mail:
        yield mail


@pytest.fixture
def at(sink: HttpSink, mail: MailSink) -> Routes:
    return routes(routes_text(sink.url, sink.url, sink.url, f"{sink.url}/hook", mail.address))


def sent(at: Routes, name: str, kind: MessageKind = MessageKind.TRIGGERED, *, is_repeat: bool = False) -> Result:
    client = client_of(at.sinks[name], at)
    return client.send(Send(message(kind, name), is_repeat, NOON_MS + DAY_MS, None))


@pytest.mark.parametrize("name", HTTP_SINKS)
@pytest.mark.parametrize("manner", MEANING)
def test_answer_means(sink: HttpSink, at: Routes, name: str, manner: Manner) -> None:
    sink.behave(manner)
    result = sent(at, name)
    assert MEANING[manner] is result.answer
    assert (1.0 if manner is Manner.REFUSES_429 else None) == result.retry_after_s
    assert 1 == len(sink.asked), "one request each, and no redirect followed"


@pytest.mark.parametrize(
    "manner", [Manner.TAKES_BUT_TORN, Manner.TOO_LONG, Manner.LOGIN_PAGE, Manner.ERROR_200], ids=str
)
@pytest.mark.parametrize("name", HTTP_SINKS)
@pytest.mark.parametrize("kind", [MessageKind.TRIGGERED, MessageKind.NOTICED])
def test_answer_that_is_torn_or_somebody_else_s_counts_where_the_status_says_all(
    sink: HttpSink, at: Routes, name: str, manner: Manner, kind: MessageKind
) -> None:
    sink.behave(manner)
    is_program = name == "hook" and manner is not Manner.LOGIN_PAGE  # of a webhook nobody knows the words
    expected = Answer.DELIVERED if is_program else Answer.IN_DOUBT
    assert expected is sent(at, name, kind).answer


@pytest.mark.parametrize("body", [b"", b" ", b"{}", b'{"status": "success"}'])
def test_alertmanager_says_nothing_of_what_it_takes(body: bytes) -> None:
    assert _is_alertmanager(body)


@pytest.mark.parametrize("body", [b"", b"ok", b"{}", b"[]", b'"success"', b'{"status": "invalid event"}', b"[" * 9_000])
def test_pagerduty_says_success_of_what_it_takes(body: bytes) -> None:
    assert not _is_pagerduty(body)


def test_heartbeat_that_a_login_page_took_was_not_taken(sink: HttpSink, at: Routes) -> None:
    sink.behave(Manner.LOGIN_PAGE)
    for name in ("alertmanager", "hook"):
        assert Answer.IN_DOUBT is client_of(at.sinks[name], at).beat(60_000).answer


_HTML = "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("said", "body", "is_page"),
    [
        ("", b"\xef\xbb\xbf \n<!DOCTYPE HTML><html>", True),
        ("application/json", b"<HTML lang=en>", True),
        (_HTML, b"<!-- portal --><script>go()</script>", True),
        ("application/xhtml+xml", b'<?xml version="1.0"?><!DOCTYPE html>', True),
        (_HTML, b"ok", False),  # as Flask says of a word
        (_HTML, b"", False),
        ("text/xml", b"<?xml version='1.0'?><Response/>", False),
        ("", b"", False),
        ("application/json", b'{"html": "<html>"}', False),
    ],
)
def test_page_for_people_is_known(said: str, body: bytes, is_page: bool) -> None:
    assert is_page is _is_page({"Content-Type": said}, body)


def test_page_that_is_compressed_unasked_is_one_too() -> None:
    assert _is_page({"Content-Type": _HTML, "Content-Encoding": "gzip"}, gzip.compress(b"<html>"))
    assert not _is_page({"Content-Type": "application/json", "Content-Encoding": "gzip"}, gzip.compress(b"{}"))


@pytest.mark.parametrize("name", HTTP_SINKS)
def test_sink_that_can_t_be_reached_has_nothing(name: str) -> None:
    assert Answer.LATER is sent(routes(), name).answer


@pytest.mark.parametrize("name", HTTP_SINKS)
def test_no_result_quotes_a_secret_or_an_address(sink: HttpSink, at: Routes, name: str) -> None:
    for manner in MEANING:
        sink.behave(manner)
        why = sent(at, name).why
        assert not any(secret in why for secret in (ROUTING_KEY, SIGNING, TOKEN, sink.url))
    assert not any(secret in repr(at) for secret in (ROUTING_KEY, SIGNING, TOKEN))


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        (MessageKind.TRIGGERED, "trigger"),
        (MessageKind.COUNTED, "trigger"),
        (MessageKind.ESCALATED, "trigger"),
        (MessageKind.ACKNOWLEDGED, "acknowledge"),
        (MessageKind.RESOLVED, "resolve"),
    ],
)
def test_pagerduty_knows_every_message_of_a_group_by_one_key(
    sink: HttpSink, at: Routes, kind: MessageKind, action: str
) -> None:
    sent(at, "pager", kind)
    event = sink.taken[0].json
    assert "/v2/enqueue" == sink.taken[0].path
    assert (ROUTING_KEY, action, GROUP_ID) == (event["routing_key"], event["event_action"], event["dedup_key"])
    assert ("payload" in event) == (action == "trigger")
    if action == "trigger":
        assert event["payload"]["severity"] == "critical"
        assert event["links"][0]["href"] == "https://git.bank.example/runbooks/TRANSACTION_ID_CONFLICT.md"


def test_pagerduty_is_told_of_a_change_as_one(sink: HttpSink, at: Routes) -> None:
    sent(at, "pager", MessageKind.NOTICED, is_repeat=True)
    assert "/v2/change/enqueue" == sink.taken[0].path
    assert sink.taken[0].json["payload"]["summary"].startswith(REPEAT)
    assert "dedup_key" not in sink.taken[0].json


def test_alertmanager_is_told_until_when_it_fires(sink: HttpSink, at: Routes) -> None:
    sent(at, "alertmanager")
    sent(at, "alertmanager", MessageKind.RESOLVED)
    firing, over = (taken.json[0] for taken in sink.taken)
    assert firing["labels"] == over["labels"], "the labels are its key"
    assert ("TRANSACTION_ID_CONFLICT", GROUP_ID) == (firing["labels"]["alertname"], firing["labels"]["group"])
    assert firing["endsAt"] > firing["startsAt"]
    assert over["endsAt"] == over["startsAt"], "the message's own time"


def test_alertmanager_takes_an_end_from_before_the_beginning(sink: HttpSink, at: Routes) -> None:
    early = message(MessageKind.RESOLVED, "alertmanager", opened_at_ms=NOON_MS + DAY_MS)
    client_of(at.sinks["alertmanager"], at).send(Send(early, False, NOON_MS, None))
    [over] = sink.taken[0].json
    assert over["startsAt"] == over["endsAt"], "it refuses one that began after it was over"


def test_slack_message_is_plain_text_in_blocks(sink: HttpSink, at: Routes) -> None:
    hostile = message(sink="slack", summary="<!channel> *look* " + "x" * 5_000)
    client_of(at.sinks["slack"], at).send(Send(hostile, False, 0, "1700.1"))
    body = sink.taken[0].json
    texts = [block["text"] for block in body["blocks"] if "text" in block]
    assert {"plain_text"} == {text["type"] for text in texts}
    assert all(len(text["text"]) <= 3_000 for text in texts)
    assert "<!channel>" not in body["text"], "the text that is shown in notifications"
    assert ("C123", "1700.1") == (body["channel"], body["thread_ts"])
    assert f"Bearer {TOKEN}" == sink.taken[0].headers["authorization"]
    assert len(body["blocks"]) <= 50


def test_slack_gives_a_receipt_that_a_thread_goes_on_from(at: Routes) -> None:
    assert "1700000000.000001" == sent(at, "slack").receipt


def test_webhook_is_signed_and_has_the_message_s_id(sink: HttpSink, at: Routes) -> None:
    for _ in range(2):
        sent(at, "hook")
    first, again = sink.taken
    assert first.headers["webhook-id"] == again.headers["webhook-id"] == message(sink="hook").delivery_id
    event = Webhook(SIGNING).verify(first.body, first.headers)
    assert "alert.triggered" == event["type"]
    assert "evidence" not in event["data"], "what an alert quotes stays in the house unless the routes say otherwise"
    shown = replace(at, sinks={**at.sinks, "hook": replace(at.sinks["hook"], shows_evidence=True)})
    sent(shown, "hook")
    assert {"partition": "0", "offset": "1", "payments": "1"} == sink.taken[2].json["data"]["evidence"]


def test_webhook_is_signed_by_each_of_two_secrets(sink: HttpSink, at: Routes) -> None:
    second = "whsec_" + "B" * 32
    both = replace(at.sinks["hook"], secret=f"{SIGNING} {second}")
    sent(replace(at, sinks={**at.sinks, "hook": both}), "hook")
    for secret in (SIGNING, second):
        Webhook(secret).verify(sink.taken[0].body, sink.taken[0].headers)


@pytest.mark.parametrize(
    ("manner", "answer"),
    [
        (MailManner.TAKES, Answer.DELIVERED),
        (MailManner.TAKES_BUT_SILENT, Answer.IN_DOUBT),
        (MailManner.LATER_451, Answer.LATER),
        (MailManner.NEVER_550, Answer.NEVER),
        (MailManner.REFUSES_RECIPIENT, Answer.NEVER),
        (MailManner.REFUSES_RECIPIENT_LATER, Answer.LATER),
        (MailManner.DROPS, Answer.LATER),
    ],
)
def test_mail_server_s_answer_means(mail: MailSink, at: Routes, manner: MailManner, answer: Answer) -> None:
    mail.behave(manner)
    assert answer is sent(at, "mail").answer


@pytest.mark.parametrize("code", [550, 452])
def test_one_mailbox_that_is_refused_keeps_the_mail_from_nobody_else(
    mail: MailSink, at: Routes, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    taken = SMTP.rcpt

    def rcpt(server: SMTP, recipient: str, options: tuple[str, ...] = ()) -> tuple[int, bytes]:
        return (code, b"no") if recipient.startswith("lead@") else taken(server, recipient, options)

    monkeypatch.setattr(SMTP, "rcpt", rcpt)
    waiting = (recipient_id("lead@bank.example"),) if code == 452 else ()
    expected = f"the mail server refuses 1 of 2 recipients ({code})"
    assert Result(Answer.DELIVERED, expected, is_partly=code == 550, waiting=waiting) == sent(at, "mail")
    assert 1 == len(mail.taken)


def test_those_who_wait_for_a_mail_get_it_alone(mail: MailSink, at: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    taken = SMTP.rcpt

    def rcpt(server: SMTP, recipient: str, options: tuple[str, ...] = ()) -> tuple[int, bytes]:
        asked.append(recipient)
        return taken(server, recipient, options)

    monkeypatch.setattr(SMTP, "rcpt", rcpt)
    waiting = Send(message(sink="mail"), False, NOON_MS, None, (recipient_id("lead@bank.example"),))
    assert Result(Answer.DELIVERED) == client_of(at.sinks["mail"], at).send(waiting)
    assert ["lead@bank.example"] == asked
    nobody = waiting._replace(waiting=(recipient_id("gone@bank.example"),))
    assert Answer.NEVER is client_of(at.sinks["mail"], at).send(nobody).answer
    assert 1 == len(mail.taken), "nobody else gets it instead"


def test_mail_says_that_it_is_a_repeat_under_the_same_message_id(mail: MailSink, at: Routes) -> None:
    sent(at, "mail")
    sent(at, "mail", is_repeat=True)
    first, again = (email.message_from_string(text, policy=email.policy.default) for text in mail.taken)
    assert first["Message-ID"] == again["Message-ID"]
    assert REPEAT not in first.get_content()
    assert REPEAT in again.get_content()
    assert again["Subject"].startswith("[repeat] ")
    assert "oncall@bank.example, lead@bank.example" == first["To"]


def test_heartbeat_reaches_those_that_watch_for_it(sink: HttpSink, at: Routes) -> None:
    for name in ("alertmanager", "hook"):
        assert Answer.DELIVERED is client_of(at.sinks[name], at).beat(60_000).answer
    assert "ALERTS_HEARTBEAT" == sink.taken[0].json[0]["labels"]["alertname"]
    assert "alerts.heartbeat" == Webhook(SIGNING).verify(sink.taken[1].body, sink.taken[1].headers)["type"]
