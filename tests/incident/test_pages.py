"""Resolving an incident ends the pages about it, at every sink, and nothing that came since."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ops.stack.embedded import EmbeddedStack
from pipeline.incident.desk_store import ActRefused, Said, act, pages_left
from pipeline.incident.incidents import EventKind
from pipeline.io.postgres import Connection, connect
from pipeline.oncall.groups import OTHER_SCOPES, SCOPES_MAX, State
from pipeline.oncall.store import read_latest_groups
from tests.incident.given import AlertTopic, caught_up
from tests.known import appoint, identity
from tests.oncall.given import trip
from tests.oncall.stand import Stand
from tests.records import NOON_MS
from tests.servers import url_as

GONE_BACK_FROM = "model:wrong-1"
RESOLVED = Said(EventKind.RESOLVED, "Back on the model of October; the plan is applied.")


@pytest.fixture
def stand(stack: EmbeddedStack, database_url: str, tmp_path: Path, owner: Connection):
    appoint(owner, {"olga": "OPERATOR"})
    with closing(Stand(stack.bootstrap_servers, database_url, tmp_path)) as stand:
        yield stand


def placed(stand: Stand) -> None:
    """Let the incident service read what there is."""
    topic = AlertTopic(stand.servers, stand.prefix)
    with closing(topic.service(url_as(stand.database_url, "fraud_incident"))) as service:
        caught_up(service)


def resolve(stand: Stand, owner: Connection, by: str = "olga") -> None:
    (incident_id,) = owner.execute("SELECT incident_id::text FROM control.incident ORDER BY recorded_at").fetchone()
    with closing(connect(url_as(stand.database_url, "fraud_incident"), "test")) as desk:
        act(desk, incident_id, identity(by), RESOLVED, "{}")


def states(owner: Connection) -> dict[tuple[str, str], list[State]]:
    found: dict[tuple[str, str], list[State]] = {}
    for group in read_latest_groups(owner, 100):
        found.setdefault((group.key.code, group.key.scope), []).append(group.state)
    return found


def fired(stand: Stand, service, count: int = 1) -> None:
    stand.run(service, lambda: stand.told()["pager"]["trigger"] == count)
    stand.turns(service, 5)


def test_page_of_a_version_that_was_gone_back_from_ends_with_its_incident(stand: Stand, owner: Connection) -> None:
    stand.publish(trip(GONE_BACK_FROM))
    with stand.service() as service:
        fired(stand, service)
        placed(stand)
        resolve(stand, owner)
        stand.run(service, lambda: stand.told()["pager"]["resolve"] == 1)
        stand.run(service, lambda: stand.told()["hook"]["alert.resolved"] == 1)
    assert states(owner) == {("BREAKER_TRIP", GONE_BACK_FROM): [State.RESOLVED]}


def test_page_ends_when_the_service_of_alerts_was_down_while_it_was_resolved(stand: Stand, owner: Connection) -> None:
    stand.publish(trip(GONE_BACK_FROM))
    with stand.service() as service:
        fired(stand, service)
    placed(stand)
    resolve(stand, owner)
    assert states(owner) == {("BREAKER_TRIP", GONE_BACK_FROM): [State.FIRING]}
    with stand.service() as service:
        stand.run(service, lambda: stand.told()["pager"]["resolve"] == 1)
    assert states(owner) == {("BREAKER_TRIP", GONE_BACK_FROM): [State.RESOLVED]}


def test_what_trips_just_after_is_told_anew_though_the_page_ends_then(stand: Stand, owner: Connection) -> None:
    """The act waits for the service, which reads the later trip into the group first."""
    stand.publish(trip(GONE_BACK_FROM))
    with stand.service() as service:
        fired(stand, service)
        placed(stand)
        service._looked_at_s = float("inf")  # it looks at people later
        resolve(stand, owner)
        stand.publish(trip(GONE_BACK_FROM, NOON_MS + 60_000))
        stand.run(service, lambda: sum(group.records for group in read_latest_groups(owner, 9)) == 2)
        service._looked_at_s = float("-inf")
        stand.run(service, lambda: stand.told()["pager"]["trigger"] == 2)
        stand.run(service, lambda: stand.told()["pager"]["resolve"] == 1)
        stand.turns(service, 5)
    assert sorted(states(owner)["BREAKER_TRIP", GONE_BACK_FROM]) == [State.FIRING, State.RESOLVED]
    assert stand.told()["pager"]["resolve"] == 1


def test_a_page_that_holds_others_alerts_too_goes_on_and_is_named(stand: Stand, owner: Connection) -> None:
    segments = [trip(f"segment:age_band={number}", NOON_MS + number) for number in range(SCOPES_MAX + 1)]
    later = trip("segment:age_band=later", NOON_MS + 30 * 3_600_000)
    stand.publish(*segments)
    with stand.service() as service:
        stand.run(service, lambda: ("BREAKER_TRIP", OTHER_SCOPES) in states(owner))
        stand.publish(later)
        stand.run(service, lambda: sum(group.records for group in read_latest_groups(owner, 99)) == SCOPES_MAX + 2)
        placed(stand)
        (incident_id,) = owner.execute("SELECT incident_id::text FROM control.incident ORDER BY raised_at").fetchone()
        with closing(connect(url_as(stand.database_url, "fraud_incident"), "test")) as desk:
            act(desk, incident_id, identity("olga"), RESOLVED, "{}")
            assert [(page.scope, page.is_whole) for page in pages_left(desk, incident_id)] == [(OTHER_SCOPES, False)]
        ended = {group.group_id for group in read_latest_groups(owner, 99) if group.key.scope != OTHER_SCOPES}
        stand.run(service, lambda: len(ended) == sum(each == [State.RESOLVED] for each in states(owner).values()))
    assert states(owner)["BREAKER_TRIP", OTHER_SCOPES] == [State.FIRING]


def test_who_is_no_operator_ends_neither_incident_nor_page(stand: Stand, owner: Connection) -> None:
    stand.publish(trip(GONE_BACK_FROM))
    with stand.service() as service:
        fired(stand, service)
        placed(stand)
        appoint(owner, {"rob": "ROLLBACK_REQUESTER"})
        with pytest.raises(ActRefused):
            resolve(stand, owner, "rob")
        stand.turns(service, 5)
    assert states(owner) == {("BREAKER_TRIP", GONE_BACK_FROM): [State.FIRING]}
    assert owner.execute("SELECT count(*) FROM control.alert_act").fetchone() == (0,)
