"""State stores under one synchronous interface, and events to feed them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.features import STATE
from pipeline.domain.outcome import PaymentOutcome
from pipeline.state.context.facts import LogPlace
from pipeline.state.state_event import StateEvent
from pipeline.state.store import RedisState, StateUnavailable
from pipeline.state.windows import PartitionEvents, PartitionObservation, StateLost

START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000

Answer = TypeVar("Answer")


class Store(Protocol):
    """The interface that MemoryState and SyncRedisState share."""

    def observe(
        self,
        batch: Sequence[PartitionEvents],
        *,
        initial: bool = False,
        since_ms: int | None = None,
        is_rebuild: bool = False,
    ) -> list[PartitionObservation]: ...
    def apply_outcomes(
        self,
        partition: int,
        first: int,
        last: int,
        outcomes: Sequence[PaymentOutcome],
        *,
        offsets: Sequence[int] | None = None,
        initial: bool = False,
        since_ms: int | None = None,
    ) -> int: ...
    def await_outcomes(self, partition: int, due: int) -> None: ...
    def outcomes_position(self, partition: int) -> int | None: ...
    def positions(self, partition: int) -> int | None: ...
    def label(self, label: Label) -> bool: ...
    def upsert_account(self, account: Account, place: LogPlace) -> None: ...
    def upsert_risk_signal(self, signal: RiskSignal, place: LogPlace) -> None: ...
    def withdraw_account(self, account_id: str, place: LogPlace) -> None: ...
    def withdraw_risk_signal(self, kind: RiskSignalKind, entity: str, place: LogPlace) -> None: ...


class TornRedisState(RedisState):
    """A connection that is lost after `commands_left` more commands (None: never); those sent by then are done."""

    commands_left: int | None = None

    async def _run(self, commands: Sequence[tuple[Any, ...]], connections: int | None = None) -> list[Any]:
        if self.commands_left is None or self.commands_left >= len(commands):
            if self.commands_left is not None:
                self.commands_left -= len(commands)
            return await super()._run(commands, connections)
        sent, self.commands_left = commands[: self.commands_left], None
        if sent:
            await super()._run(sent)
        raise StateUnavailable("torn")


class SyncRedisState:
    def __init__(self, url: str, **settings: Any) -> None:
        self._runner = asyncio.Runner()
        self.state = TornRedisState(url, **settings)

    def observe(self, batch: Sequence[PartitionEvents], **start: Any) -> list[PartitionObservation]:
        return self._runner.run(self.state.observe(batch, **start))

    def apply_outcomes(
        self, partition: int, first: int, last: int, outcomes: Sequence[PaymentOutcome], **start: Any
    ) -> int:
        return self._runner.run(self.state.apply_outcomes(partition, first, last, outcomes, **start))

    def await_outcomes(self, partition: int, due: int) -> None:
        self._runner.run(self.state.await_outcomes(partition, due))

    def outcomes_position(self, partition: int) -> int | None:
        return self._runner.run(self.state.outcomes_position(partition))

    def positions(self, partition: int) -> int | None:
        return self._runner.run(self.state.positions(partition))

    def release_claims(self, released: PartitionEvents) -> int:
        return self._runner.run(self.state.release_claims([released]))

    def label(self, label: Label) -> bool:
        return self._runner.run(self.state.label(label))

    def upsert_account(self, account: Account, place: LogPlace) -> None:
        self._runner.run(self.state.upsert_account(account, place))

    def upsert_risk_signal(self, signal: RiskSignal, place: LogPlace) -> None:
        self._runner.run(self.state.upsert_risk_signal(signal, place))

    def withdraw_account(self, account_id: str, place: LogPlace) -> None:
        self._runner.run(self.state.withdraw_account(account_id, place))

    def withdraw_risk_signal(self, kind: RiskSignalKind, entity: str, place: LogPlace) -> None:
        self._runner.run(self.state.withdraw_risk_signal(kind, entity, place))

    def run(self, answer: Coroutine[Any, Any, Answer]) -> Answer:
        return self._runner.run(answer)

    def is_ready(self) -> bool:
        try:
            nothing = self.state.prepare([PartitionEvents(0, 0, 0, 0, [])])
            self.state.trust_context(self._runner.run(self.state.connect()))
            self._runner.run(self.state.observe_prepared(nothing, when_ready=True))
        except StateLost:
            return False
        return True

    def mark_ready(self) -> None:
        self._runner.run(self.state.mark_ready([0], is_shared=True))

    def close(self) -> None:
        self._runner.run(self.state.close())
        self._runner.close()


def payment(offset: int, time_ms: int = START_MS, **fields: Any) -> StateEvent:
    event = StateEvent(
        offset=offset,
        transaction_id=f"tx-{offset}",
        payment_digest=b"digest",
        account_id="payer",
        beneficiary_account_id="payee",
        event_time_ms=time_ms,
        log_time_ms=time_ms,
        amount_gbp_minor=100,
        is_near_limit=False,
        ip_address=None,
        device_id=None,
        is_counted=True,
    )
    return replace(event, **fields)


def share(events: Sequence[StateEvent], *, start: int = 0, partition: int = 0, committed: int = 0) -> PartitionEvents:
    end = events[-1].offset + 1 if events else start
    return PartitionEvents(partition, start, end, committed, events)


def observe_all(store: Store, events: Sequence[StateEvent], *, batch: int = 100) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the state rows of a log of one partition from offset 0, observed in batches of `batch` events."""
    rows, start = [], 0
    for place in range(0, len(events), batch):
        part = share(events[place : place + batch], start=start, committed=start)
        (observation,) = store.observe([part])
        rows.append(observation.state)
        start = part.end_offset
    return np.concatenate(rows)


def column(rows: np.ndarray[Any, np.dtype[np.int64]], name: str) -> list[int]:
    return list(map(int, rows[:, STATE.index(name)]))


def last(store: Store, events: Iterable[StateEvent]) -> dict[str, int]:
    """Return the features of the last event of a log from offset 0."""
    return dict(zip(STATE, observe_all(store, list(events))[-1].tolist(), strict=True))


def same(expected: Sequence[PartitionObservation], actual: Sequence[PartitionObservation]) -> bool:
    return all(
        np.array_equal(one.freshness, other.freshness)
        and np.array_equal(one.state, other.state)
        and np.array_equal(one.outcomes_position, other.outcomes_position)
        for one, other in zip(expected, actual, strict=True)
    )
