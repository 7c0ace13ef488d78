"""Timestamps of an authority: asked for, verified, and refused where they don't hold."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.verifier.timestamps import time_of_authority
from ops.verifier.witness import TIMESTAMP_APART_MS
from pipeline.io.clock import now_ms
from pipeline.witness import timestamp_client
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


def test_an_authority_with_another_clock_gives_no_timestamp(
    authority: TimestampAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verifier would refuse it for ever, and until then nobody would be told."""
    assert timestamp_client.APART_MS_MAX == TIMESTAMP_APART_MS
    asked = Authority(authority.url, authority.root)
    now_ns = time.time_ns()
    for apart_s in (-3_600, 3_600):
        monkeypatch.setattr("pipeline.witness.timestamp_client.time.time_ns", lambda: now_ns + apart_s * 10**9)  # noqa: B023
        with pytest.raises(TimestampMissing, match="clock"):
            asked.stamp(TEXT)


def test_nothing_that_stands_for_a_timestamp_ends_whoever_looks(authority: TimestampAuthority) -> None:
    """Nobody signs a timestamp but the authority: whoever copies statements may put anything there."""
    timestamp = Authority(authority.url, authority.root).stamp(TEXT)
    time_of = time_of_authority(authority.root)
    spoilt = [timestamp[:place] for place in range(len(timestamp))]
    spoilt += [each + bytes([timestamp[len(each)] ^ 0x7F]) + timestamp[len(each) + 1 :] for each in spoilt]
    for each in spoilt:
        with contextlib.suppress(ValueError):
            time_of(each, TEXT)


def test_nobody_there_gives_no_timestamp(authority: TimestampAuthority) -> None:
    with pytest.raises(TimestampMissing, match="does not answer"):
        Authority("http://127.0.0.1:9/", authority.root).stamp(TEXT)
    with pytest.raises(ValueError, match="http"):
        Authority("ftp://127.0.0.1/", authority.root)
