"""Tells the breaker's changes during a run, with their causes, by the alerts that it raised."""

from __future__ import annotations

import json
from collections import Counter

from ops.bench.rig.stored import Tail
from pipeline.domain.alert import Alert
from pipeline.io.avro.wire import WireFormat


def breaker_causes(bootstrap_servers: str) -> dict[str, int]:
    """Count the breaker's transitions by event and by the conditions that brought them about.

    Kills, fences and restarts are none: only what deciding took counts as slow, and only what the model was asked and
    did not answer as failed. A loss of Redis is one, as nobody knows then what the breaker had decided.
    """
    wire, counted, seen = WireFormat(), Counter[str](), set[str]()
    for found in Tail(bootstrap_servers, "alerts.v1").news():
        alert = wire.decode_alert(found.value)
        if not isinstance(alert, Alert) or not alert.code.startswith("BREAKER_") or alert.alert_id in seen:
            continue
        seen.add(alert.alert_id)
        conditions = [each["condition"] for each in json.loads(alert.evidence["conditions"])]
        counted[" ".join([alert.code.removeprefix("BREAKER_"), alert.scope, *conditions])] += 1
    return dict(counted)
