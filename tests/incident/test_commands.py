"""`fraud incident` and `fraud rollback plan --incident` as people run them, on an audit log with decisions in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.stack.embedded import EmbeddedStack
from pipeline.breaker.states import Event
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState, Decision, Outcome, Route
from pipeline.domain.identities import DecisionId
from pipeline.domain.log import LogRecord
from pipeline.domain.payment import Transaction
from pipeline.io.postgres import Connection
from tests.audit.logs import Bench, record
from tests.commands import Answer, Fraud
from tests.decisions import DECISION
from tests.incident.given import MINUTE_MS, AlertTopic, caught_up, closed, held, moved, tripped
from tests.known import appoint, settings_of
from tests.records import NOON_MS, PAYMENT
from tests.servers import Postgres, unused_prefix, url_as

MODEL = "model:wrong-1"


def decided(number: int, at_ms: int, **changed: object) -> LogRecord[Any]:
    """A decision of the wrong model about a payment of an account of its own."""
    payment: Transaction = PAYMENT._replace(
        transaction_id=f"tx-{number}",
        account_id=f"GB29-{number:04}",
        amount_minor=10_000 + number,
        **changed.pop("payment", {}),  # type: ignore[arg-type]
    )
    decision: Decision = DECISION._replace(
        decision_id=DecisionId(f"00000000-0000-5000-8000-{number:012}"),
        transaction_id=payment.transaction_id,
        account_id=payment.account_id,
        decided_at_ms=at_ms,
        model_version="wrong-1",
        snapshot=DECISION.snapshot._replace(transaction=payment),
        **changed,
    )
    return record(number, decision)._replace(timestamp_ms=at_ms)


@pytest.fixture
def bench(postgres: Postgres, database_url: str, tmp_path: Path) -> Iterator[Bench]:
    with closing(Bench(postgres.server, database_url, tmp_path)) as bench:
        bench.open()
        yield bench


@pytest.fixture
def topic(stack: EmbeddedStack) -> AlertTopic:
    return AlertTopic(stack.bootstrap_servers, unused_prefix())


@pytest.fixture
def places(topic: AlertTopic, database_url: str, owner: Connection) -> dict[str, str]:
    appoint(owner, {"olga": "OPERATOR", "rob": "ROLLBACK_REQUESTER"})
    return {"bootstrap_servers": topic.bootstrap_servers, "database_url": url_as(database_url, "fraud_reader")}


@pytest.fixture
def opened(
    topic: AlertTopic, database_url: str, owner: Connection, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Raises alerts, has the service read them, and returns the incident's id."""

    def run(*told: Alert) -> str:
        topic.publish(told)
        with closing(topic.service(url_as(database_url, "fraud_incident"))) as service:
            caught_up(service)
        capsys.readouterr()  # what the service logs
        (incident_id,) = owner.execute("SELECT incident_id::text FROM control.incident").fetchone() or ("",)
        return str(incident_id)

    return run


def shown(fraud: Fraud, places: dict[str, str], incident_id: str) -> dict[str, Any]:
    answer = fraud("incident", "show", incident_id, "--json", **places)
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


