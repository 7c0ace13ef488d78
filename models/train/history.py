"""Labelled history as examples: the features that each payment had when it was made, and whether it was fraud.

The pure reference of the windows computes the features, event by event in time order, with labels and fraud reports
arriving when they did; so training sees what serving saw. Payments that a static guardrail blocks are left out, because
the model is never asked about them.

A history file is what `fraud payments publish` reads, with a column `fraud` (docs/files.md): the same reader makes the
same payments of it, in the whole form (the fields of `transaction.v1`) or in the short one (transaction_id, tx_time_s,
customer_id, terminal_id, amount_minor). Segments are read, and no feature knows them.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.card.measuring.measured import Attributes
from models.simulator import LabelledTransaction, TrafficEvent, TrafficSettings, traffic_events
from pipeline.decide.event_features import EventRows
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.policy import Policy, parse_policy
from pipeline.decide.rules import hits_of, rule_book
from pipeline.domain.context import Account, Label, RiskSignal
from pipeline.domain.features import EVENT, STATE, Matrix, feature_matrix
from pipeline.domain.log import Source
from pipeline.domain.payment import Transaction
from pipeline.domain.refusals import EVENT_TIME_MS_MAX, canonical_ip_address, refusal_of
from pipeline.publish.file_map import FileMap
from pipeline.publish.payment_files import NO_MAP, open_payments
from pipeline.publish.payment_source import LABELLED_AFTER_MS, NO_PAYMENT, PaymentSource, sentence_of
from pipeline.publish.whole_check import check, payments_of
from pipeline.state.context.facts import LogPlace
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import Windows

LABEL_DELAY_DAYS: Final = 7
"""Days after which a payment enters the label windows, as in the state store where nothing else is set."""
CHUNK_EVENTS: Final = 8192
DEFAULT_POLICY: Final = Path(__file__).parents[2] / "pipeline" / "decide" / "policies" / "default.toml"

_AMOUNT: Final = EVENT.index("amount_gbp_minor")


class HistoryRefused(ValueError):
    """The history can't train a model; the message is one sentence."""


