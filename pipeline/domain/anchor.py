"""Anchors as values: signed heads of the audit log as they stand on their topic."""

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
