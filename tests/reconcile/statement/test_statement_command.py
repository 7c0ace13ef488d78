"""`fraud reconcile statement` and `findings`, as people run them."""

from __future__ import annotations

import json

import pytest

from tests.reconcile.statement.given import written
from tests.servers import url_as


@pytest.fixture
def reconcile(fraud, stack, database_url):
    def run(*arguments: object):
        url = url_as(database_url, "fraud_reconcile")
        return fraud("reconcile", *arguments, database_url=url, bootstrap_servers=stack.bootstrap_servers)

    return run


def test_what_differs_is_shown_listed_and_exits_with_1(reconcile, tmp_path):
    path = tmp_path / "statement.xml"
    path.write_bytes(written(tmp_path))
    taken = reconcile("statement", path, "--json")
    assert taken.code == 1, taken.err
    lines = [json.loads(line) for line in taken.out.splitlines()]
    assert [line["opened"]["kind"] for line in lines[:-1]] == ["NOT_IN_LEDGER", "NOT_IN_LEDGER"]
    assert (lines[-1]["entries"], lines[-1]["opened"]) == (2, 2)
    listed = reconcile("findings")
    assert listed.code == 1
    assert "rail -123.45 GBP, ledger nothing" in listed.out
    assert "Compared in GBP until 2026-05-29T20:26:40+00:00, by statement 1 of FRAUD-SETTLEMENT." in listed.out
    last = json.loads(reconcile("findings", "--json").out.splitlines()[-1])
    assert (last["compared"]["currency"], last["compared"]["sequence"]) == ("GBP", 1)


def test_what_can_not_be_taken_in_is_said_in_a_sentence(reconcile, tmp_path):
    path = tmp_path / "statement.xml"
    path.write_bytes(written(tmp_path).replace(b"FRAUD-SETTLEMENT", b"ANOTHER"))
    answer = reconcile("statement", path)
    assert answer.code == 1
    assert "another account" in answer.err
    listed = reconcile("findings")
    assert listed.code == 0
    assert "No statement of the rail was ever taken in, so nothing was compared." in listed.err


def test_a_file_that_is_not_there_is_said(reconcile, tmp_path):
    answer = reconcile("statement", tmp_path / "none.xml")
    assert answer.code == 2
    assert "can't be read" in answer.err
