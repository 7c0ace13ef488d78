"""State store: µs of CPU an event by number of accounts and by past payments, and bytes an account, on redis-server.

Accounts: payments of N accounts spread over 30 days, so that windows fill and drain as they would. History: a few
accounts with so many payments in the last 30 days each. Client and server CPU are those of the two processes. Figures
of cases are taken in turns, a slice of each a round, and the least of a case's slices counts: what else runs on the
machine can only add.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, TypeVar

import redis

from ops.stack.processes import ServerProcess, free_port, process_cpu_seconds
from ops.stack.redis_server import Persistence, redis_server, redis_url, system_executable
from pipeline.adapters.state import RedisState
from pipeline.core.windows import DAY_MS, PartitionEvents, StateEvent

START_MS: Final = 1_700_000_000_000
MONTH_MS: Final = 30 * DAY_MS
BATCH: Final = 512
SLICE_EVENTS: Final = 10_240
ROUNDS: Final = 5
PAYEES: Final = 15
REDIS_MEMORY_MAX_BYTES: Final = 6 * 1024**3
SPREAD_MAX: Final = 0.2
ACCOUNT_BYTES_MAX: Final = 2048
HISTORIES: Final = (10, 1_000, 10_000)
HISTORY_ACCOUNTS: Final = 64
PAYMENTS_A_MONTH: Final = 60
BYTES_ACCOUNTS: Final = {PAYEES: 40_000, PAYMENTS_A_MONTH: 4_000}
"""Beneficiaries an account pays → accounts. Ids share their buckets, so few accounts would bear the whole of them: with
PAYMENTS_A_MONTH beneficiaries only windows and beneficiaries are looked at."""


Figures = TypeVar("Figures")


class Case(NamedTuple):
    """`accounts` that make `monthly` payments each in 30 days; `preload` events come before what is measured."""

    name: str
    accounts: int
    monthly: int
    preload: int


@dataclass(slots=True)
class Traffic:
    """Payments of one case without end, evenly over time."""

    case: Case
    partition: int
    payees: int = PAYEES
    offset: int = 0

    def batches(self, events: int) -> Iterator[PartitionEvents]:
        random = Random(self.offset)  # noqa: S311 - traffic, no secret
        for _ in range(0, events, BATCH):
            start = self.offset
            batch = [self._event(start + place, random) for place in range(BATCH)]
            self.offset += BATCH
            yield PartitionEvents(self.partition, start, self.offset, start, batch)

    def _event(self, offset: int, random: Random) -> StateEvent:
        case = self.case
        # Every account once before any comes again, in a scattered order: each holds the same number of payments.
        account = offset * 7_368_787 % case.accounts
        step_ms = MONTH_MS / (case.accounts * case.monthly)
        payee = account * self.payees + random.randrange(self.payees)
        return StateEvent(
            offset=offset,
            transaction_id=f"{case.name}-{offset:012d}",
            body_digest=random.randbytes(6),
            account_id=f"{case.name}-{account:012d}",
            beneficiary_account_id=f"{case.name}-payee-{payee % (case.accounts * self.payees // 3 + 1)}",
            event_time_ms=START_MS + int(offset * step_ms),
            amount_gbp_minor=random.randrange(1_000_000),
            is_near_limit=False,
            ip_address=f"10.{account % 200}.{account // 200 % 250}.1",
            device_id=f"device-{account}",
            is_counted=True,
        )


def run(say: Callable[[str], None], *, is_quick: bool) -> dict[str, object]:
    counts = (1_000, 2_000, 5_000) if is_quick else (1_000, 100_000, 1_000_000)
    by_accounts = [Case(f"a{count}", count, 1, count) for count in counts]
    histories = (10, 100) if is_quick else HISTORIES
    by_history = [Case(f"h{past}", HISTORY_ACCOUNTS, past, HISTORY_ACCOUNTS * past) for past in histories]
    bytes_accounts = dict.fromkeys(BYTES_ACCOUNTS, 200) if is_quick else BYTES_ACCOUNTS
    with tempfile.TemporaryDirectory() as directory:
        server_in = partial(_with_redis, Path(directory))
        accounts = server_in(partial(_in_turns, say, by_accounts))
        past = server_in(partial(_in_turns, say, by_history))
        sizes = {
            f"{payees}_payees": server_in(partial(_bytes_an_account, count, payees))
            for payees, count in bytes_accounts.items()
        }
    say(f"bytes an account: {sizes}")
    spreads = {"accounts": _spread(accounts), "histories": _spread(past)}
    return {
        "us_an_event_by_accounts": accounts,
        "us_an_event_by_past_payments": past,
        "spread": spreads,
        "bytes_an_account": sizes,
        "goal": {"spread_max": SPREAD_MAX, "account_bytes_max": ACCOUNT_BYTES_MAX},
        "ok": is_quick
        or (max(spreads.values()) <= SPREAD_MAX and sizes[f"{PAYEES}_payees"]["total"] <= ACCOUNT_BYTES_MAX),
    }


def _with_redis(directory: Path, measure: Callable[[ServerProcess, int], Figures]) -> Figures:
    port = free_port()
    server = redis_server(
        system_executable(),
        directory / str(port),
        port,
        persistence=Persistence.NONE,
        memory_max_bytes=REDIS_MEMORY_MAX_BYTES,
    )
    server.start()
    try:
        return measure(server, port)
    finally:
        server.stop()


def _in_turns(
    say: Callable[[str], None], cases: list[Case], server: ServerProcess, port: int
) -> dict[str, dict[str, float]]:
    return asyncio.run(_measure(say, cases, server, port))


async def _measure(
    say: Callable[[str], None], cases: list[Case], server: ServerProcess, port: int
) -> dict[str, dict[str, float]]:
    state = RedisState(redis_url(port))
    traffics = [Traffic(case, partition) for partition, case in enumerate(cases)]
    best: dict[str, dict[str, float]] = {}
    try:
        for traffic in traffics:
            say(f"{traffic.case.name}: {traffic.case.preload} payments first")
            for share in traffic.batches(max(traffic.case.preload, SLICE_EVENTS)):
                await state.observe([share])
        for _ in range(ROUNDS):
            for traffic in traffics:
                measured = await _slice(state, server, traffic)
                held = best.setdefault(traffic.case.name, measured)
                best[traffic.case.name] = {name: min(held[name], value) for name, value in measured.items()}
    finally:
        await state.close()
    for name, figures in best.items():
        figures["sum"] = round(figures["redis"] + figures["client"], 1)
        say(f"{name}: {figures}")
    return best


async def _slice(state: RedisState, server: ServerProcess, traffic: Traffic) -> dict[str, float]:
    shares = list(traffic.batches(SLICE_EVENTS))
    pid = server.pid
    redis_before, client_before = process_cpu_seconds(pid), time.process_time()
    for share in shares:
        await state.observe([share])
    client_s, redis_s = time.process_time() - client_before, process_cpu_seconds(pid) - redis_before
    events = sum(len(share.events) for share in shares)
    return {"redis": round(redis_s / events * 1e6, 1), "client": round(client_s / events * 1e6, 1)}


def _spread(figures: dict[str, dict[str, float]]) -> float:
    """How far the dearest case is above the cheapest, as a share of the cheapest."""
    sums = [figure["sum"] for figure in figures.values()]
    return round(max(sums) / min(sums) - 1, 3)


def _bytes_an_account(accounts: int, payees: int, _: ServerProcess, port: int) -> dict[str, int]:
    """After 60 payments in 30 days; `total` is all but what accounts share."""
    case = Case("b", accounts, PAYMENTS_A_MONTH, accounts * PAYMENTS_A_MONTH)
    asyncio.run(_load(redis_url(port), Traffic(case, 0, payees)))
    with redis.Redis.from_url(redis_url(port)) as client:
        kinds = {kind: _bytes_of(client, pattern) // accounts for kind, pattern in _KINDS.items()}
    if payees != PAYEES:
        return {kind: kinds[kind] for kind in ("windows", "beneficiaries")}
    return kinds | {"total": kinds["windows"] + kinds["beneficiaries"] + kinds["ids"]}


_KINDS: Final = {
    "windows": "fraud:*{p0}[ap]:*",
    "beneficiaries": "fraud:*{p0}r:*",
    "ids": "fraud:*{s0}c:*",
    "shared": "fraud:*{s0}[bqs]:*",
}


async def _load(url: str, traffic: Traffic) -> None:
    state = RedisState(url)
    try:
        for share in traffic.batches(traffic.case.preload):
            await state.observe([share])
    finally:
        await state.close()


def _bytes_of(client: redis.Redis, pattern: str) -> int:
    """By MEMORY USAGE, which counts the key, its entry in the table and what the allocator rounds up."""
    total, keys = 0, list(client.scan_iter(pattern, count=10_000))
    for begin in range(0, len(keys), 10_000):
        pipeline = client.pipeline(transaction=False)
        for key in keys[begin : begin + 10_000]:
            pipeline.memory_usage(key, samples=0)
        total += sum(pipeline.execute())
    return total
