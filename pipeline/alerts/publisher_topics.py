"""The publisher of alerts, for processes that raise them outside a batch's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from pipeline.alerts.encoding import alert_record
from pipeline.domain.alert import Alert
from pipeline.domain.log import Outgoing
from pipeline.io.avro.wire import WireFormat

Acknowledged = TypeVar("Acknowledged")


class AlertPublisher(Generic[Acknowledged]):
    """Publishes by an Appender's `append`, or by an AsyncAppender's, in which case `publish` is awaited."""

    def __init__(
        self,
        append: Callable[[Sequence[Outgoing]], Acknowledged],
        wire: WireFormat,
        topic: str,
        seal: Callable[[Sequence[Outgoing]], list[Outgoing]] = list,
    ) -> None:
        """Keep what to publish with. topic: alerts.v1 with its prefix. seal: proves that a worker wrote the records."""
        self._append, self._wire, self._topic, self._seal = append, wire, topic, seal

    def publish(self, raised: Iterable[Alert]) -> Acknowledged:
        """Publish the alerts and return once all are acknowledged; otherwise raise BrokerAway or BrokerFailed."""
        return self._append(self.records(raised))

    def records(self, raised: Iterable[Alert]) -> list[Outgoing]:
        """Encode the alerts, for a caller that appends them together with other records."""
        return self._seal([alert_record(self._wire, self._topic, each) for each in raised])
