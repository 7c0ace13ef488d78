"""The cases of the flat bench, one after another on a redis-server, in a process that may run the compiled tree.

`python -P -m ops.bench.speed.flat_cases DIRECTORY CASES`, where the server's log goes into DIRECTORY, and CASES is a
JSON list of `Case`. Progress goes to stderr, the figures to stdout.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, TypeVar

import redis

from ops.processes.arguments import arguments
from ops.processes.servers import free_port
from ops.stack.redis_server import Persistence, redis_server, redis_url, system_executable
from pipeline.decide.app import AGENT_ID
from pipeline.decide.batch import Judge, TopicNames
from pipeline.decide.regime_files import RegimeSource
from pipeline.decide.verdict import Mode
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.payment import Channel, Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.garbage import calm_garbage_collector
from pipeline.io.settings import Settings
from pipeline.state.periods import DAY_MS
from pipeline.state.store import RedisState

START_MS: Final = 1_700_000_000_000
MONTH_MS: Final = 30 * DAY_MS
BATCH: Final = 512
SLICE_EVENTS: Final = 2_048
ROUNDS: Final = 5
AMOUNT_MINOR_MAX: Final = 1_000  # 10,000 of them in 30 days are within every limit, so all cases are decided alike
REDIS_MEMORY_MAX_BYTES: Final = 6 * 1024**3
_CLOSED: Final = Mode(BreakerState.CLOSED, "all", True)

Figures = TypeVar("Figures")


class Case(NamedTuple):
    """A number of `accounts`, each of which makes `monthly` payments in 30 days to some of all `payees`.

    The first `preload` payments come before the measurement.
    """

    name: str
    accounts: int
    monthly: int
    payees_an_account: int
    payees: int
    preload: int


@dataclass(slots=True)
class Traffic:
    """An endless stream of one case's payments, evenly over time."""

    case: Case
    partition: int
    offset: int = 0

    def batches(self, payments: int) -> Iterator[list[Record]]:
        random, wire = Random(self.offset), WireFormat()  # noqa: S311 - traffic, no secret
        for _ in range(0, payments, BATCH):
            batch = [self._record(wire, self.offset + place, random) for place in range(BATCH)]
            self.offset += BATCH
            yield batch

    def _record(self, wire: WireFormat, offset: int, random: Random) -> Record:
        case = self.case
        # Every account comes once before any comes again, in a scattered order, so each holds as many payments.
        account = offset * 7_368_787 % case.accounts
        step_ms = MONTH_MS / (case.accounts * case.monthly)
        payee = account * case.payees_an_account + random.randrange(case.payees_an_account)
        transaction = Transaction(
            transaction_id=f"{case.name}-{offset:012d}",
            account_id=f"{case.name}-{account:012d}",
            amount_minor=random.randrange(1, AMOUNT_MINOR_MAX),
            currency="GBP",
            event_time_ms=START_MS + int(offset * step_ms),
            beneficiary_account_id=f"{case.name}-payee-{payee % case.payees}",
            beneficiary_name="A payee",
            beneficiary_country="GB",
            beneficiary_opened_at_ms=START_MS - 1000 * DAY_MS,
            reference="a bill",
            channel=Channel.FASTER_PAYMENT,
            ip_address=f"10.{account % 200}.{account // 200 % 250}.1",
            device_id=f"device-{account}",
            account_opened_epoch_day=18_000,
            account_time_zone="Europe/London",
            segments={"age_band": "30-39"},
        )
        source = Source(self.partition, offset, transaction.event_time_ms)
        return Record(transaction.account_id.encode(), wire.encode_transaction(transaction), source)


