"""Whoever may write alerts.v1, by any process' stolen credential, and what it can call off: nothing, and loudly."""

from __future__ import annotations

from contextlib import closing

import pytest

from pipeline.alerts.catalogue import AlertCode, alert, backup_alert, feed_too_old_alert, over, rollback_alert
from pipeline.alerts.encoding import alert_record
from pipeline.domain.alert import Alert, Severity
from pipeline.io.postgres import Connection, connect
from pipeline.keys.key_sets import KeyUse
from pipeline.oncall import service as service_module
from pipeline.oncall.desk_store import append_group_act
from pipeline.oncall.groups import AGAIN_MS, UNPROVED_SCOPE, EventKind, State
from pipeline.oncall.store import read_latest_groups
from pipeline.seals.seal_files import sealer_of
from tests.known import appoint, identity
from tests.oncall.given import good, trip
from tests.oncall.stand import WIRE, Stand
from tests.records import NOON_MS
from tests.servers import url_as

LATER_MS = NOON_MS + 60_000
RELEASE = alert(AlertCode.BREAKER_RELEASE, "A person let it back.", "all", {}, LATER_MS)
FORCED = alert(AlertCode.BREAKER_FORCE_OPEN, "A person took it out.", "all", {}, NOON_MS)
OLD_COPY = backup_alert(None, NOON_MS)
OLD_FEED = feed_too_old_alert("rates", "1", "1 is 90 hours old", NOON_MS)
LATE_SINK = alert(
    AlertCode.ALERT_NOT_DELIVERED, "The sink mail is late.", "sink:mail", {"sink": "mail"}, NOON_MS, Severity.WARNING
)
WORDS = {
    "trip": (trip(), good(at_ms=LATER_MS)),
    "kill": (FORCED, RELEASE),
    "copy": (OLD_COPY, over(OLD_COPY, LATER_MS)),
    "feed": (OLD_FEED, over(OLD_FEED, LATER_MS)),
    "sink": (LATE_SINK, over(LATE_SINK, LATER_MS)),
}


def state_of(owner: Connection, raised: Alert) -> State:
    [found] = [each for each in read_latest_groups(owner, 100) if each.key.code == raised.code]
    return found.state


def forged(owner: Connection) -> list[dict[str, str]]:
    return [each.evidence for each in read_latest_groups(owner, 100) if each.key.code == "ALERTS_FORGED"]


@pytest.mark.parametrize("what", WORDS)
def test_end_that_nobody_proves_ends_nothing_and_is_told(stand: Stand, owner: Connection, what: str) -> None:
    raised, word = WORDS[what]
    stand.routes(sinks='"hook"')
    stand.publish(raised)
    with stand.service() as service:
        stand.run(service, lambda: bool(stand.hook.taken))
        stand.forge(word)
        stand.run(service, lambda: bool(forged(owner)), "whoever is on call is told")
        assert State.FIRING is state_of(owner, raised)
        [said] = forged(owner)
        assert ("1", "NEVER_SAID" if what == "sink" else "SEAL_MISSING") == (said["records"], said["why"])
        assert not [each for each in read_latest_groups(owner, 100) if each.key.code == word.code != raised.code]


@pytest.mark.parametrize("what", sorted(WORDS.keys() - {"sink"}))
def test_workers_own_word_ends_what_it_told_of_and_says_where_it_stands(
    stand: Stand, owner: Connection, what: str
) -> None:
    raised, word = WORDS[what]
    stand.routes(sinks='"hook"')
    stand.publish(raised)
    with stand.service() as service:
        stand.run(service, lambda: bool(stand.hook.taken))
        stand.publish(word)
        stand.run(service, lambda: State.RESOLVED is state_of(owner, raised))
        stand.run(service, lambda: stand.told()["hook"]["alert.resolved"] == 1)
    [note] = [each.json["data"]["note"] for each in stand.hook.taken if each.json["type"] == "alert.resolved"]
    assert f"{stand.topic}[" in note
    assert not forged(owner)


def test_seal_over_another_record_or_by_a_key_for_reviews_ends_nothing(stand: Stand, owner: Connection) -> None:
    stand.routes(sinks='"hook"')
    stand.publish(trip())
    reviews = sealer_of(stand.settings(), KeyUse.REVIEWS, name="alerts.v1")
    workers = sealer_of(stand.settings(), KeyUse.DECISIONS, name="alerts.v1")
    word, other = (alert_record(WIRE, stand.topic, good(at_ms=LATER_MS + more)) for more in (0, 1))
    with stand.service() as service:
        stand.run(service, lambda: bool(stand.hook.taken))
        [moved] = workers.seal([other])
        stand.append(reviews.seal([word]))
        stand.append([moved._replace(value=word.value)])
        stand.append([moved._replace(key=b"another")])
        stand.run(service, lambda: bool(forged(owner)))
        stand.turns(service, 5)
        assert State.FIRING is state_of(owner, trip())


@pytest.mark.parametrize("alert_id", ["\x00", "", "\U0010ffff" * 5_000])
def test_end_under_an_id_that_no_column_holds_ends_no_service(stand: Stand, owner: Connection, alert_id: str) -> None:
    stand.routes(sinks='"hook"')
    with stand.service() as service:
        stand.forge(over(LATE_SINK, LATER_MS)._replace(alert_id=alert_id), good()._replace(alert_id=alert_id))
        stand.run(service, lambda: bool(forged(owner)))


