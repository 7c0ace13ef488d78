"""A dead letter counts only where a worker wrote it: else whoever may write the topic could have payments passed over.

For that a worker's credential for the broker is enough. Its key isn't.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from pipeline.decide.decision_topics import dead_letters
from pipeline.decide.rebuilding.undecided_topics import UndecidedPayments
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.log import Outgoing, RecordUndecodable, Source
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeyUse
from pipeline.resume.decided_topics import DecidedLog, DecidedTopics
from pipeline.seals.proving import Refused
from pipeline.seals.seal_files import DEAD_LETTERS, letter_proves, sealer_of, worker_proves, worker_seal
from tests.archive import CLOSED, Archive, payment
from tests.records import NOON_MS
from tests.seals.given import presented
from tests.servers import unused_prefix

WIRE = WireFormat()
WAIT_S = 20.0
COUNT = 6


def settings(stack: EmbeddedStack, folder: Path) -> Settings:
    """Of topics with COUNT payments in partition 0, of which nothing was decided."""
    given = Settings.model_validate(
        {
            "bootstrap_servers": stack.bootstrap_servers,
            "topic_prefix": unused_prefix(),
            "seal_directory": folder / "seals",
        }
    )
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    for name in ("decisions.v1", DEAD_LETTERS):
        producer.list_topics(given.topic(name), timeout=WAIT_S)  # the mock broker makes it
    for number in range(COUNT):
        producer.produce(given.topic("transactions.v1"), WIRE.encode_transaction(payment(number)), b"account", 0)
    assert producer.flush(WAIT_S) == 0
    return given


def letters_of(given: Settings, code: str) -> list[Outgoing]:
    """A letter of this code about each of the payments."""
    topic, nothing = given.topic("transactions.v1"), hashlib.sha256(b"").digest()
    letters = [DeadLetter(code, "", topic, 0, at, NOON_MS, nothing, 0, "", b"") for at in range(COUNT)]
    return [Outgoing(given.topic(DEAD_LETTERS), b"0:%d" % at, WIRE.encode(letter)) for at, letter in enumerate(letters)]


def append(given: Settings, records: Sequence[Outgoing]) -> None:
    producer = Producer({"bootstrap.servers": given.bootstrap_servers, "log_level": 2})
    for record in records:
        partition = -1 if record.partition is None else record.partition
        producer.produce(record.topic, record.value, record.key, partition, headers=record.headers)
    assert producer.flush(WAIT_S) == 0


def reader(given: Settings) -> LogReader:
    """As a worker reads."""
    return LogReader(given.bootstrap_servers, "test", {}, proves=worker_proves(given))


def start(given: Settings) -> int:
    """Where a worker goes on that had committed nothing."""
    topics = DecidedTopics(*map(given.topic, ("transactions.v1", "decisions.v1", DEAD_LETTERS)))
    [found] = DecidedLog(lambda: reader(given), WIRE, topics).starts({0: 0})
    return found.offset


def sealed(given: Settings, records: Sequence[Outgoing]) -> list[Outgoing]:
    return worker_seal(given, lambda _: 0)(records)


def test_what_a_worker_commits_is_sealed_each_for_its_topic(stack: EmbeddedStack, tmp_path: Path) -> None:
    given = settings(stack, tmp_path)
    [decision] = Archive(tmp_path).values([payment(1)], [CLOSED], [Source(0, 1, NOON_MS)])
    letter, *_ = letters_of(given, "POISON")
    written = sealed(given, [letter, Outgoing(given.topic("decisions.v1"), b"account", decision)])
    proves = worker_proves(given)
    assert [proves[each.topic](presented(each, is_stamped=False)) for each in written] == [None, None]


@pytest.mark.parametrize("changed", [{"value": b"another"}, {"key": b"0:5"}, {"partition": 9}, {"seal": None}])
def test_a_seal_is_good_for_its_own_letter_alone(
    stack: EmbeddedStack, tmp_path: Path, changed: dict[str, object]
) -> None:
    given = settings(stack, tmp_path)
    letter, *_ = sealed(given, letters_of(given, "POISON"))
    prove = letter_proves(given)[given.topic(DEAD_LETTERS)]
    assert prove(presented(letter, is_stamped=False)._replace(**changed)) is not None


def test_no_other_writer_s_key_writes_letters(stack: EmbeddedStack, tmp_path: Path) -> None:
    given = settings(stack, tmp_path)
    letter, *_ = sealer_of(given, KeyUse.REVIEWS, lambda _: 0, DEAD_LETTERS).seal(letters_of(given, "POISON"))
    unproved = letter_proves(given)[given.topic(DEAD_LETTERS)](presented(letter, is_stamped=False))
    assert unproved is not None
    assert unproved.why is Refused.KEY_OF_ANOTHER_KIND


def test_i1_forged_letters_make_no_worker_pass_over_payments(stack: EmbeddedStack, tmp_path: Path) -> None:
    """One for each payment that waits: the next start took them all for set aside, and nobody decided them."""
    given = settings(stack, tmp_path)
    append(given, letters_of(given, "RECORD_EMPTY"))
    assert start(given) == 0
    append(given, sealed(given, letters_of(given, "RECORD_EMPTY")))
    assert start(given) == COUNT


def test_i4_forged_letters_take_nothing_out_of_a_rebuild(stack: EmbeddedStack, tmp_path: Path) -> None:
    given = settings(stack, tmp_path)
    append(given, letters_of(given, "DUPLICATE"))
    undecided = UndecidedPayments(WIRE, given.topic("transactions.v1"), given.topic(DEAD_LETTERS))
    with closing(reader(given)) as log:
        assert undecided.below(log, 0, None) == frozenset()
        append(given, sealed(given, letters_of(given, "DUPLICATE")))
        assert undecided.below(log, 0, None) == frozenset(range(COUNT))


def test_garbage_among_the_letters_stops_no_rebuild(stack: EmbeddedStack, tmp_path: Path) -> None:
    """One byte was enough, for as long as letters are kept."""
    given = settings(stack, tmp_path)
    append(given, [Outgoing(given.topic(DEAD_LETTERS), b"0:0", b"!")])
    undecided = UndecidedPayments(WIRE, given.topic("transactions.v1"), given.topic(DEAD_LETTERS))
    with closing(reader(given)) as log:
        assert undecided.below(log, 0, None) == frozenset()
    with closing(LogReader(given.bootstrap_servers, "test", {})) as log, pytest.raises(RecordUndecodable):
        undecided.below(log, 0, None)


def test_what_is_redriven_was_written_by_a_worker(stack: EmbeddedStack, tmp_path: Path) -> None:
    given = settings(stack, tmp_path)
    append(given, [Outgoing(given.topic(DEAD_LETTERS), b"0:0", b"!"), *letters_of(given, "POISON")])
    append(given, sealed(given, letters_of(given, "POISON")[:2]))
    found = {each.letter.source_offset for each in dead_letters(given, WIRE, None, letter_proves(given))}
    assert found == {0, 1}
