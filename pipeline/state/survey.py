"""What the state store holds of each partition, under the tags of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Survey(NamedTuple):
    """What the state holds. An offset is the one below which all of a partition was observed; None for nothing."""

    accounts: Mapping[int, int | None]  # partition → offset under the partition's own tag
    shared: Mapping[int, int | None]  # partition → least offset under the tags that partitions share
    ready: frozenset[int]  # partitions whose own tag is marked ready
    is_shared_ready: bool
    replaced: Mapping[int, int] = MappingProxyType({})  # partition → an offset at which another record was counted

    def reached(self, partition: int) -> int | None:
        """Return the offset below which all of a partition was observed under every tag."""
        accounts, shared = self.accounts[partition], self.shared[partition]
        return None if accounts is None or shared is None else min(accounts, shared)

    def ahead_of(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Return the partitions that were observed beyond the ends of their logs, with the offset.

        Then the log lost records, or is another one: what comes at an offset that was observed before would get the
        answer about the record that is gone, and a payment that was lost with the log would be a duplicate.
        """
        return {
            partition: offset
            for partition in self.accounts
            if (offset := self._furthest(partition)) > ends.get(partition, 0)
        }

    def _furthest(self, partition: int) -> int:
        return max(self.accounts[partition] or 0, self.shared[partition] or 0)
