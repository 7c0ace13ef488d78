"""A rebuild: what was lost is counted again as it was counted then, and as if it had never been lost."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pytest
import redis
from confluent_kafka import Producer
from structlog.testing import capture_logs

from ops.stack.embedded import EmbeddedStack
from ops.stack.redis_cluster import RedisCluster
from ops.stack.topics import create_topics
from pipeline.decide.batch import DUPLICATE, Judge, Reading, TopicNames
from pipeline.decide.feeds.feed import FeedKind, parse_new_feed
from pipeline.decide.policy import parse_policy
from pipeline.decide.rebuild_agent import Rebuild
from pipeline.decide.rebuilding import past_topics
from pipeline.decide.rebuilding.partition_agent import Topics
from pipeline.decide.rebuilding.plan import plan
from pipeline.decide.rebuilding.progress import Progress
from pipeline.decide.verdict import Mode, regime
from pipeline.domain.decision import BreakerState
from pipeline.domain.features import STATE
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.payment import Transaction
from pipeline.domain.refusals import RefusalCode
from pipeline.io.avro.wire import WireFormat
from pipeline.io.dead_letters import DeadLetters
from pipeline.io.kafka import bounded_records
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.look_ahead import LookAhead
from pipeline.io.partitioner import Partitioner
from pipeline.state.context.context_agent import Context
from pipeline.state.requests import Keys
from pipeline.state.store import RedisState, StateAhead
from pipeline.state.survey import Survey
from pipeline.state.windows import Freshness, PartitionEvents
from tests.records import NOON_MS, PAYMENT, POLICY_PATH, feed_content, feeds, small_model
from tests.redis_servers import emptied
from tests.servers import unused_prefix

WIRE = WireFormat()
PATIENCE_S = 120.0
PAYMENTS = 2_500
PARTITIONS = 4
MINUTE_MS = 60_000
GROUP = "rebuild-test"


class Scene:
    """Payments on the mock broker, decided once with one store; a rebuild must give the same again."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self.prefix = unused_prefix()
        create_topics(stack.bootstrap_servers, prefix=self.prefix)
        self.servers = stack.bootstrap_servers
        self.targets = dict.fromkeys(range(PARTITIONS), 0)
        self._records: list[Record] = []

    def publish(self, payments: Sequence[Transaction]) -> None:
        producer = Producer({"bootstrap.servers": self.servers, "compression.type": "gzip"})
        for number, payment in enumerate(payments):
            partition, value, at_ms = number % PARTITIONS, WIRE.encode_transaction(payment), payment.event_time_ms
            producer.produce(f"{self.prefix}transactions.v1", value, payment.account_id, partition, timestamp=at_ms)
            source = Source(partition, self.targets[partition], at_ms)
            self._records.append(Record(payment.account_id.encode(), value, source))
            self.targets[partition] += 1
        assert producer.flush(PATIENCE_S) == 0

    async def decide(
        self, state: RedisState, judge: Judge, *, is_published: bool = True, poison: Collection[str] = ()
    ) -> None:
        """poison: transaction ids of payments that are set aside, and never decided."""
        producer = Producer({"bootstrap.servers": self.servers})
        for partition, end in self.targets.items():
            records = [record for record in self._records if record.source.partition == partition]
            reading, span = judge.read(records), Span(partition, 0, end, end)
            sound = [each for each in reading.payments if each.decoded.transaction.transaction_id not in poison]
            reading = Reading(sound, reading.refused)
            observations = await state.observe(judge.state_events(reading, [span]))
            for judged in judge.judge(reading, observations, lambda _: Mode(BreakerState.CLOSED, "all", True), NOON_MS):
                for each in judged.outgoing if is_published else []:
                    producer.produce(f"{self.prefix}{each.topic}", each.value, b"key", partition)
        await state.mark_ready(self.targets, is_shared=True)
        assert producer.flush(PATIENCE_S) == 0

    def publish_on(self, partition: int, payments: Sequence[Transaction]) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        for payment in payments:
            value, at_ms = WIRE.encode_transaction(payment), payment.event_time_ms
            producer.produce(f"{self.prefix}transactions.v1", value, payment.account_id, partition, timestamp=at_ms)
            source = Source(partition, self.targets[partition], at_ms)
            self._records.append(Record(payment.account_id.encode(), value, source))
            self.targets[partition] += 1
        assert producer.flush(PATIENCE_S) == 0

    async def decide_on(self, state: RedisState, judge: Judge, partition: int, start: int) -> None:
        """Observe what was published on a partition since; all of it is set aside."""
        records = [each for each in self._records if each.source[:1] == (partition,) and each.source.offset >= start]
        events = judge.state_events(judge.read(records), [Span(partition, start, self.targets[partition], start)])
        (observation,) = await state.observe(events)
        assert Freshness.FRESH not in observation.freshness

    def write_letters(self, written: Sequence[tuple[int, str]]) -> None:
        """Write the dead letters of records of partition 0, each by its offset and code."""
        producer = Producer({"bootstrap.servers": self.servers})
        letters = DeadLetters(WIRE, f"{self.prefix}transactions.dead.v1", None)
        for offset, code in written:
            (record,) = [each for each in self._records if each.source[:2] == (0, offset)]
            letter = letters.letter(f"{self.prefix}transactions.v1", record, code, "as then")
            producer.produce(letter.topic, letter.value, letter.key)
        assert producer.flush(PATIENCE_S) == 0

    def rebuild(self, state: RedisState) -> Rebuild:
        def open_reader() -> LogReader:
            return LogReader(self.servers, GROUP, {}, ahead=LookAhead(self.servers, {}))

        context = Context(state, WIRE, open_reader, lambda name: f"{self.prefix}{name}")
        names = ("transactions.v1", "decisions.v1", "executions.v1", "transactions.dead.v1")
        topics = Topics(*(f"{self.prefix}{name}" for name in names))
        return Rebuild(
            state,
            open_reader,
            WIRE,
            context,
            topics,
            partitioner=Partitioner.CRC32,
            assigned=lambda: self.targets,
            decided=lambda committed: {partition: self.targets[partition] for partition in committed},
            patience_s=PATIENCE_S,
        )

    async def features(self, state: RedisState, judge: Judge) -> list[list[int]]:
        """Return what one more payment of each account to each beneficiary would see, by partition."""
        rows: list[Any] = []
        for partition, start in self.targets.items():
            payments = [
                paid(10_001 + partition * 1_000 + number * 10, account=f"account-{number % 7}-{partition}")
                for number in range(14)
            ]
            records = [
                Record(
                    each.account_id.encode(),
                    WIRE.encode_transaction(each),
                    Source(partition, start + number, each.event_time_ms),
                )
                for number, each in enumerate(payments)
            ]
            span = Span(partition, start, start + len(records), start)
            (observation,) = await state.observe(judge.state_events(judge.read(records), [span]))
            rows += np.asarray(observation.state).tolist()
        assert len(rows) == 14 * PARTITIONS
        assert min(row[STATE.index("account_count_30d")] for row in rows) > 30
        return rows


