"""Decisions and dead letters as they stand on their topics: found, listed, followed, and put into words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from pipeline.decide.phrases import money
from pipeline.decide.verdict import decision_id
from pipeline.domain.decision import Outcome
from pipeline.domain.log import Record, Source
from pipeline.domain.payment import Transaction
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import Datum, StoredDecision, WireFormat, stored_decision
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.sealing import DeadLetterKey, KeyRefused
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import OUTCOME_COLOUR, Output, coloured, utc_text

TAIL_LOOKED_AT: Final = 20_000
"""Records of each partition that `tail` looks back over for the outcome it was asked for: a second or two."""


_MINOR_DIGITS: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0),
    **dict.fromkeys(("XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""ISO 4217's exceptions from two, for showing an amount; what it is worth is the policy's to say."""


class Located(NamedTuple):
    found: Record
    stored: StoredDecision


class Unreadable(NamedTuple):
    """A record of decisions.v1 that is no Decision, and why."""

    found: Record
    why: str


def located(wire: WireFormat, found: Record) -> Located | Unreadable | None:
    """The decision in a record; None for records of another kind (a reversal, a review)."""
    fields = wire.decode("decision.v1", found.value)
    if isinstance(fields, Refusal):
        return Unreadable(found, fields.detail)
    if fields["record"] != "Decision":
        return None
    assert found.value is not None, "it was decoded"
    return Located(found, stored_decision(fields, found.value))


def find_decision(settings: Settings, wire: WireFormat, wanted: str, account_id: str | None) -> Located:
    """By decision id or transaction id; Failure where it isn't on the topic.

    Reads the topic once from its start; with the account known, only the partition that the account's key falls into.
    """
    topic, by_id = settings.topic("decisions.v1"), decision_ids(wanted)
    needles = [each.encode() for each in by_id]
    with LogReader.of(settings) as log:
        partitions = None if account_id is None else [log.partition_of(topic, account_id)]
        for found in log.read_all(topic, partitions):
            if any(needle in (found.value or b"") for needle in needles):
                decision = located(wire, found)
                if isinstance(decision, Located) and decision.stored.fields["decision_id"] in by_id:
                    return decision
    where = f"decisions.v1 on {settings.bootstrap_servers}"
    raise Failure(f"No decision with the id {wanted} is on {where}.", "`fraud decisions tail` shows ids that are.")


def decision_ids(wanted: str) -> list[str]:
    """The decisions that an id may mean: a UUID may be a decision's, and any text a transaction's."""
    own = [wanted.lower()] if _is_uuid(wanted) else []
    return [*own, decision_id(wanted)]


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


def show_decision(output: Output, decision: Located) -> None:
    fields, payment = decision.stored.fields, decision.stored.transaction
    output.record(decision_json(decision), decision_line(fields, payment))


def decision_line(fields: Datum, payment: Transaction) -> str:
    outcome = coloured(f"{fields['outcome']:<8}", OUTCOME_COLOUR[fields["outcome"]], is_bold=True)
    head = f"{utc_text(fields['decided_at_ms'])} {outcome} {fields['route']:<9} {fields['transaction_id']}"
    return f"{head} {amount_text(payment):>14}  {fields['summary']}"


def amount_text(payment: Transaction) -> str:
    """In the payment's own currency."""
    return money_text(payment.amount_minor, payment.currency)


def money_text(amount_minor: int, currency: str) -> str:
    if currency == "GBP":
        return money(amount_minor)
    digits = _MINOR_DIGITS.get(currency, 2)
    whole, part = divmod(amount_minor, 10**digits)
    return f"{currency} {whole:,}" + (f".{part:0{digits}d}" if digits else "")


def decision_json(decision: Located) -> dict[str, object]:
    return {
        **plain(decision.stored.fields),
        "partition": decision.found.source.partition,
        "offset": decision.found.source.offset,
    }


def plain(fields: Mapping[str, object]) -> dict[str, object]:
    """For JSON: hashes in hexadecimal, everything else as it is."""
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return plain(value)
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


class DeadLetter(NamedTuple):
    found: Record
    fields: Datum
    opened: str | None  # the payload in the clear, where a key was given and fits


def dead_letters(settings: Settings, wire: WireFormat, key_file: Path | None) -> Iterator[DeadLetter]:
    """What became no decision, duplicates' receipts included, oldest first."""
    open_payload = _opener(key_file)
    with LogReader.of(settings) as log:
        for found in log.read_all(settings.topic("transactions.dead.v1")):
            fields = wire.decode("dead_letter.v1", found.value)
            if isinstance(fields, Refusal):
                place = f"{found.source.partition}:{found.source.offset}"
                raise Failure(f"Record {place} is no dead letter.", "Check FRAUD_TOPIC_PREFIX.")
            yield DeadLetter(found, fields, open_payload(fields))


def show_dead_letter(output: Output, letter: DeadLetter) -> None:
    f = letter.fields
    place = f"{f['source_topic']} {f['source_partition']}:{f['source_offset']}"
    line = f"{utc_text(f['source_timestamp_ms'])} {f['code']:<24} {place}  {f['detail']}"
    if letter.opened is not None:
        line += f"  {letter.opened}"
    output.record({**plain(f), "opened": letter.opened}, line)


def _opener(key_file: Path | None) -> Callable[[Datum], str | None]:
    if key_file is None:
        return _unopened
    try:
        key = DeadLetterKey.from_file(key_file)
    except KeyRefused as refusal:
        raise Failure(_sentence(str(refusal)), "Give the file that `fraud keys create dead-letter` made.") from refusal

    def opened(fields: Datum) -> str | None:
        if not fields["payload"]:
            return "(no payload was kept)"
        source = Source(fields["source_partition"], fields["source_offset"], fields["source_timestamp_ms"])
        try:
            _, value = key.open(fields["payload"], source)
        except KeyRefused:
            return f"(sealed with key {fields['key_id']}, not {key.key_id})"
        payment = WireFormat().decode_transaction(value)
        return f"{len(value)} bytes {value.hex()}" if isinstance(payment, Refusal) else str(payment.transaction)

    return opened


def _unopened(_fields: Datum) -> str | None:
    return None


def _decided_at_ms(decision: Located) -> int:
    return int(decision.stored.fields["decided_at_ms"])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _is_wanted(decision: Located, outcome: Outcome | None) -> bool:
    return outcome is None or decision.stored.fields["outcome"] == outcome


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
