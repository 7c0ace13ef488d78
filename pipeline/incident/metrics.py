"""What the incident service counts."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

ALERTS: Final = Counter("fraud_incident_alerts_total", "Alerts that the incident service has taken in")
OPENED: Final = Counter("fraud_incidents_opened_total", "Incidents that were opened, by kind", ["kind"])
