"""What stands about the log on topics, where neither the database's superuser nor whoever has the folder can reach it.

On `anchors.v1`: the signed heads, each with the proof that it only adds to the one before. On `witness.v1`: which of
them the witness, another role, has seen. A record that nobody whom the key set trusts has signed proves nothing, nor
does a new head by a key that had ended when the broker took it, so they are counted and passed over; one that is signed
and says otherwise stops the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.audit.chain import is_consistent
from pipeline.audit.continuing.bounds import Bounds, NotContinued
from pipeline.audit.continuing.head_files import Place, fault, head_at
from pipeline.audit.head import SignedHead, head_hash, head_of_anchor
from pipeline.audit.witness import Statement, statement_hash, statement_of
from pipeline.domain.anchor import Anchor, Witnessed
from pipeline.domain.log import Record
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.keys.key_files import is_signed
from pipeline.keys.key_sets import KeySet, KeyUse, came_late, untrusted

LAST_STATEMENTS: Final = 10
"""Read to learn the age of the last one: markers and foreign records may stand behind it."""


class Topics(NamedTuple):
    """The topics by their full names."""

    anchors: str
    witness: str


class Trees(NamedTuple):
    """The partitions that are looked at: the log's topic, its folder, and the committed size of each."""

    topic: str
    directory: Path
    sizes: Mapping[int, int]
    may_be_ahead: bool = False  # the database was restored from a backup, and reads again what it lacks

    def place(self, partition: int) -> Place:
        return Place(self.directory, self.topic, partition)


@dataclass(slots=True)
class Outside:
    """What the topics say. published: the size of the largest head of each partition on anchors.v1.

    seen_ms: when the witness saw a head first, by partition and size. foreign: records that nobody trusted signed.
    """

    published: dict[int, int] = field(default_factory=dict)
    seen_ms: dict[int, dict[int, int]] = field(default_factory=dict)
    last: Statement | None = None
    anchors: int = 0
    statements: int = 0
    foreign: int = 0
    checked: set[tuple[int, int, bytes]] = field(default_factory=set)  # partition, size and hash of heads that fit

    def require_head(self, trees: Trees, partition: int, tree_size: int, hashed: bytes, where: str) -> None:
        """Raise NotContinued where the files have no such head; a statement repeats the heads of the one before."""
        if (partition, tree_size, hashed) not in self.checked:
            _require_head(trees, partition, tree_size, hashed, where)
            self.checked.add((partition, tree_size, hashed))


