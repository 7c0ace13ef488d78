"""A stack made ready: what it says, whose role everybody comes in, and what of its folder it ever removes."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from ops.access.roles import ROLES
from ops.stack.embedded import embedded_stack
from ops.stack.foreground import Form, _show
from ops.stack.ready import LOCK_FILE, SETTINGS_FILE, ReadyStack, made_ready
from ops.stack.stack import Stack, StackFailure
from pipeline.io.production import DATABASE_ROLES, NEEDS, READER


def test_folder_is_held_by_one_stack_and_begun_anew_by_the_next(tmp_path: Path) -> None:
    with made_ready(embedded_stack, tmp_path, is_kept=False) as ready:
        with pytest.raises(StackFailure, match="Another stack runs"), _opened(tmp_path):
            pass
        with psycopg.connect(_url(ready, "fraud_audit")) as connection:
            assert connection.execute("SELECT count(*) FROM control.consumer_position").fetchone() == (0,)
        written = (tmp_path / SETTINGS_FILE).read_text()
        assert dict(ready.settings) == _read_by_a_shell(written)
        assert dict(ready.settings) == _read_by_a_shell(ready.exports())
        (tmp_path / "audit").mkdir()
        (tmp_path / "audit" / "leaves").write_text("of a log that will be gone")
        key = Path(ready.settings["FRAUD_AUDIT_KEY_FILE"]).read_bytes()
        people = Path(ready.settings["FRAUD_PEOPLE_FILE"])
        people.write_text("of a registry that will be gone")
    assert not (tmp_path / SETTINGS_FILE).exists()
    with _opened(tmp_path) as again:
        assert not (tmp_path / "audit").exists()
        assert not people.exists(), "nobody releases the breaker by another database's people"
        assert people.parent.is_dir(), "the review service writes it there"
        assert key == Path(again.settings["FRAUD_AUDIT_KEY_FILE"]).read_bytes()


def test_what_is_kept_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / "audit").mkdir()
    with made_ready(embedded_stack, tmp_path, is_kept=True):
        assert (tmp_path / "audit").exists()


@pytest.mark.parametrize("is_kept", [True, False])
def test_folder_of_a_stack_of_the_other_kind_is_refused_and_left_alone(tmp_path: Path, is_kept: bool) -> None:
    @contextmanager
    def never(_directory: Path) -> Iterator[Stack]:
        raise StackFailure("it was not to be started")
        yield

    with pytest.raises(StackFailure, match="not to be started"), made_ready(never, tmp_path, is_kept=is_kept):
        pass
    (tmp_path / "postgres").mkdir()
    with (
        pytest.raises(StackFailure, match="Give another --directory"),
        made_ready(never, tmp_path, is_kept=not is_kept),
    ):
        pass
    assert (tmp_path / "postgres").exists()


def test_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    with pytest.raises(StackFailure, match=r"audit is not of a stack"), _opened(tmp_path):
        pass
    assert [tmp_path / "audit"] == list(tmp_path.iterdir())


def test_every_process_has_a_role_that_there_is() -> None:
    assert set(DATABASE_ROLES) <= set(NEEDS)
    assert {*DATABASE_ROLES.values(), READER} - {"fraud_worker", "fraud_owner"} == set(ROLES)


def _opened(directory: Path):
    return made_ready(embedded_stack, directory, is_kept=False)


def _url(ready: ReadyStack, role: str) -> str:
    return ready.settings["FRAUD_DATABASE_URL"].replace("{role}", role)


def _read_by_a_shell(lines: str) -> dict[str, str]:
    done = subprocess.run(
        ["bash", "-c", f"set -a; eval {shlex.quote(lines)}; env"], env={}, check=True, capture_output=True, text=True
    )
    pairs = (line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("FRAUD_"))
    return {name: value for name, value in pairs}


def test_a_stack_prints_plain_lines_into_a_pipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ready = ReadyStack({"redis_pid": 7}, {"FRAUD_RAIL_URL": "http://127.0.0.1:1"}, tmp_path / SETTINGS_FILE)
    _show("embedded", ready, Form.TABLE)
    printed = capsys.readouterr().out
    assert printed.isascii(), "no box"
    assert ["redis pid: 7", f"export FRAUD_ENV_FILE={tmp_path / SETTINGS_FILE}"] == printed.splitlines()[::2]
