"""Sending dead letters back to transactions.v1, so that each is decided once more.

Invariants
1. A letter is sent once: the row that says so is written before, under a key that the table keeps unique: the record's
   place and what stood there. What is sent bears both in a header: a run after a kill finds it by that, and takes no
   copy of another's for it. A place that is noted counts only where such a record stands.
2. A letter is sent once more only where what was sent became a duplicate, and no decision on the payment is known. So
   each ends as a decision or as another dead letter, which can be redriven itself.
3. What was decided, whenever, is not sent (I2). Nothing is sent while the audit log is more than a minute behind: where
   database and Redis were restored, what was redriven since isn't known to either. A payment so old that its id may be
   forgotten is sent only where the audit log holds all decisions that may have been on it.
4. The same bytes are sent under the same key, in one Kafka transaction for each portion.
5. One command redrives at a time; a start shuts out what a predecessor may still write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple
from uuid import uuid4

from pipeline.decide.batch import DUPLICATE
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.identities import LATE_AFTER_MS
from pipeline.domain.log import Outgoing, Record
from pipeline.domain.payment import Decoded, Transaction, payment_digest
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS, Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import TransactionalAppender
from pipeline.io.postgres import Connection, failures_named
from pipeline.io.sealing import DeadLetterKey, KeyRefused
from pipeline.redrive.redrive_store import (
    Request,
    Sent,
    append_published,
    append_redrive,
    may_redrive,
    read_audited,
    read_decisions,
    read_reach_ms,
    read_refusals,
    read_sent,
    turn_to_redrive,
)
from pipeline.redrive.selection import About, Fate, Place, record_of

HEADER: Final = "fraud-redriven"
"""Header of what is sent: the place of the record that the letter is about, and the digest of what stood there."""
AUDIT_BEHIND_MS_MAX: Final = 60_000
"""Most by which the audit log may be behind what was decided. It takes in a decision within seconds."""
DAY_MS: Final = 86_400_000
LETTERS_AT_ONCE: Final = 200
"""Letters of a portion: at most 3 MB in a Kafka transaction, and in what a run that was killed looks for."""


class AnotherRedrives(Exception):
    """Letters are redriven by one command at a time, and another is at it."""


class NotAnOperator(Exception):
    """Only an OPERATOR redrives, with a key that counts."""


class _Reach(NamedTuple):
    """The audit log holds all decisions from `since_ms` (None for the first) to `until_ms` (None for the last)."""

    since_ms: int | None
    until_ms: int | None


class Redriven(NamedTuple):
    letter: DeadLetter
    fate: Fate


class Topics(NamedTuple):
    """transactions.v1 and decisions.v1, by their names with the prefix."""

    name: str
    ends: Callable[[], Mapping[int, int]]
    read_headers: Callable[[Mapping[int, int], str], Iterable[tuple[Record, bytes]]]  # as LogReader.read_headers does
    header_at: Callable[[Place, str], bytes | None]  # of the record at that very place
    decisions: str
    oldest_decision_ms: Callable[[Mapping[int, int]], int | None]
    """Returns the log time of the oldest decision at or behind these offsets; None where there is none."""


class Ids(NamedTuple):
    """What the state store and the rules for payments say about records."""

    would_refuse: Callable[[Record], bool]  # raises what the code that decides raises
    release: Callable[[Sequence[Record]], None]  # gives back the ids that they hold


class _Opened(NamedTuple):
    letter: DeadLetter
    record: Record  # as it stood on transactions.v1
    payment: Transaction | None  # None where the bytes can't be decoded


class Redriver:
    """For one thread. Raises NotAnOperator, AnotherRedrives, BrokerFailed, StateUnavailable, DatabaseUnavailable,
    DatabaseRefused; run again, it goes on where it stopped."""

    def __init__(
        self,
        connection: Connection,
        appender: Callable[[], TransactionalAppender],
        wire: WireFormat,
        topic: Topics,
        key: DeadLetterKey,
        ids: Ids,
        clock_ms: Callable[[], int],
    ) -> None:
        """Keep what to redrive with. appender: makes one for each run, which starts it."""
        self._clock_ms = clock_ms
        self._connection, self._appender, self._wire = connection, appender, wire
        self._topic, self._key, self._ids = topic, key, ids

    def run(self, letters: Iterable[DeadLetter], request: Request, *, is_dry: bool) -> Iterator[Redriven]:
        """Redrive the letters, and yield the fate of each; where it `is_dry`, change nothing and say what would be."""
        with failures_named():
            if is_dry:
                yield from self._portions(letters, request, None)
                return
            if request.by is None or not may_redrive(self._connection, request.by):
                raise NotAnOperator
            with turn_to_redrive(self._connection, AnotherRedrives):
                appender = self._appender()
                appender.start()
                yield from self._portions(letters, request, appender)

    def _portions(
        self, letters: Iterable[DeadLetter], request: Request, appender: TransactionalAppender | None
    ) -> Iterator[Redriven]:
        """`appender`: None where nothing may be changed."""
        left, reach = iter(letters), self._reach()
        while portion := list(islice(left, LETTERS_AT_ONCE)):
            sent = read_sent(self._connection, portion)
            standing = self._standing(sent, request, is_dry=appender is None)
            opened, fates = self._open(portion)
            fates |= self._judged(opened, standing, reach)
            due = [each for each in opened if record_of(each.letter) not in fates]
            if due and appender is not None:
                self._send(appender, due, sent, request)
            for letter in portion:
                yield Redriven(letter, fates.get(record_of(letter), Fate.REDRIVEN))

    def _reach(self) -> _Reach:
        audited = read_audited(self._connection, self._topic.decisions)
        return _Reach(read_reach_ms(self._connection, audited), self._topic.oldest_decision_ms(audited))

    def _standing(self, sent: Mapping[About, Sent], request: Request, *, is_dry: bool) -> dict[About, Fate]:
        """Return the fates of letters that were sent and are not to be sent again; record where these stand."""
        known = {letter: self._proved(letter, each) for letter, each in sent.items()}
        refusals = self._refusals(known)
        unsettled = [letter for letter in sent if _is_open(known[letter], refusals)]
        found = self._found(unsettled, sent)
        if any(found.values()) and not is_dry:
            append_published(self._connection, found, request.name)
        for letter, places in found.items():
            known[letter] |= places
        refusals |= self._refusals(found)
        fates: dict[About, Fate] = {}
        for letter, places in known.items():
            if not _is_open(places, refusals):
                is_told = all(place in refusals for place in places)
                fates[letter] = Fate.SENT_REFUSED if is_told else Fate.SENT_BEFORE
        return fates

    def _proved(self, letter: About, sent: Sent) -> set[Place]:
        """Where what was sent for a letter stands, of the places that are noted: anybody who has the role's credential
        may note one."""
        return {place for place in sent.published if self._topic.header_at(place, HEADER) == _mark(letter)}

    def _refusals(self, places: Mapping[About, Iterable[Place]]) -> dict[Place, str]:
        return read_refusals(self._connection, self._topic.name, {place for each in places.values() for place in each})

    def _found(self, letters: Sequence[About], sent: Mapping[About, Sent]) -> dict[About, set[Place]]:
        """Look on the topic for what was sent for these letters; return the places by the letter's."""
        found: dict[About, set[Place]] = {letter: set() for letter in letters}
        if not letters:
            return found
        starts = dict(sent[letters[0]].ends)
        for letter in letters:
            ends = sent[letter].ends
            starts = {partition: min(start, ends.get(partition, 0)) for partition, start in starts.items()}
        return self._marked(starts, found)

    def _marked(self, starts: Mapping[int, int], found: dict[About, set[Place]]) -> dict[About, set[Place]]:
        """Add the places of records that bear the mark of a letter among `found`."""
        letters = {_mark(letter): letter for letter in found}
        for record, mark in self._topic.read_headers(starts, HEADER):
            if (letter := letters.get(mark)) is not None:
                found[letter].add(Place(record.source.partition, record.source.offset))
        return found

    def _open(self, portion: Sequence[DeadLetter]) -> tuple[list[_Opened], dict[About, Fate]]:
        opened: list[_Opened] = []
        fates: dict[About, Fate] = {}
        for letter in portion:
            if not letter.payload:
                fates[record_of(letter)] = Fate.NO_PAYLOAD
                continue
            try:
                key, value = self._key.open(letter.payload, letter.source)
            except KeyRefused:
                fates[record_of(letter)] = Fate.OTHER_KEY
                continue
            payment = self._wire.decode_transaction(value)
            transaction = payment.transaction if isinstance(payment, Decoded) else None
            opened.append(_Opened(letter, Record(key, value, letter.source), transaction))
        return opened, fates

    def _judged(self, opened: Sequence[_Opened], standing: Mapping[About, Fate], reach: _Reach) -> dict[About, Fate]:
        """Return the fates of those that are not to be sent."""
        fates: dict[About, Fate] = {}
        decided = self._decided(opened)
        for letter, record, payment in opened:
            about = record_of(letter)
            if payment is not None and payment_digest(payment) in decided:
                fates[about] = Fate.DECIDED
            elif about in standing:
                fates[about] = standing[about]
            elif payment is not None and not self._is_audited(payment, reach):
                fates[about] = Fate.UNAUDITED
            elif (fate := self._still(record)) is not None:
                fates[about] = fate
        return fates

    def _still(self, record: Record) -> Fate | None:
        try:
            return Fate.STILL_REFUSED if self._ids.would_refuse(record) else None
        except Exception:  # whatever a record makes the code raise that decides
            return Fate.STILL_FAILS

    def _is_audited(self, payment: Transaction, reach: _Reach) -> bool:
        """Return whether a decision on the payment would be known: to the state by the id, or to the audit log."""
        now_ms = self._clock_ms()
        if reach.until_ms is not None and reach.until_ms <= now_ms - AUDIT_BEHIND_MS_MAX:
            return False
        remembered_ms = now_ms - LATE_AFTER_MS + DAY_MS  # what was decided since holds its id still
        if payment.event_time_ms > remembered_ms:
            return True
        # It can't have been decided while it lay further ahead of the log than a payment may.
        return reach.since_ms is None or payment.event_time_ms - FUTURE_TOLERANCE_MS > reach.since_ms

    def _decided(self, opened: Sequence[_Opened]) -> set[bytes]:
        """Return the digests of the payments that were decided under the transaction ids of these."""
        ids = [each.payment.transaction_id for each in opened if each.payment is not None]
        found: set[bytes] = set()
        for value in read_decisions(self._connection, ids) if ids else ():
            stored = self._wire.decode_stored_decision(value)
            if stored is not None and not isinstance(stored, Refusal):
                found.add(payment_digest(stored.decision.snapshot.transaction))
        return found

    def _send(
        self, appender: TransactionalAppender, due: Sequence[_Opened], sent: Mapping[About, Sent], request: Request
    ) -> None:
        ends = self._topic.ends()
        fresh = [each.letter for each in due if record_of(each.letter) not in sent]
        if fresh:
            append_redrive(self._connection, uuid4(), request, ends, fresh)
        self._ids.release([each.record for each in due])
        about = [record_of(each.letter) for each in due]
        appender.append(
            [
                Outgoing(self._topic.name, record.key, record.value or b"", headers=[(HEADER, _mark(letter))])
                for (_, record, _), letter in zip(due, about, strict=True)
            ]
        )
        # A later run looks for a record that isn't seen yet because somebody else's transaction is open before it.
        found = self._marked(ends, {letter: set() for letter in about})
        append_published(self._connection, found, request.name)


def _mark(letter: About) -> bytes:
    return f"{letter.partition}:{letter.offset}:{letter.payload_sha256.hex()}".encode()


def _is_open(places: Iterable[Place], refusals: Mapping[Place, str]) -> bool:
    """Return whether a letter is still to be sent: nothing of it stands there, or only duplicates.

    A duplicate of a payment that was decided is told apart by the decision.
    """
    return all(refusals.get(place) == DUPLICATE for place in places)