def paid(number: int, *, account: str | None = None, **fields: Any) -> Transaction:
    """Return a payment; each tenth is over 50,000 GBP, as many are of 8,000, and each 25th is in euros.

    Its payee is paid on one partition only, because what partitions share depends on their order.
    """
    account = account or f"account-{number // PARTITIONS % 7}-{number % PARTITIONS}"
    amount = {0: 6_000_000, 5: 800_000}.get(number % 10, 1_000 + number)
    return PAYMENT._replace(
        transaction_id=f"tx-{number}",
        account_id=account,
        beneficiary_account_id=f"payee-{number % 11}-{account[-1]}",
        amount_minor=amount,
        currency="EUR" if number % 25 == 1 else "GBP",
        event_time_ms=NOON_MS + number * MINUTE_MS,
        **fields,
    )


def events_of(judge: Judge, payments: Sequence[Transaction], start: int) -> list[PartitionEvents]:
    """Return what the state store is asked of payments at the end of partition 0."""
    records = [
        Record(each.account_id.encode(), WIRE.encode_transaction(each), Source(0, start + place, each.event_time_ms))
        for place, each in enumerate(payments)
    ]
    return judge.state_events(judge.read(records), [Span(0, start, start + len(records), start)])


RATES = feed_content(FeedKind.EXCHANGE_RATES).decode()


def judge_of(text: str, rates: str = RATES) -> Judge:
    topics = TopicNames("decisions.v1", "alerts.v1")
    return Judge(
        regime(parse_policy(text.encode()), small_model(), feeds().with_feed(parse_new_feed(rates.encode()))),
        WIRE,
        topics,
        "decide/test",
        lambda key: int(key.rpartition(b"-")[2]),
    )


