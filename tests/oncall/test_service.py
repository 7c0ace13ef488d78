"""The service from the topic to the sinks: grouped, told once, escalated, silenced, over; and through crashes."""

from __future__ import annotations

from contextlib import closing
from itertools import product

import pytest
from prometheus_client import REGISTRY

from ops.bench.alerts.sinks import Manner
from pipeline.alerts.catalogue import AlertCode, alert, drill_alert, over, rollback_alert
from pipeline.domain.alert import Severity
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, connect
from pipeline.oncall import service as service_module
from pipeline.oncall.acts import SilenceWish
from pipeline.oncall.desk_store import DeskRefused, append_group_act, append_silence, append_silence_end
from pipeline.oncall.groups import OTHER_SCOPES, SCOPES_MAX, SYSTEM, EventKind, State
from pipeline.oncall.messages import REPEAT
from pipeline.oncall.outbox import ENDS, Answer, AttemptKind
from pipeline.oncall.store import read_deliveries_about, read_latest_groups
from pipeline.people.verify_command import verify
from tests.known import appoint, identity, revoke
from tests.oncall.given import conflict, good, trip
from tests.oncall.stand import WIRE, Stand
from tests.records import NOON_MS
from tests.servers import url_as

MINUTE_MS = 60_000
TRIP = "BREAKER_TRIP"


def groups(owner: Connection) -> list:
    return read_latest_groups(owner, 100)


def ended(owner: Connection, group_id: str) -> dict[str, AttemptKind | None]:
    return {each.message.sink: each.end for each in read_deliveries_about(owner, group_id)}


def one_each(stand: Stand) -> bool:
    return all(len(sink.taken) for sink in stand.http.values()) and bool(stand.mail.taken)


def desk(stand: Stand):
    return closing(connect(url_as(stand.database_url, "fraud_oncall"), "test"))


def test_alert_reaches_every_sink_of_its_route_once(stand: Stand, owner: Connection) -> None:
    stand.publish(conflict())
    with stand.service() as service:
        stand.run(service, lambda: one_each(stand))
        stand.turns(service, 5)
    assert {"trigger": 1} == stand.told()["pager"]
    assert {"alert.triggered": 1} == stand.told()["hook"]
    assert 1 == len(stand.slack.taken) == len(stand.mail.taken)
    assert {AttemptKind.DELIVERED} == set(ended(owner, groups(owner)[0].group_id).values())


def test_many_conflicts_are_one_page_with_a_count(stand: Stand, owner: Connection) -> None:
    stand.publish(*(conflict(number) for number in range(2_000)))
    with stand.service() as service:
        stand.run(service, lambda: bool(groups(owner)) and groups(owner)[0].records == 2_000)
        stand.run(service, lambda: not any(end is None for end in ended(owner, groups(owner)[0].group_id).values()))
    [group] = groups(owner)
    assert 2_000 == len(group.turns)
    assert 1 == len({each.json["dedup_key"] for each in stand.pager.taken}), "one incident"
    assert len(stand.pager.taken) <= 4, "at 1, 10, 100 and 1,000 at the most"
    assert len(stand.slack.taken) <= 4


def test_restarted_service_tells_nothing_again(stand: Stand, owner: Connection) -> None:
    stand.publish(conflict())
    with stand.service() as service:
        stand.run(service, lambda: one_each(stand))
        stand.turns(service, 3)
    before = stand.told()
    stand.publish(conflict(2))
    with stand.service() as service:
        stand.run(service, lambda: groups(owner)[0].records == 2)
        stand.turns(service, 5)
    assert {**before, "alertmanager": None} == {**stand.told(), "alertmanager": None}
    assert 1 == len(groups(owner))