def test_flood_of_forged_ends_is_told_once_a_minute_a_partition(stand: Stand, owner: Connection) -> None:
    stand.routes(sinks='"hook"')
    with stand.service() as service:
        for burst in range(5):
            stand.forge(*(good(at_ms=LATER_MS + 100 * burst + each) for each in range(100)))
            stand.turns(service, 3)
        stand.run(service, lambda: bool(forged(owner)))
        stand.turns(service, 5)
    (told,) = owner.execute("SELECT count(*) FROM control.own_alert").fetchone() or (0,)
    (partitions,) = owner.execute(
        "SELECT count(DISTINCT alert -> 'evidence' ->> 'partition') FROM control.own_alert"
    ).fetchone() or (0,)
    assert told == partitions > 0


def test_what_is_told_of_a_forged_end_outlives_the_service(stand: Stand, owner: Connection) -> None:
    stand.routes(sinks='"hook"')
    with stand.service() as service:
        service._tell = lambda _: None  # type: ignore[method-assign] # it is killed before this
        stand.forge(good())
        stand.run(service, lambda: bool(owner.execute("SELECT FROM control.own_alert").fetchall()))
        service._is_begun = False
    with stand.service() as service:
        stand.run(service, lambda: bool(forged(owner)))


def scopes(owner: Connection, code: str = "BREAKER_TRIP") -> dict[str, tuple[State, int]]:
    """The groups of a code by scope: their states, and how many alerts each has."""
    found = [each for each in read_latest_groups(owner, 100) if each.key.code == code]
    return {each.key.scope: (each.state, each.records) for each in found}


def test_trip_of_a_worker_never_joins_a_forged_one(stand: Stand, owner: Connection) -> None:
    """Whoever acknowledges the forged one, because nothing is wrong, would have the true one told to nobody."""
    stand.routes(sinks='"hook", "pager"')
    with stand.service() as service:
        stand.forge(*(trip(scope, NOON_MS - 1) for scope in ("all", "model:v1", *(f"segment:{n}" for n in range(60)))))
        stand.run(service, lambda: bool(stand.pager.taken) and bool(stand.hook.taken))
        stand.publish(trip("model:v1"))
        keys = lambda: {each.json["dedup_key"] for each in stand.pager.taken}  # noqa: E731 - a flood is counted, too
        stand.run(service, lambda: len(keys()) == 2, "the pager calls for the true one, too")
        assert {UNPROVED_SCOPE: (State.FIRING, 62), "model:v1": (State.FIRING, 1)} == scopes(owner)
        forged_page = stand.pager.taken[0].json
        assert "Nothing proves that a worker told of this." in forged_page["payload"]["summary"]
        stand.publish(good("model:v1", LATER_MS))
        stand.run(service, lambda: scopes(owner)["model:v1"][0] is State.RESOLVED)
        assert State.FIRING is scopes(owner)[UNPROVED_SCOPE][0], "of the other scopes nobody said so"
    with stand.service() as service:
        stand.publish(*(good(scope, LATER_MS) for scope in ("all", *(f"segment:{n}" for n in range(60)))))
        stand.run(service, lambda: scopes(owner)[UNPROVED_SCOPE][0] is State.RESOLVED, "a worker's word ends these")


def test_alert_can_t_be_hidden_under_its_id_beforehand(stand: Stand, owner: Connection) -> None:
    stand.routes(sinks='"hook"')
    change = rollback_alert("plan-1", 7, "olga", NOON_MS)
    test = alert(AlertCode.ALERTS_TEST, "Nothing is wrong.", "all", {}, NOON_MS, Severity.WARNING)
    with stand.service() as service:
        stand.forge(test._replace(alert_id=change.alert_id), good()._replace(alert_id=change.alert_id))
        stand.run(service, lambda: bool(scopes(owner, "ALERTS_TEST")))
        stand.publish(change)
        stand.run(service, lambda: bool(scopes(owner, "ROLLBACK_APPLIED")), "it is told")


def test_true_alert_after_a_forged_one_that_was_acknowledged_calls_people(
    stand: Stand, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    ahead_ms, true_ms = [0], service_module.server_now_ms
    monkeypatch.setattr(service_module, "server_now_ms", lambda connection: true_ms(connection) + ahead_ms[0])
    stand.routes(sinks='"pager"')
    said = "Records are missing in the ledger."
    forged, true = (
        alert(AlertCode.RECONCILIATION_GAPS, what, "all", {"gap": what}, NOON_MS) for what in ("Nothing.", said)
    )
    with stand.service() as service, closing(connect(url_as(stand.database_url, "fraud_oncall"), "test")) as desk:
        stand.forge(forged)
        stand.run(service, lambda: len(stand.pager.taken) == 1)
        [known] = read_latest_groups(owner, 10)
        append_group_act(desk, EventKind.ACKNOWLEDGED, known.group_id, "a false alarm", identity("olga"))
        stand.run(service, lambda: read_latest_groups(owner, 10)[0].state is State.ACKNOWLEDGED)
        ahead_ms[0] = AGAIN_MS
        stand.publish(true)
        stand.run(service, lambda: [State.FIRING] == [each.state for each in service._keeper.open_groups()])
        stand.run(service, lambda: said in str(stand.pager.taken[-1].json))
    keys = [each.json["dedup_key"] for each in stand.pager.taken if each.json["event_action"] == "trigger"]
    assert 2 == len(keys) == len(set(keys))
    [after] = [each for each in read_latest_groups(owner, 10) if each.state is State.FIRING]
    assert {forged.alert_id, true.alert_id} == set(after.turns), "what isn't over goes on with it"
