"""What becomes of each letter: sent once, and not at all where it was decided or can't be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.log import LogRecord, Outgoing, Record, Source
from pipeline.domain.refusals import RefusalCode
from pipeline.io.clock import now_ms
from pipeline.io.dead_letters import DeadLetters
from pipeline.io.kafka.appender import TransactionalAppender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, connect
from pipeline.io.sealing import DeadLetterKey
from pipeline.io.settings import Settings
from pipeline.redrive.redrive_command import topics_of
from pipeline.redrive.redrive_service import HEADER, Ids, Redriver, Topics
from pipeline.redrive.redrive_store import Request, append_redrive, read_sent
from pipeline.redrive.selection import Criteria, Fate, Place, is_selected, record_of
from pipeline.state.store import StateUnavailable
from tests.archive import CLOSED, WIRE, Archive, payment
from tests.decisions import record_of as stored_record_of
from tests.execute.audited import audit
from tests.known import appoint, identity
from tests.records import NOON_MS
from tests.servers import unused_prefix, url_as

KEY, OTHER_KEY = DeadLetterKey(b"k" * 32), DeadLetterKey(b"o" * 32)
REQUEST = Request(identity("ann"), "mended", {"codes": "POISON"})
TOPIC = "transactions.v1"
DAY_MS = 86_400_000


def letter(
    number: int,
    *,
    key: DeadLetterKey | None = KEY,
    code: str = "POISON",
    after_ms: int = 0,
    topic: str = TOPIC,
    offset: int | None = None,
) -> DeadLetter:
    """The letter of payment `number`, which stood at 0:number, or at `offset`, stamped so long after noon."""
    sent, at = payment(number), number if offset is None else offset
    record = Record(sent.account_id.encode(), WIRE.encode_transaction(sent), Source(0, at, NOON_MS + after_ms))
    made = WIRE.decode_dead_letter(DeadLetters(WIRE, "dead", key).letter(topic, record, code, "it failed").value)
    assert isinstance(made, DeadLetter)
    return made


@dataclass
class Scene:
    connection: Connection
    appender: Callable[[], TransactionalAppender]
    topic: Topics
    log: LogReader
    refused: set[int] = field(default_factory=set)
    failing: set[int] = field(default_factory=set)
    released: list[int] = field(default_factory=list)
    is_redis_away: bool = False
    clock_ms: Callable[[], int] = now_ms

    def run(self, *letters: DeadLetter, is_dry: bool = False) -> list[Fate]:
        ids = Ids(self._would_refuse, self._release)
        redriver = Redriver(self.connection, self.appender, WIRE, self.topic, KEY, ids, self.clock_ms)
        return [fate for _, fate in redriver.run(letters, REQUEST, is_dry=is_dry)]

    def published(self) -> list[bytes]:
        return [record.value or b"" for record in self.log.read_all(self.topic.name)]

    def publish(self, number: int) -> None:
        """As upstream does that tries again."""
        self.append(self.topic.name, payment(number).account_id.encode(), WIRE.encode_transaction(payment(number)))

    def append(self, topic: str, key: bytes, value: bytes) -> None:
        appender = self.appender()
        appender.start()
        appender.append([Outgoing(topic, key, value)])

    def _release(self, records: Sequence[Record]) -> None:
        if self.is_redis_away:
            raise StateUnavailable("Redis can't be reached")
        self.released.extend(each.source.offset for each in records)

    def _would_refuse(self, record: Record) -> bool:
        if record.source.offset in self.failing:
            raise RuntimeError("our code fails")
        return record.source.offset in self.refused


@pytest.fixture
def scene(stack: EmbeddedStack, database_url: str, owner: Connection) -> Iterator[Scene]:
    appoint(owner, {"ann": "OPERATOR"})
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=unused_prefix())
    create_topics(stack.bootstrap_servers, prefix=settings.topic_prefix)
    topic = settings.topic(TOPIC)
    with (
        closing(connect(url_as(database_url, "fraud_rollback"), "test")) as connection,
        LogReader.of(settings) as log,
    ):
        topics = topics_of(settings, log)
        yield Scene(connection, lambda: TransactionalAppender.of(settings, f"{topic}-redrive"), topics, log)


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
        record = Outgoing(scene.topic.name, sent.account_id.encode(), WIRE.encode_transaction(sent))
        mark = b"0:1:" + letter(1).payload_sha256.hex().encode()
        predecessor.append([record._replace(headers=[(HEADER, mark)])])
    assert [Fate.SENT_BEFORE if is_published else Fate.REDRIVEN] == scene.run(letter(1))
    assert [Fate.SENT_BEFORE] == scene.run(letter(1))
    assert [WIRE.encode_transaction(payment(1))] == scene.published()


def test_invariant_1_a_copy_of_somebody_else_s_does_not_pass_for_what_was_sent(scene: Scene) -> None:
    """The poison held its id still, Redis was away, and upstream's copy became its duplicate: nobody decided."""
    scene.is_redis_away = True
    with pytest.raises(StateUnavailable):
        scene.run(letter(1))
    scene.publish(1)
    scene.is_redis_away = False
    assert [Fate.REDRIVEN] == scene.run(letter(1))
    assert ([1], 2) == (scene.released, len(scene.published()))
    assert [Fate.SENT_BEFORE] == scene.run(letter(1))


