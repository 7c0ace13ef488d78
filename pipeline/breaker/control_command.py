"""`fraud breaker`: its states, its history, and a person's kill switch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from models.artefact.plain_files import read_plain
from pipeline.breaker import BreakerRecord, BreakerSettings, Transition
from pipeline.breaker.settings import POLICY_BYTES_MAX, breaker_settings_of
from pipeline.breaker.store import BreakerRefused, BreakerStore, BreakerUnavailable
from pipeline.domain.decision import BreakerState
from pipeline.domain.times import utc_text
from pipeline.io.settings import Settings
from pipeline.terminal.failures import FAILED_CHECK, Failure, redis_away
from pipeline.terminal.output import Output, coloured

_COLOUR = {BreakerState.CLOSED: "green", BreakerState.HALF_OPEN: "yellow"}
T = TypeVar("T")


def states(settings: Settings) -> list[BreakerRecord]:
    """Of every scope that ever left CLOSED; none where no worker has begun, or the store has lost its state."""

    async def read(store: BreakerStore) -> list[BreakerRecord]:
        view = await store.read()
        return sorted(view.records.values(), key=lambda record: record.scope)

    return _with_store(settings, read)


def changes(settings: Settings, limit: int) -> list[Transition]:
    """Oldest first."""
    return _with_store(settings, lambda store: store.history(limit))[::-1]


def force_open(settings: Settings, scope: str, by: str, reason: str) -> Transition:
    limits = _breaker_settings(settings)
    return _with_store(settings, lambda store: store.force_open(scope, by, reason, limits))


def release(settings: Settings, scope: str, by: str, reason: str, *, accept_shift: bool) -> Transition:
    limits = _breaker_settings(settings)
    return _with_store(settings, lambda store: store.release(scope, by, reason, limits, accept_shift=accept_shift))


def show_states(output: Output, records: list[BreakerRecord]) -> bool:
    """True when nothing is open, and something is known."""
    for record in records:
        fields = {
            "scope": record.scope,
            "state": record.state,
            "since": utc_text(record.since_ms),
            "cause": record.cause.text,
            "author": record.cause.author,
        }
        line = f"{_state(record.state)} {record.scope:<32} since {utc_text(record.since_ms)} by {record.cause.author}: "
        output.record(fields, line + record.cause.text)
    if not records:
        fields = {"scope": "all", "state": BreakerState.UNKNOWN}
        output.record(fields, f"{_state(BreakerState.UNKNOWN)} nothing is recorded: no worker has run, or it was lost")
    return bool(records) and all(record.state is BreakerState.CLOSED for record in records)


def show_transition(output: Output, change: Transition) -> None:
    after = change.after
    fields = {
        "at": utc_text(change.at_ms),
        "scope": after.scope,
        "before": change.before,
        "event": change.event,
        "after": after.state,
        "cause": after.cause.text,
        "author": after.cause.author,
        "counts": change.window._asdict(),
    }
    arrow = f"{change.before:>11} -> {_state(after.state)}"
    output.record(fields, f"{utc_text(change.at_ms)} {arrow} {after.scope}  {after.cause.text} ({after.cause.author})")


def _state(state: BreakerState) -> str:
    return coloured(f"{state:<11}", _COLOUR.get(state, "red"), is_bold=True)


def _with_store(settings: Settings, ask: Callable[[BreakerStore], Awaitable[T]]) -> T:
    async def run() -> T:
        store = BreakerStore(settings.redis_url, settings.state_prefix)
        try:
            return await ask(store)
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except BreakerUnavailable as error:
        raise redis_away(settings.redis_url) from error
    except BreakerRefused as refusal:
        raise Failure(f"{refusal}.", "`fraud breaker show` says what is.", FAILED_CHECK) from refusal


def _breaker_settings(settings: Settings) -> BreakerSettings:
    try:
        return breaker_settings_of(read_plain(settings.policy_path, POLICY_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise Failure(
            f"The policy's [breaker] table can't be used: {error}.", "`fraud config check` says more."
        ) from error
