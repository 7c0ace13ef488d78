"""`fraud executor restore`, as people run it."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from ops.stack.topics import create_topics
from pipeline.domain.log import Outgoing
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import connect
from tests.decisions import written
from tests.execute.audited import AuditedTopic
from tests.execute.given import decision
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
    }

    def run(*arguments: object, **environment: object):
        return fraud("executor", "restore", *arguments, "--json", **{**where, **environment})

    run.prefix = prefix
    return run


def test_it_says_what_was_caught_up_with(restore, appender, stack, database_url):
    topic, record = f"{restore.prefix}decisions.v1", decision("BLOCK")
    appender.append([Outgoing(topic, record.account_id.encode(), written(record))])
    behind = restore("--reason", REASON)
    assert behind.code == 2
    assert "Start the audit service" in behind.err
    url = url_as(database_url, "fraud_audit")
    with closing(connect(url, "test")) as connection, LogReader(stack.bootstrap_servers, "test", {}) as log:
        for partition in log.extents(topic):
            AuditedTopic(connection, log, topic).take_in(partition)
    answer = restore("--reason", REASON)
    assert answer.code == 0, answer.err
    said = json.loads(answer.out.splitlines()[-1])
    assert (said["life"], said["records"], said["executions_asked"], said["left_over"]) == (2, 1, 1, 0)


def test_it_wants_a_reason(restore):
    answer = restore("--reason", "lost")
    assert answer.code == 2
    assert "Say why" in answer.err


def test_without_the_rail_nothing_is_done(restore, appender, owner):
    record = decision()
    appender.append([Outgoing(f"{restore.prefix}decisions.v1", record.account_id.encode(), written(record))])
    answer = restore("--reason", REASON, rail_url="http://127.0.0.1:9", rail_timeout_s=0.2)
    assert answer.code == 2
    assert "goes on where it stopped" in answer.err
    assert owner.execute("SELECT max(number) FROM ledger.life").fetchone() == (1,)
    assert owner.execute("SELECT count(*) FROM ledger.execution").fetchone() == (0,)
