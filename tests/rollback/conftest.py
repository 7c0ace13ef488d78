from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from pipeline.io.kafka.appender import Appender
from pipeline.io.postgres import connect
from tests.execute.given import Desk
from tests.rollback.stand import Audited, WrongArchive
from tests.servers import url_as


@pytest.fixture
def database_url(database_url):
    """The shared one, with two people who may plan and two who may approve."""
    people = {"rae": "ROLLBACK_REQUESTER", "both": "ROLLBACK_REQUESTER", "abe": "ROLLBACK_APPROVER"}
    with psycopg.connect(database_url, autocommit=True) as connection:
        for person, role in [*people.items(), ("both", "ROLLBACK_APPROVER"), ("rae", "REVIEWER")]:
            connection.execute(
                "INSERT INTO control.person_grant (name, role, is_held, granted_by) VALUES (%s, %s, true, 'test')",
                [person, role],
            )
    return database_url


@pytest.fixture
def connection(database_url):
    """With the rights of the rollback role."""
    with closing(connect(url_as(database_url, "fraud_rollback"), "test")) as connection:
        yield connection


@pytest.fixture
def archive(tmp_path):
    return WrongArchive(tmp_path)


@pytest.fixture
def desk(database_url, stack, rail_address):
    """An executor against a rail that behaves."""
    appender = Appender(stack.bootstrap_servers, "test-rollback", {})
    with closing(Desk(url_as(database_url, "fraud_executor"), appender, rail_address)) as desk:
        yield desk


@pytest.fixture
def audited(owner, tmp_path, desk):
    return Audited(owner, tmp_path / "audit", desk)
