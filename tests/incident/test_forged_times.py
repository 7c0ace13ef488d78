"""An incident of the breaker's beside alerts that anybody may have written: how old it is, and what it affects."""

from __future__ import annotations

from contextlib import closing

from ops.stack.embedded import EmbeddedStack
from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.incident.desk_store import Said, act
from pipeline.incident.incident_store import newest_ids, read_incident
from pipeline.incident.incidents import EventKind, Exposure, Incident, exposures
from pipeline.io.postgres import Connection, connect
from pipeline.people.act_store import read_registry
from tests.incident.given import LOOKBACK_MS, MINUTE_MS, AlertTopic, caught_up, closed, tripped
from tests.known import appoint, identity
from tests.records import NOON_MS
from tests.servers import unused_prefix, url_as

SCOPE = "model:wrong-1"
MONTH_AGO_MS = NOON_MS - 30 * 1_440 * MINUTE_MS
LATER_MS = NOON_MS + 60 * MINUTE_MS


def the_open_one(desk: Connection) -> Incident:
    registry = read_registry(desk)
    [incident_id] = newest_ids(desk, registry, 10, is_all=False)
    found = read_incident(desk, incident_id, registry)
    assert found is not None
    return found


def test_forged_alert_takes_no_earlier_trip_into_an_incident(
    stack: EmbeddedStack, database_url: str, owner: Connection
) -> None:
    """It was dated back to before a trip that people had dealt with, whose decisions counted as affected once more."""
    appoint(owner, {"olga": "OPERATOR"})
    topic, url = AlertTopic(stack.bootstrap_servers, unused_prefix()), url_as(database_url, "fraud_incident")
    with closing(topic.service(url)) as service, closing(connect(url, "test")) as desk:
        topic.publish([tripped(at_ms=MONTH_AGO_MS), closed(at_ms=MONTH_AGO_MS + 20 * MINUTE_MS)])
        caught_up(service)
        before = the_open_one(desk)
        act(desk, before.incident_id, identity("olga"), Said(EventKind.RESOLVED, "a typing error, mended"), "{}")
        topic.publish([tripped()])
        caught_up(service)
        assert before.incident_id != the_open_one(desk).incident_id
        topic.publish([alert(AlertCode.MODEL_UNWATCHED, "It can't be judged.", SCOPE, {}, MINUTE_MS)])
        caught_up(service)
        found = the_open_one(desk)
    assert {"BREAKER_TRIP", "MODEL_UNWATCHED"} == {group.code for group in found.groups}
    assert [Exposure(SCOPE, NOON_MS - LOOKBACK_MS, LATER_MS)] == exposures(found, LATER_MS)
    assert NOON_MS - LOOKBACK_MS == found.suspect_ms
