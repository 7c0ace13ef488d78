"""The blast radius of an incident, added up from the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pipeline.incident.incidents import Incident, exposures
from pipeline.incident.radius import (
    PLACES_MAX,
    Affected,
    Group,
    Radius,
    Share,
    Sought,
    Stretch,
    Usual,
    not_understood,
    sought,
    stretches,
)
from pipeline.io.postgres import Connection, statements

DAY_MS: Final = 86_400_000
USUAL_DAYS: Final = 30
"""Days before an incident whose average counts as usual: the regulation says "daily average" and no more."""
_SQL: Final = statements("pipeline.incident", "radius")


def begin_reading(connection: Connection) -> int:
    """Begin the caller's transaction: all that follows is of one moment, whose time is returned."""
    connection.execute(_SQL["begin"])
    connection.execute(_SQL["patient"])
    return int(_one(connection, "now", [])[0])


def read_radius(connection: Connection, incident: Incident, topic: str, now_ms: int) -> Radius:
    """Add up what an incident has affected. topic: decisions.v1 with its prefix. In a transaction that `begin_reading`
    has begun."""
    is_of_model = incident.is_of_breaker
    exposed = exposures(incident, now_ms) if is_of_model else []
    places = [] if is_of_model else stretches(incident.alerts, topic)
    left_out = not_understood(exposed)
    if len(places) > PLACES_MAX:
        left_out.append(f"Only the first {PLACES_MAX:,} of {len(places):,} places that its alerts name are looked at.")
    if not (exposed or places):
        left_out.append("Its alerts name no decisions, so what it has affected can't be counted from the audit log.")
    unnamed = sum(group.raised for group in incident.groups) - len(incident.alerts)
    if places and unnamed:
        left_out.append(f"{unnamed:,} of its alerts are not read one by one, nor the decisions that they name.")
    shares, groups, decisions, customers, worth, unknown, countries, first, last = _one(
        connection, "affected", _asked(sought(exposed), places[:PLACES_MAX])
    )
    return Radius(
        shares=[Share(*row) for row in shares or ()],
        groups=[Group(*row) for row in groups or ()],
        decisions=decisions,
        customers=customers,
        worth_gbp_minor=int(worth),
        worth_unknown=unknown,
        countries=dict(countries or {}),
        first=None if first is None else Affected(*first),
        last=None if last is None else Affected(*last),
        audited_until=dict(connection.execute(_SQL["audited_until"], [topic]).fetchall()),
        usual=_usual(connection, incident.suspect_ms),
        left_out=left_out,
    )


def _usual(connection: Connection, until_ms: int) -> Usual | None:
    asked = {"since_ms": until_ms - USUAL_DAYS * DAY_MS, "until_ms": until_ms}
    first_ms, decisions, customers, worth = _one(connection, "usual", asked)
    if first_ms is None or until_ms - first_ms < DAY_MS:
        return None
    return Usual(first_ms, until_ms, decisions, customers, int(worth))


def _asked(scopes: Sequence[Sought], places: Sequence[Stretch]) -> dict[str, object]:
    return {
        "models": [each.model for each in scopes],
        "names": [each.segment_name for each in scopes],
        "values": [each.segment_value for each in scopes],
        "channels": [each.channel for each in scopes],
        "since_ms": [each.since_ms for each in scopes],
        "until_ms": [each.until_ms for each in scopes],
        "first_ms": min((each.since_ms for each in scopes), default=0),
        "last_ms": max((each.until_ms for each in scopes), default=0),
        "partitions": [each.partition for each in places],
        "firsts": [each.first for each in places],
        "lasts": [each.last for each in places],
    }


def _one(connection: Connection, name: str, values: Any) -> tuple[Any, ...]:
    found = connection.execute(_SQL[name], values).fetchone()
    assert found is not None, "it is one row"
    return found
