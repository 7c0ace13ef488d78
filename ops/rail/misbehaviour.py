"""The rail's misbehaviour: a seed decides for each request, and its key for each transfer, so always the same way."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

SLOW_MS_MAX: Final = 60_000


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """Shares of requests, from 0 to 1, in the order in which they are drawn; with all 0 the rail behaves.

    refused_share and recall_refused_share are shares of transfers, by key.
    """

    seed: int = 0
    slow_share: float = 0.0
    slow_ms: int = 2_000
    error_before_share: float = 0.0  # the answer is 503, and nothing was done
    partial_share: float = 0.0  # the first half of the list is done, then the answer is 500
    error_after_share: float = 0.0  # the answer is 500, and everything was done
    lost_reply_share: float = 0.0  # everything was done, but the connection is closed without an answer
    duplicate_share: float = 0.0  # the request is carried out twice, as if the network repeated it
    refused_share: float = 0.0
    recall_refused_share: float = 0.0

    def __post_init__(self) -> None:
        shares = [getattr(self, name) for name in self.__slots__ if name.endswith("_share")]
        if not all(0 <= share <= 1 for share in shares) or not 0 <= self.slow_ms <= SLOW_MS_MAX:
            raise ValueError(f"shares must be 0 to 1, and slow_ms 0 to {SLOW_MS_MAX}")

    def is_refused(self, key: str) -> bool:
        return _unit(key, 1) < self.refused_share

    def is_recall_refused(self, key: str) -> bool:
        return _unit(key, 2) < self.recall_refused_share


class Whim(NamedTuple):
    """The treatment of one request."""

    slow_s: float
    is_error_before: bool
    is_partial: bool
    is_duplicate: bool
    is_error_after: bool
    is_reply_lost: bool


class Whims:
    """Draws one whim for each request."""

    def __init__(self, misbehaviour: Misbehaviour) -> None:
        self._misbehaviour = misbehaviour
        self._random = random.Random(misbehaviour.seed)  # noqa: S311 - faults, not secrets

    def next(self) -> Whim:
        given = self._misbehaviour
        return Whim(
            slow_s=given.slow_ms / 1000 if self._draw(given.slow_share) else 0.0,
            is_error_before=self._draw(given.error_before_share),
            is_partial=self._draw(given.partial_share),
            is_duplicate=self._draw(given.duplicate_share),
            is_error_after=self._draw(given.error_after_share),
            is_reply_lost=self._draw(given.lost_reply_share),
        )

    def _draw(self, share: float) -> bool:
        return self._random.random() < share


def _unit(key: str, salt: int) -> float:
    return zlib.crc32(f"{salt}:{key}".encode()) / 2**32
