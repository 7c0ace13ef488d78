"""Tells that a client knows no broker any more, and so will never ask one again.

A broker that its controller has fenced answers that the cluster has none: one that was just started, or that was paused
for longer than its session with the controller. librdkafka forgets then all that it knew. It begins anew with the
addresses it was given only where `metadata.recovery.strategy` lets it, and not always then (librdkafka's issue 5301): a
reader without a broker reads nothing, says nothing, and looks like one whose topic is quiet. A writer is found out by
what it doesn't deliver (`appender`, and a worker's pulses).
"""

from __future__ import annotations

import json
from typing import Final

from pipeline.io.kafka.client import BrokerFailed, Options

LOOK_MS: Final = 10_000
"""Interval of the looks. Statistics wait for the next poll, some kilobytes each, so a reader that isn't polled for a
day may not have too many."""
LOOKS_WITHOUT_MAX: Final = 2
"""Looks in a row that may find no broker. A client that begins anew has one again between two of them."""
_LOGICAL: Final = ("logical", "internal")
"""Sources of brokers that stand for others, such as the group's coordinator."""


class KnownBrokers:
    """Looks for brokers in a client's own statistics, which the client delivers when it is polled."""

    def __init__(self) -> None:
        self._looks_without = 0

    @property
    def options(self) -> Options:
        return {"statistics.interval.ms": LOOK_MS, "stats_cb": self.look}

    def look(self, statistics: str) -> None:
        """Take one look. statistics: JSON as librdkafka's STATISTICS.md describes it."""
        brokers = json.loads(statistics)["brokers"].values()
        is_any = any(broker["source"] not in _LOGICAL for broker in brokers)
        self._looks_without = 0 if is_any else self._looks_without + 1

    def check(self) -> None:
        """Raise BrokerFailed where the client has known no broker for too long; it must be made anew."""
        if self._looks_without > LOOKS_WITHOUT_MAX:
            raise BrokerFailed("the client has forgotten every broker and never asks again (librdkafka's issue 5301)")
