"""The lane that a drill runs in: names, addresses and files that nothing of the deployment shares.

Invariants
1. What the lane's processes would really be set to is compared with the deployment, whatever set it; a lane that isn't
   separate in every part is not started.
2. The lane's processes know none of the deployment's addresses, secrets or files: they are set from nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple
from unittest import mock
from urllib.parse import urlsplit

import redis
from confluent_kafka.admin import AdminClient

from pipeline.io.kafka.client import admin_client
from pipeline.io.settings import Beginning, Profile, Settings

LANE: Final = "drill-"
"""What every name of a lane begins with."""
PREFIX_NAMES: Final = ("FRAUD_",)
TOPICS_S: Final = 10.0
REDIS_S: Final = 5.0
KEYS_A_LOOK: Final = 1_000
"""Of keys that Redis looks at in one go, whoever they belong to: less than a millisecond."""
_PATHS: Final = (
    "policy_path",
    "policy_archive",
    "feeds_path",
    "model_registry",
    "dead_letter_key_file",
    "audit_directory",
    "audit_key_file",
    "seal_directory",
    "alert_routes_path",
)


class LaneNotSeparate(Exception):
    """Something of the lane may be the deployment's. The message names it, in a sentence without a full stop."""


class LaneNames(NamedTuple):
    drill_id: str  # eight hexadecimal digits

    @property
    def topic_prefix(self) -> str:
        return f"{LANE}{self.drill_id}."

    @property
    def state_prefix(self) -> str:
        return f"{LANE}{self.drill_id}"

    @property
    def consumer_group(self) -> str:
        return f"{LANE}{self.drill_id}-decide"


class Places(NamedTuple):
    """The addresses that the lane's processes use, all of loopback, and the ports of their pages."""

    bootstrap_servers: str
    redis_url: str
    database_url: str  # with a role in it that is replaced
    rail_url: str
    kafka_options: Mapping[str, str]
    worker_port: int


def lane_settings(names: LaneNames, folder: Path, places: Places) -> Settings:
    """Return the settings of the lane's processes, of which `environment` makes the variables."""
    return Settings.model_construct(
        profile=Profile.DEVELOPMENT,
        bootstrap_servers=places.bootstrap_servers,
        kafka_options=dict(places.kafka_options),
        redis_url=places.redis_url,
        database_url=places.database_url,
        rail_url=places.rail_url,
        topic_prefix=names.topic_prefix,
        state_prefix=names.state_prefix,
        consumer_group=names.consumer_group,
        begin_at=Beginning.COMMITTED,  # behind the past that the lane's traffic begins with
        policy_path=folder / "policies" / "drill.toml",
        policy_archive=folder / "policies",
        feeds_path=folder / "feeds",
        model_registry=folder / "registry",
        dead_letter_key_file=folder / "dead-letters.key",
        audit_directory=folder / "audit",
        audit_key_file=folder / "audit.key",
        seal_directory=folder / "seals",
        alert_routes_path=folder / "routes.toml",
        web_port=places.worker_port,
    )


_PASSED_ON: Final = (
    "profile",
    "bootstrap_servers",
    "redis_url",
    "database_url",
    "rail_url",
    "topic_prefix",
    "state_prefix",
    "consumer_group",
    "begin_at",
    *_PATHS,
    "web_host",
    "web_port",
    "log_level",
)


def environment(lane: Settings) -> dict[str, str]:
    """Return the variables that set a process of the lane."""
    found = {f"FRAUD_{name.upper()}": str(getattr(lane, name)) for name in _PASSED_ON}
    return found | {"FRAUD_KAFKA_OPTIONS": json.dumps(lane.kafka_options)}


def forget_deployment() -> None:
    """Take the deployment's settings out of this process's environment, so that no process of the lane inherits one."""
    for name in [name for name in os.environ if name.startswith(PREFIX_NAMES)]:
        del os.environ[name]


def require_separate(lane: Settings, names: LaneNames, folder: Path, deployment: Settings) -> None:
    """Raise LaneNotSeparate unless the lane's processes, as they would really be set, share nothing."""
    with mock.patch.dict(os.environ, environment(lane)):
        real = Settings()
    for why in shared(real, names, folder, deployment):
        raise LaneNotSeparate(why)


