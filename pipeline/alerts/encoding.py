"""Alerts as records of alerts.v1, keyed by their id."""

from __future__ import annotations

from pipeline.domain.alert import Alert
from pipeline.domain.log import Outgoing
from pipeline.io.avro.wire import WireFormat


def alert_record(wire: WireFormat, topic: str, raised: Alert) -> Outgoing:
    """Encode an alert. topic: alerts.v1 with its prefix."""
    return Outgoing(topic, raised.alert_id.encode(), wire.encode(raised))
