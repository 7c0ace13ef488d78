"""What becomes of each letter: sent once, and not at all where it was decided or can't be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.log import Outgoing, Record, Source
from pipeline.domain.refusals import RefusalCode
from pipeline.io.dead_letters import DeadLetters
from pipeline.io.kafka.appender import TransactionalAppender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, connect
from pipeline.io.sealing import DeadLetterKey
from pipeline.io.settings import Settings
from pipeline.redrive.redrive_service import Ids, Redriver, TransactionsTopic
from pipeline.redrive.redrive_store import Request, append_redrive
from pipeline.redrive.selection import Criteria, Fate, Place, is_selected
from tests.archive import CLOSED, WIRE, Archive, payment
from tests.records import NOON_MS
from tests.rollback.stand import Audited
from tests.servers import unused_prefix, url_as

KEY, OTHER_KEY = DeadLetterKey(b"k" * 32), DeadLetterKey(b"o" * 32)
REQUEST = Request("ann", "mended", {"codes": "POISON"})
TOPIC = "transactions.v1"


def letter(number: int, *, key: DeadLetterKey | None = KEY, code: str = "POISON") -> DeadLetter:
    """The letter of payment `number`, which stood at 0:number."""
    sent = payment(number)
    record = Record(sent.account_id.encode(), WIRE.encode_transaction(sent), Source(0, number, NOON_MS))
    made = WIRE.decode_dead_letter(DeadLetters(WIRE, "dead", key).letter(TOPIC, record, code, "it failed").value)
    assert isinstance(made, DeadLetter)
    return made


@dataclass
class Scene:
    connection: Connection
    appender: Callable[[], TransactionalAppender]
    topic: TransactionsTopic
    refused: set[int] = field(default_factory=set)
    failing: set[int] = field(default_factory=set)
    released: list[int] = field(default_factory=list)

    def run(self, *letters: DeadLetter, is_dry: bool = False) -> list[Fate]:
        ids = Ids(self._would_refuse, lambda records: self.released.extend(each.source.offset for each in records))
        redriver = Redriver(self.connection, self.appender, WIRE, self.topic, KEY, ids)
        return [fate for _, fate in redriver.run(letters, REQUEST, is_dry=is_dry)]

    def published(self) -> list[bytes]:
        return [record.value or b"" for record in self.topic.read(dict.fromkeys(self.topic.ends(), 0))]

    def _would_refuse(self, record: Record) -> bool:
        if record.source.offset in self.failing:
            raise RuntimeError("our code fails")
        return record.source.offset in self.refused


@pytest.fixture
def scene(stack: EmbeddedStack, database_url: str) -> Iterator[Scene]:
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=unused_prefix())
    create_topics(stack.bootstrap_servers, prefix=settings.topic_prefix)
    topic = settings.topic(TOPIC)
    with (
        closing(connect(url_as(database_url, "fraud_rollback"), "test")) as connection,
        LogReader.of(settings) as log,
    ):
        transactions = TransactionsTopic(
            topic,
            lambda: {partition: extent.high for partition, extent in log.extents(topic).items()},
            lambda starts: log.read(topic, starts),
        )
        yield Scene(connection, lambda: TransactionalAppender.of(settings, f"{topic}-redrive"), transactions)


def test_a_letter_is_sent_once_with_its_own_bytes(scene: Scene) -> None:
    assert [Fate.REDRIVEN, Fate.REDRIVEN] == scene.run(letter(1), letter(2), is_dry=True)
    assert ([], []) == (scene.published(), scene.released)
    assert [Fate.REDRIVEN, Fate.REDRIVEN] == scene.run(letter(1), letter(2))
    assert [Fate.SENT_BEFORE, Fate.REDRIVEN] == scene.run(letter(1), letter(3))
    expected = [WIRE.encode_transaction(payment(number)) for number in (1, 2, 3)]
    assert sorted(expected) == sorted(scene.published())
    assert [1, 2, 3] == scene.released


@pytest.mark.parametrize("is_published", [False, True])
def test_invariant_1_a_run_that_was_killed_is_finished_and_not_repeated(scene: Scene, is_published: bool) -> None:
    """It was killed after its row, before or after the payment was appended."""
    append_redrive(scene.connection, uuid4(), REQUEST, scene.topic.ends(), [letter(1)])
    if is_published:
        predecessor = scene.appender()
        predecessor.start()
        sent = payment(1)
        predecessor.append([Outgoing(scene.topic.name, sent.account_id.encode(), WIRE.encode_transaction(sent))])
    assert [Fate.SENT_BEFORE if is_published else Fate.REDRIVEN] == scene.run(letter(1))
    assert [Fate.SENT_BEFORE] == scene.run(letter(1))
    assert [WIRE.encode_transaction(payment(1))] == scene.published()


def test_invariant_2_what_was_decided_since_is_not_sent(scene: Scene, owner: Connection, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    values = Archive(tmp_path / "archive").values([payment(1)], [CLOSED])
    Audited(owner, tmp_path / "audit").append(values)
    assert [Fate.DECIDED, Fate.REDRIVEN] == scene.run(letter(1), letter(2))
    assert [WIRE.encode_transaction(payment(2))] == scene.published()


def test_what_can_t_be_decided_is_not_sent_and_says_why(scene: Scene) -> None:
    scene.refused, scene.failing = {3}, {4}
    letters = [letter(1, key=None), letter(2, key=OTHER_KEY), letter(3), letter(4)]
    assert [Fate.NO_PAYLOAD, Fate.OTHER_KEY, Fate.STILL_REFUSED, Fate.STILL_FAILS] == scene.run(*letters)
    assert [] == scene.published()


def test_nothing_of_it_can_be_changed(scene: Scene) -> None:
    scene.run(letter(1))
    for table in ("redrive", "redrive_letter", "redrive_published"):
        with pytest.raises(Exception, match=r"permission denied|append-only"):
            scene.connection.execute(f"DELETE FROM control.{table}".encode())


@pytest.mark.parametrize(
    ("criteria", "is_wanted"),
    [
        (Criteria(frozenset({RefusalCode.POISON}), None, None, None), True),
        (Criteria(frozenset({RefusalCode.SCHEMA_UNKNOWN}), None, None, None), False),
        (Criteria(frozenset({RefusalCode.POISON}), frozenset({Place(0, 1)}), None, None), True),
        (Criteria(frozenset({RefusalCode.POISON}), frozenset({Place(1, 1)}), None, None), False),
        (Criteria(frozenset({RefusalCode.POISON}), None, NOON_MS, NOON_MS + 1), True),
        (Criteria(frozenset({RefusalCode.POISON}), None, NOON_MS + 1, None), False),
        (Criteria(frozenset({RefusalCode.POISON}), None, None, NOON_MS), False),
    ],
)
def test_letters_are_selected_by_code_place_and_time(criteria: Criteria, is_wanted: bool) -> None:
    assert is_wanted == is_selected(letter(1), TOPIC, criteria)
    assert not is_selected(letter(1), "accounts.v1", criteria), "context is taken in again by its own means"
