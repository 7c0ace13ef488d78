"""Labelled history as examples: the features that each payment had when it was made, and whether it was fraud.

The pure reference of the windows computes the features, event by event in time order, with labels and fraud reports
arriving when they did; so training sees what serving saw. Payments that a static guardrail blocks are left out, because
the model is never asked about them.

A history file is parquet or CSV, in one of two forms:
- the full form: the fields of `transaction.v1` (segments are ignored) and `fraud`;
- the short form: transaction_id, tx_time_s (seconds since 2018-04-01T00:00:00Z), customer_id, terminal_id,
  amount_minor, fraud; the fields that it lacks get the same neutral values everywhere (`short_transaction`).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]
from numpy.typing import NDArray

from models.simulator import LabelledTransaction, TrafficEvent, TrafficSettings, traffic_events
from pipeline.decide.event_features import DAY_MS, EventRows
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.policy import Policy, parse_policy
from pipeline.decide.rules import hits_of, rule_book
from pipeline.domain.context import Account, Label, RiskSignal
from pipeline.domain.features import EVENT, STATE, Matrix, feature_matrix
from pipeline.domain.log import Source
from pipeline.domain.payment import Channel, Transaction
from pipeline.domain.refusals import canonical_ip_address, refusal_of
from pipeline.state.context.facts import LogPlace
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import Windows

LABEL_DELAY_DAYS: Final = 7
"""Days after which a payment enters the label windows, as in the state store."""
FILE_LABEL_DAYS: Final = 3
"""Days after which a file's labels count as known, which is before the windows ask. A file does not say when they
became known."""
SHORT_FORM_START_MS: Final = 1_522_540_800_000  # 2018-04-01T00:00:00Z
CHUNK_EVENTS: Final = 8192
DEFAULT_POLICY: Final = Path(__file__).parents[2] / "pipeline" / "decide" / "policies" / "default.toml"

_SHORT: Final = ("transaction_id", "tx_time_s", "customer_id", "terminal_id", "amount_minor", "fraud")
_FULL: Final = (*(name for name in Transaction._fields if name not in ("segments", "source_system")), "fraud")
_AMOUNT: Final = EVENT.index("amount_gbp_minor")
_SHORT_FORM_OPENED_DAY: Final = 16_436  # 2015-01-01; the short form does not say


class HistoryRefused(ValueError):
    """The history can't train a model; the message is one sentence."""


class Examples(NamedTuple):
    """Examples in time order."""

    features: Matrix  # (n, len(FEATURES))
    fraud: NDArray[np.bool_]
    event_time_ms: NDArray[np.int64]

    def rows(self, begin: int, end: int) -> Examples:
        return Examples(self.features[begin:end], self.fraud[begin:end], self.event_time_ms[begin:end])


def read(path: Path) -> Examples:
    """Read the examples of a history file. Raises HistoryRefused."""
    return examples_of(events_of(path))


def generated(settings: TrafficSettings) -> Examples:
    return examples_of(traffic_events(settings))


def examples_of(stream: Iterable[TrafficEvent], policy: Policy | None = None) -> Examples:
    """Stream the events through the windows. Raises HistoryRefused for a payment that the pipeline would not accept."""
    observer = _Observer(policy or parse_policy(DEFAULT_POLICY.read_bytes()))
    parts = [observer.chunk(list(chunk)) for chunk in _chunks(stream)]
    if not parts:
        raise HistoryRefused("the history is empty")
    features, fraud, times_ms = zip(*parts, strict=True)
    return Examples(np.concatenate(features), np.concatenate(fraud), np.concatenate(times_ms))


def events_of(path: Path) -> Iterator[TrafficEvent]:
    """Yield the payments of a history file in time order, and each one's label FILE_LABEL_DAYS later."""
    pending: deque[Label] = deque()
    for labelled in payments_of(path):
        now_ms = labelled.transaction.event_time_ms
        while pending and pending[0].labelled_at_ms <= now_ms:
            yield pending.popleft()
        yield labelled
        if labelled.fraud:
            pending.append(_label(labelled.transaction))


def payments_of(path: Path) -> Iterator[LabelledTransaction]:
    """Yield the payments of a history file in order of (time, id). Raises HistoryRefused."""
    table = _table(path)
    if set(_SHORT) <= set(table.column_names):
        ordered = table.select(_SHORT).sort_by([("tx_time_s", "ascending"), ("transaction_id", "ascending")])
        for *fields, fraud in _rows(ordered):
            yield LabelledTransaction(short_transaction(*fields), bool(fraud), "")
    elif set(_FULL) <= set(table.column_names):
        ordered = table.select(_FULL).sort_by([("event_time_ms", "ascending"), ("transaction_id", "ascending")])
        for *fields, fraud in _rows(ordered):
            yield LabelledTransaction(Transaction._make((*fields, {}, None)), bool(fraud), "")
    else:
        missing = sorted(set(_SHORT) - set(table.column_names))
        raise HistoryRefused(f"'{path.name}' has neither form of a history; the short form lacks {', '.join(missing)}")