def test_radius_counts_what_the_model_decided_in_its_time_and_what_the_fallback_did(
    fraud: Fraud, bench: Bench, opened: Callable[..., str], places: dict[str, str], owner: Connection
) -> None:
    euro = {"payment": {"currency": "EUR", "beneficiary_country": "FR"}}
    fallback = {"route": Route.FALLBACK, "breaker_state": BreakerState.OPEN, "breaker_scope": MODEL}
    bench.store([
        decided(0, NOON_MS - 11 * MINUTE_MS),  # before anything was suspect
        decided(1, NOON_MS - 10 * MINUTE_MS, outcome=Outcome.BLOCK),
        decided(2, NOON_MS - 1, outcome=Outcome.BLOCK, **euro),
        decided(3, NOON_MS + 1, outcome=Outcome.ESCALATE, **fallback),
        decided(4, NOON_MS + 2, route=Route.GUARDRAIL, outcome=Outcome.BLOCK),
        decided(5, NOON_MS + 20 * MINUTE_MS),  # the breaker has closed again
    ])  # fmt: skip
    back = closed(at_ms=NOON_MS + 20 * MINUTE_MS)
    incident_id = opened(tripped(), back)
    found = shown(fraud, places, incident_id)
    radius = found["blast_radius"]
    assert (3, 3) == (radius["decisions"], radius["customers"])
    assert [
        {"route": "FALLBACK", "outcome": "ESCALATE", "currency": "GBP", "decisions": 1, "amount_minor": 10_003},
        {"route": "MODEL", "outcome": "BLOCK", "currency": "EUR", "decisions": 1, "amount_minor": 10_002},
        {"route": "MODEL", "outcome": "BLOCK", "currency": "GBP", "decisions": 1, "amount_minor": 10_001},
    ] == radius["by_currency"]
    assert {"FR": 1, "GB": 2} == radius["beneficiary_countries"]
    assert ("tx-1", "tx-3") == (radius["first"]["transaction_id"], radius["last"]["transaction_id"])
    assert {"0", "1"} == radius["audit_log_read_until"].keys()
    assert {MODEL: "CLOSED"} == found["scopes"]
    assert {"allow": 300, "block": 200, "escalate": 12, "errors": 0} == found["counts"]
    assert "UNDECIDED" == found["classification"]["class"]
    plain = fraud("incident", "show", incident_id[:8], **places)
    assert "3 decisions of 3 customers" in plain.out
    assert "a person must say whether media" in plain.out


@pytest.mark.parametrize(
    ("scope", "expected", "is_said"),
    [
        ("all", 4, False),
        ("model:wrong-1", 3, False),
        ("model:other", 1, False),
        ("segment:postcode_area=SW", 3, False),
        ("segment:postcode_area=LS", 1, False),
        ("channel:CARD", 1, False),
        ("segment:other", 4, True),
        ("planet:mars", 4, True),
    ],
)
def test_radius_is_of_the_scope_and_of_everything_where_that_says_too_little(
    fraud: Fraud,
    bench: Bench,
    opened: Callable[..., str],
    places: dict[str, str],
    owner: Connection,
    scope: str,
    expected: int,
    is_said: bool,
) -> None:
    bench.store([
        decided(1, NOON_MS), decided(2, NOON_MS, payment={"segments": {"postcode_area": "LS"}}),
        decided(3, NOON_MS, payment={"channel": "CARD"}), decided(4, NOON_MS)._replace(),
    ])  # fmt: skip
    owner.execute("SET session_replication_role = replica")
    owner.execute("UPDATE audit.ai_decision_log SET model_version = 'other' WHERE transaction_id = 'tx-4'")
    radius = shown(fraud, places, opened(tripped(scope)))["blast_radius"]
    assert expected == radius["decisions"]
    assert is_said == any(scope in sentence for sentence in radius["left_out"])


def test_a_decision_that_stands_on_the_topic_twice_counts_once(
    fraud: Fraud, bench: Bench, opened: Callable[..., str], places: dict[str, str], owner: Connection
) -> None:
    once = decided(1, NOON_MS)
    bench.store([once, once._replace(offset=once.offset + 4)])
    assert 1 == shown(fraud, places, opened(tripped()))["blast_radius"]["decisions"]


def test_what_an_incident_has_affected_is_said_not_to_be_known_where_its_alerts_name_nothing(
    fraud: Fraud, opened: Callable[..., str], places: dict[str, str], owner: Connection
) -> None:
    found = shown(fraud, places, opened(held()))
    assert "AVAILABILITY" == found["kind"]
    assert ["can't be counted" in sentence for sentence in found["blast_radius"]["left_out"]] == [True]
    assert {} == found["blast_radius"]["audit_log_read_until"]
    assert "NOTHING is audited yet" in fraud("incident", "show", found["incident_id"], **places).out