def test_service_that_dies_while_it_sends_repeats_under_the_key_or_says_so(stand: Stand, owner: Connection) -> None:
    """Its successor can't know that the sinks had taken everything."""
    stand.publish(conflict())
    with stand.service() as service:
        while not one_each(stand):
            service._collect = lambda *_: None  # it dies before it learns of any answer
            service.step(stand.stopping)
        service._is_begun = False  # nor does it wait for them
    with stand.service() as service:
        stand.run(service, lambda: len(stand.hook.taken) == 2 and len(stand.slack.taken) == 2)
        stand.run(service, lambda: len(stand.mail.taken) == 2)
        stand.turns(service, 5)
    assert 1 == len({each.headers["webhook-id"] for each in stand.hook.taken})
    assert 1 == len({each.json["dedup_key"] for each in stand.pager.taken})
    first, again = (each.json["blocks"][1]["text"]["text"] for each in stand.slack.taken)
    assert (False, True) == (first.startswith(REPEAT), again.startswith(REPEAT))
    assert (False, True) == tuple(REPEAT in text.replace("=\n", "") for text in stand.mail.taken)


def test_good_news_ends_the_trip_and_everybody_hears(stand: Stand, owner: Connection) -> None:
    stand.publish(trip())
    with stand.service() as service:
        stand.run(service, lambda: one_each(stand))
        stand.publish(good(at_ms=NOON_MS + 1))
        stand.run(
            service, lambda: stand.told()["pager"]["resolve"] == 1 and stand.told()["hook"]["alert.resolved"] == 1
        )
        stand.run(service, lambda: stand.told()["pager"]["change"] == 1, "the good news is a change, not an incident")
    by_code = {group.key.code: group for group in groups(owner)}
    assert State.RESOLVED is by_code["BREAKER_TRIP"].state
    keys = {each.json["dedup_key"] for each in stand.pager.taken if "dedup_key" in each.json}
    assert {by_code["BREAKER_TRIP"].group_id} == keys


def test_group_is_over_when_each_alert_is(stand: Stand, owner: Connection) -> None:
    first, second = drill_alert("drift", NOON_MS), drill_alert("redis-lost", NOON_MS)
    stand.publish(first, second)
    with stand.service() as service:
        stand.run(service, lambda: bool(groups(owner)) and groups(owner)[0].records == 2)
        stand.publish(over(first, NOON_MS + 2))
        stand.turns(service, 10)
        assert State.FIRING is groups(owner)[0].state
        stand.publish(over(second, NOON_MS + 3))
        stand.run(service, lambda: groups(owner)[0].state is State.RESOLVED)
        stand.publish(first)
        stand.run(service, lambda: len(groups(owner)) == 2)


def test_flood_of_scopes_is_bounded_and_every_alert_is_in_a_group(stand: Stand, owner: Connection) -> None:
    stand.routes(sinks='"hook", "pager"')
    stand.publish(*(trip(f"segment:E{number}") for number in range(SCOPES_MAX + 10)))
    with stand.service() as service:
        stand.run(service, lambda: sum(group.records for group in groups(owner)) == SCOPES_MAX + 10)
        other = [group for group in groups(owner) if group.key.scope == OTHER_SCOPES]
        assert (SCOPES_MAX + 1, [10]) == (len(groups(owner)), [group.records for group in other])
        assert SCOPES_MAX + 10 == len({alert_id for group in groups(owner) for alert_id in group.turns})


def test_word_that_it_is_over_counts_only_where_the_raiser_can_know(stand: Stand, owner: Connection) -> None:
    """Whoever may write the topic could call off the alert that tells of them."""
    forged = conflict()._replace(is_over=True)
    stand.publish(conflict())
    with stand.service() as service:
        stand.run(service, lambda: one_each(stand))
        stand.publish(forged)
        stand.turns(service, 15)
    assert State.FIRING is groups(owner)[0].state


