"""The group's committed offsets are gone or moved, on the real stack: nothing is decided twice, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.bench.loss.checker import Checker
from ops.bench.loss.groups import delete_offsets, is_empty, move_offsets
from ops.bench.rig.feeder import known_records
from ops.bench.rig.publisher import publish
from ops.bench.rig.services import worker_process
from ops.bench.rig.stored import record_count
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import prepare_topics
from ops.bench.rig.waiting import GROUP, wait_until
from ops.stack.real import RealStack
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.resume.decided_topics import DecidedLog, DecidedTopics

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

PARTITIONS = 2
RECORDS = 300
REPEATED = 60
ENDING = 20
HIDING = 100
"""More records than are read at once from the end."""
DECIDED_S = 120.0
HIDDEN_S = 1.0
Offsets = dict[int, int]
TOPIC = "transactions.v1"
DECISIONS = "decisions.v1"


class Scene:
    def __init__(self, directory: Path, stack: RealStack) -> None:
        self.directory, self.stack = directory, stack
        prepare_topics(stack.bootstrap_servers, "", PARTITIONS)
        self.checker = Checker(stack.bootstrap_servers, "", [Settings().policy_path])
        self._records = known_records(5)

    def publish(self) -> None:
        publish(self.stack.bootstrap_servers, TOPIC, islice(self._records, RECORDS))

    def publish_what_ends_in_garbage(self) -> None:
        """Publish payments, the same again, and then what can't be read: a batch finds the last of them first."""
        payments = list(islice(self._records, RECORDS))
        garbage = [record._replace(value=b"no payment") for record in payments[:ENDING]]
        publish(self.stack.bootstrap_servers, TOPIC, [*payments, *payments[:REPEATED], *garbage])

    def decide_all(self) -> None:
        """Run a worker until nothing is left to decide, and check every record."""
        with running(worker_process(self.directory, self.stack.bootstrap_servers, self.stack.redis_url)):
            wait_until(self._is_all_accounted_for, DECIDED_S, "deciding")
        wait_until(self._is_group_empty, DECIDED_S, "the end of the static member's session")
        report = self.checker.check()
        assert report.violations == {}, report.as_json()
        assert report.transactions == record_count(self.stack.bootstrap_servers, TOPIC)

    def _is_all_accounted_for(self) -> bool:
        made = sum(self._count(topic) for topic in ("decisions.v1", "transactions.dead.v1"))
        return made >= self._count(TOPIC) and self.committed() == self.ends()

    def _count(self, topic: str) -> int:
        with LogReader(self.stack.bootstrap_servers, GROUP, {}) as reader:
            return sum(1 for _ in reader.read_all(topic))

    def _is_group_empty(self) -> bool:
        return is_empty(self.stack.bootstrap_servers, GROUP)

    def committed(self) -> Offsets:
        with LogReader(self.stack.bootstrap_servers, GROUP, {}) as reader:
            return reader.committed(TOPIC)

    def ends(self) -> Offsets:
        with LogReader(self.stack.bootstrap_servers, GROUP, {}) as reader:
            return {partition: extent.high for partition, extent in reader.extents(TOPIC).items()}

    def move(self, offsets: Offsets) -> None:
        move_offsets(self.stack.bootstrap_servers, GROUP, TOPIC, offsets)

    def forget(self) -> None:
        delete_offsets(self.stack.bootstrap_servers, GROUP)

    def decide_behind(self, hiding: Producer) -> None:
        """Decide payments while a transaction of `hiding` stands open on decisions.v1, before theirs."""
        with running(worker_process(self.directory, self.stack.bootstrap_servers, self.stack.redis_url)):
            self.publish()
            wait_until(self._is_all_accounted_for, DECIDED_S, "deciding")
            hiding.begin_transaction()
            for partition in range(PARTITIONS):
                for _ in range(HIDING):
                    hiding.produce(DECISIONS, b"never committed", partition=partition)
            assert hiding.flush(DECIDED_S) == 0
            self.publish()
            wait_until(lambda: self.committed() == self.ends(), DECIDED_S, "committing")

    def decided(self) -> DecidedLog:
        topics = DecidedTopics(TOPIC, DECISIONS, "transactions.dead.v1")
        return DecidedLog(lambda: LogReader(self.stack.bootstrap_servers, GROUP, {}), WireFormat(), topics)

    def producer(self) -> Producer:
        """Make a producer that fences the one before it, and aborts its transaction."""
        name = {"transactional.id": "hiding", "transaction.timeout.ms": 600_000, "log_level": 2}
        producer = Producer({"bootstrap.servers": self.stack.bootstrap_servers, **name})
        producer.init_transactions(DECIDED_S)
        return producer

    def told(self) -> int:
        """Count the lines in which workers told of moved offsets."""
        return (self.directory / "worker-0.log").read_text().count('"event": "offsets_moved"')


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("offsets")
    with RealStack(directory / "stack") as stack:
        scene = Scene(directory, stack)
        scene.publish()
        scene.decide_all()
        assert 0 == scene.told()
        yield scene


def to_the_beginning(scene: Scene) -> None:
    scene.move(dict.fromkeys(range(PARTITIONS), 0))


def a_little_back(scene: Scene) -> None:
    scene.move({partition: end - 3 for partition, end in scene.committed().items()})


def to_the_end(scene: Scene) -> None:
    scene.move(scene.ends())


def a_little_ahead(scene: Scene) -> None:
    scene.move({partition: end + 5 for partition, end in scene.committed().items()})


def gone(scene: Scene) -> None:
    scene.forget()


def gone_and_redis_too(scene: Scene) -> None:
    scene.forget()
    scene.stack.redis.kill()
    for saved in (scene.directory / "stack" / "redis").rglob("appendonly*"):
        if saved.is_file():
            saved.unlink()
    scene.stack.redis.start()


@pytest.mark.parametrize(
    "fault", [gone, to_the_beginning, a_little_back, to_the_end, a_little_ahead, gone_and_redis_too]
)
def test_i1_and_i2_deciding_goes_on_behind_what_was_decided(scene: Scene, fault: Callable[[Scene], None]) -> None:
    told = scene.told()
    scene.publish()
    fault(scene)
    scene.decide_all()
    assert scene.told() == told + PARTITIONS


def test_i1_what_a_batch_sets_aside_in_another_order_than_it_was_published_moves_nothing(scene: Scene) -> None:
    told = scene.told()
    scene.publish_what_ends_in_garbage()
    scene.decide_all()
    scene.publish()
    scene.decide_all()
    assert scene.told() == told


def test_i2_what_an_open_transaction_hides_is_waited_for(scene: Scene) -> None:
    """The group's offsets are seen at once, the decisions only when all that was open before them has ended."""
    scene.decide_behind(scene.producer())
    committed = scene.committed()
    with ThreadPoolExecutor(1) as pool:
        look = pool.submit(scene.decided().starts, committed)
        with pytest.raises(TimeoutError):
            look.result(HIDDEN_S)
        scene.producer()
        starts = look.result(DECIDED_S)
    unmoved = [(partition, offset, offset, False) for partition, offset in committed.items()]
    assert unmoved == [start[:4] for start in starts]
    scene.decide_all()
