"""Sending dead letters back to transactions.v1, so that each is decided once more.

Invariants
1. A letter is sent once: the row that says so is written before, under a key that the table keeps unique; and a run
   that finds a row without a word that it was carried out looks for the payment on the topic first.
2. What was decided since is not sent (I2).
3. The same bytes are sent under the same key, in one Kafka transaction for each portion.
4. One command redrives at a time; a start shuts out what a predecessor may still write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple
from uuid import uuid4

from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.log import Outgoing, Record
from pipeline.domain.payment import Decoded, Transaction
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import TransactionalAppender
from pipeline.io.postgres import Connection, failures_named
from pipeline.io.sealing import DeadLetterKey, KeyRefused
from pipeline.redrive.redrive_store import (
    Request,
    Sent,
    append_published,
    append_redrive,
    read_decisions,
    read_sent,
    turn_to_redrive,
)
from pipeline.redrive.selection import Fate, Place, place_of

LETTERS_AT_ONCE: Final = 200
"""Letters of a portion: at most 3 MB in a Kafka transaction, and in what a run that was killed looks for."""


class AnotherRedrives(Exception):
    """Letters are redriven by one command at a time, and another is at it."""


class Redriven(NamedTuple):
    letter: DeadLetter
    fate: Fate


class TransactionsTopic(NamedTuple):
    name: str
    ends: Callable[[], Mapping[int, int]]
    read: Callable[[Mapping[int, int]], Iterable[Record]]  # from these offsets to the ends as they are met


class Ids(NamedTuple):
    """What the state store and the rules for payments say about records."""

    would_refuse: Callable[[Record], bool]  # raises what the code that decides raises
    release: Callable[[Sequence[Record]], None]  # gives back the ids that they hold


class _Opened(NamedTuple):
    letter: DeadLetter
    record: Record  # as it stood on transactions.v1
    payment: Transaction | None  # None where the bytes can't be decoded


class Redriver:
    """For one thread. Raises AnotherRedrives, BrokerFailed, StateUnavailable, DatabaseUnavailable, DatabaseRefused; run
    again, it goes on where it stopped."""

    def __init__(
        self,
        connection: Connection,
        appender: Callable[[], TransactionalAppender],
        wire: WireFormat,
        topic: TransactionsTopic,
        key: DeadLetterKey,
        ids: Ids,
    ) -> None:
        """Keep what to redrive with. appender: makes one for each run, which starts it."""
        self._connection, self._appender, self._wire = connection, appender, wire
        self._topic, self._key, self._ids = topic, key, ids

    def run(self, letters: Iterable[DeadLetter], request: Request, *, is_dry: bool) -> Iterator[Redriven]:
        """Redrive the letters, and yield the fate of each; where it `is_dry`, change nothing and say what would be."""
        with failures_named():
            if is_dry:
                yield from self._portions(letters, request, None)
                return
            with turn_to_redrive(self._connection, AnotherRedrives):
                appender = self._appender()
                appender.start()
                yield from self._portions(letters, request, appender)

    def _portions(
        self, letters: Iterable[DeadLetter], request: Request, appender: TransactionalAppender | None
    ) -> Iterator[Redriven]:
        """`appender`: None where nothing may be changed."""
        left = iter(letters)
        while portion := list(islice(left, LETTERS_AT_ONCE)):
            sent = read_sent(self._connection, portion)
            opened, fates = self._open(portion, self._published(portion, sent, request, is_dry=appender is None))
            fates |= self._judged(opened)
            due = [each for each in opened if place_of(each.letter) not in fates]
            if due and appender is not None:
                self._send(appender, due, sent, request)
            for letter in portion:
                yield Redriven(letter, fates.get(place_of(letter), Fate.REDRIVEN))

    def _published(
        self, portion: Sequence[DeadLetter], sent: Mapping[Place, Sent], request: Request, *, is_dry: bool
    ) -> set[Place]:
        """Return the places of the letters whose payments stand on the topic already."""
        found = {place for place, each in sent.items() if each.is_published}
        open_ended = [letter for letter in portion if place_of(letter) in sent.keys() - found]
        if not open_ended:
            return found
        starts = sent[place_of(open_ended[0])].ends
        for letter in open_ended:
            ends = sent[place_of(letter)].ends
            starts = {partition: min(start, ends.get(partition, 0)) for partition, start in starts.items()}
        hashes = {hashlib.sha256(record.value or b"").digest() for record in self._topic.read(starts)}
        met = [letter for letter in open_ended if letter.payload_sha256 in hashes]
        if met and not is_dry:
            append_published(self._connection, met, request.by)
        return found | {place_of(letter) for letter in met}

    def _open(self, portion: Sequence[DeadLetter], published: set[Place]) -> tuple[list[_Opened], dict[Place, Fate]]:
        opened: list[_Opened] = []
        fates: dict[Place, Fate] = {}
        for letter in portion:
            place = place_of(letter)
            if place in published:
                fates[place] = Fate.SENT_BEFORE
            elif not letter.payload:
                fates[place] = Fate.NO_PAYLOAD
            else:
                try:
                    key, value = self._key.open(letter.payload, letter.source)
                except KeyRefused:
                    fates[place] = Fate.OTHER_KEY
                    continue
                payment = self._wire.decode_transaction(value)
                transaction = payment.transaction if isinstance(payment, Decoded) else None
                opened.append(_Opened(letter, Record(key, value, letter.source), transaction))
        return opened, fates

    def _judged(self, opened: Sequence[_Opened]) -> dict[Place, Fate]:
        """Return the fates of those that are not to be sent."""
        fates: dict[Place, Fate] = {}
        decided = self._decided(opened)
        for letter, record, payment in opened:
            place = place_of(letter)
            if payment is not None and payment in decided.get(payment.transaction_id, ()):
                fates[place] = Fate.DECIDED
                continue
            try:
                if self._ids.would_refuse(record):
                    fates[place] = Fate.STILL_REFUSED
            except Exception:  # whatever a record makes the code raise that decides
                fates[place] = Fate.STILL_FAILS
        return fates

    def _decided(self, opened: Sequence[_Opened]) -> dict[str, list[Transaction]]:
        """Return the payments that were decided since, under the transaction ids of these."""
        ids = [each.payment.transaction_id for each in opened if each.payment is not None]
        if not ids:
            return {}
        found: dict[str, list[Transaction]] = {}
        since_ms = min(each.letter.source_timestamp_ms for each in opened)
        for value in read_decisions(self._connection, ids, since_ms):
            stored = self._wire.decode_stored_decision(value)
            if stored is not None and not isinstance(stored, Refusal):
                payment = stored.decision.snapshot.transaction
                found.setdefault(payment.transaction_id, []).append(payment)
        return found

    def _send(
        self, appender: TransactionalAppender, due: Sequence[_Opened], sent: Mapping[Place, Sent], request: Request
    ) -> None:
        fresh = [each.letter for each in due if place_of(each.letter) not in sent]
        if fresh:
            append_redrive(self._connection, uuid4(), request, self._topic.ends(), fresh)
        self._ids.release([each.record for each in due])
        appender.append([Outgoing(self._topic.name, record.key, record.value or b"") for _, record, _ in due])
        append_published(self._connection, [each.letter for each in due], request.by)
