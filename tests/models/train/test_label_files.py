"""A file of labels is read as it is meant, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.train.history import HistoryRefused
from models.train.label_files import read_labels

HEAD = "transaction_id,fraud,labelled_at\n"
NOW_MS = 1_767_312_000_000  # 2026-01-02


def test_the_latest_statement_about_a_payment_holds(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        f"{HEAD}tx-1,1,2026-01-01T00:00:00Z\ntx-1,0,2026-01-02T00:00:00+00:00\ntx-2,1,2026-01-01T00:00:00Z\n"
    )
    found = read_labels(path, NOW_MS)
    assert {name: label.fraud for name, label in found.by_payment.items()} == {"tx-1": False, "tx-2": True}
    assert found.known_at_ms["tx-1"] == 1_767_312_000_000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id,fraud\n", "first line"),
        ("", "first line"),
        (f"{HEAD}tx-1,true,2026-01-01T00:00:00Z\n", "line 2"),
        (f"{HEAD}tx-1,1,2026-01-01T00:00:00\n", "line 2"),
        (f"{HEAD}tx-1,1,yesterday\n", "line 2"),
        (f"{HEAD},1,2026-01-01T00:00:00Z\n", "line 2"),
        (f"{HEAD}tx-1,1\n", "line 2"),
        (f"{HEAD}tx-1,1,2062-01-01T00:00:00Z\n", "line 2 .* is a label of the future"),
        (f'{HEAD}"tx-1,1,2026-01-01T00:00:00Z\n', "can't be read"),
    ],
)
def test_what_is_no_file_of_labels_is_refused_without_its_values(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(HistoryRefused, match=why) as refused:
        read_labels(path, NOW_MS)
    assert "tx-1" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryRefused, match="can't be read"):
        read_labels(tmp_path / "none.csv", NOW_MS)
