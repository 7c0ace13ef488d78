"""`fraud audit` where nothing stands outside the database, or where nothing can be written."""

from __future__ import annotations

from pathlib import Path

from tests.commands import Fraud
from tests.servers import url_as


def test_no_head_is_no_proof(fraud: Fraud, tmp_path: Path) -> None:
    """A folder that is named wrongly holds none, and none that is refused."""
    assert fraud("keys", "create", "audit", tmp_path / "key").code == 0
    asked = "audit", "heads", "--keys", tmp_path / "key.keys"
    found = fraud(*asked, audit_directory=str(tmp_path / "misspelt"))
    assert (found.code, found.out, "No heads" in found.err) == (1, "", True)


def test_an_export_that_can_not_be_written_is_refused_in_a_sentence(
    fraud: Fraud, tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    found = fraud(
        "audit", "export", tmp_path / "file" / "export", "--no-topic", database_url=url_as(database_url, "fraud_audit")
    )
    assert (found.code, "can't be read or written" in found.err) == (2, True)
