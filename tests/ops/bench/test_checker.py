"""The checker finds every violation, planted on librdkafka's mock broker one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest
from confluent_kafka import Producer

from ops.bench.loss.checker import Checker, Finding
from ops.bench.rig.stored import without_wall_clock
from pipeline.decide.decision_encoder import DecisionEncoder, with_position
from pipeline.decide.verdict import Mode, Verdict, decide, regime
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.decision import BreakerState, Outcome, Reason
from pipeline.domain.features import Matrix
from pipeline.domain.log import Source
from pipeline.domain.payment import Decoded, Transaction
from pipeline.io.avro.wire import WireFormat
from tests.records import NOON_MS, PAYMENT, POLICY_PATH, features, policy, small_model

WIRE = WireFormat()
CLOSED = Mode(BreakerState.CLOSED, "all", True)
OPEN = Mode(BreakerState.OPEN, "all", False)
PREFIXES = (f"checker{number}." for number in count())


@pytest.fixture(scope="module")
def broker() -> Producer:
    return Producer({"test.mock.num.brokers": 1, "log_level": 0})


@dataclass(slots=True)
class Log:
    """Publishes payments and writes outcomes as the worker would, unless told otherwise."""

    producer: Producer
    prefix: str = field(default_factory=lambda: next(PREFIXES))
    offsets: Iterator[int] = field(default_factory=count)

    def publish(self, payment: Transaction = PAYMENT) -> Source:
        self.produce("transactions.v1", payment.account_id, WIRE.encode_transaction(payment))
        return Source(0, next(self.offsets), NOON_MS)

    def decide(self, source: Source, payment: Transaction = PAYMENT, mode: Mode = CLOSED, **changes: Any) -> None:
        self.produce("decisions.v1", payment.account_id, decision(source, payment, mode, **changes))

    def bury(self, source: Source, code: str, payment: Transaction = PAYMENT) -> None:
        value = WIRE.encode_transaction(payment)
        letter = DeadLetter(
            code,
            "",
            f"{self.prefix}transactions.v1",
            *source,
            payload_sha256=hashlib.sha256(value).digest(),
            payload_length=len(value),
            key_id="",
            payload=b"",
        )
        self.produce("transactions.dead.v1", "place", WIRE.encode(letter))

    def produce(self, topic: str, key: str, value: bytes) -> None:
        self.producer.produce(f"{self.prefix}{topic}", value, key.encode(), partition=0)
        assert self.producer.flush(120) == 0

    def found(self) -> dict[str, int]:
        for topic in ("transactions.v1", "decisions.v1", "transactions.dead.v1"):
            self.producer.list_topics(f"{self.prefix}{topic}", timeout=120)  # the mock makes a topic by being asked
        (server,) = (f"{b.host}:{b.port}" for b in self.producer.list_topics(timeout=120).brokers.values())
        return dict(Checker(server, self.prefix, [POLICY_PATH]).check().violations)


@pytest.fixture
def log(broker: Producer) -> Log:
    return Log(broker)


def decision(source: Source, payment: Transaction, mode: Mode, **changes: Any) -> bytes:
    in_force = regime(policy(), small_model())
    row = features()
    verdict: Verdict = replace(decide(row, [mode], in_force)[0], **changes)
    decoded = WIRE.decode_transaction(WIRE.encode_transaction(payment))
    assert isinstance(decoded, Decoded)
    return encoded(decoded, source, row, verdict)


def encoded(decoded: Decoded, source: Source, row: Matrix, verdict: Verdict) -> bytes:
    encoder = DecisionEncoder(WIRE.header("decision.v1"), regime(policy(), small_model()), "decide/test")
    return encoder.encode([decoded], [source], with_position(row, -1), [verdict], [NOON_MS])[0]


def test_whole_log_has_no_violation(log: Log) -> None:
    log.decide(log.publish())
    log.bury(log.publish(), "DUPLICATE")
    other = PAYMENT._replace(amount_minor=1)
    log.bury(log.publish(other), "TRANSACTION_ID_CONFLICT", other)
    log.bury(log.publish(), "POISON")
    assert {} == log.found()


def test_payment_without_outcome_is_lost(log: Log) -> None:
    log.publish()
    assert {Finding.LOST: 1} == log.found()


def test_two_decisions_for_one_record_are_found(log: Log) -> None:
    source = log.publish()
    log.decide(source)
    log.decide(source)
    assert {Finding.ACCOUNTED_TWICE: 1, Finding.SECOND_DECISION: 1} == log.found()


def test_two_decisions_for_one_republished_payment_are_found(log: Log) -> None:
    log.decide(log.publish())
    log.decide(log.publish())
    assert {Finding.SECOND_DECISION: 1} == log.found()


def test_decision_and_dead_letter_for_one_record_are_found(log: Log) -> None:
    source = log.publish()
    log.decide(source)
    log.bury(source, "POISON")
    assert {Finding.ACCOUNTED_TWICE: 1} == log.found()


def test_outcome_of_nothing_is_invented(log: Log) -> None:
    log.decide(Source(0, 99, NOON_MS))
    assert {Finding.INVENTED: 1} == log.found()


def test_decision_on_another_amount_than_was_published_is_found(log: Log) -> None:
    log.decide(log.publish(), PAYMENT._replace(amount_minor=PAYMENT.amount_minor + 1))
    assert {Finding.ALTERED_PAYMENT: 1} == log.found()


@pytest.mark.parametrize("code", ["DUPLICATE", "TRANSACTION_ID_CONFLICT"])
def test_duplicate_or_conflict_without_an_original_is_found(log: Log, code: str) -> None:
    log.bury(log.publish(), code)
    finding = Finding.FALSE_DUPLICATE if code == "DUPLICATE" else Finding.FALSE_CONFLICT
    assert {finding: 1} == log.found()


def test_duplicate_with_another_body_is_found(log: Log) -> None:
    log.decide(log.publish())
    other = PAYMENT._replace(amount_minor=1)
    log.bury(log.publish(other), "DUPLICATE", other)
    assert {Finding.FALSE_DUPLICATE: 1} == log.found()


def test_decision_without_words_is_unexplained(log: Log) -> None:
    log.decide(log.publish(), summary=" ")
    assert {Finding.UNEXPLAINED: 1} == log.found()


def test_decision_with_a_wordless_reason_is_unexplained(log: Log) -> None:
    log.decide(log.publish(), reasons=[Reason("CODE", "", 1, None, None, None)])
    assert {Finding.UNEXPLAINED: 1} == log.found()


def test_changed_snapshot_no_longer_has_its_hash(log: Log) -> None:
    value = decision(log.publish(), PAYMENT, CLOSED)
    log.produce("decisions.v1", PAYMENT.account_id, value[:-1] + b"\x7e")
    assert Finding.WRONG_INPUT_HASH in log.found()


def test_allowing_what_the_fallback_escalates_is_too_permissive(log: Log) -> None:
    payment = PAYMENT._replace(amount_minor=300_000)
    row = features(amount_gbp_minor=300_000)  # FALLBACK_HIGH_VALUE escalates
    in_force = regime(policy(), small_model())
    verdict = decide(row, [OPEN], in_force)[0]
    assert verdict.outcome is Outcome.ESCALATE
    decoded = WIRE.decode_transaction(WIRE.encode_transaction(payment))
    assert isinstance(decoded, Decoded)
    lenient = replace(verdict, outcome=Outcome.ALLOW)
    source = log.publish(payment)
    log.produce("decisions.v1", payment.account_id, encoded(decoded, source, row, lenient))
    assert {Finding.TOO_PERMISSIVE: 1} == log.found()


def test_fallback_s_own_answer_is_not_too_permissive(log: Log) -> None:
    log.decide(log.publish(), mode=OPEN)
    assert {} == log.found()


def test_decision_key_must_be_its_account(log: Log) -> None:
    log.produce("decisions.v1", "another", decision(log.publish(), PAYMENT, CLOSED))
    assert {Finding.WRONG_KEY: 1} == log.found()


def test_checker_goes_on_from_where_it_stopped(log: Log) -> None:
    log.decide(log.publish())
    log.found()
    (server,) = (f"{b.host}:{b.port}" for b in log.producer.list_topics(timeout=120).brokers.values())
    checker = Checker(server, log.prefix, [POLICY_PATH])
    assert checker.check().transactions == 1
    log.bury(log.publish(), "DUPLICATE")
    report = checker.check()
    assert (2, 1, 1) == (report.transactions, report.decisions, report.duplicates)
    assert report.is_whole


def test_wall_clock_is_the_only_thing_left_out_of_a_decision_s_bytes() -> None:
    source = Source(0, 1, NOON_MS)
    value = decision(source, PAYMENT, CLOSED)
    later = decision(source._replace(timestamp_ms=NOON_MS + 1), PAYMENT, CLOSED)
    assert without_wall_clock(value) != without_wall_clock(later)
    assert len(value) - 10 - len(without_wall_clock(value)) == 6  # a varint of milliseconds since 1970


@pytest.mark.parametrize("state", [BreakerState.OPEN, BreakerState.FORCED_OPEN, BreakerState.UNKNOWN])
def test_model_may_not_answer_while_the_breaker_is_not_closed(log: Log, state: BreakerState) -> None:
    """The fallback rules escalate what the model allows here; only a HALF_OPEN probe may come out so."""
    row = features(ip_fraud_reports=0, account_count_1h=9)  # FALLBACK_BURST
    in_force = regime(policy(), small_model())
    verdict = decide(row, [Mode(state, "all", True)], in_force)[0]
    assert verdict.outcome is Outcome.ALLOW
    decoded = WIRE.decode_transaction(WIRE.encode_transaction(PAYMENT))
    assert isinstance(decoded, Decoded)
    value = encoded(decoded, log.publish(), row, verdict)
    log.produce("decisions.v1", PAYMENT.account_id, value)
    assert {Finding.TOO_PERMISSIVE: 1} == log.found()
