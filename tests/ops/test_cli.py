"""Commands that read and write topics, against the embedded broker. Every test has topics of its own, by prefix."""

import asyncio
import csv
import json
from collections.abc import Sequence
from functools import partial

import pytest

from ops.stack.topics import create_topics
from pipeline.breaker.answer_counts import Counts
from pipeline.breaker.store import BreakerStore
from pipeline.domain.decision import Outcome
from pipeline.domain.log import Record, Source
from pipeline.domain.payment import Decoded, Transaction
from pipeline.domain.refusals import refusal_of
from pipeline.io.dead_letters import DeadLetters
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.sealing import DeadLetterKey, create_key_file
from pipeline.io.settings import Settings
from tests.archive import CLOSED, OPEN, WIRE, Archive, payment, stored
from tests.decisions import decision_id_of
from tests.known import appoint, environment_of
from tests.stamped import write_for_workers


@pytest.fixture
def settings(stack, request, archive) -> Settings:
    prefix = f"{request.node.name[:60].replace('[', '.').replace(']', '')}."
    create_topics(stack.bootstrap_servers, prefix=prefix)
    return Settings(
        bootstrap_servers=stack.bootstrap_servers,
        redis_url=stack.redis_url,
        topic_prefix=prefix,
        state_prefix=prefix,
        policy_archive=archive.policies,
        model_registry=archive.registry,
    )


@pytest.fixture
def ask(fraud, settings):
    """The command, with these settings."""
    names = ("bootstrap_servers", "redis_url", "topic_prefix", "state_prefix", "policy_archive", "model_registry")
    environment = {name: getattr(settings, name) for name in names}
    return lambda *arguments: fraud(*arguments, **environment)


def publish(settings: Settings, topic: str, pairs: Sequence[tuple[str, bytes]]) -> None:
    publisher = BulkPublisher(settings)
    for key, value in pairs:
        publisher.publish(settings.topic(topic), key.encode(), value, 0)
    publisher.flush()


def publish_decisions(settings: Settings, archive: Archive, count: int = 30) -> list[bytes]:
    payments = [payment(n) for n in range(count)]
    modes = [CLOSED if n % 3 else OPEN for n in range(count)]
    values = archive.values(payments, modes, ip_fraud_reports=3)
    publish(settings, "decisions.v1", [(p.account_id, v) for p, v in zip(payments, values, strict=True)])
    return values


def records(settings: Settings, topic: str) -> list[Record]:
    with LogReader.of(settings) as log:
        return list(log.read_all(settings.topic(topic)))


def lines(answer) -> list[dict[str, object]]:
    assert answer.code == 0, answer.err
    return [json.loads(line) for line in answer.out.splitlines()]


HANDBOOK = """transaction_id,tx_time_s,customer_id,terminal_id,amount_minor,fraud,scenario
0,31,596,3156,5716,0,0
1,130,4961,3412,8151,1,2
2,200000,2,1365,14600,0,0
"""


def test_a_replayed_handbook_csv_is_payments_that_are_accepted(ask, settings, tmp_path):
    (tmp_path / "handbook.csv").write_text(HANDBOOK)
    answer = lines(ask("payments", "publish", tmp_path / "handbook.csv", "--labels", "--json"))
    assert (answer[0]["transactions"], answer[0]["labels"]) == (3, 1)
    found = sorted(records(settings, "transactions.v1"), key=lambda each: each.source.timestamp_ms)
    decoded = [WIRE.decode_transaction(each.value) for each in found]
    assert all(isinstance(each, Decoded) for each in decoded)
    for each, place in zip(decoded, found, strict=True):
        assert refusal_of(each.transaction, place.key, Source(0, 0, place.source.timestamp_ms)) is None
        assert place.source.timestamp_ms == each.transaction.event_time_ms
    assert [each.transaction.amount_minor for each in decoded] == [5716, 8151, 14600]
    assert decoded[0].transaction.account_id == "cust-000596"
    assert decoded[0].transaction.beneficiary_account_id == "term-003156"
    [label] = [WIRE.decode_label(each.value) for each in records(settings, "labels.v1")]
    assert (label.transaction_id, label.fraud) == (decoded[1].transaction.transaction_id, True)


