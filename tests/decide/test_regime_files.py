"""What can't be used changes nothing, whatever stands in the files of policy and model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide.policy import PolicyRefused
from pipeline.decide.regime_files import RegimeSource
from pipeline.io.settings import Settings
from tests.records import POLICY_PATH

DEFAULT = POLICY_PATH.read_bytes()
REGISTRY = Path("models/registry")
HUGE_BYTES = 2**40  # sparse: nothing is on the disk


def holding(content: bytes) -> Callable[[Path], None]:
    return lambda path: _write(path, content)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _gone(_path: Path) -> None: ...


def _linked_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, HUGE_BYTES)


KINDS: dict[str, Callable[[Path], None]] = {
    "nothing": _gone,
    "an empty file": holding(b""),
    "a directory": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a device without an end": _linked_to("/dev/zero"),
    "a link to nothing": _linked_to("/nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a huge file": _huge,
    "no UTF-8": holding(b"\xff\xfe" + DEFAULT),
    "zeros": holding(bytes(POLICY_BYTES_MAX)),
    "a number of 5,000 digits": holding(DEFAULT.replace(b"at_least = 301", b"at_least = " + b"1" * 5_000)),
    "nesting": holding(DEFAULT + b"\nx = " + b"[" * 5_000),
}
POLICIES: dict[str, Callable[[Path], None]] = KINDS | {
    "a number of many hexadecimal digits": holding(DEFAULT.replace(b"at_least = 301", b"at_least = 0x" + b"F" * 900)),
    "a format of many digits": holding(b"format = 0x" + b"F" * 5_000),
    "a nested format": holding(b"format" + b".a" * 400 + b" = 1"),
    "a key of many dots": holding(DEFAULT + b"a" + b".a" * 100_000 + b" = 1"),
    "a surrogate": holding(DEFAULT.replace(b'version = "2026-11-30"', b'version = "\\uD800"')),
    "no number": holding(DEFAULT.replace(b"at_least = 301", b"at_least = nan")),
    "cut short": holding(DEFAULT[: len(DEFAULT) // 2]),
}


def _source(tmp_path: Path) -> tuple[RegimeSource, Path, Path]:
    policy, registry = tmp_path / "policy.toml", tmp_path / "registry"
    policy.write_bytes(DEFAULT)
    shutil.copytree(REGISTRY, registry)
    return RegimeSource(Settings(policy_path=policy, model_registry=registry)), policy, registry


def _changes_nothing(source: RegimeSource, path: Path, put: Callable[[Path], None], good: bytes) -> None:
    in_force = source.current
    path.unlink()
    put(path)
    with capture_logs() as logs:
        assert source.changed() is None
        assert source.changed() is None
    assert [log["event"] for log in logs] == ["change_refused"], "told once"
    assert source.current is in_force
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    path.write_bytes(good)
    assert source.changed() is not None


@pytest.mark.parametrize("kind", POLICIES)
def test_a_policy_that_can_not_be_used_changes_nothing(tmp_path: Path, kind: str) -> None:
    source, policy, _ = _source(tmp_path)
    _changes_nothing(source, policy, POLICIES[kind], DEFAULT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_champion_that_can_not_be_read_changes_nothing(tmp_path: Path, kind: str) -> None:
    source, _, registry = _source(tmp_path)
    champion = registry / "champion"
    _changes_nothing(source, champion, KINDS[kind], champion.read_bytes())


@pytest.mark.parametrize("kind", POLICIES)
def test_a_worker_does_not_start_with_a_policy_that_can_not_be_used(tmp_path: Path, kind: str) -> None:
    """It is refused in words that the command shows: a PolicyRefused, or an OSError that names the file."""
    _, policy, registry = _source(tmp_path)
    policy.unlink()
    POLICIES[kind](policy)
    with pytest.raises((PolicyRefused, OSError)) as caught:
        RegimeSource(Settings(policy_path=policy, model_registry=registry))
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(policy)
    else:
        assert len(str(caught.value)) < 1_000
