"""The service where something around it fails, lags or lies: killed, without a broker, a sink that answers nonsense."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from ops.bench.alerts import sinks as sinks_module
from ops.bench.alerts.sinks import Manner
from pipeline.alerts.catalogue import AlertCode, alert, over
from pipeline.domain.alert import Severity
from pipeline.io.kafka.client import BrokerAway
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, connect
from pipeline.oncall import sending_service
from pipeline.oncall.groups import OTHER_SCOPES, SCOPES_MAX, Group, State, is_all_over
from pipeline.oncall.outbox import AttemptKind
from pipeline.oncall.own_store import own_alerts_to_tell
from pipeline.oncall.store import read_deliveries_about, read_latest_groups
from tests.oncall.given import conflict, good, trip
from tests.oncall.stand import WIRE, Stand
from tests.records import NOON_MS
from tests.servers import url_as


def codes(owner: Connection) -> set[str]:
    return {group.key.code for group in read_latest_groups(owner, 100)}


def ends(owner: Connection, code: str) -> dict[str, AttemptKind | None]:
    [about] = [group.group_id for group in read_latest_groups(owner, 100) if group.key.code == code]
    return {each.message.sink: each.end for each in read_deliveries_about(owner, about)}


def test_end_that_was_stored_is_told_by_whoever_runs_next(stand: Stand, owner: Connection) -> None:
    stand.routes(sinks='"hook", "slack"')
    stand.hook.behave(Manner.BAD_400)
    stand.publish(conflict())
    with stand.service() as service:
        service._tell = lambda _: None  # type: ignore[method-assign] # it is killed before this
        stand.run(service, lambda: bool(codes(owner)))
        stand.run(service, lambda: ends(owner, "TRANSACTION_ID_CONFLICT").get("hook") is AttemptKind.REFUSED)
        service._is_begun = False
    with stand.service() as service:
        stand.run(service, lambda: "ALERT_NOT_DELIVERED" in codes(owner))
        with closing(connect(url_as(stand.database_url, "fraud_alerts"), "test")) as connection:
            stand.run(service, lambda: not own_alerts_to_tell(connection))
    with stand.service() as service:
        stand.turns(service, 10)
    with LogReader(stand.servers, "test", {}) as log:
        told = [WIRE.decode_alert(record.value) for record in log.read_all(stand.topic)]
    assert 1 == [each.code for each in told].count("ALERT_NOT_DELIVERED")  # type: ignore[union-attr]


def test_sinks_and_own_alerts_go_on_while_the_broker_is_away(stand: Stand, owner: Connection) -> None:
    """The thread that publishes waits for the broker; no turn of the service does."""
    stand.routes(sinks='"hook"', more='[heartbeat]\nevery_s = 1\nsinks = ["hook"]')
    is_back, tries = threading.Event(), list[int]()
    with stand.service() as service:
        publish = service._publish

        def away(alerts) -> None:
            raised = list(alerts)
            if is_back.is_set():
                publish(raised)
                return
            tries.append(len(raised))
            is_back.wait(50.0)
            raise BrokerAway("the broker is away")

        service._publish = away
        stand.run(service, lambda: bool(tries), "the first heartbeat waits for the broker")
        stand.publish(*(trip(f"segment:A{number}") for number in range(10)))
        stand.run(service, lambda: len(stand.hook.taken) == 10)
        assert [1] == tries, "one heartbeat, and one try at a time"
        is_back.set()
        stand.run(service, lambda: stand.told()["hook"]["alerts.heartbeat"] >= 1)
        assert service.step(stand.stopping) is None


@pytest.mark.parametrize("ts", ['"\\u0000"', '"\\ud800"', "[" * 50_000, "1e999", '{"a": 1}'])
def test_sink_that_answers_nonsense_ends_nothing_but_its_message(
    stand: Stand, owner: Connection, monkeypatch, ts: str
) -> None:
    original = sinks_module._answer

    def answer(handler, *rest) -> None:
        if "chat.postMessage" not in handler.path:
            original(handler, *rest)
            return
        body = ('{"ok": true, "ts": ' + ts + "}").encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    monkeypatch.setattr(sinks_module, "_answer", answer)
    stand.routes(sinks='"hook", "slack"')
    stand.publish(conflict())
    with stand.service() as service:
        stand.run(service, lambda: bool(codes(owner)))
        stand.run(service, lambda: ends(owner, "TRANSACTION_ID_CONFLICT").get("slack") is not None)
        stand.turns(service, 2)
    expected = AttemptKind.DOUBTFUL if ts.startswith("[") else AttemptKind.DELIVERED
    assert expected is ends(owner, "TRANSACTION_ID_CONFLICT")["slack"]


def test_good_news_that_is_read_late_ends_no_newer_trip(stand: Stand, owner: Connection) -> None:
    """It stands on a partition that lags."""
    stand.routes(sinks='"hook"')

    def of(code: str) -> list[State]:
        return [group.state for group in read_latest_groups(owner, 10) if group.key.code == code]

    stand.publish(trip(), trip(at_ms=NOON_MS + 600_000))
    with stand.service() as service:
        stand.run(service, lambda: [2] == [each.records for each in read_latest_groups(owner, 10)])
        stand.publish(good(at_ms=NOON_MS + 300_000))
        stand.run(service, lambda: bool(of("BREAKER_PROBE_GOOD")))
        assert [State.FIRING] == of("BREAKER_TRIP")
    with stand.service() as service:  # which knows it from the database
        stand.publish(good(at_ms=NOON_MS + 500_000))
        stand.turns(service, 10)
        assert [State.FIRING] == of("BREAKER_TRIP")
        stand.publish(good(at_ms=NOON_MS + 600_001))
        stand.run(service, lambda: [State.RESOLVED] == of("BREAKER_TRIP"))


def test_trip_of_everything_is_told_amid_those_of_segments_and_a_fold_ends(stand: Stand, owner: Connection) -> None:
    stand.routes(sinks='"hook"')
    wide = {"all", "model:m2", "channel:MOBILE"}
    segments = [f"segment:postcode_area=A{number}" for number in range(SCOPES_MAX + 2)]
    stand.publish(*map(trip, segments))
    with stand.service() as service:
        stand.run(service, lambda: len(stand.hook.taken) >= SCOPES_MAX + 1)
        stand.publish(*map(trip, sorted(wide)))
        stand.run(service, lambda: wide <= {each.json["data"]["scope"] for each in stand.hook.taken})

        def fold() -> Group:
            latest = read_latest_groups(owner, 100)
            [found] = [each for each in latest if (each.key.code, each.key.scope) == ("BREAKER_TRIP", OTHER_SCOPES)]
            return found

        stand.run(service, lambda: len(fold().turns) == 2)
        first, second = (turn.scope for turn in fold().turns.values())
        stand.publish(good(first, NOON_MS + 1))
        stand.run(service, lambda: any(turn.is_over for turn in fold().turns.values()))
        assert State.FIRING is fold().state
    with stand.service() as service:
        stand.publish(good(second, NOON_MS + 1))
        stand.run(service, lambda: fold().state is State.RESOLVED)


def test_whoever_raises_and_ends_by_turns_makes_no_outbox_grow(
    stand: Stand, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pair of records was a group, two messages a sink, and room for the next: 1,165 waited after 600 of them."""
    most = 20
    monkeypatch.setattr(sending_service, "CROWDED", most)
    stand.routes(sinks='"slack"', rate=0.01)
    with stand.service() as service:
        stand.turns(service, 1)
        for number in range(30):
            said = {"test": str(number)}
            test = alert(AlertCode.ALERTS_TEST, "Nothing is wrong.", "all", said, NOON_MS, Severity.CRITICAL)
            gap = alert(AlertCode.TABLES_UNCHAINED, "Rows wait.", "all", said, NOON_MS)
            notice = alert(AlertCode.ROLLBACK_APPLIED, "Carried out.", "all", said, NOON_MS)
            stand.forge(test, over(test, NOON_MS + 1), gap, over(gap, NOON_MS + 1), notice)
            stand.turns(service, 1)
        stand.run(service, lambda: 30 <= sum(each.records for each in of_code(owner, "TABLES_UNCHAINED")))
        stand.turns(service, 3)
        waiting = len(service._outbox._pending)
        assert most <= waiting <= 60, "notices are told while there are few groups; without the bound 150 wait"
        assert [each for each in service._keeper.open_groups() if is_all_over(each)], "held back"
    monkeypatch.setattr(sending_service, "CROWDED", 10_000)
    with stand.service() as service:  # whoever runs next ends what was held back
        stand.run(service, lambda: {State.RESOLVED} == {each.state for each in of_code(owner, "TABLES_UNCHAINED")})


def of_code(owner: Connection, code: str) -> list[Group]:
    return [each for each in read_latest_groups(owner, 1_000) if each.key.code == code]
