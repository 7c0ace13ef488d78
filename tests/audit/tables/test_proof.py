"""The proof of one row of the ledger, of reviews or of control, which whoever has the keys can check alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops.verifier.keys import read_keys
from ops.verifier.proofs import refused, shown_row
from pipeline.audit.proof_store import Unproved
from pipeline.audit.tables.proof_files import row_of_table, row_proof
from pipeline.audit.tables.streams import TABLES_LOG
from tests.audit.tables.given import ROWS, Tables
from tests.records import NOON_MS

KEYS = {
    "ledger.posting": {"number": "3"},
    "control.person_grant": {"name": "name-4"},
    "review.case_event": {"sequence": "5", "round": "5"},
    "control.rollback_approval": {"approved_by": "approved_by-6"},
}


@pytest.fixture
def signed(tables: Tables) -> Tables:
    tables.fill()
    tables.follow()
    tables.anchor()
    tables.fill(range(ROWS, ROWS + 4))
    tables.follow()
    tables.anchor(NOON_MS + 60_000)
    return tables


def proof(tables: Tables, table: str, wanted: dict[str, str]) -> dict[str, Any]:
    shape, row = row_of_table(tables.connection, table, wanted)
    return row_proof(tables.outside, TABLES_LOG, shape, row)


def told(tables: Tables, fields: dict[str, Any]) -> str | None:
    return refused(json.dumps(fields), read_keys(tables.folder / "key.keys"))


@pytest.mark.parametrize("table", KEYS)
def test_a_row_is_proved_and_shown(signed: Tables, table: str) -> None:
    fields = proof(signed, table, KEYS[table])
    assert told(signed, fields) is None
    assert str(shown_row(json.dumps(fields))).startswith(f"{table}: ")
    ((name, value), *_) = KEYS[table].items()
    assert f"{name}={value}" in str(shown_row(json.dumps(fields)))


def test_nothing_of_a_proof_can_be_otherwise(signed: Tables) -> None:
    fields = proof(signed, "ledger.posting", {"number": "3"})
    text = fields["shape"]["text"]
    swapped = text.replace("source_account_id", "#").replace("destination_account_id", "source_account_id")
    changes: list[tuple[str, Any]] = [
        ("row", fields["row"][:-2] + ("00" if fields["row"][-2:] != "00" else "01")),
        ("xid", fields["xid"] + 1),
        ("index", fields["index"] + 1),
        ("partition", 1),
        ("inclusion", fields["inclusion"][1:]),
        ("consistency", fields["consistency"][1:]),
        ("shape", {**fields["shape"], "text": swapped.replace("#", "destination_account_id")}),
        ("shape", {**fields["shape"], "at": fields["shape"]["at"] + 1}),
        ("shape", {**fields["shape"], "index": fields["shape"]["index"] + 1}),
    ]
    for name, value in changes:
        assert told(signed, {**fields, name: value}) is not None, name


def test_a_row_that_was_changed_or_is_not_signed_yet_has_no_proof(signed: Tables) -> None:
    signed.as_superuser("UPDATE ledger.posting SET amount_minor = 9 WHERE number = 3")
    with pytest.raises(Unproved, match="not as it was chained"):
        proof(signed, "ledger.posting", {"number": "3"})
    signed.fill(range(ROWS + 4, ROWS + 5))
    signed.follow()
    with pytest.raises(Unproved, match="younger than the last signed head"):
        proof(signed, "ledger.posting", {"number": str(ROWS + 4)})
    for wanted, why in (
        ({"number": "-1"}, "no such row"),
        ({"currency": "GBP"}, "no such row"),
        ({"x": "1"}, "column x"),
    ):
        with pytest.raises(Unproved, match=why):
            proof(signed, "ledger.posting", wanted)
    with pytest.raises(Unproved, match="no table that is followed"):
        proof(signed, "audit.chain_link", {})


def test_a_row_of_before_a_column_came_is_proved_in_its_own_shape(signed: Tables) -> None:
    signed.as_superuser("ALTER TABLE ledger.account ADD COLUMN note text NOT NULL DEFAULT 'none'")
    signed.fill(range(ROWS + 4, ROWS + 6), ["ledger.account"])
    signed.follow()
    signed.anchor(NOON_MS + 120_000)
    for number in (2, ROWS + 5):
        assert told(signed, proof(signed, "ledger.account", {"account_id": f"account_id-{number}"})) is None
