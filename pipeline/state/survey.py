"""What the state store holds of each partition, under the tags of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Survey(NamedTuple):
    """What the state holds. An offset is the one below which all of a partition was observed; None for nothing."""

    accounts: Mapping[int, int | None]  # partition → offset under the partition's own tag
    shared: Mapping[int, int | None]  # partition → least offset under the tags that partitions share
    ready: frozenset[int]  # partitions whose own tag is marked ready
    is_shared_ready: bool

    def reached(self, partition: int) -> int | None:
        """Return the offset below which all of a partition was observed under every tag."""
        accounts, shared = self.accounts[partition], self.shared[partition]
        return None if accounts is None or shared is None else min(accounts, shared)
