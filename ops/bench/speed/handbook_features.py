"""The 15 features of the Handbook's protocol, streamed payment by payment and compared with its own batch values.

`python -m ops.bench.speed.handbook_features DATA_DIRECTORY [--redis URL] [--every N]` prints one JSON object. The
directory holds handbook.parquet and handbook_protocol.py. Without --redis the pure reference is compared; with --every
only the payments to each Nth terminal are. Averages and risks are compared as sums over counts. Rows of the same second
at the same card or terminal are counted apart, as ties, because there the batch goes by its sort order.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.train.history import DEFAULT_POLICY
from pipeline.decide.event_features import EventRows
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.policy import parse_policy
from pipeline.domain.context import Label
from pipeline.domain.features import EVENT, STATE
from pipeline.publish.plan import short_payment
from pipeline.state.periods import DAY_MS
from pipeline.state.state_event import CLAIM_DIGEST_BYTES, StateEvent
from pipeline.state.store import RedisState
from pipeline.state.windows import PartitionEvents, Windows

START_MS: Final = 1_522_540_800_000  # 2018-04-01T00:00:00Z
LABELLED_AFTER_MS: Final = 3 * DAY_MS  # well before the windows ask, after 7 days
BATCH: Final = 1000
_PAIRS: Final = {  # the protocol's average or share → its count, our total, our count, and minor units a unit of money
    **{
        f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW": (
            f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW", f"account_sum_minor_{ours}", f"account_count_{ours}", 100
        )
        for days, ours in ((1, "24h"), (7, "7d"), (30, "30d"))
    },
    **{
        f"TERMINAL_ID_RISK_{days}DAY_WINDOW": (
            f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW", f"beneficiary_frauds_{days}d", f"beneficiary_labelled_{days}d", 1
        )
        for days in (1, 7, 30)
    },
}  # fmt: skip


class Streamed(NamedTuple):
    """The payments of the file in order, and the labels that are due before each."""

    events: list[StateEvent]
    labels: list[list[Label]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--redis")
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    result = compare(arguments.directory, arguments.redis, arguments.every)
    print(json.dumps(result))
    sys.exit(0 if result["differences"] == 0 else 1)


def compare(directory: Path, redis_url: str | None = None, every: int = 1) -> dict[str, Any]:
    """Stream the payments to each `every`th terminal through the reference, or through an empty Redis."""
    protocol = load_protocol(directory)
    table = protocol.load(directory / "handbook.parquet")
    table = table[table.TERMINAL_ID % every == 0].reset_index(drop=True)
    expected = protocol.features(table)
    stream = streamed(table)
    state = observed_by_redis(stream, redis_url) if redis_url else observed_by_reference(stream)
    tied = ties(table)
    differing = window_differences(expected, state) | event_differences(expected)
    return {
        "rows": len(table),
        "features": len(protocol.FEATURES),
        "tied_rows": int(tied.sum()),
        "differences": int((differing & ~tied).sum()),
        "differences_at_ties": int((differing & tied).sum()),
        "store": "redis" if redis_url else "reference",
    }


def load_protocol(directory: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("handbook_protocol", directory / "handbook_protocol.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def streamed(table: Any) -> Streamed:
    columns = zip(
        (START_MS + table.TX_TIME_SECONDS * 1000).tolist(), table.TRANSACTION_ID.tolist(), table.CUSTOMER_ID.tolist(),
        table.TERMINAL_ID.tolist(), (table.TX_AMOUNT * 100).round().astype(int).tolist(), table.TX_FRAUD.tolist(),
        strict=True,
    )  # fmt: skip
    events: list[StateEvent] = []
    labels: list[list[Label]] = []
    pending: deque[Label] = deque()
    for offset, (time_ms, transaction, card, terminal, amount, fraud) in enumerate(columns):
        due: list[Label] = []
        while pending and pending[0].labelled_at_ms <= time_ms:
            due.append(pending.popleft())
        labels.append(due)
        card_id, terminal_id, transaction_id = f"card-{card}", f"terminal-{terminal}", f"tx-{transaction}"
        events.append(
            StateEvent(
                offset,
                transaction_id,
                bytes(CLAIM_DIGEST_BYTES),
                card_id,
                terminal_id,
                time_ms,
                time_ms,
                amount,
                False,
                None,
                None,
                True,
            )
        )
        if fraud:
            labelled_at_ms = time_ms + LABELLED_AFTER_MS
            pending.append(Label(transaction_id, card_id, terminal_id, time_ms, True, labelled_at_ms, "handbook"))
    return Streamed(events, labels)


def observed_by_reference(stream: Streamed) -> NDArray[np.int64]:
    windows = Windows()
    state = np.empty((len(stream.events), len(STATE)), dtype=np.int64)
    for place, (event, labels) in enumerate(zip(stream.events, stream.labels, strict=True)):
        for label in labels:
            assert windows.label(label)
        state[place] = windows.observe(event)
    return state


def observed_by_redis(stream: Streamed, url: str) -> NDArray[np.int64]:
    return np.concatenate(list(asyncio.run(_observe(stream, url))))


async def _observe(stream: Streamed, url: str) -> list[NDArray[np.int64]]:
    state = RedisState(url)
    parts: list[NDArray[np.int64]] = []
    try:
        for start, end in _batches(stream):
            for label in stream.labels[start]:
                assert await state.label(label)
            share = PartitionEvents(0, start, end, start, stream.events[start:end])
            parts.append((await state.observe([share]))[0].state)
    finally:
        await state.close()
    return parts


def _batches(stream: Streamed) -> Iterator[tuple[int, int]]:
    """Yield batches as (start, end); one ends before the next label is due.

    A label may come early, because it has 4 days before anybody asks for it.
    """
    start = 0
    for place in range(1, len(stream.events) + 1):
        if place == len(stream.events) or place - start == BATCH or stream.labels[place]:
            yield start, place
            start = place


def ties(table: Any) -> NDArray[np.bool_]:
    """Mark the rows that share their second with another of the same card or terminal."""
    tied = np.zeros(len(table), dtype=bool)
    seconds = table.TX_TIME_SECONDS.to_numpy()
    for name in ("CUSTOMER_ID", "TERMINAL_ID"):
        key = table[name].to_numpy().astype(np.int64) << 32 | seconds
        _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
        tied |= counts[inverse] > 1
    return tied


def event_differences(expected: Any) -> NDArray[np.bool_]:
    """Mark the rows where amount, weekend or night differs from the protocol's."""
    columns = ("TRANSACTION_ID", "TX_TIME_SECONDS", "CUSTOMER_ID", "TERMINAL_ID")
    amounts = (expected.TX_AMOUNT * 100).round().astype(int)
    fields = zip(*(expected[name].tolist() for name in columns), amounts.tolist(), strict=True)
    rows_of = EventRows(parse_policy(DEFAULT_POLICY.read_bytes()), shipped_feeds())
    event = np.array(
        [rows_of.row(each, each.event_time_ms) for each in (short_payment(*one) for one in fields)], dtype=np.int64
    )
    amount, minute, weekend = (
        event[:, EVENT.index(name)] for name in ("amount_gbp_minor", "local_minute_of_day", "is_weekend")
    )
    is_night = minute // 60 <= 6
    differing = (amount != amounts.to_numpy()) | (weekend != expected.TX_DURING_WEEKEND.to_numpy())
    return np.asarray(differing | (is_night != expected.TX_DURING_NIGHT.to_numpy()))


def window_differences(expected: Any, state: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the rows where any of the 12 features over windows differs from the protocol's."""
    differing = np.zeros(len(state), dtype=bool)
    for ratio_name, (count_name, total, count, unit) in _PAIRS.items():
        counted = expected[count_name].to_numpy().astype(np.int64)
        ours = state[:, STATE.index(count)]
        sums = np.rint(expected[ratio_name].to_numpy() * counted * unit).astype(np.int64)
        differing |= (ours != counted) | (np.where(counted > 0, state[:, STATE.index(total)], 0) != sums)
    return differing


if __name__ == "__main__":
    main()
