"""The witness: looks at the audit log's heads as they are published, and says in a place of its own what it has seen.

It runs as another user on the broker, with a key, a topic and a file of its own, best on another machine. So whoever
has the audit service's key, its folder and the database can rewrite no more than what came since its last statement.

Invariants
1. It says that it has seen a head only where the key set trusts the signature, by the time at which the broker took it,
   too, and the head continues the one that it saw before (pipeline.audit.cosigning).
2. It makes a statement as soon as it sees a head, and after `interval_s` without one: the age of its last statement
   says whether it still looks.
3. Each statement is in its file before it is on its topic; started again, it goes on after the last one of either.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.audit.continuing.head_files import fault
from pipeline.audit.continuing.outside_topics import trusted_statement
from pipeline.audit.cosigning import Contradiction, continued
from pipeline.audit.head import SignedHead, head_of_anchor
from pipeline.audit.witness import (
    SeenHead,
    Statement,
    by_partition,
    next_statement,
    seen_head,
    statement_of,
    statement_text,
)
from pipeline.domain.alert import Alert
from pipeline.domain.anchor import Witnessed
from pipeline.domain.log import Outgoing, Record
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.keys.key_files import SigningKey
from pipeline.keys.key_sets import KeySet, KeyUse, came_late, untrusted
from pipeline.witness import metrics
from pipeline.witness.statement_files import StatementFile
from pipeline.witness.timestamp_client import Authority, TimestampMissing

LOOK_S: Final = 2.0
RECORDS_AT_ONCE: Final = 20_000
"""Heads between two statements, at most; a witness that was away for long makes one after the other."""
STATEMENTS_COMPARED: Final = 1_000
"""Of the file and the topic at a start: over a day. Only where one lacks more than that, all of the other is read."""
KEYS_TOLD_MAX: Final = 100
"""Unknown keys that are told of one by one: whoever may write anchors.v1 can invent as many as they like."""
KEY: Final = b"witness"
"""Of every record, so that they are in order wherever the topic has more partitions than one."""
_logger = structlog.stdlib.get_logger(__name__)


class WitnessBroken(Exception):
    """The witness can't go on: its own statements contradict each other, or its key is not trusted."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the witness looks and speaks: topics by full names, its file (None: none), its key, the key set."""

    anchors: str
    witness: str
    file: StatementFile | None
    key: SigningKey
    keys: Callable[[], KeySet]