class OutsideLog:
    """For one thread."""

    def __init__(self, log: LogReader, wire: WireFormat, topics: Topics) -> None:
        self._log, self._wire, self._topics = log, wire, topics

    def held_against(self, trees: Trees, keys: KeySet, bounds: Bounds) -> Outside:
        """Hold the heads among the files against what both topics say. Raises NotContinued, BrokerFailed and the like.

        The witness goes first, because what it saw before a revocation still counts.
        """
        outside = Outside()
        self._hold_witness(trees, keys, outside, bounds.statements)
        self._hold_anchors(trees, keys, outside, bounds.anchors)
        return outside

    def last_statement(self, trees: Trees, keys: KeySet) -> Statement | None:
        """The witness's last statement, held against the files. Raises NotContinued, BrokerFailed and the like."""
        outside = Outside()
        self._hold_witness(trees, keys, outside, LAST_STATEMENTS)
        return outside.last

    def _hold_anchors(self, trees: Trees, keys: KeySet, outside: Outside, records_max: int) -> None:
        before: dict[int, Anchor] = {}
        for record in self._last(self._topics.anchors, records_max):
            outside.anchors += 1
            anchor = self._wire.decode_anchor(record.value)
            if isinstance(anchor, Refusal):
                outside.foreign += 1
                continue
            if anchor.topic != trees.topic or anchor.partition not in trees.sizes:
                continue
            signed = SignedHead(head_of_anchor(anchor), (), anchor.key_id, anchor.signature)
            is_late = came_late(keys, anchor.key_id, record.source.timestamp_ms) is not None
            if fault(signed, keys, _seen(outside, anchor)) is not None or (is_late and not _is_ours(trees, signed)):
                outside.foreign += 1
                continue
            outside.require_head(trees, anchor.partition, anchor.tree_size, head_hash(signed.head), "anchors.v1")
            _require_continued(trees.place(anchor.partition), before.get(anchor.partition), anchor)
            before[anchor.partition] = anchor
            largest = max(outside.published.get(anchor.partition, 0), anchor.tree_size)
            outside.published[anchor.partition] = largest
        if outside.anchors < records_max:  # all of the topic: where it has no head of a partition, none was published
            outside.published = dict.fromkeys(trees.sizes, 0) | outside.published

    def _hold_witness(self, trees: Trees, keys: KeySet, outside: Outside, records_max: int) -> None:
        for record in self._last(self._topics.witness, records_max):
            outside.statements += 1
            witnessed = self._wire.decode_witnessed(record.value)
            statement = None if isinstance(witnessed, Refusal) else trusted_statement(witnessed, keys)
            if statement is None:
                outside.foreign += 1
                continue
            if outside.last is not None and statement.previous != statement_hash(outside.last):
                if statement == outside.last:
                    continue  # published twice: whoever wrote it was not told that it had arrived
                raise NotContinued(f"statement {statement.number} of witness.v1 does not name the one before it")
            outside.last = statement
            for seen in statement.heads:
                partition = seen.partition
                if seen.topic == trees.topic and partition in trees.sizes:
                    outside.require_head(trees, partition, seen.tree_size, seen.head, "witness.v1")
                    outside.seen_ms.setdefault(partition, {}).setdefault(seen.tree_size, statement.witnessed_at_ms)

    def _last(self, topic: str, records_max: int) -> Iterator[Record]:
        """The last records of a topic of one partition, oldest first; of each partition where it has more."""
        extents = self._log.extents(topic)
        starts = {p: max(each.low, each.high - records_max) for p, each in extents.items() if each.high > each.low}
        return self._log.read(topic, starts)


def trusted_statement(witnessed: Witnessed, keys: KeySet) -> Statement | None:
    """The statement, where a key that the set has for the witness signed it; None otherwise."""
    key = keys.keys.get(witnessed.key_id)
    if key is None or not is_signed(key.public, witnessed.statement.encode(), witnessed.signature):
        return None
    try:
        statement = statement_of(witnessed.statement)
    except ValueError:
        return None
    is_counted = untrusted(keys, KeyUse.WITNESS, key.key_id, statement.witnessed_at_ms, None) is None
    return statement if is_counted else None


def _is_ours(trees: Trees, signed: SignedHead) -> bool:
    """Whether the files have this very head: it was published again, as where the topic was lost."""
    ours = head_at(trees.place(signed.head.partition), signed.head.tree_size)
    return ours is not None and ours.head == signed.head


def _require_head(trees: Trees, partition: int, tree_size: int, hashed: bytes, where: str) -> None:
    place = trees.place(partition)
    if tree_size > trees.sizes[partition] and not trees.may_be_ahead:
        held = trees.sizes[partition]
        raise NotContinued(f"{where} has a head of {place} over {tree_size} records, and the database holds {held}")
    ours = head_at(place, tree_size)
    if ours is None:
        raise NotContinued(f"{where} has a head of {place} at size {tree_size} that is not among the files")
    if head_hash(ours.head) != hashed:
        raise NotContinued(f"{where} has another head of {place} at size {tree_size} than the files")


def _require_continued(place: Place, before: Anchor | None, anchor: Anchor) -> None:
    """The anchor's proof, from the one before it, where that stands before it."""
    if before is None or anchor.previous != head_hash(head_of_anchor(before)):
        return  # the first that is read, or published again; that each names the one before, the files show
    if not is_consistent(before.tree_size, anchor.tree_size, before.root, anchor.root, anchor.consistency):
        sizes = f"{before.tree_size} to {anchor.tree_size}"
        raise NotContinued(f"the proof on anchors.v1 that {place} only grew from {sizes} does not hold")


def _seen(outside: Outside, anchor: Anchor) -> int | None:
    sizes = outside.seen_ms.get(anchor.partition, {})
    return min((at_ms for size, at_ms in sizes.items() if size >= anchor.tree_size), default=None)
