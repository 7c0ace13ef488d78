"""What became of payments is taken in from executors alone, once they seal what they tell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import pytest
from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.decide.outcomes.topics import OutcomesTopic
from pipeline.domain.log import Outgoing
from pipeline.domain.outcome import PaymentOutcome
from pipeline.execute.restoring.told_topics import TAIL_RECORDS, Told
from pipeline.io.avro.wire import WireFormat
from pipeline.io.dead_letters import DeadLetters
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeyUse
from pipeline.seals.seal_files import EXECUTIONS, execution_proves, execution_sealer
from tests.seals.test_label_files import made
from tests.servers import unused_prefix
from tests.state.test_outcome_records import TOLD

WIRE = WireFormat()
DEADLINE_S = 120.0
HONEST, FORGED = "honest-payee", "forged-payee"


def scene(stack: EmbeddedStack, folder) -> tuple[Settings, OutcomesTopic, int]:
    """Forged records before, between and after the one that an executor sealed; and the partition that has them."""
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    made(folder, KeyUse.DECISIONS, KeyUse.EXECUTIONS)
    given = {"seal_keys_file": folder / "keys", "seal_key_file": folder / KeyUse.EXECUTIONS}
    where = {"bootstrap_servers": stack.bootstrap_servers, "topic_prefix": prefix, "consumer_group": prefix}
    settings = Settings.model_validate({**where, **given})
    sealer = execution_sealer(settings)
    assert sealer is not None
    topic, key = settings.topic(EXECUTIONS), TOLD.account_id.encode()
    [honest] = sealer.seal([Outgoing(topic, key, WIRE.encode(TOLD._replace(beneficiary_account_id=HONEST)))])
    [forged] = sealer.seal([Outgoing(topic, key, WIRE.encode(TOLD._replace(beneficiary_account_id=FORGED)))])
    unsealed = forged._replace(headers=None)
    resealed = forged._replace(headers=honest.headers)  # under a seal that was seen on another record
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    for record in (unsealed, honest, resealed, unsealed._replace(value=b"no execution")):
        producer.produce(topic, record.value, key, honest.partition, headers=record.headers)
    assert producer.flush(DEADLINE_S) == 0
    return settings, outcomes_topic(settings), honest.partition


def outcomes_topic(settings: Settings) -> OutcomesTopic:
    def open_reader() -> LogReader:
        return LogReader(settings.bootstrap_servers, "test", {}, proves=execution_proves(settings))

    async def append(_: Sequence[Outgoing]) -> None:
        raise AssertionError("nothing is told")

    return OutcomesTopic(settings, WIRE, open_reader, DeadLetters(WIRE, "dead", None), append)


def payees(contents: Sequence[object]) -> list[str]:
    assert all(isinstance(each, PaymentOutcome) for each in contents)
    return [each.beneficiary_account_id for each in contents if isinstance(each, PaymentOutcome)]


def test_a_follower_takes_in_what_an_executor_sealed_and_passes_over_the_rest(stack, tmp_path):
    _, topic, partition = scene(stack, tmp_path)
    found: list[object] = []
    with closing(topic._open_source(lambda partitions: dict.fromkeys(partitions, 0))) as source:
        deadline_s = time.monotonic() + DEADLINE_S
        while source.positions.get(partition, 0) < 4:
            assert time.monotonic() < deadline_s, "it takes too long"
            found += [record.content for record in source.read(10, 0.2).records]
    assert payees(found) == [HONEST]


def test_a_worker_that_catches_up_takes_in_no_more_than_a_follower(stack, tmp_path):
    _, topic, partition = scene(stack, tmp_path)
    read = topic._read(partition, 0, 4)
    assert payees([record.content for record in read.taken]) == [HONEST]
    assert read.end_offset == 4


@pytest.mark.parametrize("flood", [FORGED.encode(), None])
def test_an_executor_finds_what_it_told_last_behind_a_flood(stack, tmp_path, flood):
    """Whoever may write there would hide that a ledger was put back, by filling the end that is looked at."""
    settings, _, partition = scene(stack, tmp_path)
    topic = settings.topic(EXECUTIONS)
    unsealed = WIRE.encode(TOLD._replace(beneficiary_account_id=FORGED)) if flood is None else flood
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    for _ in range(3 * TAIL_RECORDS):
        producer.produce(topic, unsealed, b"payer", partition)
    assert producer.flush(DEADLINE_S) == 0
    with LogReader(settings.bootstrap_servers, "test", {}, proves=execution_proves(settings)) as reader:
        told = list(Told(reader, WIRE, topic).latest())
    assert [each.beneficiary_account_id for each in told] == [HONEST]
