"""Prometheus metrics of rollouts. No label holds a version: `fraud models rollout status` names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Gauge

from models.versions.aliases import AliasRecord
from pipeline.promotion.moves import is_shared

PPM: Final = 1_000_000
SHARE: Final = Gauge(
    "fraud_rollout_share_ratio", "Share of payments that the version being rolled out decides; 0: none is"
)
MOVES: Final = Gauge("fraud_champion_moves", "Records of the alias champion in the registry")
MOVED: Final = Gauge("fraud_champion_moved_timestamp_seconds", "When the alias champion moved last; 0: never")
STOPPED: Final = Counter("fraud_rollouts_stopped_total", "Versions that the stop rule took back")


def tell(records: Sequence[AliasRecord]) -> None:
    latest = records[-1] if records else None
    SHARE.set(0 if latest is None or not is_shared(latest) else latest.share_ppm / PPM)
    MOVES.set(len(records))
    MOVED.set(0 if latest is None else latest.at_ms / 1000)
