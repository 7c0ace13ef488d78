"""The payments that benches publish: the project's seeded traffic, encoded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from models.simulator import TrafficSettings, transactions
from ops.bench.rig.topics_io import Outbound
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat

START_MS: Final = 1_767_225_600_000  # 2026-01-01
ACCOUNTS: Final = 5_000
SEED: Final = 11


def payments(wire: WireFormat, count: int, *, accounts: int = ACCOUNTS, seed: int = SEED) -> Iterator[Outbound]:
    """Yield the first `count` payments of the traffic, each with its event time as the record's timestamp."""
    return (outbound(wire, transaction) for transaction in paid(count, accounts=accounts, seed=seed))


def paid(count: int, *, accounts: int = ACCOUNTS, seed: int = SEED) -> Iterator[Transaction]:
    """Yield the same payments, decoded."""
    days = min(max(count // accounts + 2, 2), 3650)
    settings = TrafficSettings(seed=seed, accounts=accounts, start_ms=START_MS, days=days)
    return (labelled.transaction for labelled in islice(transactions(settings), count))


def outbound(wire: WireFormat, transaction: Transaction) -> Outbound:
    return Outbound(transaction.account_id.encode(), wire.encode_transaction(transaction), transaction.event_time_ms)
