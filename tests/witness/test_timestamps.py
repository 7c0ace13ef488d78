"""Timestamps of an authority: asked for, verified, and refused where they don't hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.verifier.timestamps import time_of_authority
from pipeline.io.clock import now_ms
from pipeline.witness.timestamp_client import Authority, TimestampMissing
from tests.witness.authority import TimestampAuthority, serving

TEXT = b"what was seen"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimestampAuthority]:
    with serving(tmp_path_factory.mktemp("authority")) as opened:
        yield opened


def test_a_timestamp_holds_for_its_text_and_root_alone(authority: TimestampAuthority, tmp_path: Path) -> None:
    before_ms = now_ms() // 1000 * 1000
    timestamp = Authority(authority.url, authority.root).stamp(TEXT)
    time_of = time_of_authority(authority.root)
    assert before_ms <= time_of(timestamp, TEXT) <= now_ms()
    with pytest.raises(ValueError, match="does not hold"):
        time_of(timestamp, TEXT + b"!")
    with pytest.raises(ValueError, match="does not hold"):
        time_of(timestamp[:-1] + bytes([timestamp[-1] ^ 1]), TEXT)
    with pytest.raises(ValueError, match="does not hold"):
        time_of(b"rubbish", TEXT)
    other = TimestampAuthority(tmp_path / "other")
    with pytest.raises(ValueError, match="does not hold"):
        time_of_authority(other.root)(timestamp, TEXT)


@pytest.mark.parametrize("fault", ["is_silent", "spoils"])
def test_an_authority_that_fails_gives_no_timestamp(
    authority: TimestampAuthority, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, fault, True)
    with pytest.raises(TimestampMissing):
        Authority(authority.url, authority.root).stamp(TEXT)


def test_an_answer_to_another_question_is_refused(
    authority: TimestampAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Authority(authority.url, authority.root)
    replayed = asked.stamp(TEXT)
    monkeypatch.setattr(authority, "answer", lambda request: replayed)
    with pytest.raises(TimestampMissing, match="does not hold"):
        asked.stamp(TEXT)  # its nonce is another one


def test_nobody_there_gives_no_timestamp(authority: TimestampAuthority) -> None:
    with pytest.raises(TimestampMissing, match="does not answer"):
        Authority("http://127.0.0.1:9/", authority.root).stamp(TEXT)
    with pytest.raises(ValueError, match="http"):
        Authority("ftp://127.0.0.1/", authority.root)
