"""The payments that benches publish: the project's seeded traffic, encoded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from models.simulator import TrafficSettings, transactions
from ops.bench.rig.topics_io import Outbound
from pipeline.io.avro.wire import WireFormat

START_MS: Final = 1_767_225_600_000  # 2026-01-01
ACCOUNTS: Final = 5_000
SEED: Final = 11


def payments(wire: WireFormat, count: int, *, accounts: int = ACCOUNTS, seed: int = SEED) -> Iterator[Outbound]:
    """The first `count` payments of the traffic, each with its event time as the record's timestamp."""
    days = min(max(count // accounts + 2, 2), 3650)
    settings = TrafficSettings(seed=seed, accounts=accounts, start_ms=START_MS, days=days)
    for labelled in islice(transactions(settings), count):
        transaction = labelled.transaction
        value = wire.encode_transaction(transaction)
        yield Outbound(transaction.account_id.encode(), value, transaction.event_time_ms)
