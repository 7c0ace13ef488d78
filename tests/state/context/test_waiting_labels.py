"""A label that is read before its payment is observed marks it later, and is a dead letter only where none comes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.context import Label
from pipeline.domain.log import SEAL_HEADER, Outgoing, Presented, Record, Source
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.keys.key_files import is_signed
from pipeline.keys.key_sets import KeySet, KeyUse, with_key
from pipeline.seals.proving import SealCheck
from pipeline.state.context import context_store
from pipeline.state.context.context_agent import PAYMENTS
from pipeline.state.context.context_store import LABELS
from pipeline.state.state_event import StateEvent
from tests.records import NOON_MS
from tests.seals.given import sealer_with, signing_key
from tests.state.context.stand import PATIENCE_S, WIRE, Stand
from tests.state.stores import column, payment, share

HOUR_MS = 3_600_000


class LabelStand(Stand):
    """Payments on their topic, with labels that come when they like."""

    def append(self, *numbers: int) -> None:
        """Let payments reach the log; their content doesn't matter here."""
        producer = Producer({"bootstrap.servers": self.servers})
        for number in numbers:
            producer.produce(self.name(PAYMENTS), b"payment", b"payer", partition=0, timestamp=NOON_MS + number)
        assert producer.flush(PATIENCE_S) == 0

    def observe(self, number: int) -> int:
        """Count the payment at an offset; return how many frauds its beneficiary was known by."""
        [observation] = self.run(self.state.observe([share([event(number)], start=number)], is_rebuild=True))
        return column(observation.state, "beneficiary_confirmed_frauds")[0]

    def label(self, *numbers: int) -> None:
        self.publish(LABELS, *[("payee", WIRE.encode(label_of(number))) for number in numbers])

    def look(self) -> None:
        self.run(self.labels.look())

    def waiting(self) -> int:
        return sum(self.run(self.state.count_waiting()))


def event(number: int) -> StateEvent:
    return payment(number, NOON_MS + number, log_time_ms=NOON_MS + number)


def label_of(number: int) -> Label:
    paid = event(number)
    return Label(paid.transaction_id, paid.account_id, "payee", paid.event_time_ms, True, NOON_MS, "desk")


@pytest.fixture(params=[1, 3], ids=["1 shard", "3 shards"])
def stand(redis_at: str, stack: EmbeddedStack, request: pytest.FixtureRequest) -> Iterator[LabelStand]:
    stand = LabelStand(redis_at, stack.bootstrap_servers)
    create_topics(stand.servers, partitions=1, prefix=stand.prefix)
    stand.start(request.param)
    stand.mark_ready()
    yield stand
    stand.close()


def test_a_label_that_overtakes_its_payment_waits_for_it(stand: LabelStand) -> None:
    stand.append(0, 1)
    stand.label(0)
    stand.deliver(LABELS)
    stand.look()
    assert (stand.waiting(), stand.told) == (1, [])
    stand.observe(0)
    stand.look()
    assert (stand.waiting(), stand.told) == (0, [])
    assert stand.observe(1) == 1


def test_a_label_without_a_payment_is_told_once_when_none_can_come_any_more(stand: LabelStand) -> None:
    stand.append(0, 1)
    stand.label(7)
    stand.deliver(LABELS)
    stand.look()
    stand.observe(0)
    stand.look()
    assert (stand.waiting(), stand.told) == (1, [])
    stand.observe(1)
    stand.look()
    assert (stand.waiting(), stand.told) == (0, [(0, RefusalCode.LABEL_UNMATCHED)])
    stand.deliver(LABELS)
    stand.look()
    assert (stand.waiting(), stand.told) == (0, [(0, RefusalCode.LABEL_UNMATCHED)])


def test_a_payment_that_came_after_the_label_does_not_prolong_its_wait(stand: LabelStand) -> None:
    stand.label(7)
    stand.deliver(LABELS)
    stand.append(0)
    stand.look()
    stand.append(1, 2)
    stand.observe(0)
    stand.look()
    assert stand.told == [(0, RefusalCode.LABEL_UNMATCHED)]


def test_another_worker_goes_on_waiting(stand: LabelStand) -> None:
    stand.append(0, 1)
    stand.label(0)
    stand.deliver(LABELS)
    stand.look()
    other = LabelStand(stand.redis_url, stand.servers)
    other.prefix = stand.prefix
    other.start(len(stand.state._shards))
    other.observe(0)
    other.look()
    assert other.waiting() == 1  # the first worker looks
    with redis.Redis.from_url(stand.redis_url) as client:
        client.delete(*client.keys("*looker"))
    other.look()
    assert (other.waiting(), other.told) == (0, [])
    assert other.observe(1) == 1
    other.close()