def test_a_file_of_whole_transactions_comes_back_as_it_was(ask, settings, tmp_path):
    wanted = [payment(1), payment(2, beneficiary_name=None, ip_address=None, beneficiary_opened_at_ms=None)]
    with (tmp_path / "payments.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Transaction._fields)
        for each in wanted:
            writer.writerow(
                [json.dumps(value) if name == "segments" else value for name, value in each._asdict().items()]
            )
    assert lines(ask("payments", "publish", tmp_path / "payments.csv", "--json"))[0]["transactions"] == 2
    found = [WIRE.decode_transaction(each.value).transaction for each in records(settings, "transactions.v1")]
    assert sorted(found, key=lambda each: each.transaction_id) == wanted


def test_generated_traffic_is_accepted_and_keyed_by_account(ask, settings):
    [counts] = lines(ask("traffic", "generate", "--count", 500, "--accounts", 100, "--labels", "--json"))
    assert counts["transactions"] == 500
    assert counts["accounts"] > 50
    found = records(settings, "transactions.v1")
    assert len(found) == 500
    for each in found:
        decoded = WIRE.decode_transaction(each.value)
        assert refusal_of(decoded.transaction, each.key, Source(0, 0, each.source.timestamp_ms)) is None


def test_tail_shows_the_latest_and_only_the_outcome_asked_for(ask, settings, archive):
    values = publish_decisions(settings, archive)
    assert len(lines(ask("decisions", "tail", "-n", 7, "--json"))) == 7
    escalated = [value for value in values if stored(value).decision.outcome == "ESCALATE"]
    assert len(lines(ask("decisions", "tail", "--outcome", "ESCALATE", "-n", 100, "--json"))) == len(escalated)


def test_tail_in_a_pipe_is_one_plain_line_a_decision(ask, settings, archive):
    publish_decisions(settings, archive)
    answer = ask("decisions", "tail", "-n", 5)
    assert answer.out.count("\n") == 5
    assert "\x1b" not in answer.out
    assert all(any(outcome in line for outcome in Outcome) for line in answer.out.splitlines())


@pytest.mark.parametrize("by_account", [True, False])
@pytest.mark.parametrize("is_decision_id", [True, False])
def test_explain_finds_a_decision_by_either_id(ask, settings, archive, by_account, is_decision_id):
    publish_decisions(settings, archive)
    wanted = decision_id_of(payment(17)) if is_decision_id else "tx-000017"
    account = ("--account", payment(17).account_id) if by_account else ()
    [fields] = lines(ask("explain", wanted, *account, "--json"))
    assert fields["transaction_id"] == "tx-000017"
    assert fields["verified"]["result"] == "IDENTICAL"


def test_verify_all_counts_and_exits_0(ask, settings, archive):
    publish_decisions(settings, archive)
    [total] = lines(ask("verify", "--all", "--json"))
    assert total == {"decisions": 30, "identical": 30, "differs": 0, "unverifiable": 0}


def test_verify_names_what_differs_and_exits_1(ask, settings, archive):
    values = publish_decisions(settings, archive, 3)
    forged = values[0].replace(b"Escalated by the", b"Escalated by one").replace(b"Blocked by the", b"Blocked by one")
    assert forged != values[0]
    publish(settings, "decisions.v1", [("forged", forged), ("broken", values[1][:-3])])
    answer = ask("verify", "--all", "--json")
    assert answer.code == 1
    *named, total = [json.loads(line) for line in answer.out.splitlines()]
    assert {tuple(each["differing"]) for each in named} == {("summary",), ("encoding",)}
    assert (total["identical"], total["differs"]) == (3, 2)


def test_verify_looks_at_one_stretch_of_one_partition(ask, settings, archive):
    publish_decisions(settings, archive)
    with LogReader.of(settings) as log:
        extents = log.extents(settings.topic("decisions.v1"))
    partition = max(extents, key=lambda each: extents[each].high)
    whole = extents[partition].high
    assert whole > 4
    [total] = lines(ask("verify", "--partition", partition, "--from", 1, "--to", 4, "--json"))
    assert total["identical"] == 3
    [total] = lines(ask("verify", "--partition", partition, "--json"))
    assert total["identical"] == whole


def test_dead_letters_are_opened_with_their_key_only(ask, settings, tmp_path):
    for name in ("key", "other"):
        create_key_file(tmp_path / name)
    letters = DeadLetters(WIRE, settings.topic("transactions.dead.v1"), DeadLetterKey.from_file(tmp_path / "key"))
    record = Record(b"GB29-0001", WIRE.encode_transaction(payment(1)), Source(2, 5, 1_764_072_000_000))
    letter = letters.letter("transactions.v1", record, "POISON", "deciding failed")
    publish(settings, "transactions.dead.v1", [("2:5", letter.value)])
    closed = ask("dead-letters", "list")
    assert "POISON" in closed.out
    assert "Jane Smith" not in closed.out
    opened = ask("dead-letters", "list", "--open", tmp_path / "key").out
    assert '"beneficiary_name": "Jane Smith"' in opened
    assert "Transaction(" not in opened
    assert "sealed with key" in ask("dead-letters", "list", "--open", tmp_path / "other").out


@pytest.fixture
def operator(monkeypatch, owner, tmp_path):
    """Who acts, and the file by which workers know them; return what writes that anew."""
    appoint(owner, {"on-call": "OPERATOR"})
    for name, value in environment_of(tmp_path / "people", "on-call").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FRAUD_PEOPLE_FILE", str(tmp_path / "people.jsonl"))
    keys = Settings(seal_directory=tmp_path / Settings().seal_directory)  # where commands run
    write = partial(write_for_workers, owner, tmp_path / "people.jsonl", keys)
    write()
    return write


def test_a_person_opens_and_releases_the_breaker(ask, operator):
    assert ask("breaker", "show").code == 1
    opened = ask("breaker", "force-open", "all", "--reason", "drill", "--json")
    assert json.loads(opened.out)["after"] == "FORCED_OPEN"
    assert json.loads(ask("breaker", "show", "--json").out)["state"] == "FORCED_OPEN"
    again = ask("breaker", "force-open", "all", "--reason", "drill")
    assert (again.code, "all is FORCED_OPEN" in again.err) == (1, True)
    [released] = lines(ask("breaker", "release", "all", "--reason", "over", "--json"))
    assert (released["before"], released["after"]) == ("FORCED_OPEN", "HALF_OPEN")
    assert released["sequence"] > json.loads(opened.out)["sequence"]
    assert json.loads(ask("breaker", "show", "--json").out)["state"] == "FORCED_OPEN", "the people's file is of before"
    operator()
    again = ask("breaker", "release", "all", "--reason", "over")
    assert (again.code, "all is UNKNOWN: RELEASE is not possible from there" in again.err) == (1, True)


def test_the_kill_switch_says_where_nothing_was_counted_under_its_scope(ask, fraud, settings, operator):
    async def count() -> None:
        store = BreakerStore(settings.redis_url, settings.state_prefix)
        await store.record([(0, 0, 9)], {"all": Counts(allow=9), "model:lgbm-10": Counts(allow=9)})
        await store.close()

    asyncio.run(count())
    missed = ask("breaker", "force-open", "model:lgbm-1O", "--reason", "drill")
    assert (missed.code, "NO PAYMENT WAS COUNTED UNDER IT" in missed.out) == (0, True)
    assert "There are all, model:lgbm-10" in missed.out
    assert "every worker has it" not in missed.out
    met = ask("breaker", "force-open", "model:lgbm-10", "--reason", "drill", "--json")
    assert json.loads(met.out)["is_seen"] is True
    refused = ask("breaker", "force-open", "channel:MOBILE", "--reason", "drill")
    assert (refused.code, "there are channel:OTHER, channel:CARD" in refused.err) == (1, True)


def test_the_kill_switch_works_without_redis_and_a_release_of_it_too(fraud, settings, operator):
    away = {"bootstrap_servers": settings.bootstrap_servers, "topic_prefix": settings.topic_prefix}
    away["redis_url"] = "redis://127.0.0.1:1/0"
    person = ("all", "--reason", "drill", "--json")
    assert fraud("breaker", "release", *person, **away).code == 2
    assert json.loads(fraud("breaker", "force-open", *person, **away).out)["after"] == "FORCED_OPEN"
    assert json.loads(fraud("breaker", "release", *person, **away).out)["after"] == "HALF_OPEN"


def test_topics_create_reports_each_topic(ask):
    assert {line["outcome"] for line in lines(ask("topics", "create", "--json"))} == {"touched"}