TEXT = POLICY_PATH.read_text()


def test_a_rebuilt_state_gives_what_one_that_was_never_lost_gives(stack: EmbeddedStack, redis_at: str):
    async def run() -> None:
        scene, judge = Scene(stack), judge_of(TEXT)
        scene.publish([paid(number) for number in range(PAYMENTS)])
        kept, lost = RedisState(redis_at, prefix="kept"), RedisState(redis_at, prefix="lost")
        await scene.decide(kept, judge)
        rebuild = scene.rebuild(lost)
        assert not await rebuild.reaches(scene.targets)
        await rebuild.run(judge, scene.targets)
        assert await rebuild.reaches(scene.targets)
        assert await scene.features(lost, judge) == await scene.features(kept, judge)
        await kept.close()
        await lost.close()

    asyncio.run(run())


def test_i4_what_was_decided_of_a_batch_that_a_rebuild_does_not_unpack_counts(
    stack: EmbeddedStack, redis_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that had the memory for it decided its payments, and each rebuild forgot them: whoever sent them so
    could pay a day's volume once more after it."""

    async def run() -> None:
        scene, judge = Scene(stack), judge_of(TEXT)
        scene.publish([paid(number) for number in range(PAYMENTS)])
        kept, lost = RedisState(redis_at, prefix="kept"), RedisState(redis_at, prefix="lost")
        await scene.decide(kept, judge)
        monkeypatch.setattr(bounded_records, "is_bounded", lambda codec, body, most: codec == 0)
        with capture_logs() as logs:
            await scene.rebuild(lost).run(judge, scene.targets)
        assert "records_unreadable" in {line["event"] for line in logs}
        assert await scene.features(lost, judge) == await scene.features(kept, judge)
        await kept.close()
        await lost.close()

    asyncio.run(run())


def test_nothing_is_decided_on_a_state_that_has_seen_more_than_the_log_holds(stack: EmbeddedStack, redis_at: str):
    """A log that was made anew, or put back from an older copy: its next payment would get the row of one that is gone,
    and what went with the log, published again, would be a duplicate of nothing."""

    async def run() -> None:
        scene, put_back, judge = Scene(stack), Scene(stack), judge_of(TEXT)
        scene.publish([paid(number) for number in range(40)])
        state = RedisState(redis_at)
        await scene.decide(state, judge)
        await scene.rebuild(state).compare_context()
        put_back.publish([paid(number) for number in range(36)])
        with pytest.raises(StateAhead, match=r"partition 0 .* to 10, but the log ends at 9"):
            await put_back.rebuild(state).compare_context()
        await state.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "changed",
    [
        ("at_least = 5_000_001", "at_least = 9_000_001"),
        ("at_least = 5_000_001", "at_least = 600_001"),
        ('worth = "0.8720"', 'worth = "0.5000"'),
    ],
    ids=["limit raised", "limit lowered", "rate changed"],
)
def test_it_counts_what_was_counted_then_whatever_the_policy_says_now(
    stack: EmbeddedStack, redis_at: str, changed: tuple[str, str]
):
    """Finding 11: what was blocked then stays uncounted, what passed stays counted, at the rates of that time."""
    assert changed[0] in TEXT + RATES

    async def run() -> None:
        scene, then = Scene(stack), judge_of(TEXT)
        now = judge_of(TEXT.replace(*changed), RATES.replace(*changed))
        scene.publish([paid(number) for number in range(PAYMENTS)])
        kept, lost = RedisState(redis_at, prefix="kept"), RedisState(redis_at, prefix="lost")
        await scene.decide(kept, then)
        await scene.rebuild(lost).run(now, scene.targets)
        near = STATE.index("account_near_limit_count_24h")
        expected, actual = [
            [row[:near] + row[near + 1 :] for row in await scene.features(state, then)] for state in (kept, lost)
        ]
        assert actual == expected
        await kept.close()
        await lost.close()

    asyncio.run(run())


def test_what_was_set_aside_as_poison_holds_no_id_after_a_rebuild(stack: EmbeddedStack, redis_at: str):
    """Finding 6: once the code is mended, the same payment is decided, also where the state was lost meanwhile."""

    async def run() -> None:
        scene, judge = Scene(stack), judge_of(TEXT)
        scene.publish([paid(number) for number in range(PAYMENTS)])
        kept, lost = RedisState(redis_at, prefix="kept"), RedisState(redis_at, prefix="lost")
        await scene.decide(kept, judge, poison={"tx-4"})
        await scene.rebuild(lost).run(judge, scene.targets)
        start = scene.targets[0]
        again = [paid(number) for number in (4, 8)]
        for state in (kept, lost):
            (observation,) = await state.observe(events_of(judge, again, start))
            assert list(observation.freshness) == [Freshness.FRESH, Freshness.DUPLICATE]
        await kept.close()
        await lost.close()

    asyncio.run(run())