def short_transaction(
    transaction_id: int, tx_time_s: int, customer_id: int, terminal_id: int, amount_minor: int
) -> Transaction:
    """Make a payment of the short form: an old account in UTC pays a named terminal of unknown age in GBP by card."""
    return Transaction(
        transaction_id=f"tx-{transaction_id:012d}",
        account_id=f"card-{customer_id:06d}",
        amount_minor=amount_minor,
        currency="GBP",
        event_time_ms=SHORT_FORM_START_MS + tx_time_s * 1000,
        beneficiary_account_id=f"terminal-{terminal_id:06d}",
        beneficiary_name=f"Terminal {terminal_id}",
        beneficiary_country="GB",
        beneficiary_opened_at_ms=None,
        reference="Card payment",
        channel=Channel.CARD,
        ip_address=None,
        device_id=None,
        account_opened_epoch_day=_SHORT_FORM_OPENED_DAY,
        account_time_zone="UTC",
        segments={},
    )


class _Observer:
    """Feeds the windows and gathers the features of the payments that they saw."""

    def __init__(self, policy: Policy) -> None:
        self._event_rows = EventRows(policy, shipped_feeds())
        self._static_hard = rule_book(policy).static_hard
        self._windows = Windows(label_delay_days=LABEL_DELAY_DAYS)

    def chunk(self, stream: list[TrafficEvent]) -> Examples:
        paid = [each for each in stream if isinstance(each, LabelledTransaction)]
        event = np.array([self._event_row(each.transaction) for each in paid], dtype=np.int64).reshape(-1, len(EVENT))
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
                state.append(self._windows.observe(self._state_event(each.transaction, amount_gbp_minor)))
            row += 1
        return Examples(
            feature_matrix(event[counted], np.array(state, dtype=np.int64).reshape(-1, len(STATE))),
            np.array([paid[row].fraud for row in counted], dtype=np.bool_),
            np.array([paid[row].transaction.event_time_ms for row in counted], dtype=np.int64),
        )

    def _take_in(self, context: Account | RiskSignal | Label) -> None:
        match context:
            case Label():
                self._windows.label(context)
            case Account():
                self._windows.upsert_account(context, LogPlace(context.updated_at_ms, 0))
            case RiskSignal():
                self._windows.upsert_risk_signal(context, LogPlace(context.observed_at_ms, 0))

    def _event_row(self, transaction: Transaction) -> tuple[int, ...]:
        source = Source(0, 0, transaction.event_time_ms)
        if refusal := refusal_of(transaction, transaction.account_id.encode(), source):
            raise HistoryRefused(f"payment '{transaction.transaction_id}' can't be decided: {refusal.detail}")
        return self._event_rows.row(transaction, transaction.event_time_ms)

    def _state_event(self, transaction: Transaction, amount_gbp_minor: int) -> StateEvent:
        """Make the windows' event. Offset, digest and log time are of no use here, as nothing comes twice."""
        t, near = transaction, self._event_rows.is_near_limit(amount_gbp_minor)
        ip_address = None if t.ip_address is None else canonical_ip_address(t.ip_address)
        return StateEvent(
            0, t.transaction_id, b"", t.account_id, t.beneficiary_account_id, t.event_time_ms, t.event_time_ms,
            amount_gbp_minor, near, ip_address, t.device_id, True,
        )  # fmt: skip


def _chunks(stream: Iterable[TrafficEvent]) -> Iterator[Iterator[TrafficEvent]]:
    iterator = iter(stream)
    while first := next(iterator, None):
        yield itertools.chain((first,), itertools.islice(iterator, CHUNK_EVENTS - 1))


def _label(transaction: Transaction) -> Label:
    t = transaction
    labelled_at_ms = t.event_time_ms + FILE_LABEL_DAYS * DAY_MS
    return Label(
        t.transaction_id, t.account_id, t.beneficiary_account_id, t.event_time_ms, True, labelled_at_ms, "history"
    )


def _table(path: Path) -> Any:
    try:
        return pa_csv.read_csv(path) if path.suffix == ".csv" else pa_parquet.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise HistoryRefused(f"'{path.name}' can't be read as {path.suffix or 'parquet'}") from error


def _rows(table: Any) -> Iterator[tuple[Any, ...]]:
    for batch in table.to_batches(max_chunksize=CHUNK_EVENTS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
