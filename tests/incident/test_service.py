"""The incident service on a broker and PostgreSQL: each raising is stored once, whatever is read how often."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import permutations
from pathlib import Path

import pytest
from psycopg import errors

from ops.stack.embedded import EmbeddedStack
from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.breaker.states import Event
from pipeline.domain.decision import BreakerState
from pipeline.incident import desk_store
from pipeline.incident.acts import expected
from pipeline.incident.desk_store import ActRefused, Said, act
from pipeline.incident.incident_store import append_event, newest_ids, read_incident
from pipeline.incident.incidents import EventKind, Exposure, Incident, IncidentState, PersonEvent, exposures
from pipeline.incident.service import IncidentService
from pipeline.incident.whole import _event_json
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, DatabaseUnavailable, PositionMoved, connect
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeyUse
from pipeline.people.act_store import append_act, read_registry
from pipeline.seals.seal_files import seal_check, sealer_of
from tests.incident.given import (
    LOOKBACK_MS,
    MINUTE_MS,
    AlertTopic,
    caught_up,
    closed,
    held,
    incidents_of,
    moved,
    tripped,
)
from tests.known import appoint, identity, revoke
from tests.records import NOON_MS
from tests.servers import unused_prefix, url_as

TABLES = "control.incident, control.incident_alert, control.incident_event, control.breaker_transition"
NOTED = "the policy of Monday has a typing error"


@pytest.fixture
def topic(stack: EmbeddedStack) -> AlertTopic:
    return AlertTopic(stack.bootstrap_servers, unused_prefix())


@pytest.fixture
def url(database_url: str, owner: Connection) -> str:
    appoint(owner, {"olga": "OPERATOR", "rita": "REVIEWER"})
    return url_as(database_url, "fraud_incident")


@pytest.fixture
def service(topic: AlertTopic, url: str) -> Iterator[IncidentService]:
    with closing(topic.service(url)) as service:
        yield service


@pytest.fixture
def desk(url: str) -> Iterator[Connection]:
    with closing(connect(url, "test")) as connection:
        yield connection


def only(connection: Connection) -> Incident:
    (incident_id,) = newest_ids(connection, read_registry(connection), 10, is_all=True)
    found = read_incident(connection, incident_id, read_registry(connection))
    assert found is not None
    return found


def resolved(desk: Connection, incident_id: str) -> Incident:
    return act(desk, incident_id, identity("olga"), Said(EventKind.RESOLVED, NOTED), "{}")


def transitions(owner: Connection) -> list[tuple[str, str, str]]:
    rows = owner.execute(
        "SELECT scope, event, after_state FROM control.breaker_transition ORDER BY at, scope"
    ).fetchall()
    return list(rows)


def test_a_trip_opens_an_incident_and_its_way_back_belongs_to_it(
    topic: AlertTopic, service: IncidentService, owner: Connection
) -> None:
    back = [
        moved(Event.OPEN_PERIOD_OVER, at_ms=NOON_MS + 5 * MINUTE_MS, before=BreakerState.OPEN),
        closed(at_ms=NOON_MS + 9 * MINUTE_MS),
    ]
    topic.publish([tripped(), *back])
    caught_up(service)
    assert [("MODEL", "model:wrong-1", 1)] == incidents_of(owner)
    found = only(owner)
    assert ["TRIP", "OPEN_PERIOD_OVER", "PROBE_GOOD"] == [each.event for each in found.transitions]
    assert {"allow": 300, "block": 200, "escalate": 12, "errors": 0} == found.transitions[0].counts
    assert "CLOSED" == found.state_of("model:wrong-1")
    assert IncidentState.OPEN == found.state


def test_a_word_that_something_is_over_changes_nothing(
    topic: AlertTopic, service: IncidentService, owner: Connection
) -> None:
    """Whoever may write alerts.v1 could say so of anything; people resolve incidents."""
    topic.publish([tripped(), tripped(at_ms=NOON_MS + MINUTE_MS)._replace(is_over=True)])
    topic.publish([held()._replace(is_over=True)])
    caught_up(service)
    assert [("MODEL", "model:wrong-1", 1)] == incidents_of(owner)
    assert 1 == len(transitions(owner))


def test_what_is_read_twice_or_stands_there_twice_is_one(
    topic: AlertTopic, service: IncidentService, url: str, owner: Connection
) -> None:
    told = [tripped(), tripped("segment:postcode_area=SW", NOON_MS + MINUTE_MS), held(), closed(at_ms=NOON_MS + 10)]
    topic.publish([*told, *told])
    caught_up(service)
    before = (incidents_of(owner), transitions(owner))
    assert [("MODEL", "model:wrong-1", 2), ("AVAILABILITY", "all", 1)] == sorted(before[0], reverse=True)
    assert 3 == len(before[1])
    # A superuser loses the positions: all is read again.
    owner.execute("SET session_replication_role = replica")
    owner.execute("DELETE FROM control.consumer_position WHERE consumer = 'incident'")
    with closing(topic.service(url)) as anew:
        caught_up(anew)
    assert before == (incidents_of(owner), transitions(owner))


def test_the_order_of_reading_makes_no_difference(stack: EmbeddedStack, url: str, owner: Connection) -> None:
    told = [tripped(), tripped("segment:postcode_area=SW", NOON_MS + MINUTE_MS), closed(at_ms=NOON_MS + 2 * MINUTE_MS)]
    seen = set()
    for order in permutations(told):
        owner.execute("SET session_replication_role = replica")
        owner.execute(f"TRUNCATE {TABLES} CASCADE")
        topic = AlertTopic(stack.bootstrap_servers, unused_prefix())
        with closing(topic.service(url)) as service:
            for each in order:  # each is stored before the next stands there
                topic.publish([each])
                caught_up(service)
        found = only(owner)
        seen.add((found.first_ms, tuple(found.scopes), tuple(each.event for each in found.transitions)))
    assert {(NOON_MS, ("model:wrong-1", "segment:postcode_area=SW"), ("TRIP", "TRIP", "PROBE_GOOD"))} == seen


def test_a_trip_after_the_resolution_opens_another(
    topic: AlertTopic, service: IncidentService, desk: Connection, owner: Connection
) -> None:
    topic.publish([tripped()])
    caught_up(service)
    first = resolved(desk, only(owner).incident_id)
    assert IncidentState.RESOLVED == first.state
    topic.publish([tripped(at_ms=NOON_MS + MINUTE_MS), tripped()])
    caught_up(service)
    assert [("MODEL", "model:wrong-1", 1)] * 2 == incidents_of(owner)
    again = read_incident(owner, first.incident_id, read_registry(owner))
    assert again is not None
    assert 1 == len(again.transitions), "what comes later is the next incident's"


def test_people_acknowledge_note_and_resolve_by_what_they_sign(
    topic: AlertTopic, service: IncidentService, desk: Connection, owner: Connection
) -> None:
    topic.publish([tripped()])
    caught_up(service)
    incident_id = only(owner).incident_id
    by = identity("olga")
    assert IncidentState.ACKNOWLEDGED == act(desk, incident_id, by, Said(EventKind.ACKNOWLEDGED, "I look")).state
    with pytest.raises(ActRefused, match="acknowledged already"):
        act(desk, incident_id, by, Said(EventKind.ACKNOWLEDGED, "I too"))
    with pytest.raises(ActRefused, match="only an OPERATOR"):
        act(desk, incident_id, identity("rita"), Said(EventKind.NOTED, NOTED))
    with pytest.raises(ActRefused, match="not registered"):
        act(desk, incident_id, identity("stranger"), Said(EventKind.NOTED, NOTED))
    with pytest.raises(ActRefused, match="the text holds characters"):
        act(desk, incident_id, by, Said(EventKind.NOTED, "hidden \u202e text"))
    act(desk, incident_id, by, Said(EventKind.NOTED, NOTED))
    assert IncidentState.RESOLVED == resolved(desk, incident_id).state
    with pytest.raises(ActRefused, match="only notes"):
        resolved(desk, incident_id)
    after = act(desk, incident_id, by, Said(EventKind.NOTED, "the root cause was found"))
    assert ["ACKNOWLEDGED", "NOTED", "RESOLVED", "NOTED"] == [each.kind for each in after.events]
    assert [1, 2, 3, 4] == [each.sequence for each in after.events]


def test_what_was_done_under_a_role_stays_done(
    topic: AlertTopic, service: IncidentService, desk: Connection, owner: Connection
) -> None:
    topic.publish([tripped()])
    caught_up(service)
    incident_id = resolved(desk, only(owner).incident_id).incident_id
    revoke(owner, "olga", "OPERATOR")
    again = read_incident(owner, incident_id, read_registry(owner))
    assert again is not None
    assert IncidentState.RESOLVED == again.state
    with pytest.raises(ActRefused, match="only an OPERATOR"):
        act(desk, incident_id, identity("olga"), Said(EventKind.NOTED, NOTED))


def test_a_resolution_that_nobody_signed_ends_nothing(
    topic: AlertTopic, service: IncidentService, owner: Connection
) -> None:
    """The database's owner passes the triggers by."""
    topic.publish([tripped()])
    caught_up(service)
    incident_id = only(owner).incident_id
    owner.execute("SET session_replication_role = replica")
    owner.execute(
        """INSERT INTO control.incident_event (incident_id, sequence, kind, actor, at, text, assessment, act)
           SELECT %s, 1, 'RESOLVED', 'olga', now(), 'all is well', '{}', digest FROM control.signed_act LIMIT 1""",
        [incident_id],
    )
    found = only(owner)
    assert (IncidentState.OPEN, 1) == (found.state, len(found.unproved))
    topic.publish([tripped(at_ms=NOON_MS + MINUTE_MS)])
    caught_up(service)
    assert [("MODEL", "model:wrong-1", 2)] == incidents_of(owner), "it joins what is open"