def test_nobody_answers_and_the_next_is_called(stand: Stand, owner: Connection) -> None:
    stand.routes(sinks='"hook", "pager"', more='escalations = [{ after_s = 1, sinks = ["slack"] }]')
    stand.publish(conflict())
    with stand.service() as service:
        stand.run(service, lambda: bool(stand.slack.taken))
    assert stand.slack.taken[0].json["blocks"][0]["text"]["text"].startswith("NOT ACKNOWLEDGED")
    assert 1 == groups(owner)[0].escalated_level


def test_answer_keeps_the_next_from_being_called(stand: Stand, owner: Connection) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    stand.routes(sinks='"hook", "pager"', more='escalations = [{ after_s = 3, sinks = ["slack"] }]')
    stand.publish(conflict())
    with stand.service() as service, desk(stand) as connection:
        stand.run(service, lambda: bool(groups(owner)))
        append_group_act(connection, EventKind.ACKNOWLEDGED, groups(owner)[0].group_id, "I look", identity("olga"))
        stand.run(service, lambda: stand.told()["pager"]["acknowledge"] == 1)
        assert "olga" == groups(owner)[0].acknowledged_by
        service._keeper.do_what_is_due(service._held.connection(), groups(owner)[0].told_at_ms + 10 * MINUTE_MS)
        append_group_act(connection, EventKind.RESOLVED, groups(owner)[0].group_id, "mended", identity("olga"))
        stand.run(service, lambda: stand.told()["pager"]["resolve"] == 1)
    assert [] == stand.slack.taken
    assert "olga" in [each.json["data"]["by"] for each in stand.hook.taken]


def triggers(stand: Stand) -> list[str]:
    """The keys under which the pager was called, in order."""
    return [each.json["dedup_key"] for each in stand.pager.taken if each.json.get("event_action") == "trigger"]


def acknowledge_the_page(
    stand: Stand, service: service_module.AlertService, connection: Connection, owner: Connection
) -> None:
    """Let the service page once, and olga acknowledge it."""
    stand.run(service, lambda: len(triggers(stand)) == 1)
    append_group_act(connection, EventKind.ACKNOWLEDGED, groups(owner)[0].group_id, "I look", identity("olga"))
    stand.run(service, lambda: groups(owner)[0].state is State.ACKNOWLEDGED)


def test_what_somebody_has_who_leaves_calls_people_anew(stand: Stand, owner: Connection) -> None:
    """Whoever stole an OPERATOR's key acknowledged the page that the theft made, and nobody else ever heard of it."""
    appoint(owner, {"olga": "OPERATOR"})
    stand.routes(sinks='"hook", "pager"')
    stand.publish(trip("model:v1"))
    with stand.service() as service, desk(stand) as connection:
        acknowledge_the_page(stand, service, connection, owner)
        stand.turns(service, 15)
        assert 1 == len(triggers(stand)), "it is olga's"
        revoke(owner, "olga", "OPERATOR")
        stand.run(service, lambda: len(triggers(stand)) == 2, "others are called")
        stand.run(service, lambda: stand.told()["hook"]["alert.resolved"] == 1)
        assert 2 == len(set(triggers(stand)))
        [note] = [each.json["data"]["note"] for each in stand.hook.taken if each.json["type"] == "alert.resolved"]
        assert "olga, who acknowledged it, has no role or key any more" in note
        stand.publish(good("model:v1", NOON_MS + MINUTE_MS))
        stand.run(service, lambda: {State.RESOLVED} == {each.state for each in groups(owner) if each.key.code == TRIP})


def test_trip_after_an_acknowledgement_is_another_page(stand: Stand, owner: Connection) -> None:
    """The end of the first was not heard: it stood on a topic that was away, or bore a seal of an unknown key."""
    appoint(owner, {"olga": "OPERATOR"})
    stand.routes(sinks='"pager"')
    stand.publish(trip("model:v1"))
    with stand.service() as service, desk(stand) as connection:
        acknowledge_the_page(stand, service, connection, owner)
        stand.publish(trip("model:v1"))
        stand.turns(service, 10)
        assert 1 == len(triggers(stand)), "the same once more"
        stand.publish(trip("model:v1", NOON_MS + MINUTE_MS))
        stand.run(service, lambda: len(triggers(stand)) == 2)
    assert sorted([State.FIRING, State.RESOLVED]) == sorted(each.state for each in groups(owner))


