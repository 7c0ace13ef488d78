"""The outbox: each message ends once, whatever its sink answers. Invariants of pipeline/oncall/outbox.py."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.alert import Severity
from pipeline.oncall.messages import MessageKind, is_keyed, urgency
from pipeline.oncall.outbox import (
    ATTEMPTS_MAX,
    DOUBTS_MAX,
    ENDS,
    RETRY_AFTER_MS_MAX,
    Answer,
    Attempt,
    AttemptKind,
    Delivery,
    Result,
    after,
    bounded_result,
    interrupted,
    is_late,
    judged,
    put_back,
)
from pipeline.oncall.routing import SinkKind
from tests.oncall.given import message
from tests.records import NOON_MS

SAID = st.builds(
    Result, st.sampled_from(Answer), st.text(), st.none() | st.floats(), st.none() | st.text() | st.just("\x00\ud800")
)
"""Whatever a sink may say."""
RESULTS = st.builds(Result, st.sampled_from(Answer), st.just(""), st.none() | st.floats(-1, 1e9), waiting=st.just(()))
WAITING = st.builds(
    Result, st.sampled_from(Answer), st.just(""), waiting=st.sampled_from([(), ("0a",), ("0b",), ("0a", "0b")])
)
"""Of a sink with several recipients, some of whom may have to wait."""


def planned(*, is_keyed: bool) -> Delivery:
    return Delivery(message(), is_keyed, NOON_MS)


def sent(delivery: Delivery) -> Delivery:
    return after(delivery, Attempt(AttemptKind.SENDING))


@given(SAID)
def test_5_whatever_a_sink_says_can_be_stored(said: Result) -> None:
    attempt = judged(sent(planned(is_keyed=True)), said, NOON_MS)
    for text in (attempt.why, attempt.receipt or ""):
        assert not {"Cc", "Cs"} & {unicodedata.category(character) for character in text}
    assert (200, 100) >= (len(attempt.why), len(attempt.receipt or ""))
    assert 0 <= (bounded_result(said).retry_after_s or 0.0) <= RETRY_AFTER_MS_MAX / 1000
    assert (attempt.again_at_ms or NOON_MS) <= NOON_MS + RETRY_AFTER_MS_MAX


def test_5_receipt_that_is_none_is_passed_over() -> None:
    assert "1700.1" == bounded_result(Result(Answer.DELIVERED, receipt="1700.1")).receipt
    assert bounded_result(Result(Answer.DELIVERED, receipt="17\x00")).receipt is None


@given(st.booleans(), st.lists(RESULTS, min_size=ATTEMPTS_MAX, max_size=ATTEMPTS_MAX))
def test_1_and_3_every_message_ends_within_the_bound(is_keyed: bool, results: list[Result]) -> None:
    at, now_ms = planned(is_keyed=is_keyed), NOON_MS
    for result in results:
        at = sent(at)
        attempt = judged(at, result, now_ms)
        at = after(at, attempt)
        if at.end is not None:
            break
        assert now_ms < at.due_at_ms <= now_ms + RETRY_AFTER_MS_MAX
        now_ms = at.due_at_ms
    assert at.end in ENDS
    assert at.sends <= ATTEMPTS_MAX
    assert (at.end is AttemptKind.DELIVERED) == (result.answer is Answer.DELIVERED)


@given(st.lists(RESULTS, min_size=ATTEMPTS_MAX, max_size=ATTEMPTS_MAX))
def test_2_at_most_one_repeat_where_the_sink_takes_no_key(results: list[Result]) -> None:
    at, copies = planned(is_keyed=False), 0
    for result in results:
        assert at.is_repeat == (copies > 0)
        at = sent(at)
        copies += result.answer in (Answer.DELIVERED, Answer.IN_DOUBT)
        at = after(at, judged(at, result, NOON_MS))
        if at.end is not None:
            break
    assert copies <= DOUBTS_MAX


@given(st.booleans(), st.lists(WAITING, min_size=ATTEMPTS_MAX, max_size=ATTEMPTS_MAX))
def test_6_who_has_to_wait_is_tried_again_alone_and_within_the_bound(is_keyed: bool, results: list[Result]) -> None:
    at, now_ms = planned(is_keyed=is_keyed), NOON_MS
    for result in results:
        waited, at = at.waiting, sent(at)
        attempt = judged(at, result, now_ms)
        at = after(at, attempt)
        assert at.waiting == (attempt.waiting or waited), "what a doubt or a refusal says changes nobody's turn"
        if result.answer is Answer.DELIVERED and result.waiting and at.sends < ATTEMPTS_MAX:
            assert (attempt.kind, at.waiting, at.end) == (AttemptKind.PARTLY, result.waiting, None)
            assert not is_late(at, now_ms + 10**7, 0), "the sink has taken it"
        if at.end is not None:
            break
        now_ms = at.due_at_ms
    assert at.end in ENDS
    assert at.sends <= ATTEMPTS_MAX
    assert (at.end is AttemptKind.DELIVERED) == (result.answer is Answer.DELIVERED and not result.waiting)


def test_2_doubt_at_a_sink_with_a_key_is_tried_again_without_a_word() -> None:
    at = planned(is_keyed=True)
    for _ in range(5):
        at = after(sent(at), judged(sent(at), Result(Answer.IN_DOUBT), NOON_MS))
        assert at.end is None
        assert not at.is_repeat


def test_a_send_during_which_the_service_died_may_have_arrived() -> None:
    at = sent(planned(is_keyed=False))
    attempt = interrupted(at, NOON_MS)
    assert AttemptKind.IN_DOUBT is attempt.kind
    assert after(at, attempt).is_repeat
    again = sent(after(at, attempt))
    assert AttemptKind.DOUBTFUL is interrupted(again, NOON_MS).kind


def test_retry_after_is_heeded_and_bounded() -> None:
    at = sent(planned(is_keyed=True))
    assert judged(at, Result(Answer.LATER, retry_after_s=120), NOON_MS).again_at_ms == NOON_MS + 120_000
    assert judged(at, Result(Answer.LATER, retry_after_s=1e9), NOON_MS).again_at_ms == NOON_MS + RETRY_AFTER_MS_MAX


def test_message_is_late_once_it_was_tried_for_long() -> None:
    later_ms = NOON_MS + 10**7
    assert not is_late(planned(is_keyed=True), later_ms, later_ms - 1), "one that waits for others was not tried"
    assert is_late(planned(is_keyed=True), later_ms, NOON_MS), "its sink asked for patience, and takes nothing"
    assert is_late(sent(planned(is_keyed=True)), NOON_MS + 300_000, NOON_MS + 299_999)


@given(st.integers(1, 10**12), st.integers(0, 10**7))
def test_clock_that_was_put_back_makes_no_message_wait_longer(back_ms: int, wait_ms: int) -> None:
    at = replace(planned(is_keyed=True), planned_at_ms=NOON_MS, due_at_ms=NOON_MS + wait_ms)
    now_ms = NOON_MS - back_ms
    moved = put_back(at, back_ms, now_ms)
    assert now_ms + min(wait_ms, RETRY_AFTER_MS_MAX) == moved.due_at_ms
    assert now_ms == moved.planned_at_ms
    assert now_ms + RETRY_AFTER_MS_MAX >= put_back(at, 0, now_ms).due_at_ms, "where nobody saw it put back"


def test_what_calls_somebody_goes_before_what_is_only_to_be_known() -> None:
    kinds = (MessageKind.COUNTED, MessageKind.TRIGGERED, MessageKind.RESOLVED, MessageKind.ESCALATED)
    every = [message(kind, severity=severity) for severity in Severity for kind in kinds]
    first, second, *rest = [(each.severity, each.kind) for each in sorted(every, key=urgency)]
    assert [(Severity.CRITICAL, MessageKind.TRIGGERED), (Severity.CRITICAL, MessageKind.ESCALATED)] == [first, second]
    assert Severity.INFO is rest[-1][0]


def test_sinks_that_take_a_key() -> None:
    keyed = {(sink, kind) for sink in SinkKind for kind in MessageKind if is_keyed(sink, kind)}
    by_key = (SinkKind.PAGERDUTY, SinkKind.ALERTMANAGER, SinkKind.WEBHOOK)
    changes = {(SinkKind.PAGERDUTY, MessageKind.NOTICED)}
    assert {(sink, kind) for sink in by_key for kind in MessageKind} - changes == keyed
