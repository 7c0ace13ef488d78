"""What `python -m …` says where what it is given isn't there: words, and no traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import models.evaluate.__main__
import ops.structure.__main__


def test_history_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = tmp_path / "missing.csv"
    expected = f"There is no file {missing}. Give the path of a file of payments."
    monkeypatch.setattr(sys, "argv", ["evaluate", "handbook", str(missing)])
    with pytest.raises(SystemExit) as evaluated:
        models.evaluate.__main__.main()
    assert expected == evaluated.value.code


def test_folder_without_the_project_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["structure", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        ops.structure.__main__.main()
    assert ended.value.code == 2
    assert f"{tmp_path} holds no module of the project" in capsys.readouterr().err