@pytest.mark.parametrize("decided", [0, 40], ids=["none", "later ones"])
def test_what_was_set_aside_before_the_first_decision_holds_no_id_after_a_rebuild(
    stack: EmbeddedStack, redis_at: str, decided: int
):
    """The dead letters tell, where no earlier decision does: the mended payment is decided, and its copy is refused."""

    async def run() -> None:
        scene, judge = Scene(stack), judge_of(TEXT)
        poison = paid(PARTITIONS * 7)
        sound = [paid(PARTITIONS * number) for number in range(100, 100 + decided)]
        scene.publish_on(0, [poison, poison, *sound])
        kept, lost = RedisState(redis_at, prefix="kept"), RedisState(redis_at, prefix="lost")
        await scene.decide(kept, judge, poison={poison.transaction_id})
        scene.write_letters([(0, RefusalCode.POISON), (1, DUPLICATE)])
        await scene.rebuild(lost).run(judge, scene.targets)
        start = scene.targets[0]
        rows = []
        for state in (kept, lost):
            (observation,) = await state.observe(events_of(judge, [poison, *sound[:1]], start))
            assert list(observation.freshness) == [Freshness.FRESH, Freshness.DUPLICATE][: 1 + len(sound[:1])]
            rows.append(observation.state[0].tolist())
        assert rows[1] == rows[0]
        await kept.close()
        await lost.close()

    asyncio.run(run())


def test_another_payment_under_a_known_id_does_not_keep_the_first_from_counting_in_a_rebuild(
    stack: EmbeddedStack, redis_at: str
):
    """I4: partitions are read in another order than then, and the second may come first."""

    async def run() -> None:
        scene, judge = Scene(stack), judge_of(TEXT)
        first = [paid(number) for number in range(PAYMENTS)]
        ids = {each.transaction_id for each in first if each.account_id.endswith("-3")}
        scene.publish(first)
        kept, lost = RedisState(redis_at, prefix="kept"), RedisState(redis_at, prefix="lost")
        await scene.decide(kept, judge)
        copies = [
            paid(PAYMENTS + 4 * number, account="account-1-0")._replace(transaction_id=each)
            for number, each in enumerate(sorted(ids))
        ]
        before = dict(scene.targets)
        scene.publish_on(0, copies)
        await scene.decide_on(kept, judge, 0, before[0])
        await scene.rebuild(lost).run(judge, scene.targets)
        assert await scene.features(lost, judge) == await scene.features(kept, judge)
        await kept.close()
        await lost.close()

    asyncio.run(run())


