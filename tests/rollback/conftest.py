from __future__ import annotations

import itertools
from contextlib import closing

import psycopg
import pytest

from ops.migrations.migrate import migrate
from ops.stack.embedded import EmbeddedStack
from pipeline.io.postgres import connect
from tests.rollback.stand import Audited, WrongArchive

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    with EmbeddedStack(tmp_path_factory.mktemp("stack"), with_postgres=True) as stack:
        yield stack


@pytest.fixture
def database_url(stack):
    """Of the owner, migrated, with two people who may plan and two who may approve."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = stack.database_url.rpartition("/")[0] + f"/{name}"
    migrate(url)
    people = {"rae": "ROLLBACK_REQUESTER", "both": "ROLLBACK_REQUESTER", "abe": "ROLLBACK_APPROVER"}
    with psycopg.connect(url, autocommit=True) as connection:
        for person, role in [*people.items(), ("both", "ROLLBACK_APPROVER"), ("rae", "REVIEWER")]:
            connection.execute(
                "INSERT INTO control.person_grant (name, role, is_held, granted_by) VALUES (%s, %s, true, 'test')",
                [person, role],
            )
    return url


@pytest.fixture
def owner(database_url):
    with closing(connect(database_url, "test")) as connection:
        yield connection


@pytest.fixture
def connection(database_url):
    """With the rights of the rollback role."""
    with closing(connect(database_url.replace("fraud_owner@", "fraud_rollback@"), "test")) as connection:
        yield connection


@pytest.fixture
def archive(tmp_path):
    return WrongArchive(tmp_path)


@pytest.fixture
def audited(owner, tmp_path):
    return Audited(owner, tmp_path / "audit")
