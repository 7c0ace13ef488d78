"""`fraud executor restore`, as people run it."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from ops.stack.topics import create_topics
from pipeline.domain.log import Outgoing
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import connect
from pipeline.io.settings import Settings
from tests.decisions import written
from tests.execute.audited import AuditedTopic
from tests.execute.given import decision
from tests.sealing import seal_headers
from tests.servers import unused_prefix, url_as

REASON = "The disk of the database was lost."


@pytest.fixture
def restore(fraud, stack, executor_url, rail_of, tmp_path):
    """Run it against topics and a rail of the test's own."""
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    where = {
        "bootstrap_servers": stack.bootstrap_servers,
        "database_url": executor_url,
        "rail_url": rail_of(),
        "topic_prefix": prefix,
        "seal_directory": Settings().seal_directory.resolve(),  # of seal_headers
    }

    def run(*arguments: object, **environment: object):
        return fraud("executor", "restore", *arguments, "--json", **{**where, **environment})

    run.prefix = prefix
    return run


def publish(appender, topic, *records):
    """As a worker does, with its seal."""
    for record in records:
        key, value = record.account_id.encode(), written(record)
        appender.append([Outgoing(topic, key, value, 0, seal_headers(topic, key, value, 0))])


def take_in(topic, stack, database_url, forged=()):
    """The audit log comes to the end of the topic."""
    url = url_as(database_url, "fraud_audit")
    with closing(connect(url, "test")) as connection, LogReader(stack.bootstrap_servers, "test", {}) as log:
        for partition in log.extents(topic):
            AuditedTopic(connection, log, topic, forged).take_in(partition)


def test_it_says_what_was_caught_up_with(restore, appender, stack, database_url):
    topic, record = f"{restore.prefix}decisions.v1", decision("BLOCK")
    publish(appender, topic, record)
    behind = restore("--reason", REASON)
    assert behind.code == 2
    assert "Start the audit service" in behind.err
    take_in(topic, stack, database_url)
    answer = restore("--reason", REASON)
    assert answer.code == 0, answer.err
    said = json.loads(answer.out.splitlines()[-1])
    assert (said["life"], said["records"], said["executions_asked"], said["left_over"]) == (2, 1, 1, 0)


def test_it_wants_a_reason(restore):
    answer = restore("--reason", "lost")
    assert answer.code == 2
    assert "Say why" in answer.err


def test_what_nobody_proves_to_have_written_is_passed_over_and_kept(restore, appender, stack, database_url, owner):
    topic, forged = f"{restore.prefix}decisions.v1", decision(payer="GB29-0001/held")
    publish(appender, topic, decision("BLOCK"))
    appender.append([Outgoing(topic, b"key", written(forged), 0)])
    publish(appender, topic, decision("BLOCK"))
    take_in(topic, stack, database_url, [written(forged)])
    answer = restore("--reason", REASON)
    assert answer.code == 0, answer.err
    assert json.loads(answer.out.splitlines()[-1])["records"] == 2
    kept = owner.execute("SELECT consumer, topic_offset, why FROM control.unproved_record").fetchall()
    assert kept == [("executor", 1, "SEAL_MISSING")]


def test_without_the_rail_nothing_is_done(restore, appender, stack, database_url, owner):
    topic = f"{restore.prefix}decisions.v1"
    publish(appender, topic, decision())
    take_in(topic, stack, database_url)
    answer = restore("--reason", REASON, rail_url="http://127.0.0.1:9", rail_timeout_s=0.2)
    assert answer.code == 2
    assert "goes on where it stopped" in answer.err
    assert owner.execute("SELECT max(number) FROM ledger.life").fetchone() == (1,)
    assert owner.execute("SELECT count(*) FROM ledger.execution").fetchone() == (0,)