def test_invariant_1_what_is_noted_as_sent_and_does_not_stand_there_is_sent(scene: Scene) -> None:
    """By whoever has the role's credential: rows that nobody signed keep no payment from being decided."""
    assert [Fate.REDRIVEN] == scene.run(letter(2))
    append_redrive(scene.connection, uuid4(), REQUEST, scene.topic.ends(), [letter(1)])
    for place in (Place(0, 0), Place(0, 10**6), Place(99, 0)):  # another's, none, and none of a partition
        scene.connection.execute(
            "INSERT INTO control.redrive_published VALUES (%s, %s, %s, 0, 1, %s, 'nobody') ON CONFLICT DO NOTHING",
            [place.partition, place.offset, TOPIC, letter(1).payload_sha256],
        )
    assert [Fate.REDRIVEN] == scene.run(letter(1), is_dry=True)
    assert [Fate.REDRIVEN] == scene.run(letter(1))
    assert [Fate.SENT_BEFORE] == scene.run(letter(1))


@pytest.mark.parametrize(
    ("code", "expected"), [("DUPLICATE", Fate.REDRIVEN), ("POISON", Fate.SENT_REFUSED), (None, Fate.SENT_BEFORE)]
)
def test_invariant_2_what_was_sent_is_sent_once_more_only_where_it_became_a_duplicate_of_nothing_decided(
    scene: Scene, owner: Connection, code: str | None, expected: Fate
) -> None:
    assert [Fate.REDRIVEN] == scene.run(letter(1))
    if code is not None:
        _refuse_all(scene, owner, code)
    assert [expected] == scene.run(letter(1), is_dry=True)
    assert [expected] == scene.run(letter(1))
    assert len(scene.published()) == (2 if expected is Fate.REDRIVEN else 1)
    assert [Fate.SENT_REFUSED if expected is Fate.SENT_REFUSED else Fate.SENT_BEFORE] == scene.run(letter(1))


def test_invariant_2_a_duplicate_of_what_was_decided_is_not_sent_again(
    scene: Scene, owner: Connection, tmp_path: Path
) -> None:
    assert [Fate.REDRIVEN] == scene.run(letter(1))
    _refuse_all(scene, owner, "DUPLICATE")
    _audit(scene, owner, tmp_path, 1)
    assert [Fate.DECIDED] == scene.run(letter(1))