def test_people_see_to_an_incident_from_the_command_line(
    fraud: Fraud, opened: Callable[..., str], places: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    incident_id = opened(tripped())
    on_call = {**places, "database_url": url_as(database_url, "fraud_incident"), **settings_of(tmp_path, "olga")}
    reader = places

    def done(*words: str) -> Answer:
        return fraud("incident", words[0], incident_id[:6], *words[1:], "--json", **on_call)

    assert "ACKNOWLEDGED" == json.loads(done("ack").out)["state"]
    assert 1 == done("ack").code
    answered = done("note", "--criterion", "economic", "--answer", "met", "--reason", "claims of 200,000 euro")
    assert answered.code == 0, answered.err
    assert 2 == done("note", "--criterion", "economic", "--reason", "no answer").code
    assert 1 == len(fraud("incident", "list", "--json", **reader).out.splitlines())
    assert "RESOLVED" == json.loads(done("resolve", "--reason", "the old model is back").out)["state"]
    assert "" == fraud("incident", "list", "--json", **reader).out
    assert 1 == len(fraud("incident", "list", "--all", "--json", **reader).out.splitlines())
    found = shown(fraud, reader, incident_id)
    economic = next(each for each in found["classification"]["criteria"] if each["criterion"] == "ECONOMIC")
    assert ("MET", "olga", []) == (economic["answer"], economic["word"]["by"], economic["open"])
    (resolution,) = [each for each in found["events"] if each["kind"] == "RESOLVED"]
    assert resolution["is_proved"]
    assert 0 == resolution["assessment"]["blast_radius"]["decisions"]
    verified = fraud("people", "verify", **reader)
    assert verified.code == 0, verified.out
    assert "3 rows looked at" in verified.err


def test_report_is_one_page_and_the_same_as_json(
    fraud: Fraud, bench: Bench, opened: Callable[..., str], places: dict[str, str], owner: Connection
) -> None:
    bench.store([decided(number, NOON_MS, outcome=Outcome.BLOCK) for number in range(5)])
    hostile = moved(Event.TRIP, MODEL, NOON_MS, cause="<script>alert(1)</script> \u202e 39 % are blocked")
    incident_id = opened(hostile)
    path = bench.folder / "incident.html"
    answer = fraud("incident", "report", incident_id, "--html", path, "--json", **places)
    assert answer.code == 0, answer.err
    page = path.read_text("utf-8")
    assert "<script>" not in page
    assert "\u202e" not in page
    for words in (incident_id, "39 % are blocked", "Article 9(5)(b)", "fraud rollback plan --incident", "£500.10"):
        assert words in page
    assert "http" not in page.replace("http-equiv", "")
    assert incident_id == json.loads(answer.out)["incident_id"]
    assert 2 == fraud("incident", "report", incident_id, **places).code


@pytest.mark.parametrize("wanted", ["nonsense", "00000000-0000-0000-0000-000000000000", "%", "ab"])
def test_an_incident_that_is_not_there_is_a_sentence(fraud: Fraud, places: dict[str, str], wanted: str) -> None:
    answer = fraud("incident", "show", wanted, **places)
    assert answer.code == 2
    assert f"There is no incident {wanted}." in answer.err


def test_usual_is_the_days_before_and_shares_are_against_a_day(
    fraud: Fraud, bench: Bench, opened: Callable[..., str], places: dict[str, str], owner: Connection
) -> None:
    """Rows of these days are filed, because their months have partitions."""
    owner.execute("SELECT control.ensure_month(%s)", [datetime.fromtimestamp(NOON_MS / 1000, UTC)])
    day_ms = 86_400_000
    before = [decided(number, NOON_MS - 2 * day_ms + number) for number in range(40)]
    during = [decided(number, NOON_MS) for number in range(40, 43)]
    bench.store(sorted([*before, *during], key=lambda each: (each.partition, each.offset)))
    found = shown(fraud, places, opened(tripped()))
    usual = found["blast_radius"]["usual"]
    assert (40, 40) == (usual["decisions"], usual["customers"])
    clients = next(each for each in found["classification"]["criteria"] if each["criterion"] == "CLIENTS")
    assert "MET" == clients["answer"], "3 payments are more than a tenth of the 20 of a usual day"