class Decider:
    """Decides batches as a worker does, but without Kafka; the share of the store's client is counted apart."""

    def __init__(self, url: str, partition: int) -> None:
        wire = WireFormat()
        topics = TopicNames("decisions.v1", "alerts.v1")
        self._judge = Judge(RegimeSource(Settings()).current, wire, topics, AGENT_ID, lambda _key: partition)
        self._state = RedisState(url)
        self.client_s = 0.0

    async def decide(self, batch: list[Record]) -> None:
        judge, source = self._judge, batch[0].source
        reading = judge.read(batch)
        assert len(reading.payments) == len(batch), "every payment can be decided"
        events = judge.state_events(reading, [self._span(batch)])
        began = time.process_time()
        observations = await self._state.observe(events)
        self.client_s += time.process_time() - began
        judged = list(judge.judge(reading, observations, lambda _payment: _CLOSED, source.timestamp_ms))
        assert sum(part.accounted_for for part in judged) == len(batch), "every payment is decided"

    async def count(self, batch: list[Record]) -> None:
        """Count a batch in the windows, and decide nothing."""
        await self._state.observe(self._judge.state_events(self._judge.read(batch), [self._span(batch)]))

    async def close(self) -> None:
        await self._state.close()

    def _span(self, batch: list[Record]) -> Span:
        start = batch[0].source.offset
        return Span(batch[0].source.partition, start, start + len(batch), start)


def with_redis(directory: Path, measure: Callable[[int], Figures]) -> Figures:
    port = free_port()
    server = redis_server(
        system_executable(),
        directory,
        port,
        persistence=Persistence.NONE,
        memory_max_bytes=REDIS_MEMORY_MAX_BYTES,
    )
    server.start()
    try:
        return measure(port)
    finally:
        server.stop()


async def measured(cases: list[Case], port: int) -> dict[str, dict[str, float]]:
    """Return the least of each figure over all rounds, because whatever else runs on the machine can only add."""
    # Each case has a decider, which then remembers the texts that a worker with this traffic would.
    pairs = [(Decider(redis_url(port), partition), Traffic(case, partition)) for partition, case in enumerate(cases)]
    client = redis.Redis.from_url(redis_url(port))
    best: dict[str, dict[str, float]] = {}
    for decider, traffic in pairs:
        print(f"{traffic.case.name}: {traffic.case.preload} payments first", file=sys.stderr, flush=True)
        for batch in traffic.batches(max(traffic.case.preload, SLICE_EVENTS)):
            await decider.count(batch)
    for _ in range(ROUNDS):
        for decider, traffic in pairs:
            figures = await _slice(decider, client, traffic)
            held = best.setdefault(traffic.case.name, figures)
            best[traffic.case.name] = {name: min(held[name], value) for name, value in figures.items()}
    client.close()
    for decider, _ in pairs:
        await decider.close()
    for name, figures in best.items():
        figures["sum"] = round(figures["redis"] + figures["process"], 1)
        figures["store"] = round(figures["redis"] + figures["client"], 1)
        print(f"{name}: {figures}", file=sys.stderr, flush=True)
    return best


async def _slice(decider: Decider, client: redis.Redis, traffic: Traffic) -> dict[str, float]:
    batches = list(traffic.batches(SLICE_EVENTS))
    decider.client_s = 0.0
    redis_before, process_before = _cpu_seconds(client), time.process_time()
    for batch in batches:
        await decider.decide(batch)
    process_s, redis_s = time.process_time() - process_before, _cpu_seconds(client) - redis_before
    spent = {"redis": redis_s, "process": process_s, "client": decider.client_s}
    return {name: round(seconds / (len(batches) * BATCH) * 1e6, 1) for name, seconds in spent.items()}


def _cpu_seconds(client: redis.Redis) -> float:
    """Return the CPU time of the server, to the microsecond."""
    spent = client.info("cpu")
    return float(spent["used_cpu_user"] + spent["used_cpu_sys"])


def main() -> None:
    directory, told = arguments(__doc__, "DIRECTORY", "CASES")
    cases = [Case(*fields) for fields in json.loads(told)]
    calm_garbage_collector()  # as the worker does
    figures = with_redis(Path(directory), lambda port: asyncio.run(measured(cases, port)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
