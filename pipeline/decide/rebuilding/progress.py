"""How far a rebuild is: records read and still to be read, its rate, and an estimate of the rest."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

RATE_WINDOW_S: Final = 30.0
SAMPLES_MAX: Final = 64


class Stretch(NamedTuple):
    """What is to be read of one partition."""

    at: int  # next offset
    target: int


class Progress:
    """The progress of one rebuild; its times are the caller's monotonic seconds."""

    def __init__(self, now_s: float) -> None:
        self.started_s = now_s
        self.records = 0
        self.partitions: dict[int, Stretch] = {}
        self._samples: deque[tuple[float, int]] = deque([(now_s, 0)], maxlen=SAMPLES_MAX)

    def plan(self, partition: int, at: int, target: int) -> None:
        self.partitions[partition] = Stretch(at, target)

    def advance(self, partition: int, at: int, records: int, now_s: float) -> None:
        """Record that a partition was observed up to `at`, by this many records."""
        self.partitions[partition] = self.partitions[partition]._replace(at=at)
        self.records += records
        if now_s - self._samples[-1][0] >= RATE_WINDOW_S / SAMPLES_MAX:
            self._samples.append((now_s, self.records))
        while len(self._samples) > 2 and now_s - self._samples[1][0] > RATE_WINDOW_S:
            self._samples.popleft()

    @property
    def remaining(self) -> int:
        """Offsets still to be read; commit markers have offsets too, so there are at most this many records."""
        return sum(max(stretch.target - stretch.at, 0) for stretch in self.partitions.values())

    def rate(self, now_s: float) -> float:
        """Return the records a second of the last RATE_WINDOW_S."""
        since_s, before = self._samples[0]
        return (self.records - before) / (now_s - since_s) if now_s > since_s else 0.0

    def summary(self, now_s: float) -> dict[str, object]:
        """Return what /ready and the log tell; estimate_s is None while there is no rate."""
        rate = self.rate(now_s)
        return {
            "records": self.records,
            "records_left": self.remaining,
            "records_a_second": round(rate),
            "estimate_s": round(self.remaining / rate) if rate > 0 else None,
            "seconds": round(now_s - self.started_s, 1),
            "partitions_left": sorted(part for part, stretch in self.partitions.items() if stretch.at < stretch.target),
        }