class Examples(NamedTuple):
    """Examples in time order."""

    features: Matrix  # (n, len(FEATURES))
    fraud: NDArray[np.bool_]
    event_time_ms: NDArray[np.int64]
    number: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    """Which payment of the stream each is, from 0; empty where nobody asks."""
    attributes: NDArray[np.object_] = np.zeros(0, dtype=np.object_)
    """What each payment says beside its features (models.card's Attributes), to measure by; empty where nothing is."""

    def rows(self, begin: int, end: int) -> Examples:
        features, fraud, event_time_ms, number, attributes = self
        return Examples(
            features[begin:end], fraud[begin:end], event_time_ms[begin:end], number[begin:end], attributes[begin:end]
        )

    def chosen(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Examples:
        number = self.number[rows] if len(self.number) else self.number
        attributes = self.attributes[rows] if len(self.attributes) else self.attributes
        return Examples(self.features[rows], self.fraud[rows], self.event_time_ms[rows], number, attributes)


def read(path: Path, rules: FileMap = NO_MAP) -> Examples:
    """Read the examples of a history file. Raises HistoryRefused, and Unreadable where it is no file of payments."""
    return examples_of(events_of(path, rules))


def generated(settings: TrafficSettings) -> Examples:
    return examples_of(traffic_events(settings))


def examples_of(
    stream: Iterable[TrafficEvent], policy: Policy | None = None, *, label_delay_days: int = LABEL_DELAY_DAYS
) -> Examples:
    """Stream the events through the windows. Raises HistoryRefused for a payment that the pipeline would not accept."""
    parts = list(observed(stream, policy, label_delay_days=label_delay_days))
    if not parts:
        raise HistoryRefused("the history is empty")
    found = Examples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    if not len(found.fraud):
        raise HistoryRefused("guardrails block every payment of it from what the payment says, so no model is asked")
    return found


def observed(
    stream: Iterable[TrafficEvent], policy: Policy | None = None, *, label_delay_days: int = LABEL_DELAY_DAYS
) -> Iterator[Examples]:
    """Do as `examples_of`, and yield the examples in parts as they come."""
    observer = _Observer(policy or parse_policy(DEFAULT_POLICY.read_bytes()), label_delay_days)
    for chunk in _chunks(stream):
        yield observer.chunk(list(chunk))


def events_of(path: Path, rules: FileMap = NO_MAP) -> Iterator[TrafficEvent]:
    """Yield the payments of a history file in time order, and each one's label LABELLED_AFTER_MS later."""
    pending: deque[Label] = deque()
    for labelled in labelled_payments(path, rules):
        now_ms = labelled.transaction.event_time_ms
        while pending and pending[0].labelled_at_ms <= now_ms:
            yield pending.popleft()
        yield labelled
        if labelled.fraud:
            pending.append(_label(labelled.transaction))


def labelled_payments(path: Path, rules: FileMap = NO_MAP) -> Iterator[LabelledTransaction]:
    """Yield the payments of a history file in order of time, and of the file where times are equal, as publishing
    does. Raises HistoryRefused and Unreadable.

    A file that isn't in order is held in memory, about 1 KB a payment.
    """
    source = open_payments(path, with_labels=True, rules=rules)
    is_ordered = _is_ordered(source)
    payments = (LabelledTransaction(each.transaction, bool(each.is_fraud), "") for each in payments_of(source))
    yield from payments if is_ordered else sorted(payments, key=lambda each: each.transaction.event_time_ms)


def _is_ordered(source: PaymentSource) -> bool:
    """Look at the history whole. Raises HistoryRefused where anything but the order of time is wrong with it."""
    checked = check(source, EVENT_TIME_MS_MAX - 1, is_order_needed=False)
    if [each.what for each in checked.faults] == [NO_PAYMENT]:
        raise HistoryRefused("it is empty, and has no payment to learn from")
    if checked.faults:
        more = f" (and {len(checked.faults) - 1} more)" if len(checked.faults) > 1 else ""
        raise HistoryRefused(f"{sentence_of(checked.faults[0], source.unit).removesuffix('.')}{more}")
    return checked.is_ordered


def examples_sha256(examples: Examples, more: bytes = b"") -> str:
    """Hash features, truth and times, in this order, and what else was taught."""
    digest = hashlib.sha256(examples.features.astype("<i8").tobytes())
    digest.update(examples.fraud.astype("u1").tobytes())
    digest.update(examples.event_time_ms.astype("<i8").tobytes())
    digest.update(more)
    return digest.hexdigest()


class _Observer:
    """Feeds the windows and gathers the features of the payments that they saw."""

    def __init__(self, policy: Policy, label_delay_days: int) -> None:
        self._event_rows = EventRows(policy, shipped_feeds())
        self._static_hard = rule_book(policy).static_hard
        self._windows = Windows(label_delay_days=label_delay_days)
        self._attributes: dict[Attributes, Attributes] = {}
        self._seen = 0

    def chunk(self, stream: list[TrafficEvent]) -> Examples:
        paid = [each for each in stream if isinstance(each, LabelledTransaction)]
        event = np.array([self._event_row(each) for each in paid], dtype=np.int64).reshape(-1, len(EVENT))
        blocked = hits_of(self._static_hard, event)
        counted = [row for row in range(len(paid)) if row not in blocked]
        state: list[tuple[int, ...]] = []
        row = 0
        for each in stream:
            if not isinstance(each, LabelledTransaction):
                self._take_in(each)
                continue
            if row not in blocked:
                amount_gbp_minor = int(event[row, _AMOUNT])
                state.append(self._windows.observe(self._state_event(each, amount_gbp_minor)))
            row += 1
        self._seen += len(paid)
        return Examples(
            feature_matrix(event[counted], np.array(state, dtype=np.int64).reshape(-1, len(STATE))),
            np.array([paid[row].fraud for row in counted], dtype=np.bool_),
            np.array([paid[row].transaction.event_time_ms for row in counted], dtype=np.int64),
            np.array(counted, dtype=np.int64) + (self._seen - len(paid)),
            np.fromiter((self._attributes_of(paid[row]) for row in counted), np.object_, len(counted)),
        )

    def _attributes_of(self, paid: LabelledTransaction) -> Attributes:
        """Payments that say the same share one object: a history has millions of payments and few such sayings."""
        kind = paid.scenario if paid.fraud else ""
        said = Attributes(paid.transaction.channel.value, kind, tuple(sorted(paid.transaction.segments.items())))
        return self._attributes.setdefault(said, said)

    def _take_in(self, context: Account | RiskSignal | Label) -> None:
        match context:
            case Label():
                self._windows.label(context)
            case Account():
                self._windows.upsert_account(context, LogPlace(context.updated_at_ms, 0))
            case RiskSignal():
                self._windows.upsert_risk_signal(context, LogPlace(context.observed_at_ms, 0))

    def _event_row(self, paid: LabelledTransaction) -> tuple[int, ...]:
        transaction, log_time_ms = paid.transaction, _log_time_ms(paid)
        source = Source(0, 0, log_time_ms)
        if refusal := refusal_of(transaction, transaction.account_id.encode(), source):
            raise HistoryRefused(f"payment '{transaction.transaction_id}' can't be decided: {refusal.detail}")
        return self._event_rows.row(transaction, log_time_ms)

    def _state_event(self, paid: LabelledTransaction, amount_gbp_minor: int) -> StateEvent:
        """Make the windows' event. Offset and digest are of no use here, as nothing comes twice."""
        t, near = paid.transaction, self._event_rows.is_near_limit(amount_gbp_minor)
        ip_address = None if t.ip_address is None else canonical_ip_address(t.ip_address)
        return StateEvent(
            0, t.transaction_id, b"", t.account_id, t.beneficiary_account_id, t.event_time_ms, _log_time_ms(paid),
            amount_gbp_minor, near, ip_address, t.device_id, True,
        )  # fmt: skip


def _log_time_ms(paid: LabelledTransaction) -> int:
    return paid.transaction.event_time_ms if paid.log_time_ms is None else paid.log_time_ms


def _chunks(stream: Iterable[TrafficEvent]) -> Iterator[Iterator[TrafficEvent]]:
    iterator = iter(stream)
    while first := next(iterator, None):
        yield itertools.chain((first,), itertools.islice(iterator, CHUNK_EVENTS - 1))


def _label(transaction: Transaction) -> Label:
    t = transaction
    labelled_at_ms = t.event_time_ms + LABELLED_AFTER_MS
    return Label(
        t.transaction_id, t.account_id, t.beneficiary_account_id, t.event_time_ms, True, labelled_at_ms, "history"
    )
