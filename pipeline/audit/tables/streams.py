"""The streams that append-only tables are chained in, one a schema; and the tables that are left out, with the reasons.

A stream is a partition of the log `tables.v1`, which is no topic: it has leaf files and heads as those of decisions.v1
have. After the database was restored a stream begins anew in its next generation, another partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

TABLES_LOG: Final = "tables.v1"
STREAMS: Final = ("ledger", "review", "control", "audit")
"""Schemas by the number of their stream; a new one goes to the end."""
GENERATION: Final = 16
"""From a stream's partition to that of its next generation; so there is room for 16 streams."""
LEFT_OUT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "audit.ai_decision_log": "the log of decisions.v1 chains it",
        "audit.reversal_log": "the log of decisions.v1 chains it",
        "audit.review_log": "the log of decisions.v1 chains it",
        "audit.quarantined": "the log of decisions.v1 chains it",
        "audit.chain_link": "the leaf file of decisions.v1 says what it must hold, and the verifier compares",
        "ledger.guarded_account": "it holds rows to lock, and says nothing about an account",
        "shadow.answer": "it decides nothing, and follows from decisions.v1 and the challenger's files",
        "shadow.beginning": "where the shadow began; it decides nothing",
        "control.bias_state": "it decides nothing, and follows from decisions.v1 and labels.v1",
        "control.bias_span": "it decides nothing, and follows from decisions.v1 and labels.v1",
        "control.bias_known": "it decides nothing, and follows from decisions.v1 and labels.v1",
        "control.turn": "it holds rows to lock, which a migration writes",
    }
)
"""Append-only tables that are not followed."""


def schema_of(partition: int) -> str:
    return STREAMS[partition % GENERATION]


def current_partitions(written: Iterable[int]) -> dict[str, int]:
    """The partition of each stream's latest generation. `written`: those that have a leaf file."""
    current = {schema: number for number, schema in enumerate(STREAMS)}
    for partition in written:
        current[schema_of(partition)] = max(current[schema_of(partition)], partition)
    return current
