"""The `fraud` command, run in the tests' own process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ops import cli


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Fraud = Callable[..., Answer]


@pytest.fixture
def fraud(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fraud:
    """Runs the command away from any .env file; keywords are FRAUD_* variables, which stay set for the test."""

    def run(*arguments: object, **environment: object) -> Answer:
        for name, value in environment.items():
            monkeypatch.setenv(f"FRAUD_{name.upper()}", str(value))
        with contextlib.chdir(tmp_path):
            code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run
