"""Fixtures that every folder of tests shares."""

from tests.redis_servers import redis_at, started_redis

__all__ = ["redis_at", "started_redis"]