def shared(lane: Settings, names: LaneNames, folder: Path, deployment: Settings) -> Iterator[str]:
    """Yield a sentence for each thing that the lane may share with the deployment."""
    if lane.topic_prefix != names.topic_prefix or not lane.topic_prefix.startswith(LANE):
        yield f"its topics are named {lane.topic_prefix or 'like those of the deployment'}"
    if _overlap(lane.topic_prefix, deployment.topic_prefix):
        yield f"its topics would be among the deployment's, which begin with {deployment.topic_prefix}"
    if lane.state_prefix != names.state_prefix or lane.state_prefix == deployment.state_prefix:
        yield f"its state stands under {lane.state_prefix}"
    if lane.consumer_group != names.consumer_group or lane.consumer_group == deployment.consumer_group:
        yield f"its worker is of the group {lane.consumer_group}"
    yield from _shared_addresses(lane, deployment)
    for name in _PATHS:
        if not _is_within(getattr(lane, name), folder):
            yield f"its {name} stands outside the drill's folder"
    if lane.profile is not Profile.DEVELOPMENT or lane.secrets_from is not None or lane.alert_secrets:
        yield "its processes would read the deployment's secrets"
    for name in ("seal_key", "seal_key_file", "seal_keys", "seal_keys_file", "otlp_endpoint", "people_file"):
        if getattr(lane, name) is not None:
            yield f"its processes would have the deployment's {name}"


def _shared_addresses(lane: Settings, deployment: Settings) -> Iterator[str]:
    """Only what the lane stores in is compared: broker and Redis are shared, behind a proxy and under other names."""
    for what, url, other in (
        ("rail", lane.rail_url, deployment.rail_url),
        ("database", lane.database_url, deployment.database_url),
    ):
        there, here = urlsplit(other), urlsplit(url)
        if here.hostname != "127.0.0.1":
            yield f"its {what} is not of this machine"
        elif (there.hostname, there.port) == (here.hostname, here.port):
            yield f"its {what} is the deployment's"
    for place in lane.bootstrap_servers.split(","):
        if place in deployment.bootstrap_servers.split(","):
            yield "its processes would reach the broker past the proxy"
    if lane.redis_url == deployment.redis_url:
        yield "its processes would reach Redis past the proxy"


def _overlap(prefix: str, other: str) -> bool:
    return prefix == other or bool(other and (prefix.startswith(other) or other.startswith(prefix)))


def _is_within(path: Path | None, folder: Path) -> bool:
    return path is not None and Path(path).resolve().is_relative_to(folder.resolve())


def require_unused(names: LaneNames, deployment: Settings) -> None:
    """Raise LaneNotSeparate where anything stands under the lane's names already. Raises the servers' own errors."""
    admin: AdminClient = admin_client(deployment.bootstrap_servers, deployment.kafka_options)
    if any(topic.startswith(names.topic_prefix) for topic in admin.list_topics(timeout=TOPICS_S).topics):
        raise LaneNotSeparate(f"there are topics that begin with {names.topic_prefix}")
    if next(lane_keys(deployment.redis_url, names), None) is not None:
        raise LaneNotSeparate(f"Redis holds keys under {names.state_prefix}")


def lane_keys(redis_url: str, names: LaneNames) -> Iterator[bytes]:
    """Yield the keys of the lane, and of nobody else, straight from Redis."""
    assert names.state_prefix.startswith(LANE), "a lane's keys have the lane's name"
    with redis.Redis.from_url(redis_url, socket_timeout=REDIS_S, socket_connect_timeout=REDIS_S) as client:
        yield from client.scan_iter(match=f"{names.state_prefix}:*", count=KEYS_A_LOOK)


def remove_keys(redis_url: str, names: LaneNames) -> int:
    """Remove the lane's keys from Redis, and return how many there were."""
    with redis.Redis.from_url(redis_url, socket_timeout=REDIS_S, socket_connect_timeout=REDIS_S) as client:
        keys, removed = lane_keys(redis_url, names), 0
        while some := list(islice(keys, KEYS_A_LOOK)):
            removed += int(client.unlink(*some))
        return removed


def remove(names: LaneNames, deployment: Settings, *, has_topics: bool) -> None:
    """Remove what a lane left in the broker and in Redis: what bears its name, and nothing else.

    has_topics: False for the embedded broker, which can't delete any, and forgets them all with itself.
    """
    remove_keys(deployment.redis_url, names)
    admin: AdminClient = admin_client(deployment.bootstrap_servers, deployment.kafka_options)
    topics = [name for name in admin.list_topics(timeout=TOPICS_S).topics if name.startswith(names.topic_prefix)]
    for removed in admin.delete_topics(topics).values() if topics and has_topics else ():
        removed.result(TOPICS_S)