def test_a_state_restored_from_an_older_copy_reads_the_rest_of_the_log_and_of_the_decisions(
    stack: EmbeddedStack, redis_at: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(past_topics, "RECORDS_MAX", 40)  # so that their beginning is looked for in the topic's midst

    async def run() -> None:
        scene, judge = Scene(stack), judge_of(TEXT)
        later = judge_of(TEXT.replace("at_least = 5_000_001", "at_least = 9_000_001"))
        scene.publish([paid(number) for number in range(PAYMENTS // 2)])
        state = RedisState(redis_at)
        await scene.decide(state, judge, is_published=False)
        copies = _dumped(redis_at)
        scene.publish([paid(number) for number in range(PAYMENTS // 2, PAYMENTS)])
        whole = RedisState(redis_at, prefix="whole")
        await scene.decide(whole, judge)
        _restore(redis_at, copies, "whole")
        assert not await scene.rebuild(state).reaches(scene.targets)
        await scene.rebuild(state).run(later, scene.targets)
        assert await scene.features(state, judge) == await scene.features(whole, judge)
        await state.close()
        await whole.close()

    asyncio.run(run())


@pytest.mark.parametrize(("payments", "level"), [(0, "info"), (PARTITIONS, "warning")])
def test_only_a_rebuild_of_what_was_decided_is_a_warning(
    stack: EmbeddedStack, redis_at: str, payments: int, level: str
):
    """A first start on empty topics builds nothing anew."""

    async def run() -> None:
        scene, judge = Scene(stack), judge_of(TEXT)
        scene.publish([paid(number) for number in range(payments)])
        state = RedisState(redis_at)
        with capture_logs() as told:
            await scene.rebuild(state).run(judge, scene.targets)
        names = {"state_rebuild_started", "partition_rebuilt", "state_rebuild_finished"}
        assert {line["event"]: line["log_level"] for line in told if line["event"] in names} == dict.fromkeys(
            names, level
        )
        await state.close()

    asyncio.run(run())


def test_two_workers_share_the_partitions(stack: EmbeddedStack, redis_at: str):
    async def run() -> None:
        scene, judge = Scene(stack), judge_of(TEXT)
        scene.publish([paid(number) for number in range(PAYMENTS)])
        one, other, alone = (RedisState(redis_at, prefix=name) for name in ("both", "both", "alone"))
        await asyncio.gather(
            scene.rebuild(one).run(judge, scene.targets), scene.rebuild(other).run(judge, scene.targets)
        )
        await scene.rebuild(alone).run(judge, scene.targets)
        assert await scene.features(one, judge) == await scene.features(alone, judge)
        for state in (one, other, alone):
            await state.close()

    asyncio.run(run())


@pytest.mark.parametrize("shards", [1, 3])
def test_a_master_that_lost_accounts_only_holds_none_but_its_own(
    stack: EmbeddedStack, started_cluster: RedisCluster, shards: int
):
    async def run() -> None:
        scene, judge = Scene(stack), judge_of(TEXT)
        scene.publish([paid(number) for number in range(PAYMENTS)])
        kept = RedisState(emptied(started_cluster), prefix="kept", shards=shards)
        lost = RedisState(started_cluster.url, prefix="lost", shards=shards)
        for state in (kept, lost):
            await scene.decide(state, judge)
        _forget_accounts(started_cluster, Keys("lost", shards), 2)
        rebuild = scene.rebuild(lost)
        assert [await rebuild.reaches({part: end}) for part, end in scene.targets.items()] == [True, True, False, True]
        assert await rebuild.is_shared_whole({2: scene.targets[2]})
        await rebuild.run(judge, {2: scene.targets[2]})
        assert await scene.features(lost, judge) == await scene.features(kept, judge)
        await kept.close()
        await lost.close()

    asyncio.run(run())


def test_what_partitions_share_is_whole_only_when_every_partition_is_there():
    accounts, targets = dict.fromkeys(range(3), 10), dict.fromkeys(range(3), 10)
    whole = Survey(accounts, accounts, frozenset(range(3)), True)
    assert plan(whole, targets, [1]) == ([], False)
    assert plan(whole._replace(is_shared_ready=False), targets, [1]) == ([], True)
    assert plan(whole._replace(shared={0: 10, 1: 9, 2: 10}), targets, [2]) == ([1], True)
    assert plan(whole._replace(accounts={0: 10, 1: 10, 2: None}), targets, [1]) == ([2], False)
    assert plan(whole._replace(ready=frozenset({2})), targets, [1]) == ([1, 0], False)


def test_progress_tells_the_rate_and_an_estimate():
    progress = Progress(100.0)
    progress.plan(0, 0, 1_000)
    progress.plan(1, 500, 1_000)
    assert progress.summary(100.0)["estimate_s"] is None
    progress.advance(0, 600, 600, 110.0)
    summary = progress.summary(110.0)
    assert (summary["records_a_second"], summary["records_left"], summary["estimate_s"]) == (60, 900, 15)
    assert summary["partitions_left"] == [0, 1]


def _dumped(url: str) -> dict[bytes, bytes]:
    with redis.Redis.from_url(url) as client:
        return {key: client.dump(key) for key in client.scan_iter()}


def _restore(url: str, copies: dict[bytes, bytes], kept_prefix: str) -> None:
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            if not key.startswith(kept_prefix.encode()):
                client.delete(key)
        for key, value in copies.items():
            client.restore(key, 0, value)


def _forget_accounts(cluster: RedisCluster, keys: Keys, partition: int) -> None:
    """Delete all that the tag of one partition holds."""
    tag = keys.account_progress(partition).removesuffix("progress")
    with redis.Redis.from_url(cluster.server_url(cluster.master_of(tag))) as client:
        for key in client.scan_iter(match=f"{tag}*"):
            client.delete(key)
