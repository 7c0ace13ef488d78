"""What a transactional appender does where its library gives a transaction up by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.domain.log import Outgoing
from pipeline.io.kafka import appender
from pipeline.io.kafka.appender import RETRIES_MAX, TransactionalAppender
from pipeline.io.kafka.client import BrokerAway, BrokerFailed

RECORDS = [Outgoing("t", b"account", b"value")]


class Message:
    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 41


class Library:
    """A producer whose first transactions fail with these codes, one each, as the library's do."""

    def __init__(self, *codes: int, abort_fails_with: int | None = None) -> None:
        self.steps: list[str] = []
        self._codes, self._abort_fails_with = list(codes), abort_fails_with
        self._delivered: list[Callable[[KafkaError | None, Message], None]] = []

    def begin_transaction(self) -> None:
        self.steps.append("begin")

    def produce(self, *_: object, on_delivery: Callable[[KafkaError | None, Message], None], **__: Any) -> None:
        self._delivered.append(on_delivery)

    def flush(self, _: float) -> int:
        error = KafkaError(self._codes.pop(0)) if self._codes else None
        for tell in self._delivered:
            tell(error, Message())
        self._delivered.clear()
        return 0

    def abort_transaction(self, _: float) -> None:
        self.steps.append("abort")
        if self._abort_fails_with is not None:
            raise KafkaException(KafkaError(self._abort_fails_with))

    def commit_transaction(self, _: float) -> None:
        self.steps.append("commit")


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Callable[[Library], TransactionalAppender]:
    def make(library: Library) -> TransactionalAppender:
        monkeypatch.setattr(appender, "Producer", lambda _: library)
        return TransactionalAppender("127.0.0.1:1", "test", {})

    return make


@pytest.mark.parametrize("code", [KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT])
def test_a_transaction_that_its_coordinator_gave_up_is_written_anew(over, code):
    library = Library(code, code)
    ends = over(library).append(RECORDS)
    assert list(ends.values()) == [42]
    assert library.steps == ["begin", "abort", "begin", "abort", "begin", "commit"]


def test_it_is_tried_no_more_often_than_its_bound(over):
    library = Library(*[KafkaError._PURGE_QUEUE] * RETRIES_MAX)
    with pytest.raises(BrokerFailed, match=f"{RETRIES_MAX} times"):
        over(library).append(RECORDS)
    assert library.steps == ["begin", "abort"] * RETRIES_MAX


def test_a_client_that_was_fenced_is_not_tried_again_and_says_so(over):
    library = Library(KafkaError._PURGE_QUEUE, abort_fails_with=KafkaError._FENCED)
    with pytest.raises(BrokerFailed, match="fenced") as raised:
        over(library).append(RECORDS)
    assert not isinstance(raised.value, BrokerAway)
    assert library.steps == ["begin", "abort"]


@pytest.mark.parametrize(
    ("code", "kind"), [(KafkaError._MSG_TIMED_OUT, BrokerAway), (KafkaError.TOPIC_AUTHORIZATION_FAILED, BrokerFailed)]
)
def test_what_the_broker_refused_or_did_not_answer_is_raised_at_once(over, code, kind):
    library = Library(code)
    with pytest.raises(kind):
        over(library).append(RECORDS)
    assert library.steps == ["begin", "abort"]