@pytest.mark.parametrize("after_ms", [-1, 3_600_000, 400 * DAY_MS])
def test_invariant_3_what_was_decided_is_not_sent_whenever_that_was(
    scene: Scene, owner: Connection, tmp_path: Path, after_ms: int
) -> None:
    """A copy on the wrong partition is refused before anybody looks whether it was decided."""
    _audit(scene, owner, tmp_path, 1)
    letters = [letter(number, after_ms=after_ms) for number in (1, 2)]
    assert [Fate.DECIDED, Fate.REDRIVEN] == scene.run(*letters)
    assert [WIRE.encode_transaction(payment(2))] == scene.published()


def test_invariant_3_a_payment_of_before_the_audit_log_is_not_sent_unless_its_id_is_remembered(
    scene: Scene, owner: Connection, tmp_path: Path
) -> None:
    _audit(scene, owner, tmp_path, 3, first=5)
    assert [Fate.UNAUDITED] == scene.run(letter(1))
    scene.clock_ms = lambda: NOON_MS + DAY_MS
    assert [Fate.REDRIVEN] == scene.run(letter(1))


@pytest.mark.parametrize(
    ("behind_ms", "expected"),
    [(30_000, Fate.REDRIVEN), (120_000, Fate.UNAUDITED), (3 * DAY_MS, Fate.UNAUDITED), (30 * DAY_MS, Fate.UNAUDITED)],
)
def test_invariant_3_nothing_is_sent_while_the_audit_log_is_behind(
    scene: Scene, behind_ms: int, expected: Fate
) -> None:
    """Database and Redis were restored: neither knows what was redriven since, and the id would be given back."""
    at_ms = now_ms()
    scene.append(scene.topic.decisions, b"account", b"a decision that is not in the audit log yet")
    scene.clock_ms = lambda: at_ms + behind_ms
    assert [expected] == scene.run(letter(1))
    assert ([] if expected is Fate.UNAUDITED else [1]) == scene.released


@pytest.mark.parametrize(
    "other",
    [
        letter(2, offset=1),  # the topic was made anew, and counts its offsets from 0 again
        letter(1, topic="lane.transactions.v1"),  # another deployment's, whose decisions the same database holds
    ],
)
def test_invariant_1_a_letter_about_another_record_at_the_same_place_is_sent(scene: Scene, other: DeadLetter) -> None:
    assert [Fate.REDRIVEN] == scene.run(letter(1))
    assert [Fate.SENT_BEFORE] == scene.run(letter(1))
    if other.source_topic == TOPIC:
        assert [Fate.SENT_BEFORE, Fate.REDRIVEN] == scene.run(letter(1), other)
        assert [Fate.SENT_BEFORE, Fate.SENT_BEFORE] == scene.run(letter(1), other)
    else:
        assert {} == read_sent(scene.connection, [other])
        append_redrive(scene.connection, uuid4(), REQUEST, scene.topic.ends(), [other])
        assert {record_of(other)} == set(read_sent(scene.connection, [other]))


def _audit(scene: Scene, owner: Connection, folder: Path, number: int, *, first: int = 0) -> None:
    """Have payment `number` decided, at the offset `first` of decisions.v1, and audited."""
    (folder / "archive").mkdir()
    [value] = Archive(folder / "archive").values([payment(number)], [CLOSED])
    audit(owner, [LogRecord(0, first, NOON_MS, b"account", value, stored_record_of(value))], scene.topic.decisions)


def _refuse_all(scene: Scene, owner: Connection, code: str) -> None:
    """Have the audit log hear that all on transactions.v1 became dead letters."""
    owner.execute("SELECT control.ensure_partition('audit.dead_letter', now())")
    for record in scene.log.read_all(scene.topic.name):
        fields = (scene.topic.name, record.source.partition, record.source.offset, code, b"d" * 32)
        owner.execute(
            "INSERT INTO audit.dead_letter (source_topic, source_partition, source_offset, source_timestamp, code,"
            " detail, payload_sha256, payload_length, topic_partition, topic_offset, created_at, filed_at)"
            " VALUES (%s, %s, %s, now(), %s, '', %s, 0, 0, 0, now(), now())",
            fields,
        )


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
