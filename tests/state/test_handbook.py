"""The features of the Fraud Detection Handbook, streamed, equal its batch values; only where its file is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

DIRECTORY = Path(__file__).parents[3] / "shared" / "data"
EVERY = 100  # terminals: 17,000 payments over all 183 days

pytestmark = [
    pytest.mark.skipif(not (DIRECTORY / "handbook.parquet").exists(), reason="no handbook.parquet beside us"),
    pytest.mark.filterwarnings("ignore:Setting the 'dayofweek:Warning", "ignore::DeprecationWarning"),
]


def compared(url: str | None) -> dict[str, object]:
    handbook_features = pytest.importorskip("ops.bench.speed.handbook_features", reason="needs what trains a model")
    result: dict[str, object] = handbook_features.compare(DIRECTORY, url, EVERY)
    return result


def test_the_reference_streams_the_handbooks_features() -> None:
    result = compared(None)
    assert (0, 0) == (result["differences"], result["differences_at_ties"])
    assert int(str(result["rows"])) > 10_000


def test_redis_streams_the_handbooks_features(redis_at: str) -> None:
    result = compared(redis_at)
    assert (0, 0) == (result["differences"], result["differences_at_ties"])
    assert int(str(result["rows"])) > 10_000
    with redis.Redis.from_url(redis_at) as client:
        assert client.dbsize() > 0