def test_database_s_clock_that_is_put_back_keeps_nobody_from_being_called(
    stand: Stand, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead_ms = [60 * MINUTE_MS]
    true_ms = service_module.server_now_ms
    monkeypatch.setattr(service_module, "server_now_ms", lambda connection: true_ms(connection) + ahead_ms[0])
    stand.routes(sinks='"pager"', wait_s=1.0, more='escalations = [{ after_s = 2, sinks = ["slack"] }]')
    stand.publish(conflict())
    with stand.service() as service:
        stand.run(service, lambda: bool(service._keeper.open_groups()))
        ahead_ms[0] = 0  # another server has taken over
        stand.run(service, lambda: bool(stand.pager.taken) and bool(stand.slack.taken))


def test_only_an_operator_answers(stand: Stand, owner: Connection) -> None:
    appoint(owner, {"rita": "REVIEWER"})
    stand.publish(conflict())
    with stand.service() as service, desk(stand) as connection:
        stand.run(service, lambda: bool(groups(owner)))
        with pytest.raises(DeskRefused, match="by an OPERATOR"):
            append_group_act(connection, EventKind.ACKNOWLEDGED, groups(owner)[0].group_id, "mine", identity("rita"))
        with pytest.raises(DeskRefused, match="not registered"):
            append_group_act(connection, EventKind.ACKNOWLEDGED, groups(owner)[0].group_id, "mine", identity("eve"))


def test_what_people_answered_can_be_verified(stand: Stand, owner: Connection) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    stand.publish(conflict())
    with stand.service() as service, desk(stand) as connection:
        stand.run(service, lambda: bool(groups(owner)))
        group_id = groups(owner)[0].group_id
        append_group_act(connection, EventKind.ACKNOWLEDGED, group_id, "I look", identity("olga"))
        append_group_act(connection, EventKind.RESOLVED, group_id, "it is over", identity("olga"))
        now_ms = owner.execute("SELECT (extract(epoch FROM now()) * 1000)::bigint").fetchone()[0]  # type: ignore[index]
        wish = SilenceWish("0f0e0d0c-0000-4000-8000-000000000003", "*", "*", "*", now_ms + 10**6, "a planned test")
        append_silence(connection, wish, identity("olga"))
        append_silence_end(connection, wish.silence_id, identity("olga"))
    found = verify(owner, None)
    assert ([], 4) == (found.faults, found.rows)


def test_act_that_nobody_proved_does_nothing(stand: Stand, owner: Connection) -> None:
    """Whoever has the desk's credential can store a row, and can't sign it."""
    appoint(owner, {"olga": "OPERATOR"})
    stand.publish(conflict())
    with stand.service() as service, desk(stand) as connection:
        stand.run(service, lambda: bool(groups(owner)))
        group_id = groups(owner)[0].group_id
        append_group_act(connection, EventKind.ACKNOWLEDGED, group_id, "I look", identity("olga"))
        owner.execute("SET session_replication_role = replica")
        owner.execute("UPDATE control.signed_act SET signature = %s WHERE kind = 'ALERT_ACKNOWLEDGED'", [bytes(64)])
        owner.execute("SET session_replication_role = DEFAULT")
        service._looked_at_s = float("-inf")
        stand.turns(service, 5)
    assert State.FIRING is groups(owner)[0].state


def test_silence_holds_messages_back_until_it_ends(stand: Stand, owner: Connection) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    with stand.service() as service, desk(stand) as connection:
        stand.turns(service, 1)
        now_ms = owner.execute("SELECT (extract(epoch FROM now()) * 1000)::bigint").fetchone()[0]  # type: ignore[index]
        wish = SilenceWish(
            "0f0e0d0c-0000-4000-8000-000000000001", "TRANSACTION_*", "*", "*", now_ms + 10**6, "a planned test"
        )
        append_silence(connection, wish, identity("olga"))
        service._looked_at_s = float("-inf")
        stand.turns(service, 2)
        stand.publish(conflict(), trip())
        stand.run(service, lambda: len(groups(owner)) == 3 and stand.told()["hook"]["alert.triggered"] == 2)
        stand.turns(service, 3)
        assert {"BREAKER_TRIP", "ALERTS_SILENCED"} == {each.json["data"]["code"] for each in stand.hook.taken}
        append_silence_end(connection, wish.silence_id, identity("olga"))
        stand.run(
            service, lambda: "TRANSACTION_ID_CONFLICT" in {each.json["data"]["code"] for each in stand.hook.taken}
        )


def test_silence_falls_with_the_role_of_its_author(stand: Stand, owner: Connection) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    with stand.service() as service, desk(stand) as connection:
        stand.turns(service, 1)
        now_ms = owner.execute("SELECT (extract(epoch FROM now()) * 1000)::bigint").fetchone()[0]  # type: ignore[index]
        wish = SilenceWish("0f0e0d0c-0000-4000-8000-000000000002", "*", "*", "*", now_ms + 10**6, "a planned test")
        append_silence(connection, wish, identity("olga"))
        service._looked_at_s = float("-inf")
        stand.publish(conflict())
        stand.run(service, lambda: len(groups(owner)) == 2 and bool(stand.hook.taken))
        stand.turns(service, 5)
        assert {"ALERTS_SILENCED"} == {each.json["data"]["code"] for each in stand.hook.taken}
        revoke(owner, "olga", "OPERATOR")
        stand.run(service, lambda: "TRANSACTION_ID_CONFLICT" in str([each.json for each in stand.hook.taken]))


def test_silence_without_end_is_refused(stand: Stand, owner: Connection) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    with desk(stand) as connection:
        wish = SilenceWish(
            "0f0e0d0c-0000-4000-8000-000000000001", "*", "*", "*", 4_000_000_000_000, "for ever and ever"
        )
        with pytest.raises(DeskRefused, match="within 7 days"):
            append_silence(connection, wish, identity("olga"))


def test_record_that_can_t_be_read_is_told_and_stops_nothing(stand: Stand, owner: Connection) -> None:
    stand.publish_raw(b"junk")
    stand.publish(conflict())
    with stand.service() as service:
        stand.run(service, lambda: {"ALERTS_UNREAD", "TRANSACTION_ID_CONFLICT"} == {g.key.code for g in groups(owner)})


def test_alert_with_characters_that_no_table_takes_is_taken_in(stand: Stand, owner: Connection) -> None:
    stand.publish(conflict()._replace(summary="a\x00b\nc", scope="\x00", evidence={"\x00": "\x00", "": "x" * 10**5}))
    with stand.service() as service:
        stand.run(service, lambda: bool(groups(owner)) and one_each(stand))


def test_sink_that_refuses_is_told_to_the_others_and_never_to_itself(stand: Stand, owner: Connection) -> None:
    stand.routes(sinks='"hook", "slack"')
    stand.hook.behave(Manner.BAD_400)
    stand.publish(conflict())
    with stand.service() as service:
        stand.run(service, lambda: "ALERT_NOT_DELIVERED" in {group.key.code for group in groups(owner)})
        stand.run(service, lambda: len(stand.slack.taken) == 2)
        stand.turns(service, 5)
    assert {"TRANSACTION_ID_CONFLICT"} == {each.json["data"]["code"] for each in stand.hook.asked}
    assert "sink:hook" in stand.slack.taken[1].json["blocks"][0]["text"]["text"]
    with LogReader(stand.servers, "test", {}) as log:
        told = [WIRE.decode_alert(record.value) for record in log.read_all(stand.topic)]
    assert "REFUSED" in [each.evidence.get("state") for each in told]  # type: ignore[union-attr]


def test_sink_that_asks_for_time_gets_it(stand: Stand) -> None:
    stand.routes(sinks='"hook", "slack"')
    stand.slack.behave(Manner.REFUSES_429, Manner.TAKES)
    stand.publish(conflict())
    with stand.service() as service:
        stand.run(service, lambda: bool(stand.slack.taken))
    assert 2 == len(stand.slack.asked)
    assert not stand.slack.taken[0].json["blocks"][1]["text"]["text"].startswith(REPEAT), (
        "429 says that it did not arrive"
    )


def test_change_is_told_once_however_often_it_is_raised(stand: Stand, owner: Connection) -> None:
    stand.publish(rollback_alert("plan-1", 10, "rob", NOON_MS), rollback_alert("plan-2", 20, "rob", NOON_MS))
    with stand.service() as service:
        stand.run(service, lambda: stand.told()["pager"]["change"] == 2)
    stand.publish(rollback_alert("plan-1", 10, "rob", NOON_MS + 1))
    with stand.service() as service:
        stand.turns(service, 15)
    assert {"change": 2} == stand.told()["pager"]


def test_second_service_stands_by_until_the_first_is_gone(stand: Stand) -> None:
    with stand.service() as second:
        with stand.service() as first:
            stand.turns(first, 1)
            assert "stands by" in str(second.step(stand.stopping))
        assert second.step(stand.stopping) is None


def test_heartbeat_goes_through_the_topic(stand: Stand, owner: Connection) -> None:
    stand.routes(more='[heartbeat]\nevery_s = 1\nsinks = ["hook", "alertmanager"]')
    with stand.service() as service:
        stand.run(service, lambda: stand.told()["hook"]["alerts.heartbeat"] >= 2 and len(stand.manager.taken) >= 2)
    assert [] == groups(owner), "a heartbeat is no alert"


def test_alertmanager_is_told_again_while_it_fires_and_after(stand: Stand, owner: Connection) -> None:
    stand.routes(more="", sinks='"alertmanager", "hook"')
    path = stand.folder / "routes.toml"
    path.write_text(path.read_text().replace("version = 1", "version = 1\nresend_s = 1.0"))
    stand.publish(trip())
    with stand.service() as service:
        stand.run(service, lambda: len(stand.manager.taken) >= 3)
        stand.publish(good(at_ms=NOON_MS + 1))
        stand.run(service, lambda: groups(owner)[1].state is State.RESOLVED if len(groups(owner)) > 1 else False)
        resolved_at = len(stand.manager.taken)
        stand.run(service, lambda: len(stand.manager.taken) >= resolved_at + 3)
    labels = [each.json[0]["labels"]["alertname"] for each in stand.manager.taken]
    assert labels.count("BREAKER_TRIP") >= 5


def test_own_alert_of_a_severity_is_what_the_catalogue_allows() -> None:
    with pytest.raises(AssertionError):
        alert(AlertCode.ALERT_NOT_DELIVERED, "", "sink:x", {}, NOON_MS)


def test_every_series_begins_at_0_before_anything_is_sent(stand: Stand) -> None:
    """A counter that begins at 1 shows no increase, so a first message that ends badly would be none."""
    with stand.service():
        for sink, end in product(("pager", "hook", "slack"), ENDS):
            assert REGISTRY.get_sample_value("fraud_alerts_messages_total", {"sink": sink, "end": end}) is not None
        for sink, answer in product(("pager", "hook", "slack"), Answer):
            labels = {"sink": sink, "answer": answer}
            assert REGISTRY.get_sample_value("fraud_alerts_attempts_total", labels) is not None
        for severity in Severity:
            assert REGISTRY.get_sample_value("fraud_alerts_read_total", {"severity": severity}) is not None


def forge(stand: Stand, group, kind: str, sequence: int | None = None) -> None:
    """Store an event of a group with the service's stolen credential, in the service's own name."""
    with closing(connect(url_as(stand.database_url, "fraud_alerts"), "thief")) as thief:
        thief.execute(
            "INSERT INTO control.alert_event (group_id, sequence, kind, records, actor) VALUES (%s, %s, %s, 1, %s)",
            [group.group_id, sequence or group.sequence + 1, kind, SYSTEM],
        )


def of_code(owner: Connection, code: str) -> list:
    return [each for each in groups(owner) if each.key.code == code]


@pytest.mark.parametrize(("kind", "ahead"), [("RESOLVED", 1), ("TOLD", 1), ("ESCALATED", 40)])
def test_what_a_stolen_credential_writes_of_a_group_calls_nothing_off(stand, owner, kind, ahead) -> None:
    stand.publish(trip())
    with stand.service() as service:
        stand.run(service, lambda: one_each(stand))
        [first] = groups(owner)
        forge(stand, first, kind, first.sequence + ahead)
        service._looked_at_s = float("-inf")
        paged = len(stand.pager.taken)
        stand.run(service, lambda: len(of_code(owner, "ALERTS_FORGED")) == 1, "the alert about it")
        stand.run(service, lambda: stand.told()["pager"]["trigger"] >= 3, "the pages")
        assert len(stand.pager.taken) > paged
        old, again = sorted(of_code(owner, first.key.code), key=lambda each: each.opened_at_ms)
        assert (first.group_id, State.RESOLVED) == (old.group_id, old.state)
        assert (first.key, State.FIRING, first.turns) == (again.key, again.state, again.turns)
        assert again.group_id == of_code(owner, "ALERTS_FORGED")[0].evidence["goes_on_as"]
        service._looked_at_s = float("-inf")
        stand.turns(service, 3)
        stand.publish(good(at_ms=NOON_MS + 1))
        stand.run(service, lambda: not [each for each in of_code(owner, first.key.code) if each.state is State.FIRING])
    assert 2 == len(of_code(owner, first.key.code)), "it goes on once, and is over as it would have been"


def test_what_was_ended_while_no_service_looked_goes_on(stand, owner) -> None:
    stand.publish(trip())
    with stand.service() as service:
        stand.run(service, lambda: one_each(stand))
    [first] = groups(owner)
    forge(stand, first, "RESOLVED")
    for _ in range(2):
        with stand.service() as service:
            stand.run(service, lambda: stand.told()["pager"]["trigger"] >= 3, "the pages")
            stand.turns(service, 3)
    firing = [each.key.code for each in groups(owner) if each.state is State.FIRING]
    assert sorted([first.key.code, "ALERTS_FORGED"]) == sorted(firing)
    assert 3 == len(groups(owner))


def test_an_event_at_the_last_place_of_the_table_stops_nothing(stand, owner) -> None:
    stand.publish(trip())
    with stand.service() as service:
        stand.run(service, lambda: one_each(stand))
        forge(stand, groups(owner)[0], "ESCALATED", 2**31 - 1)
        service._looked_at_s = float("-inf")
        stand.run(service, lambda: stand.told()["pager"]["trigger"] >= 3, "the pages")
    with stand.service() as service:
        stand.turns(service, 3)
    assert 3 == len(groups(owner))


def test_everybody_hears_which_record_ended_a_group(stand, owner) -> None:
    stand.publish(trip())
    with stand.service() as service:
        stand.run(service, lambda: one_each(stand))
        stand.publish(good(at_ms=NOON_MS + 1))
        stand.run(service, lambda: State.RESOLVED in {each.state for each in groups(owner)})
        told = owner.execute("SELECT note FROM control.alert_event WHERE kind = 'RESOLVED'").fetchall()
    assert any(f"{stand.topic}[" in note and "] at " in note for (note,) in told)
