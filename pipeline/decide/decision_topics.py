"""Decisions and dead letters as they stand on their topics: found, listed, followed, and put into words."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.decision import Decision, Outcome, StoredDecision
from pipeline.domain.identities import DecisionId
from pipeline.domain.log import Prove, Record
from pipeline.domain.money import amount_text
from pipeline.domain.plain import plain, plain_record
from pipeline.domain.refusals import Refusal
from pipeline.domain.times import utc_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.sealing import DeadLetterKey, KeyRefused
from pipeline.io.settings import Settings
from pipeline.terminal.decision_choice import as_decision_id, candidate_of, the_one
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import OUTCOME_COLOUR, Output, coloured

TAIL_LOOKED_AT: Final = 20_000
"""Records of each partition that `tail` looks back over for the outcome it was asked for: a second or two."""


class Located(NamedTuple):
    found: Record
    stored: StoredDecision


class Unreadable(NamedTuple):
    """A record of decisions.v1 that is no Decision, and why."""

    found: Record
    why: str


def located(wire: WireFormat, found: Record) -> Located | Unreadable | None:
    """The decision in a record; None for records of another kind (a reversal, a review)."""
    stored = wire.decode_stored_decision(found.value)
    if isinstance(stored, Refusal):
        return Unreadable(found, stored.detail)
    return None if stored is None else Located(found, stored)


def find_decision(settings: Settings, wire: WireFormat, wanted: str, account_id: str | None) -> Located:
    """By decision id or transaction id; Failure where it isn't on the topic, or where several are meant.

    Reads the topic once from its start; with the account known, only the partition that the account's key falls into.
    """
    topic, own = settings.topic("decisions.v1"), as_decision_id(wanted)
    carrying: dict[DecisionId, Located] = {}
    with LogReader.of(settings) as log:
        partitions = None if account_id is None else [log.partition_of(topic, account_id)]
        for found in log.read_all(topic, partitions):
            decision = _carrying(wire, found, wanted, own)
            if decision is not None:
                name = decision.stored.decision.decision_id
                carrying.setdefault(name, decision)
                if name == own:
                    break
    chosen = the_one(wanted, account_id, [candidate_of(each.stored.decision) for each in carrying.values()])
    if chosen is not None:
        return carrying[chosen]
    where = f"decisions.v1 on {settings.bootstrap_servers}"
    raise Failure(f"No decision with the id {wanted} is on {where}.", "`fraud decisions tail` shows ids that are.")


def _carrying(wire: WireFormat, found: Record, wanted: str, own: DecisionId | None) -> Located | None:
    """The decision in a record, where it or its transaction has the id."""
    value = found.value or b""
    if wanted.encode() not in value and (own is None or own.encode() not in value):
        return None
    decision = located(wire, found)
    if not isinstance(decision, Located):
        return None
    made = decision.stored.decision
    return decision if made.decision_id == own or made.transaction_id == wanted else None


def tail(
    settings: Settings, wire: WireFormat, limit: int, outcome: Outcome | None, *, is_followed: bool
) -> Iterator[Located]:
    """The last `limit` decisions in the order they were made, then, if followed, each as it comes."""
    topic = settings.topic("decisions.v1")
    with LogReader.of(settings) as log:
        extents = log.extents(topic)
        starts = {partition: max(extent.low, extent.high - TAIL_LOOKED_AT) for partition, extent in extents.items()}
        latest: dict[int, deque[Located]] = {partition: deque(maxlen=limit) for partition in extents}
        ends = dict(starts)
        for found in log.read(topic, starts):
            ends[found.source.partition] = found.source.offset + 1
            decision = located(wire, found)
            if isinstance(decision, Located) and _is_wanted(decision, outcome):
                latest[found.source.partition].append(decision)
        newest = sorted((each for kept in latest.values() for each in kept), key=_decided_at_ms)
        yield from newest[max(len(newest) - limit, 0) :]
        if is_followed:
            for found in log.read(topic, ends, is_followed=True):
                decision = located(wire, found)
                if isinstance(decision, Located) and _is_wanted(decision, outcome):
                    yield decision


def show_decision(output: Output, located_decision: Located) -> None:
    output.record(decision_json(located_decision), decision_line(located_decision.stored.decision))


def decision_line(decision: Decision) -> str:
    outcome = coloured(f"{decision.outcome:<8}", OUTCOME_COLOUR[decision.outcome], is_bold=True)
    head = f"{utc_text(decision.decided_at_ms)} {outcome} {decision.route:<9} {decision.transaction_id}"
    return f"{head} {amount_text(decision.snapshot.transaction):>14}  {decision.summary}"


def decision_json(decision: Located) -> dict[str, object]:
    source = decision.found.source
    place = {"partition": source.partition, "offset": source.offset}
    return {**plain_record(decision.stored.decision), **place}


class FoundLetter(NamedTuple):
    found: Record
    letter: DeadLetter
    opened: Mapping[str, object] | str | None  # the payment, where a key was given and fits; else why there is none


def dead_letters(
    settings: Settings, wire: WireFormat, key_file: Path | None, proves: Mapping[str, Prove] = MappingProxyType({})
) -> Iterator[FoundLetter]:
    """The records that became no decision, duplicates' receipts included, oldest first.

    proves: as a LogReader takes it; without it, nobody has shown to have written them.
    """
    open_payload = _opener(key_file, wire)
    with LogReader.of(settings, proves=proves) as log:
        for found in log.read_all(settings.topic("transactions.dead.v1")):
            letter = wire.decode_dead_letter(found.value)
            if isinstance(letter, Refusal):
                place = f"{found.source.partition}:{found.source.offset}"
                raise Failure(f"Record {place} is no dead letter.", "Check FRAUD_TOPIC_PREFIX.")
            yield FoundLetter(found, letter, open_payload(letter))


def show_dead_letter(output: Output, found: FoundLetter) -> None:
    letter, opened = found.letter, found.opened
    place = f"{letter.source_topic} {letter.source_partition}:{letter.source_offset}"
    line = f"{utc_text(letter.source_timestamp_ms)} {letter.code:<24} {place}  {letter.detail}"
    if opened is not None:
        line += f"  {opened if isinstance(opened, str) else json.dumps(opened, ensure_ascii=False)}"
    output.record({**plain(letter._asdict()), "opened": opened}, line)


def _opener(key_file: Path | None, wire: WireFormat) -> Callable[[DeadLetter], Mapping[str, object] | str | None]:
    if key_file is None:
        return _unopened
    try:
        key = DeadLetterKey.from_file(key_file)
    except KeyRefused as refusal:
        raise Failure(_sentence(str(refusal)), "Give the file that `fraud keys create dead-letter` made.") from refusal

    def opened(letter: DeadLetter) -> Mapping[str, object] | str:
        if not letter.payload:
            return "(no payload was kept)"
        try:
            _, value = key.open(letter.payload, letter.source)
        except KeyRefused:
            return f"(sealed with key {letter.key_id}, not {key.key_id})"
        payment = wire.decode_transaction(value)
        if isinstance(payment, Refusal):
            return f"{len(value)} bytes {value.hex()}"
        return plain(payment.transaction._asdict())

    return opened


def _unopened(_letter: DeadLetter) -> str | None:
    return None


def _decided_at_ms(decision: Located) -> int:
    return decision.stored.decision.decided_at_ms


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _is_wanted(decision: Located, outcome: Outcome | None) -> bool:
    return outcome is None or decision.stored.decision.outcome is outcome
