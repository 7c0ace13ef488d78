"""A server that is not what its name says would make every test on it say nothing about that version."""

import pytest
import redis

from tests.redis_servers import REDIS_NAMES, RedisName, StartedRedis

FIELD_AND_VERSION = {
    RedisName.VALKEY_9: ("valkey_version", "9."),
    RedisName.REDIS_6_2: ("redis_version", "6.2."),
    RedisName.SYSTEM: ("redis_version", "7."),
}


@pytest.mark.parametrize("name", REDIS_NAMES)
def test_server_is_of_the_version_in_its_name(name: RedisName, started_redis: StartedRedis) -> None:
    field, version = FIELD_AND_VERSION[name]
    with redis.Redis.from_url(started_redis(name)) as client:
        assert str(client.info("server")[field]).startswith(version)