def test_a_label_that_was_read_again_beside_its_wait_waits_once(stand: LabelStand) -> None:
    stand.append(0)
    stand.label(0)
    stand.deliver(LABELS)
    stand.deliver(LABELS)
    assert stand.waiting() == 1
    stand.observe(0)
    stand.look()
    stand.deliver(LABELS)
    stand.look()
    assert (stand.waiting(), stand.told) == (0, [])


def test_too_many_labels_that_wait_are_told_of(stand: LabelStand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_store, "WAITING_MAX", 2)
    stand.append(*range(3))
    stand.label(0, 1, 2)
    stand.deliver(LABELS)
    assert (stand.waiting(), stand.told) == (2, [(2, RefusalCode.LABEL_UNMATCHED)])


@pytest.mark.parametrize("observed", [0, 1, 3])
def test_a_rebuild_gives_what_the_live_reading_gave_however_far_payments_were_observed(
    stand: LabelStand, observed: int
) -> None:
    """What is labelled, and not there: one of each that is observed, still to come, and made up."""
    stand.append(0, 1, 2, 3)
    for number in range(observed):
        stand.observe(number)
    stand.label(0, 1, 2, 9)
    stand.deliver(LABELS)
    stand.look()
    with redis.Redis.from_url(stand.redis_url) as client:
        client.flushall()
    stand.start(len(stand.state._shards))
    for number in range(observed):
        stand.observe(number)
    stand.run(stand.context.replay())
    stand.mark_ready()
    for number in range(observed, 3):
        stand.look()
        stand.observe(number)
    stand.look()
    assert stand.observe(3) == 3
    stand.look()
    assert stand.waiting() == 0
    assert stand.told == [(3, RefusalCode.LABEL_UNMATCHED)]


def test_a_rebuild_lets_no_label_wait_whose_payment_is_long_gone(stand: LabelStand) -> None:
    stand.append(0)
    stand.observe(0)
    stand.label(7, 8)
    stand.run(stand.context.replay())
    assert stand.waiting() == 0
    assert stand.told == []
    stand.deliver(LABELS)  # nobody was told yet
    assert [code for _, code in stand.told] == [RefusalCode.LABEL_UNMATCHED] * 2
    stand.deliver(LABELS)
    assert len(stand.told) == 2


def test_a_forged_label_is_a_dead_letter_live_and_nothing_in_a_replay(stand: LabelStand) -> None:
    """Three labels of one payment: the publisher's own, then two forged ones that turn it back."""
    key = signing_key()
    keys = with_key(KeySet({}), KeyUse.LABELS, key.public, 0)
    check = SealCheck(lambda _: keys, is_signed, lambda: NOON_MS, KeyUse.LABELS)
    stand.proves = {stand.name(LABELS): check.unproved}
    stand.start(len(stand.run(stand.state.count_waiting())))
    stand.mark_ready()
    stand.append(0, 1, 2)
    stand.observe(0)
    ours, forged = (WIRE.encode(label_of(0)._replace(fraud=fraud)) for fraud in (True, False))
    [sealed] = sealer_with(key, stand.name(LABELS)).seal([Outgoing(stand.name(LABELS), b"payee", ours)])
    seal = dict(sealed.headers or ())[SEAL_HEADER]
    records = [(ours, seal), (forged, None), (forged, seal)]
    told: list[RefusalCode] = []

    async def tell(refusal: Refusal) -> None:
        told.append(refusal.code)

    for offset, (value, each) in enumerate(records):
        record = Record(b"payee", value, Source(0, offset, NOON_MS))
        shown = Presented(stand.name(LABELS), *record.source, False, record.key, value, each)
        stand.run(stand.context.take_in(LABELS, record, 0.0, tell, shown))
    assert [RefusalCode.LABEL_UNPROVED] * 2 == told
    assert stand.observe(1) == 1
    producer = Producer({"bootstrap.servers": stand.servers})
    for value, each in reversed(records):
        headers = None if each is None else [(SEAL_HEADER, each)]
        producer.produce(stand.name(LABELS), value, b"payee", partition=0, timestamp=NOON_MS, headers=headers)
    assert producer.flush(PATIENCE_S) == 0
    stand.run(stand.context.replay())
    assert stand.observe(2) == 1


def test_a_sealed_topic_believes_nothing_that_is_handed_over_without_its_seal(stand: LabelStand) -> None:
    stand.proves = {stand.name(LABELS): lambda _: None}
    stand.start(len(stand.run(stand.state.count_waiting())))
    stand.label(0)
    stand.deliver(LABELS)
    assert [(-1, RefusalCode.LABEL_UNPROVED)] == stand.told
