from __future__ import annotations

from contextlib import closing

import pytest

from pipeline.io.kafka.appender import Appender
from pipeline.io.postgres import connect
from tests.execute.given import Desk
from tests.known import appoint
from tests.rollback.stand import Audited, WrongArchive
from tests.servers import url_as


@pytest.fixture
def database_url(database_url):
    """The shared one, with two people who may plan and two who may approve."""
    people = {"rae": ["ROLLBACK_REQUESTER", "REVIEWER"], "both": ["ROLLBACK_REQUESTER", "ROLLBACK_APPROVER"]}
    with closing(connect(database_url, "test")) as owner:
        appoint(owner, {**people, "abe": "ROLLBACK_APPROVER"})
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
