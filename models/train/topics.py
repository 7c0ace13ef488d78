"""The history that stands on the topics, read to their ends: what was paid, what was known when, what was decided.

Invariants
1. Payments come in the order of the log's time, partition and offset, as they were decided, and each once: a copy is
   left out, and of two payments under one id the later one.
2. A label, an account or a signal is taken in at the later of its own time and its record's, so that no feature knows
   it before the pipeline did. Of topics that were filled by a replay the records' times say nothing; then, and only
   where the caller says so, it is taken in at its own time.
3. A payment that could not be decided is left out and counted. So is one of which decisions.v1 holds no decision,
   labelled or not: it may have been stopped, and of such only the frauds would be known. Where there are no decisions
   at all, every payment is taken to have been let through, as of a file. And so are payments of several systems under
   one id: neither labels nor decisions say by it whose they are.
4. No feature is computed from the payments that are left of a log which once had more: it would not be what was served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np

from models.artefact.strict import Json
from models.simulator import LabelledTransaction, TrafficEvent
from models.train.history import Examples, HistoryRefused, examples_of
from models.train.settled import DAY_MS, UNLABELLED, History, Truth, in_order, settled
from pipeline.domain.context import Account, Label, RiskSignal
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.features import ACCOUNT_STATE, DERIVED, NONE, SHARED_STATE
from pipeline.domain.log import Record
from pipeline.domain.payment import Decoded, Transaction
from pipeline.domain.refusals import Refusal, refusal_of
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.seals.label_files import label_proves
from pipeline.state.context.context_checks import AccountWithdrawn, RiskSignalWithdrawn, checked, withdrawn

LOOKING_BACK: Final = frozenset((*ACCOUNT_STATE, *SHARED_STATE, *DERIVED)) - {
    "ip_fraud_reports",
    "device_fraud_reports",
}
"""Features that a payment of before may have changed."""
REPLAYED_AFTER_MS: Final = 30 * DAY_MS
"""A label whose record comes so long after its own time was replayed, or its publisher stood still for a month."""
ADVANCE_EVERY: Final = 5_000
LABELS: Final = "labels.v1"
PAYMENTS: Final = "transactions.v1"

Advance = Callable[[int], None]
ContextEvent = Account | RiskSignal | Label


class Statement(NamedTuple):
    own_ms: int
    log_ms: int
    event: ContextEvent

    def at_ms(self, *, at_own_times: bool) -> int:
        return self.own_ms if at_own_times else max(self.own_ms, self.log_ms)


class Fate(NamedTuple):
    """What was decided about a payment, and what people made of it since."""

    stopped: bool
    probability_ppm: int  # NONE where no model said anything


class Labels(NamedTuple):
    by_payment: Mapping[str, Label]  # the latest statement about each
    known_at_ms: Mapping[str, int]


class _Moment(NamedTuple):
    at_ms: int
    is_payment: bool  # of one moment, what is known comes before what is decided on it
    order: tuple[int, int]
    event: TrafficEvent


class _Read:
    """Reads topics whole, and counts for whoever watches."""

    def __init__(self, settings: Settings, advance: Advance) -> None:
        self._settings, self._advance, self.count = settings, advance, 0

    def records(self, log: LogReader, topic: str) -> Iterator[Record]:
        for record in log.read_all(self._settings.topic(topic)):
            self.count += 1
            if self.count % ADVANCE_EVERY == 0:
                self._advance(self.count)
            yield record


def history_of_topics(
    settings: Settings,
    wire: WireFormat,
    features: Sequence[str],
    delay_ms: int,
    advance: Advance,
    *,
    at_own_times: bool = False,
) -> History:
    """Read transactions.v1, accounts.v1, risk_signals.v1, labels.v1 and decisions.v1, about 1 KB of memory a payment.

    features: the plan's. delay_ms: the plan's; the state's own (FRAUD_LABEL_DELAY_DAYS) is the least. Raises
    HistoryRefused, TopicMissing, BrokerAway, BrokerFailed.
    """
    read = _Read(settings, advance)
    with LogReader.of(settings, proves=label_proves(settings)) as log:
        refuse_late((extent.low for extent in log.extents(settings.topic(PAYMENTS)).values()), features)
        context = [*statements_of(read.records(log, "accounts.v1"), "accounts.v1", wire.decode_account)]
        context += statements_of(read.records(log, "risk_signals.v1"), "risk_signals.v1", wire.decode_risk_signal)
        statements = [*statements_of(read.records(log, LABELS), LABELS, wire.decode_label)]
        if not at_own_times:
            _refuse_replayed(statements)
        payments = sorted(read.records(log, PAYMENTS), key=_log_order)
        fates = fates_of(wire.decode_decision_record(record.value) for record in read.records(log, "decisions.v1"))
    paid, left_out = payments_of(payments, wire)
    times = [(each.at_ms(at_own_times=at_own_times), each.event) for each in context + statements]
    moments = [_Moment(at_ms, False, (0, place), event) for place, (at_ms, event) in enumerate(times)]
    moments += [_Moment(each.log_time_ms or 0, True, (1, place), each) for place, each in enumerate(paid)]
    moments.sort(key=itemgetter(0, 1, 2))
    delay_days = settings.label_delay_days
    examples = in_order(examples_of((moment.event for moment in moments), label_delay_days=delay_days))
    labels = labels_of((event, at_ms) for at_ms, event in times if isinstance(event, Label))
    ids = [paid[number].transaction.transaction_id for number in examples.number.tolist()]
    shared = shared_ids((each.transaction.transaction_id, each.transaction.source_system) for each in paid)
    left_out["left_out_as_sharing_an_id"] = sum(name in shared for name in ids)
    examples, ids = _chosen(examples, ids, lambda name: name not in shared)
    undecided = sum(name not in fates for name in ids)
    if fates and undecided:
        examples, ids = decided_of(examples, ids, fates)
    truth = truth_of(ids, labels, fates)
    delay_ms = max(delay_ms, delay_days * DAY_MS)
    history = settled(examples, truth, known_until_ms(labels), delay_ms, "transactions.v1, labels.v1 and decisions.v1")
    return history._replace(labels={**history.labels, **left_out, "undecided": undecided})


def read_labels_topic(settings: Settings, wire: WireFormat, *, at_own_times: bool = False) -> Labels:
    """Read labels.v1 alone. Raises HistoryRefused, TopicMissing, BrokerAway, BrokerFailed."""
    with LogReader.of(settings, proves=label_proves(settings)) as log:
        statements = list(statements_of(log.read_all(settings.topic(LABELS)), LABELS, wire.decode_label))
    if not at_own_times:
        _refuse_replayed(statements)
    return labels_of(
        (each.event, each.at_ms(at_own_times=at_own_times)) for each in statements if isinstance(each.event, Label)
    )


def refuse_late(first: Iterable[int], features: Sequence[str]) -> None:
    """Raise HistoryRefused where payments are gone from the log that features of a plan look back to.

    first: the oldest offset that each partition of transactions.v1 holds, or would.
    """
    needed = [name for name in features if name in LOOKING_BACK]
    if needed and any(first):
        raise HistoryRefused(
            f"transactions.v1 no longer holds its first payments, so {needed[0]} and the plan's other features that "
            "look back would not be what was served; learn from the audit log, which holds what was"
        )


def shared_ids(given: Iterable[tuple[str, str | None]]) -> set[str]:
    """Return the ids that more than one system gave. given: ids, and the systems that gave them."""
    first: dict[str, str | None] = {}
    return {name for name, system in given if first.setdefault(name, system) != system}


def decided_of(examples: Examples, ids: list[str], fates: Mapping[str, Fate]) -> tuple[Examples, list[str]]:
    """Keep the payments that were decided. Raises HistoryRefused where none was."""
    chosen, kept = _chosen(examples, ids, fates.__contains__)
    if not kept:
        raise HistoryRefused("decisions.v1 holds decisions, but on none of its payments")
    return chosen, kept


def _chosen(examples: Examples, ids: list[str], is_kept: Callable[[str], bool]) -> tuple[Examples, list[str]]:
    rows = np.array([is_kept(name) for name in ids], dtype=np.bool_)
    return examples.chosen(rows), [name for name in ids if is_kept(name)]


def payments_of(records: Iterable[Record], wire: WireFormat) -> tuple[list[LabelledTransaction], dict[str, Json]]:
    """Return the payments as they could be decided, and how many records were not, by why. `records` are in order."""
    paid: list[LabelledTransaction] = []
    digests: dict[str, bytes] = {}
    refused = copies = conflicts = 0
    for record in records:
        decoded = wire.decode_transaction(record.value)
        if not isinstance(decoded, Decoded):
            refused += 1
            continue
        transaction, log_time_ms = decoded.transaction, record.source.timestamp_ms
        if refusal_of(transaction, record.key or b"", record.source) is not None:
            refused += 1
        elif (first := digests.setdefault(_name(transaction), decoded.digest)) != decoded.digest:
            conflicts += 1
        elif first is not decoded.digest:
            copies += 1
        else:
            paid.append(LabelledTransaction(transaction, False, "", log_time_ms))
    return paid, {"left_out_as_refused": refused, "left_out_as_copies": copies, "left_out_as_conflicts": conflicts}


def fates_of(records: Iterable[Decision | Reversal | ReviewOutcome | Refusal]) -> dict[str, Fate]:
    """Return what became of each payment by decisions, reviews and reversals, whatever their order.

    A payment that was decided more than once keeps the first decision. One that waits for people is stopped.
    """
    heads: dict[str, tuple[Outcome, int, str]] = {}
    people: dict[str, Outcome] = {}
    for record in records:
        match record:
            case Decision():
                if record.transaction_id not in heads:
                    heads[record.transaction_id] = record.outcome, record.fraud_probability_ppm, record.decision_id
            case ReviewOutcome():
                people.setdefault(record.decision_id, record.outcome)
            case Reversal() if record.corrected_outcome is not None:
                people[record.decision_id] = record.corrected_outcome
            case _:
                pass  # a refused record, or a payment that was given back to be decided anew
    return {
        name: Fate(people.get(decision_id, outcome) is not Outcome.ALLOW, probability_ppm)
        for name, (outcome, probability_ppm, decision_id) in heads.items()
    }


def labels_of(statements: Iterable[tuple[Label, int]]) -> Labels:
    """Return the latest statement about each payment, by its own time, and since when what it says was known.

    A statement that says once more what was said before makes nothing known later.
    """
    by_payment: dict[str, Label] = {}
    known_at_ms: dict[str, int] = {}
    for label, at_ms in sorted(statements, key=lambda each: each[0].labelled_at_ms):
        name = label.transaction_id
        before = by_payment.get(name)
        is_again = before is not None and before.fraud == label.fraud
        by_payment[name], known_at_ms[name] = label, min(at_ms, known_at_ms[name]) if is_again else at_ms
    return Labels(by_payment, known_at_ms)


def truth_of(transaction_ids: list[str], labels: Labels, fates: Mapping[str, Fate]) -> Truth:
    """Return what is known of each payment. One without a decision is taken to have been let through."""
    found = [labels.by_payment.get(name) for name in transaction_ids]
    decided = [fates.get(name, Fate(False, NONE)) for name in transaction_ids]
    return Truth(
        np.array([UNLABELLED if label is None else int(label.fraud) for label in found], dtype=np.int8),
        np.array([labels.known_at_ms.get(name, 0) for name in transaction_ids], dtype=np.int64),
        np.array([fate.stopped for fate in decided], dtype=np.bool_),
        np.array([fate.probability_ppm for fate in decided], dtype=np.int64),
    )


def statements_of(
    records: Iterable[Record], topic: str, decode: Callable[[bytes | None], ContextEvent | Refusal]
) -> Iterator[Statement]:
    """Yield what the pipeline would take in of a topic of context; a withdrawal as the statement that nothing is known.

    What the pipeline refuses is left out.
    """
    for record in records:
        log_ms = record.source.timestamp_ms
        content = withdrawn(topic, record) if record.value is None else decode(record.value)
        if not isinstance(content, Refusal | AccountWithdrawn | RiskSignalWithdrawn):
            content = checked(content, record)
        match content:
            case Account(updated_at_ms=own_ms) | RiskSignal(observed_at_ms=own_ms) | Label(labelled_at_ms=own_ms):
                yield Statement(own_ms, log_ms, content)
            case AccountWithdrawn(account_id):
                yield Statement(log_ms, log_ms, Account(account_id, log_ms, None))
            case RiskSignalWithdrawn(kind, entity):
                yield Statement(log_ms, log_ms, RiskSignal(kind, entity, 0, log_ms))


def known_until_ms(labels: Labels) -> int:
    """Return the moment up to which labels are known to have come: the last one's. Raises HistoryRefused without any.

    Payments that came after it tell nothing: perhaps nobody labels any more.
    """
    if not labels.known_at_ms:
        raise HistoryRefused("no payment of it is labelled, so nothing says that anybody labels frauds")
    return max(labels.known_at_ms.values())


def _refuse_replayed(statements: list[Statement]) -> None:
    late = sum(each.log_ms - each.own_ms > REPLAYED_AFTER_MS for each in statements)
    if statements and 2 * late > len(statements):
        raise HistoryRefused(
            "most records of labels.v1 came more than 30 days after their labels' own times, as a replay's do; say "
            "--own-times if they were replayed"
        )


def _log_order(record: Record) -> tuple[int, int, int]:
    return record.source.timestamp_ms, record.source.partition, record.source.offset


def _name(transaction: Transaction) -> str:
    return f"{transaction.source_system or ''} {transaction.transaction_id}"
