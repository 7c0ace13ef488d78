"""`fraud keys`, by slips of the pen."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.commands import Fraud


def made(fraud: Fraud, folder: Path) -> tuple[str, Path]:
    """A key's id and its key set."""
    found = fraud("keys", "create", "decisions", folder / "key", "--json")
    assert found.code == 0, found.err
    return json.loads(found.out)["key_id"], folder / "key.keys"


def test_a_key_is_not_revoked_from_a_time_to_come(fraud: Fraud, tmp_path: Path) -> None:
    """Else it goes on counting, for a slip of the pen until the end of the century, and the command says that all is
    well."""
    key_id, key_set = made(fraud, tmp_path)
    asked = ["keys", "revoke", key_id, "--set", key_set, "--reason", "it was copied", "--since"]
    before = key_set.read_bytes()
    for ahead in (timedelta(hours=1), timedelta(days=365 * 73)):
        refused = fraud(*asked, f"{datetime.now(UTC) + ahead:%Y-%m-%dT%H:%M:%SZ}")
        assert (refused.code, "to come" in refused.err) == (2, True)
    assert key_set.read_bytes() == before
    assert fraud(*asked, f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}").code == 0
