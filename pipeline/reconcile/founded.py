"""Whether a decision is what its source leads to: what a holder of a worker's signing key can't make true.

Invariants
1. A decision is founded only on a payment that stands at the place that it names, in its own partition, with that
   digest and that time.
2. The decisions of a partition follow the order of their sources, as workers take payments up; what comes out of that
   order is a copy, byte for byte, or unfounded.
3. Of two different decisions about one source record, the second to be seen is named, whichever is genuine.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.decision import Decision, StoredDecision
from pipeline.domain.log import Record
from pipeline.domain.payment import Decoded, payment_digest
from pipeline.domain.refusals import Refusal

REMEMBERED_MAX: Final = 50_000
"""Sources of one partition whose decisions are remembered; at 64 partitions some 400 MB. Copies come within moments."""
DIGEST_BYTES: Final = 16


class Sourced(NamedTuple):
    """A proved decision at its place on decisions.v1."""

    partition: int
    offset: int
    logged_at_ms: int
    value: bytes
    stored: StoredDecision


class Order(StrEnum):
    """How a decision stands to those of its partition that were seen before."""

    NEXT = "NEXT"
    COPY = "COPY"
    OTHER = "OTHER"  # another decision for the same source was seen
    LATE = "LATE"  # its source lies behind one that was decided before, and nothing is remembered of it


class Decided:
    """The decisions that were seen of one partition."""

    def __init__(self) -> None:
        self._digests: OrderedDict[int, bytes] = OrderedDict()
        self._latest = -1

    def see(self, source_offset: int, value: bytes, *, is_taken_up: bool) -> Order:
        """is_taken_up: whether workers have committed the source. One that is decided ahead of them moves nothing on:
        a forged decision would make the honest ones behind it look late."""
        digest = hashlib.sha256(value).digest()[:DIGEST_BYTES]
        known = self._digests.get(source_offset)
        if known is not None:
            return Order.COPY if known == digest else Order.OTHER
        if source_offset < self._latest:
            return Order.LATE
        if is_taken_up:
            self._latest = source_offset
        self._digests[source_offset] = digest
        if len(self._digests) > REMEMBERED_MAX:
            self._digests.popitem(last=False)
        return Order.NEXT


def is_of_source(sourced: Sourced, source: Record | None, decode: Callable[[bytes | None], Decoded | Refusal]) -> bool:
    """Whether the payment at the decision's source is the snapshot's. source: None where no record stands there."""
    decision = sourced.stored.decision
    if source is None or decision.source_partition != sourced.partition or source.source != decision.source:
        return False
    decoded = decode(source.value)
    if isinstance(decoded, Refusal) or source.key != decision.account_id.encode():
        return False
    return decoded.digest == payment_digest(decision.snapshot.transaction)


def runs_of(offsets: Mapping[int, object], gap_max: int) -> list[tuple[int, int]]:
    """Return stretches [first, end) that hold all offsets, and no gap between two of them beyond gap_max."""
    runs: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if runs and offset - runs[-1][1] < gap_max:
            runs[-1] = runs[-1][0], offset + 1
        else:
            runs.append((offset, offset + 1))
    return runs


def is_committed(decision: Decision, committed: Mapping[int, int]) -> bool:
    """Whether the workers' group has committed past the source, as it does together with the decision."""
    return committed.get(decision.source_partition, 0) > decision.source_offset
