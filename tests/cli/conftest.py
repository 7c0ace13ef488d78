import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ops import cli
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from tests.cli.archive import Archive


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Fraud = Callable[..., Answer]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def fraud(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fraud:
    """Runs the command in this process, away from any .env file; keywords are FRAUD_* variables."""

    def run(*arguments: object, **environment: object) -> Answer:
        for name, value in environment.items():
            monkeypatch.setenv(f"FRAUD_{name.upper()}", str(value))
        with contextlib.chdir(tmp_path):
            code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path_factory.mktemp("stack")) as stack:
        create_topics(stack.bootstrap_servers)
        yield stack
