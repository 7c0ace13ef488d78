"""The publisher of alerts, for whatever process raises them outside a batch's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from pipeline.alerts.encoding import alert_record
from pipeline.domain.alert import Alert
from pipeline.domain.log import Outgoing
from pipeline.io.avro.wire import WireFormat

Acknowledged = TypeVar("Acknowledged")


class AlertPublisher(Generic[Acknowledged]):
    """`append`: an Appender's, or an AsyncAppender's, and then `publish` is awaited."""

    def __init__(self, append: Callable[[Sequence[Outgoing]], Acknowledged], wire: WireFormat, topic: str) -> None:
        """topic: alerts.v1 with its prefix."""
        self._append, self._wire, self._topic = append, wire, topic

    def publish(self, raised: Iterable[Alert]) -> Acknowledged:
        """Returns once all are acknowledged; BrokerAway or BrokerFailed otherwise."""
        return self._append(self.records(raised))

    def records(self, raised: Iterable[Alert]) -> list[Outgoing]:
        """For whoever appends them together with others."""
        return [alert_record(self._wire, self._topic, each) for each in raised]
