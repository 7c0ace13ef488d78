"""Anchors and witness statements as values: what stands about the audit log on topics of its own."""

from __future__ import annotations

from typing import NamedTuple


class Anchor(NamedTuple):
    """A value of `anchors.v1`; fields in the order of `schemas/anchor.v1.avsc`."""

    topic: str
    partition: int
    tree_size: int
    first_offset: int
    last_offset: int
    root: bytes
    chain: bytes
    previous: bytes
    anchored_at_ms: int
    key_id: str
    signature: bytes
    consistency: list[bytes]


class Witnessed(NamedTuple):
    """A value of `witness.v1`; fields in the order of `schemas/witness.v1.avsc`."""

    statement: str
    key_id: str
    signature: bytes
    timestamp: bytes | None