@pytest.mark.parametrize("column", ["text", "actor", "kind", "sequence", "assessment"])
def test_a_row_that_says_otherwise_than_its_act_is_refused(
    topic: AlertTopic, service: IncidentService, desk: Connection, owner: Connection, column: str
) -> None:
    """With the credential of fraud_incident alone: somebody's fresh act under another row."""
    topic.publish([tripped()])
    caught_up(service)
    incident_id = only(owner).incident_id
    act(desk, incident_id, identity("olga"), Said(EventKind.NOTED, NOTED))
    others = {"text": "other", "actor": "rita", "kind": "ACKNOWLEDGED", "sequence": 3, "assessment": "{}"}
    fields = {"kind": "NOTED", "actor": "olga", "text": NOTED, "sequence": 2, "assessment": None}
    fields[column] = others[column]
    with pytest.raises(errors.CheckViolation), desk.transaction():
        desk.execute(
            """INSERT INTO control.incident_event (incident_id, sequence, kind, actor, at, text, assessment, act)
               SELECT %(incident_id)s, %(sequence)s, %(kind)s, %(actor)s, at, %(text)s, %(assessment)s, act
               FROM control.incident_event LIMIT 1""",
            {**fields, "incident_id": incident_id},
        )


def test_records_that_are_no_alerts_stop_nothing_and_are_told(
    topic: AlertTopic, service: IncidentService, owner: Connection
) -> None:
    topic.publish_bytes([b"", b"\xc3\x01garbage", b"\x00" * 100])
    topic.publish([tripped()])
    caught_up(service)
    caught_up(service)  # what it told stands behind what it had read
    assert [("ALERTING", "all", 1), ("MODEL", "model:wrong-1", 1)] == sorted(incidents_of(owner))


