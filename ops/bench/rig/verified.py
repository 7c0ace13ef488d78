"""Stored decisions of a bench's topics, decided again from their own snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ops.bench.rig.stored import Tail
from pipeline.domain.decision import StoredDecision
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.verify import Result, verify


def stored_decisions(bootstrap_servers: str, prefix: str) -> Iterator[StoredDecision]:
    """Yield every decision on the topic, which must hold nothing else."""
    wire = WireFormat()
    for found in Tail(bootstrap_servers, f"{prefix}decisions.v1").news():
        stored = wire.decode_stored_decision(found.value)
        assert isinstance(stored, StoredDecision), stored
        yield stored


def verified(decisions: Sequence[StoredDecision]) -> Counter[Result]:
    """Decide each again, under the policy and the model that it names; count the results."""
    archive = RegimeArchive.of(Settings())
    return Counter(check.result for check in verify(decisions, archive.regime_of))
