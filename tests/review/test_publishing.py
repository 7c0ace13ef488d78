"""Outcomes that the broker does not take: the service says so, and ends where that will not pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import Outgoing
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerAway, BrokerFailed
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.review.case_store import CaseFile
from pipeline.review.cases import CaseEvent, claim, judge, opening
from pipeline.review.outcome_topics import trusted_ms
from pipeline.review.service import ReviewService, ReviewTopics
from tests.records import NOON_MS
from tests.review.given import ANN, BLOCK, HOUR_MS, RULES, SMALL, after, opened
from tests.sealing import review_seals


class Broker:
    """An appender's, which answers as it is told."""

    def __init__(self, failure: BrokerFailed | None) -> None:
        self.failure, self.taken = failure, 0

    def append(self, records: Sequence[Outgoing]) -> None:
        if self.failure is not None:
            raise self.failure
        self.taken += len(records)


def service_on(broker: Broker) -> ReviewService:
    unread = cast(PositionedLog[DecisionRecord], None)
    topics, seals = ReviewTopics("decisions.v1", "alerts.v1"), review_seals("decisions.v1")
    return ReviewService(unread, cast(Appender, broker), WireFormat(), topics, HOUR_MS, lambda _: NOON_MS, RULES, seals)


@pytest.fixture
def decided() -> CaseFile:
    begun = opened()
    claimed = claim(SMALL, begun, ANN, NOON_MS + 1, RULES)
    ended = judge(SMALL, after(begun, claimed), ANN, BLOCK, NOON_MS + 2, RULES)
    assert isinstance(claimed, CaseEvent)
    assert isinstance(ended, CaseEvent)
    return CaseFile(SMALL, "at night", (opening(SMALL), claimed, ended))


def test_outcomes_that_wait_for_the_broker_make_it_unready_until_they_are_sent(decided: CaseFile) -> None:
    broker = Broker(BrokerAway("away"))
    service = service_on(broker)
    assert "1 outcomes are not published: away" == service.publish([decided])
    broker.failure = None
    assert service.publish([decided]) is None
    assert 1 == broker.taken


def test_outcomes_that_the_broker_refuses_for_good_end_it(decided: CaseFile) -> None:
    """An idempotent producer that failed for good takes nothing any more, and a right that is missing stays so."""
    with pytest.raises(BrokerFailed, match="no right"):
        service_on(Broker(BrokerFailed("no right"))).publish([decided])


@pytest.mark.parametrize("broker_ms", [0, 1_546_300_800_000, NOON_MS - 8 * 24 * HOUR_MS, NOON_MS + 1, 2**62, -(2**62)])
def test_case_opens_now_where_the_brokers_clock_can_not_be_right(broker_ms):
    assert trusted_ms(broker_ms, NOON_MS) == NOON_MS


@pytest.mark.parametrize("behind_ms", [0, 1, 6 * 24 * HOUR_MS])
def test_case_opens_when_its_record_came(behind_ms):
    assert trusted_ms(NOON_MS - behind_ms, NOON_MS) == NOON_MS - behind_ms