def test_alerts_that_no_column_would_take_are_stored(
    topic: AlertTopic, service: IncidentService, owner: Connection
) -> None:
    strange = tripped("segment:x=\x00\x00")._replace(raised_at_ms=2**62, summary="\x00", code="BREAKER_TRIP")
    topic.publish([strange, tripped()._replace(raised_at_ms=-(2**62), evidence={"version": "\x00" * 9})])
    caught_up(service)
    assert 2 == len(incidents_of(owner))


def test_two_services_share_the_topic(topic: AlertTopic, service: IncidentService, url: str, owner: Connection) -> None:
    """Each may lose a turn to the other; nothing is stored twice, and nothing is passed over."""
    with closing(topic.service(url)) as other:
        for number in range(20):
            topic.publish([tripped(f"segment:n={number}", NOON_MS + number)])
            threads = [threading.Thread(target=_turn, args=[each]) for each in (service, other)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        caught_up(service)
    assert [("MODEL", "segment:n=0", 20)] == incidents_of(owner)
    assert 20 == len(transitions(owner))


def _turn(service: IncidentService) -> None:
    stopping = threading.Event()
    stopping.set()
    try:
        service.step(stopping)
    except PositionMoved:
        service.begin_again()


def test_nothing_is_half_stored_where_the_database_goes_away(
    topic: AlertTopic, service: IncidentService, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is cut after each of the statements of a turn in its turn."""
    topic.publish([tripped(), held(), tripped("all", NOON_MS + 5)])
    cuts = 0
    while True:
        cuts += 1
        with monkeypatch.context() as patched:
            if not _is_cut(service, patched, owner, after=cuts):
                break
        assert [] == incidents_of(owner)
        assert [] == transitions(owner)
        service.begin_again()
    assert cuts > 8
    assert 2 == len(incidents_of(owner))


def _is_cut(service: IncidentService, patched: pytest.MonkeyPatch, owner: Connection, *, after: int) -> bool:
    """Take a turn whose session is ended before a statement of it; return whether it had so many."""
    connection = service._held.connection()
    execute, count = connection.execute, 0

    def counted(*arguments: object, **named: object) -> object:
        nonlocal count
        count += 1
        if count == after:
            owner.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        return execute(*arguments, **named)

    patched.setattr(connection, "execute", counted)
    stopping = threading.Event()
    stopping.set()
    try:
        service.step(stopping)
    except DatabaseUnavailable:
        return True
    return count >= after


def forged(thief: Connection, found: Incident, kind: EventKind, assessment: str | None = None) -> None:
    """Store an event as whoever has the service's credential, and nobody's key, can."""
    at_ms, root = server_now_ms(thief), read_registry(thief).root
    event = PersonEvent(found.next_sequence, kind, "olga", at_ms, NOTED, None, None, assessment, "")
    wanted = expected(found.incident_id, event)
    signed = identity("olga").sign(wanted.kind, wanted.subject, at_ms, root)._replace(signature=bytes(64))
    append_act(thief, signed)
    append_event(thief, found.incident_id, event._replace(act=signed.digest))


def test_forged_events_shut_nobody_out(
    topic: AlertTopic,
    service: IncidentService,
    desk: Connection,
    owner: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desk_store, "EVENTS_MAX", 3)
    topic.publish([tripped()])
    caught_up(service)
    incident_id = only(owner).incident_id
    for _ in range(5):
        forged(desk, only(owner), EventKind.NOTED)
    taken = act(desk, incident_id, identity("olga"), Said(EventKind.ACKNOWLEDGED, NOTED))
    assert IncidentState.ACKNOWLEDGED == taken.state
    act(desk, incident_id, identity("olga"), Said(EventKind.NOTED, NOTED))
    assert IncidentState.RESOLVED == resolved(desk, incident_id).state
    with pytest.raises(ActRefused, match="more events than can be kept"):
        act(desk, incident_id, identity("olga"), Said(EventKind.NOTED, NOTED))


def test_no_bound_of_the_database_is_one_that_forged_events_reach(owner: Connection, url: str) -> None:
    constraints = owner.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'control.incident_event'::regclass AND contype = 'c'"
    ).fetchall()
    assert ["CHECK ((sequence >= 1))"] == [text for (text,) in constraints if "sequence" in text]


@pytest.mark.parametrize("assessment", ["}{", "[" * 100_000, '{"a":1e999}', '"\\ud800"', "{}"])
def test_what_nobody_is_proved_to_have_said_is_not_parsed(
    topic: AlertTopic, service: IncidentService, desk: Connection, owner: Connection, assessment: str
) -> None:
    topic.publish([tripped()])
    caught_up(service)
    forged(desk, only(owner), EventKind.RESOLVED, assessment)
    (event,) = only(owner).unproved
    assert assessment == _event_json(event, is_proved=False)["assessment"]
    read = _event_json(event, is_proved=True)["assessment"]
    assert read == ({} if assessment == "{}" else assessment)


def test_rows_that_the_service_would_never_write_end_no_report(
    topic: AlertTopic, service: IncidentService, desk: Connection, owner: Connection
) -> None:
    topic.publish([tripped()])
    caught_up(service)
    desk.execute(
        "INSERT INTO control.incident_alert SELECT gen_random_uuid(), raised_at - interval '1 s', incident_id, code,"
        " severity, summary, scope, '[1]', 0, 0 FROM control.incident_alert"
    )
    desk.execute(
        "INSERT INTO control.breaker_transition SELECT gen_random_uuid(), scope, event, before_state, after_state,"
        " version, author, cause, jsonb_build_object('block', 'many', 'allow', 3), '7', at, 0, 0"
        " FROM control.breaker_transition"
    )
    found = only(owner)
    assert {} == found.alerts[0].evidence
    assert {"allow": 3} in [each.counts for each in found.transitions]


@pytest.mark.parametrize("time", ["infinity", "-infinity"])
def test_no_time_without_end_can_be_stored_that_nobody_could_read(
    topic: AlertTopic, service: IncidentService, desk: Connection, owner: Connection, time: str
) -> None:
    """One such row would end every list of incidents, and the service itself."""
    topic.publish([tripped()])
    caught_up(service)
    for statement in (
        "INSERT INTO control.incident SELECT gen_random_uuid(), kind, gen_random_uuid(), %(at)s::timestamptz,"
        " %(at)s::timestamptz"
        " FROM control.incident",
        "INSERT INTO control.incident_alert SELECT gen_random_uuid(), %(at)s::timestamptz,"
        " incident_id, code, severity, summary, scope, '{}', 0, 0"
        " FROM control.incident_alert",
        "INSERT INTO control.breaker_transition SELECT gen_random_uuid(), scope, event, before_state, after_state,"
        " version, author, cause, '{}', '{}', %(at)s::timestamptz, 0, 0 FROM control.breaker_transition",
    ):
        with pytest.raises(errors.CheckViolation):
            desk.execute(statement, {"at": time})
    assert IncidentState.OPEN == only(owner).state


def test_drill_s_incident_ends_where_the_breaker_closed(topic: AlertTopic, url: str) -> None:
    """It was said to affect every decision until somebody resolved it, on Monday."""
    drilled, back = moved(Event.DRILL), closed(at_ms=NOON_MS + MINUTE_MS)
    with closing(topic.service(url)) as service:
        topic.publish([drilled, back])
        caught_up(service)
    with closing(connect(url, "test")) as desk:
        [found] = whole(desk)
    assert ("DRILL", "CLOSED") == (found.kind, found.state_of("model:wrong-1"))
    later_ms = NOON_MS + 60 * MINUTE_MS
    assert [back.raised_at_ms] == [each.until_ms for each in exposures(found, later_ms)]


def test_trip_that_nobody_proves_is_no_part_of_what_a_model_did(topic: AlertTopic, url: str, tmp_path: Path) -> None:
    """One of 1970 made an incident 56 years long, by which DORA's threshold is met, whatever a person answers."""
    settings = Settings(
        bootstrap_servers=topic.bootstrap_servers, topic_prefix=topic.prefix, seal_directory=tmp_path / "seals"
    )
    sealer = sealer_of(settings, KeyUse.DECISIONS, lambda _: 0, "alerts.v1")
    with closing(topic.service(url, seal_check(settings, KeyUse.DECISIONS).unproved)) as service:
        topic.publish([tripped(at_ms=0), tripped("channel:CARD", NOON_MS - 1)])
        topic.publish_sealed(sealer, [tripped()])
        caught_up(service)
    with closing(connect(url, "test")) as desk:
        found = {one.kind: one for one in whole(desk)}
    assert {"MODEL", "FORGERY"} == found.keys()
    model = found["MODEL"]
    assert (["model:wrong-1"], NOON_MS, NOON_MS - LOOKBACK_MS) == (
        model.scopes,
        model.first_ms,
        model.suspect_since_ms,
    )
    later_ms = NOON_MS + 60 * MINUTE_MS
    assert [Exposure("model:wrong-1", NOON_MS - LOOKBACK_MS, later_ms)] == exposures(model, later_ms)


def whole(connection: Connection) -> list[Incident]:
    registry = read_registry(connection)
    found = [read_incident(connection, each, registry) for each in newest_ids(connection, registry, 10, is_all=True)]
    return [each for each in found if each is not None]


def test_transition_that_no_worker_is_proved_to_have_told_stands_in_the_history_as_that(
    topic: AlertTopic, url: str, owner: Connection, tmp_path: Path
) -> None:
    """Ten processes may write alerts.v1, and the history of the breaker is what a regulator is shown."""
    settings = Settings(
        bootstrap_servers=topic.bootstrap_servers, topic_prefix=topic.prefix, seal_directory=tmp_path / "seals"
    )
    sealer = sealer_of(settings, KeyUse.DECISIONS, lambda _: 0, "alerts.v1")
    with closing(topic.service(url, seal_check(settings, KeyUse.DECISIONS).unproved)) as service:
        topic.publish_sealed(sealer, [tripped()])
        topic.publish([closed(at_ms=NOON_MS + MINUTE_MS), held()])
        caught_up(service)
    with closing(connect(url, "test")) as desk:
        found = next(one for one in whole(desk) if one.kind == "MODEL")
    assert BreakerState.OPEN == found.state_of("model:wrong-1")
    later_ms = NOON_MS + 60 * MINUTE_MS
    assert [later_ms] == [each.until_ms for each in exposures(found, later_ms)], (
        "it never makes less of what is affected"
    )
    rows = owner.execute("SELECT event, author, cause FROM control.breaker_transition ORDER BY at").fetchall()
    assert rows == [
        ("TRIP", "monitor", "39 % are blocked, and 2 % are usual"),
        (
            "PROBE_GOOD",
            "(unproved)",
            "NOT PROVED to be a worker's word (SEAL_MISSING): the model answers as usual",
        ),
    ]


def test_a_true_trip_opens_its_own_incident_beside_one_that_anybody_may_have_made_up(
    topic: AlertTopic, url: str, owner: Connection
) -> None:
    """Who resolves the made-up one would else end the trip's page, too."""
    made_up = alert(AlertCode.BIAS_GAP, "It fares worse.", "model:wrong-1", {"gap": "1"}, NOON_MS - MINUTE_MS)
    with closing(topic.service(url)) as service:
        topic.publish([made_up])
        caught_up(service)
        topic.publish([tripped()])
        caught_up(service)
    with closing(topic.service(url)) as service:  # which knows what is proved from the database
        topic.publish([tripped(at_ms=NOON_MS + MINUTE_MS)])
        caught_up(service)
    counts = owner.execute(
        "SELECT min(code), count(*) FROM control.incident_alert GROUP BY incident_id ORDER BY 1"
    ).fetchall()
    assert [("BIAS_GAP", 1), ("BREAKER_TRIP", 2)] == counts
