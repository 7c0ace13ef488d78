"""A drill's reader whose client has forgotten every broker says so, and not that all is quiet."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ops.bench.rig.waiting import wait_until
from ops.drills.decided import DecidedReader
from ops.drills.live.watching import LiveWatch
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka import known_brokers
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.known_brokers import KnownBrokers
from pipeline.io.settings import Settings
from tests.servers import unused_prefix

WAIT_S = 120.0
NO_BROKER = json.dumps({"brokers": {"coordinator": {"source": "logical"}}})


class Forgetful(KnownBrokers):
    def look(self, statistics: str) -> None:
        assert json.loads(statistics)["brokers"], "the library's own"
        super().look(NO_BROKER)


def decided(settings: Settings) -> DecidedReader:
    return DecidedReader(settings, WireFormat())


def live(settings: Settings) -> LiveWatch:
    return LiveWatch(settings, WireFormat(), "all", "0a1b2c3d")


@pytest.mark.parametrize("reader_of", [decided, live])
def test_a_reader_that_has_forgotten_every_broker_fails(
    reader_of: Callable[[Settings], DecidedReader | LiveWatch], stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_brokers, "LOOK_MS", 20)
    for module in ("decided", "live.watching"):
        monkeypatch.setattr(f"ops.drills.{module}.KnownBrokers", Forgetful)
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    reader = reader_of(Settings(bootstrap_servers=stack.bootstrap_servers, topic_prefix=prefix))
    reader.start()

    def has_failed() -> bool:
        try:
            reader.check()
        except RuntimeError as failure:
            return isinstance(failure.__cause__, BrokerFailed)
        return False

    wait_until(has_failed, WAIT_S, "the reader's failing", every_s=0.05)
    reader.stop()
