"""Metrics of the service that delivers alerts. No label holds an id (I10); sinks are named by the file of routes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import product
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from pipeline.domain.alert import Severity

RECORDS: Final = Counter("fraud_alerts_read_total", "Records read from alerts.v1", ["severity"])
UNREADABLE: Final = Counter("fraud_alerts_unreadable_total", "Records on alerts.v1 that can't be read")
UNPROVED: Final = Counter(
    "fraud_alerts_unproved_ends_total", "Records on alerts.v1 that say something is over, and prove nobody's word"
)
GROUPS: Final = Gauge("fraud_alerts_groups", "Groups of alerts that are not over", ["severity", "state"])
ESCALATIONS: Final = Counter("fraud_alerts_escalations_total", "Groups that nobody acknowledged in time", ["level"])
SILENCES: Final = Gauge("fraud_alerts_silences", "Silences in force")
ATTEMPTS: Final = Counter("fraud_alerts_attempts_total", "Attempts to send a message", ["sink", "answer"])
ENDS: Final = Counter("fraud_alerts_messages_total", "Messages that came to an end", ["sink", "end"])
PENDING: Final = Gauge("fraud_alerts_pending_messages", "Messages that have not come to an end", ["sink"])
OLDEST: Final = Gauge("fraud_alerts_oldest_pending_seconds", "Age of the oldest message that has not ended", ["sink"])
DELIVERY: Final = Histogram(
    "fraud_alerts_delivery_seconds",
    "Time from a group's first alert to its first message's arrival",
    ["sink"],
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600),
)
HEARTBEATS: Final = Counter("fraud_alerts_heartbeats_total", "Heartbeats that were sent", ["sink", "answer"])
HEARTBEAT_TIME: Final = Gauge(
    "fraud_alerts_heartbeat_timestamp_seconds", "Time of the last heartbeat that arrived", ["sink"]
)
ABANDONED: Final = Gauge("fraud_alerts_abandoned_sends", "Sends that did not end in time and may still be under way")


def begin(
    sinks: Iterable[str], beaten: Iterable[str], answers: Collection[str], ends: Collection[str], levels: int
) -> None:
    """Begin every series at 0: a counter whose first sample is 1 shows no increase to whoever asks for one.

    beaten: sinks that get heartbeats. levels: the most escalations that a route has.
    """
    for severity in Severity:
        RECORDS.labels(severity.value)
    for level in range(1, levels + 1):
        ESCALATIONS.labels(str(level))
    for sink in sinks:
        DELIVERY.labels(sink)
        PENDING.labels(sink)
        OLDEST.labels(sink)
        for end in ends:
            ENDS.labels(sink, end)
        for answer in answers:
            ATTEMPTS.labels(sink, answer)
    for sink, answer in product(beaten, answers):
        HEARTBEATS.labels(sink, answer)
