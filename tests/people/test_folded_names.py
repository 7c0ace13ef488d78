"""The database takes two names for one person's where the code does."""

from __future__ import annotations

import pytest

from pipeline.io.postgres import Connection
from pipeline.people.roles import folded

NAMES = (
    "ana", "Ana", "aIice", "al1ce", "b0b", "amold", "arnold", "ar.nold", "vvalter", "Walter", "v-v", "ana.berg",
    "ana_b", "x-", "rrnn", "a11Oo0", "ana@bank.example", "\uff41\uff2e\uff21",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_database_folds_a_name_as_the_code_does(owner: Connection, name: str) -> None:
    assert (folded(name),) == owner.execute("SELECT control.folded(%s)", [name]).fetchone()