class WitnessService:
    """For one thread. authority: None where no timestamps are configured."""

    def __init__(
        self,
        log: LogReader,
        append: Callable[[Sequence[Outgoing]], None],
        tell: Callable[[Alert], None],
        wire: WireFormat,
        place: Place,
        authority: Authority | None,
        interval_s: float,
    ) -> None:
        self._log, self._append, self._tell, self._wire = log, append, tell, wire
        self._place, self._authority, self._interval_s = place, authority, interval_s
        self._last: Statement | None = None
        self._is_begun = False
        self._read_to: dict[int, int] = {}
        self._seen: dict[tuple[str, int], SeenHead] = {}
        self._news: dict[tuple[str, int], SeenHead] = {}
        self._keys: KeySet | None = None
        self._aside: dict[int, int] = {}  # the first offset of each partition that nobody trusted signed
        self._refused: set[tuple[str, int]] = set()
        self._distrusted: set[str] = set()
        self._untold: list[Alert] = []
        self._said_at = 0.0
        self._is_stamped = True

    def step(self, stopping: threading.Event) -> str | None:
        """Raises WitnessBroken, StatementFileBroken, KeySetRefused, OSError, BrokerFailed and the like."""
        if not self._is_begun:
            self._begin()
        keys = self._keys_now()
        for record in self._next_records():
            self._read_to[record.source.partition] = record.source.offset + 1
            self._look_at(record, keys)
        if self._news or time.monotonic() - self._said_at >= self._interval_s:
            self._say(keys)
        while self._untold:
            self._tell(self._untold[0])
            del self._untold[0]
        stopping.wait(LOOK_S)
        return f"{len(self._refused)} partitions do not continue what was seen" if self._refused else None

    def begin_again(self) -> None:
        """From its last statement."""
        self._is_begun = False

    def close(self) -> None:
        self._log.close()
        if self._place.file is not None:
            self._place.file.close()

    def _begin(self) -> None:
        """Go on after the last statement; what is on one side only is copied to the other. Raises WitnessBroken."""
        keys, file = self._place.keys(), self._place.file
        kept = {} if file is None else self._numbered(_last_of(file.statements(), STATEMENTS_COMPARED), keys)
        # With a file it knows what is its own; without one, what it goes on from must be beyond doubt.
        may_pass_over = bool(kept)
        published = self._said(STATEMENTS_COMPARED, keys, may_pass_over=may_pass_over)
        if may_pass_over and not published:  # others may have written as much behind its last statement
            published = self._said(None, keys, may_pass_over=True)
        if file is not None:
            if any(kept[number] != published[number] for number in kept.keys() & published.keys()):
                raise WitnessBroken(f"witness.v1 and {file.path} hold different statements")
            if missing := _missing(kept, published):
                found = published
                if missing[0] not in published:
                    found = self._said(None, keys, may_pass_over=may_pass_over)
                for number in missing:
                    file.append(found[number])
            if missing := _missing(published, kept):
                found = kept if missing[0] in kept else self._numbered(file.statements(), keys)
                for number in missing:
                    self._publish(found[number])
        every = published | kept
        self._last = statement_of(every[max(every)].statement) if every else None
        self._seen = {} if self._last is None else by_partition(self._last)
        self._read_to = {} if self._last is None else dict(self._last.read_to)
        self._news, self._aside, self._is_begun = {}, {}, True
        number = 0 if self._last is None else self._last.number
        _logger.info("witness_begins", statement=number, partitions=len(self._seen))

    def _said(self, records_max: int | None, keys: KeySet, *, may_pass_over: bool) -> dict[int, Witnessed]:
        """Its statements on the topic, by number."""
        published = self._published(records_max, may_pass_over=may_pass_over)
        return self._numbered(published, keys, may_pass_over=may_pass_over)

    def _published(self, records_max: int | None, *, may_pass_over: bool) -> Iterator[Witnessed]:
        """The last statements on the topic, or all of them, oldest first. may_pass_over: what is none stops nothing."""
        extents = self._log.extents(self._place.witness)
        starts = {
            partition: extent.low if records_max is None else max(extent.low, extent.high - records_max)
            for partition, extent in extents.items()
            if extent.high > extent.low
        }
        for record in self._log.read(self._place.witness, starts):
            witnessed = self._wire.decode_witnessed(record.value)
            if not isinstance(witnessed, Refusal):
                yield witnessed
            elif may_pass_over:
                self._pass_over("a record that is no statement")
            else:
                raise WitnessBroken(f"witness.v1 holds what is no statement, at {record.source.offset}")

    def _numbered(
        self, statements: Iterable[Witnessed], keys: KeySet, *, may_pass_over: bool = False
    ) -> dict[int, Witnessed]:
        """By number; copies come from an append whose answer was lost."""
        found: dict[int, Witnessed] = {}
        for witnessed in statements:
            statement = trusted_statement(witnessed, keys)
            if statement is None and may_pass_over:
                self._pass_over("a statement that no key of the key set's signed")
                continue
            if statement is None:
                raise WitnessBroken("a statement of the witness's is not signed by a key that the key set trusts")
            if found.setdefault(statement.number, witnessed) != witnessed:
                raise WitnessBroken(f"there are two statements {statement.number} of the witness's")
        return found

    def _pass_over(self, what: str) -> None:
        """Tell of what somebody else wrote to witness.v1. It would end the witness at each start, for good."""
        metrics.FOREIGN.inc()
        _logger.error("witness_passes_over", what=what)
        said = f"On witness.v1 stands {what}; somebody else writes there."
        told = alert(AlertCode.WITNESS_REFUSED, said, "all", {"topic": "witness.v1", "why": what}, _now_ms())
        if told.alert_id not in {each.alert_id for each in self._untold}:
            self._untold.append(told)

    def _next_records(self) -> list[Record]:
        starts, left = {}, RECORDS_AT_ONCE
        for partition, extent in self._log.extents(self._place.anchors).items():
            start = max(self._read_to.get(partition, 0), extent.low)
            if start < extent.high:
                starts[partition] = start
        records: list[Record] = []
        for partition, start in starts.items():
            found = self._log.read_range(self._place.anchors, partition, start, None, left, lambda record: record)
            records += found.taken
            left -= len(found.taken)
        return records

    def _keys_now(self) -> KeySet:
        """The key set; where it has changed, what an unknown key signed is looked at again."""
        keys = self._place.keys()
        if keys != self._keys:
            self._keys = keys
            self._read_to |= self._aside
            self._aside, self._refused, self._distrusted = {}, set(), set()
        return keys

    def _look_at(self, record: Record, keys: KeySet) -> None:
        anchor = self._wire.decode_anchor(record.value)
        now_ms = _now_ms()
        if isinstance(anchor, Refusal):
            metrics.FOREIGN.inc()
            return
        signed = SignedHead(head_of_anchor(anchor), (), anchor.key_id, anchor.signature)
        where = anchor.topic, anchor.partition
        why = fault(signed, keys, now_ms)
        if why is None and seen_head(signed.head) != self._seen.get(where):
            why = came_late(keys, anchor.key_id, record.source.timestamp_ms)
        if why is not None:
            metrics.FOREIGN.inc()
            self._aside.setdefault(record.source.partition, record.source.offset)
            self._distrust(anchor.key_id, why, record.source.offset, now_ms)
            return
        seen = continued(self._seen.get(where), anchor)
        if isinstance(seen, Contradiction):
            self._refuse(where, seen, record.source.offset, now_ms)
        elif seen != self._seen.get(where):
            self._seen[where] = self._news[where] = seen

    def _refuse(self, where: tuple[str, int], why: str, offset: int, now_ms: int) -> None:
        """Alert at a partition's first contradiction: every later head of it leads to another."""
        if where in self._refused:
            return
        self._refused.add(where)
        metrics.REFUSED.set(len(self._refused))
        _logger.critical("witness_refuses", why=why)
        what = f"The witness refuses a head of the audit log: {why}."
        self._untold.append(alert(AlertCode.WITNESS_REFUSED, what, "all", {"offset": str(offset), "why": why}, now_ms))

    def _distrust(self, key_id: str, why: str, offset: int, now_ms: int) -> None:
        """Alert once a key, until the key set changes."""
        if key_id in self._distrusted or len(self._distrusted) == KEYS_TOLD_MAX:
            return
        self._distrusted.add(key_id)
        _logger.error("witness_distrusts", why=why)
        what = f"A head of the audit log that the witness was shown does not count: {why}."
        self._untold.append(alert(AlertCode.WITNESS_REFUSED, what, "all", {"offset": str(offset), "why": why}, now_ms))

    def _say(self, keys: KeySet) -> None:
        now_ms, key = _now_ms(), self._place.key
        why = untrusted(keys, KeyUse.WITNESS, key.key_id, now_ms, now_ms)
        if why is not None:
            raise WitnessBroken(f"the witness may not sign: {why}")
        statement = next_statement(self._last, self._news.values(), now_ms, self._read_to | self._aside)
        text = statement_text(statement)
        witnessed = Witnessed(text, key.key_id, key.sign(text.encode()), self._stamped(text.encode(), now_ms))
        if self._place.file is not None:
            self._place.file.append(witnessed)
        self._is_begun = False  # until both places have it
        self._publish(witnessed)
        self._last, self._news, self._is_begun, self._said_at = statement, {}, True, time.monotonic()
        metrics.STATEMENTS.inc()
        metrics.STATEMENT_TIME.set(now_ms / 1000)
        _logger.info("witnessed", number=statement.number, partitions=len(statement.heads))

    def _publish(self, witnessed: Witnessed) -> None:
        self._append([Outgoing(self._place.witness, KEY, self._wire.encode(witnessed))])

    def _stamped(self, text: bytes, now_ms: int) -> bytes | None:
        """The authority's timestamp. Without one the statement still counts, and a person is told at the first."""
        if self._authority is None:
            return None
        try:
            timestamp = self._authority.stamp(text)
        except TimestampMissing as error:
            metrics.TIMESTAMPS_MISSING.inc()
            _logger.error("witness_timestamp_missing", why=str(error))
            if self._is_stamped:
                what, evidence = f"Witness statements have no timestamp: {error}.", {"since_ms": str(now_ms)}
                self._untold.append(alert(AlertCode.TIMESTAMP_MISSING, what, "all", evidence, now_ms))
            self._is_stamped = False
            return None
        self._is_stamped = True
        return timestamp


def _last_of(statements: Iterable[Witnessed], count: int) -> Iterable[Witnessed]:
    return deque(statements, count)


def _missing(there: Mapping[int, Witnessed], elsewhere: Mapping[int, Witnessed]) -> list[int]:
    """The numbers after the last that is there, up to the last elsewhere."""
    return list(range(max(there, default=0) + 1, max(elsewhere, default=0) + 1))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
