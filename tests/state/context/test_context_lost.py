"""Context that Redis acknowledged and lost is read again before anything is decided, whoever had read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.features import NONE
from pipeline.io.kafka.log_reader import LogReader
from pipeline.state.context import context_agent
from pipeline.state.context.context_agent import Context
from pipeline.state.context.context_store import ACCOUNTS, SIGNALS
from pipeline.state.windows import PartitionEvents, StateLost
from tests.records import NOON_MS
from tests.state.context.stand import KEY, PATIENCE_S, WIRE, Stand, account, signal


@pytest.fixture(params=[1, 3], ids=["1 shard", "3 shards"])
def stand(redis_at: str, stack: EmbeddedStack, request: pytest.FixtureRequest) -> Iterator[Stand]:
    stand = Stand(redis_at, stack.bootstrap_servers)
    create_topics(stand.servers, partitions=1, prefix=stand.prefix)
    stand.start(request.param)
    stand.mark_ready()
    yield stand
    stand.close()


def report(stand: Stand) -> None:
    """Publish and take in a fraud report and a declared month."""
    stand.publish(SIGNALS, (KEY, signal(9)))
    stand.publish(ACCOUNTS, ("payer", account(777)))
    stand.deliver(SIGNALS)
    stand.deliver(ACCOUNTS)


def test_what_a_failover_lost_is_there_again_before_the_next_payment(stand: Stand) -> None:
    assert stand.is_sure()
    with stand.losing_what_follows():
        report(stand)
        assert stand.is_sure()
    assert not stand.is_sure()
    stand.run(stand.context.compare())
    assert stand.is_sure()
    assert stand.known() == (777, 9)


def test_what_another_worker_took_in_and_lost_is_read_again(stand: Stand) -> None:
    with stand.losing_what_follows():
        report(stand)
    other = Stand(stand.redis_url, stand.servers)
    other.prefix = stand.prefix
    other.start(len(stand.state._shards))
    assert not other.is_sure()
    other.run(other.context.compare())
    assert other.is_sure()
    assert other.known() == (777, 9)
    other.close()


def test_a_loss_behind_a_connection_that_stays_up_is_found_by_the_next_look(stand: Stand) -> None:
    with stand.losing_what_follows(is_noticed=False):
        report(stand)
    stand.run(stand.context.look())
    assert stand.is_sure()
    assert stand.known() == (777, 9)


def test_a_record_behind_a_lost_one_does_not_hide_it(stand: Stand) -> None:
    with stand.losing_what_follows(is_noticed=False):
        report(stand)
    stand.publish(SIGNALS, ("DEVICE:device-1", signal(1)), (KEY, b"junk"))
    stand.deliver(SIGNALS, 1)
    stand.publish(ACCOUNTS, ("payer", account(5, NOON_MS - 1)))
    stand.deliver(ACCOUNTS, 1)
    assert stand.known() == (777, 9)


def test_a_withdrawal_that_was_lost_withdraws_again(stand: Stand) -> None:
    report(stand)
    with stand.losing_what_follows():
        stand.publish(SIGNALS, (KEY, None))
        stand.publish(ACCOUNTS, ("payer", None))
        stand.deliver(SIGNALS, 1)
        stand.deliver(ACCOUNTS, 1)
    stand.run(stand.context.look())
    assert stand.known() == (NONE, 0)


def test_positions_are_those_of_the_log_after_a_comparison_whoever_reads_it(stand: Stand) -> None:
    report(stand)
    stand.publish(SIGNALS, (KEY, b"junk"), (KEY, signal(3, NOON_MS - 1)))
    stand.run(stand.context.look())  # nothing was lost
    assert stand.run(stand.state.context_positions(SIGNALS)) == {0: 1}
    stand.state.distrust_context()
    stand.run(stand.context.look())
    assert stand.run(stand.state.context_positions(SIGNALS)) == {0: 3}
    stand.deliver(SIGNALS, 1)
    assert stand.run(stand.state.context_positions(SIGNALS)) == {0: 3}
    assert [code for _, code in stand.told] == ["FRAMING_UNKNOWN"]
    assert stand.known() == (777, 9)


def test_a_state_that_a_rebuild_must_build_is_not_read_twice(stand: Stand) -> None:
    report(stand)
    with redis.Redis.from_url(stand.redis_url) as client:
        client.flushall()
        client.client_kill_filter(_type="normal", skipme=True)
    stand.run(stand.context.compare())
    assert stand.run(stand.state.context_positions(SIGNALS)) == {}
    stand.run(stand.context.replay())
    assert stand.run(stand.state.context_positions(SIGNALS)) == {0: 1}
    assert stand.known() == (777, 9)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(stand: Stand) -> None:
    for _ in range(3):
        stand.publish(SIGNALS, (KEY, signal(9)))
    stand.deliver(SIGNALS)
    stand.prefix = f"{stand.prefix}anew."  # the mock broker keeps a topic that is deleted
    create_topics(stand.servers, partitions=1, prefix=stand.prefix)
    stand.publish(SIGNALS, (KEY, None))
    stand.state.distrust_context()
    stand.run(stand.context.compare())
    assert stand.run(stand.state.context_positions(SIGNALS)) == {0: 1}
    assert stand.known()[1] == 0


def test_a_topic_made_anew_is_told_live_by_a_time_that_its_log_never_had(stand: Stand) -> None:
    for _ in range(3):
        stand.publish(SIGNALS, (KEY, signal(9)))
    stand.deliver(SIGNALS)
    stand.deliver(SIGNALS)  # which the same record read again is not
    assert stand.run(stand.state.context_positions(SIGNALS)) == {0: 3}
    stand.prefix = f"{stand.prefix}anew."
    create_topics(stand.servers, partitions=1, prefix=stand.prefix)
    stand.publish(SIGNALS, (KEY, None), (KEY, signal(2, NOON_MS - 5)))
    stand.context.reading_anew()
    stand.deliver(SIGNALS)
    assert stand.known()[1] == 2


def test_a_connection_made_while_a_batch_is_sent_counts_nothing(redis_at: str) -> None:
    stand = Stand(redis_at, "")
    stand.run(stand.state.mark_ready([0], is_shared=True))
    assert stand.state.trust_context(stand.run(stand.state.connect()))
    assert stand.is_sure()
    with redis.Redis.from_url(redis_at) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert not stand.is_sure()
    assert not stand.state.is_context_trusted
    stand.close()


class Losing(LogReader):
    """Redis goes back while the part of a topic with this number is read."""

    def __init__(self, stand: Stand, lost_at: int) -> None:
        super().__init__(stand.servers, "test", {}, timeout_s=PATIENCE_S)
        self._redis_url, self._reads, self._lost_at = stand.redis_url, 0, lost_at

    def read_range(self, topic: str, *range_: Any) -> Any:
        self._reads += topic.endswith(SIGNALS)
        if self._reads == self._lost_at:
            with redis.Redis.from_url(self._redis_url) as client:
                client.flushall()
        return super().read_range(topic, *range_)


def losing(stand: Stand, monkeypatch: pytest.MonkeyPatch, lost_at: int) -> Context:
    monkeypatch.setattr(context_agent, "RECORDS_MAX", 1)
    stand.publish(SIGNALS, *[(KEY, signal(each)) for each in (9, 8, 7)])
    return Context(stand.state, WIRE, lambda: Losing(stand, lost_at), stand.name)


def test_a_replay_does_not_step_over_what_is_lost_under_it(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StateLost):
        stand.run(losing(stand, monkeypatch, 5).replay())  # three reads look for withdrawals


def test_a_comparison_does_not_step_over_what_is_lost_under_it(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.state.distrust_context()
    stand.run(losing(stand, monkeypatch, 2).compare())
    assert stand.run(stand.state.context_positions(SIGNALS)) == {}
    nothing = stand.state.prepare([PartitionEvents(0, 0, 0, 0, [])])
    with pytest.raises(StateLost):
        stand.run(stand.state.observe_prepared(nothing, when_ready=True))
