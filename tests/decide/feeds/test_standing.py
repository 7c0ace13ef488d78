"""A feed is held against the one that was in force last, at a start as in a running worker, whoever took one back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.decide.check_command import findings
from pipeline.decide.feeds.feed import FeedKind, FeedRefused, parse_new_feed
from pipeline.decide.feeds.feed_files import archive_folder, in_force_path, keep, put_in_force
from pipeline.decide.feeds.signature_files import keep_signature, signature_fault, signature_text
from pipeline.decide.feeds.standing_files import in_force_before
from pipeline.decide.regime_files import RegimeSource
from pipeline.io.postgres import Connection
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import create_signing_key
from pipeline.keys.key_sets import KeyUse
from tests.commands import Fraud
from tests.decide.feeds.test_forcing import folder, given, in_force, people_file, written
from tests.decide.feeds.test_regime_feeds import HOUR_MS, dated, now_ms, put
from tests.known import appoint, settings_of

__all__ = ["folder"]

RATES, SANCTIONS = FeedKind
MINUTE_MS = 60_000
MOVED = ('"0.8720"', '"8.7200"')


def settings(folder: Path, people: Path | None = None) -> Settings:
    return Settings(policy_path=folder.parent / "policy.toml", feeds_path=folder, people_file=people)


def version(source: RegimeSource, kind: FeedKind = RATES) -> str:
    feeds = source.current.feeds
    assert feeds is not None
    feed = feeds.of(kind)
    assert feed is not None
    return feed.version


def shrunken(at_ms: int) -> bytes:
    """A list without its last sanction."""
    content = dated(SANCTIONS, at_ms, "shrunken").decode()
    [*_, last] = re.finditer(r"^ *\{ country = .*\n", content, re.MULTILINE)
    return (content[: last.start()] + content[last.end() :]).encode()


REFUSED: dict[str, Callable[[], tuple[FeedKind, bytes]]] = {
    "moved": lambda: (RATES, dated(RATES, now_ms() - HOUR_MS, "moved", MOVED)),
    "shrunken": lambda: (SANCTIONS, shrunken(now_ms() - HOUR_MS)),
    "the same version": lambda: (RATES, dated(RATES, now_ms() - HOUR_MS, "first")),
    "older": lambda: (RATES, dated(RATES, now_ms() - 3 * HOUR_MS, "older")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_running_worker_refuses_one_that_starts_refuses_too(folder: Path, name: str) -> None:
    source, (kind, content) = RegimeSource(settings(folder)), REFUSED[name]()
    put(settings(folder), kind, content)
    with capture_logs() as logs:
        assert source.changed() is None
    with pytest.raises(FeedRefused) as refused:
        RegimeSource(settings(folder))
    assert logs[0]["why"] == str(refused.value)
    assert "no person has said that it is meant" in str(refused.value)
    found = next(each for each in findings(settings(folder)) if each.what == "feeds")
    assert f"no worker starts with it: {refused.value}" in found.detail, "and `fraud config check` says so before"


def test_a_feed_for_the_same_time_with_other_content_is_refused_at_a_start(folder: Path) -> None:
    at_ms = now_ms() - HOUR_MS
    put(settings(folder), RATES, dated(RATES, at_ms, "full"))
    assert version(RegimeSource(settings(folder))) == "full"
    put(settings(folder), RATES, dated(RATES, at_ms, "other"))
    with pytest.raises(FeedRefused, match="a later one must be for a later time"):
        RegimeSource(settings(folder))


def test_installing_what_lies_there_by_hand_is_no_way_round(fraud: Fraud, folder: Path) -> None:
    """Else the command would compare the file with itself, and the archive would vouch for it at the next start."""
    moved = dated(RATES, now_ms() - HOUR_MS, "moved", MOVED)
    put(settings(folder), RATES, moved)
    answer = fraud("feeds", "install", written(folder, moved), **given(folder))
    assert (answer.code, "would move by more than 20 %" in answer.err) == (1, True), answer


def test_no_times_of_files_and_no_number_of_them_decide_what_was_in_force(folder: Path) -> None:
    contents = [dated(RATES, now_ms() - HOUR_MS + n * 1000, f"rates-{n:03d}") for n in range(80)]
    for content in contents:
        put_in_force(folder, parse_new_feed(content), content)
    for n, path in enumerate(sorted(archive_folder(folder).glob("exchange_rates-*.toml"), reverse=True)):
        os.utime(path, (1_700_000_000 + n, 1_700_000_000 + n))
    assert version(RegimeSource(settings(folder))) == "rates-079"
    put(settings(folder), RATES, contents[10])
    with pytest.raises(FeedRefused, match="it would follow rates-079"):
        RegimeSource(settings(folder))


@pytest.mark.parametrize("content", [b"rubbish", b"", dated(RATES, now_ms() + HOUR_MS, "future")])
def test_a_younger_or_unreadable_feed_of_the_archive_is_a_reason_to_refuse(folder: Path, content: bytes) -> None:
    (archive_folder(folder) / "exchange_rates-x.toml").write_bytes(content)
    with pytest.raises(FeedRefused, match=r"exchange_rates-x\.toml of the archive|it would follow future"):
        RegimeSource(settings(folder))


def test_a_feed_is_held_against_the_unsigned_and_the_proved_one(folder: Path, tmp_path: Path) -> None:
    """An unsigned one in the archive neither lets an older feed in nor stands for what was in force."""
    signing = create_signing_key(tmp_path / "publisher.key", KeyUse.FEEDS)
    production = settings(folder).model_copy(
        update={"profile": Profile.PRODUCTION, "seal_keys_file": tmp_path / "publisher.key.keys"}
    )
    contents = [dated(RATES, now_ms() - (3 - n) * 10 * MINUTE_MS, f"rates-{n}") for n in range(3)]
    good, unsigned, offered = [(parse_new_feed(content), content) for content in contents]
    for each in (good, unsigned):
        keep(folder, *each)
    keep_signature(folder, good[0], signature_text(signing, good[1], now_ms()))
    assert in_force_before(production, *offered, now_ms()) == [unsigned[0], good[0]]
    assert in_force_before(production, *good, now_ms())[0] == unsigned[0], "so that it is refused as older"


def test_a_signature_from_before_the_time_that_a_feed_holds_for_counts_for_nothing(
    folder: Path, tmp_path: Path
) -> None:
    signing = create_signing_key(tmp_path / "publisher.key", KeyUse.FEEDS)
    production = settings(folder).model_copy(
        update={"profile": Profile.PRODUCTION, "seal_keys_file": tmp_path / "publisher.key.keys"}
    )
    content = dated(RATES, now_ms() + HOUR_MS, "ahead")
    feed = parse_new_feed(content)
    for early_ms, is_good in ((0, True), (5 * MINUTE_MS, True), (5 * MINUTE_MS + 1, False)):
        keep_signature(folder, feed, signature_text(signing, content, feed.as_of_ms - early_ms))
        fault = signature_fault(production, feed, content)
        assert (fault is None) is is_good, (early_ms, fault)


@pytest.mark.parametrize("put_there", [lambda path: path.symlink_to("nowhere"), Path.mkdir, os.mkfifo])
def test_what_is_no_plain_file_is_passed_over_and_named(
    fraud: Fraud, folder: Path, put_there: Callable[[Path], object]
) -> None:
    put_there(archive_folder(folder) / "exchange_rates-x.toml")
    with capture_logs() as logs:
        assert version(RegimeSource(settings(folder))) == "first"
    assert ["exchange_rates-x.toml"] in [each.get("names") for each in logs]
    assert fraud("feeds", "list", **given(folder)).code == 0


class Operator:
    """Forces feeds with a person's word, and keeps the file that proves it."""

    def __init__(self, fraud: Fraud, folder: Path, owner: Connection) -> None:
        appoint(owner, {"on-call": "OPERATOR"})
        self.people, self._fraud, self._folder = people_file(owner, folder), fraud, folder

    def forces(self, content: bytes) -> None:
        person = settings_of(self._folder.parent / "keys", "on-call")
        asked = {**given(self._folder), **person, "people_file": self.people}
        force = ("--force", "--reason", "it is meant")
        answer = self._fraud("feeds", "install", written(self._folder, content), *force, **asked)
        assert answer.code == 0, answer


@pytest.fixture
def operator(fraud: Fraud, folder: Path, owner: Connection) -> Operator:
    return Operator(fraud, folder, owner)


def refused_everywhere(source: RegimeSource, given: Settings, content: bytes) -> None:
    put(given, RATES, content)
    running = version(source)
    assert source.changed() is None
    assert version(source) == running
    with pytest.raises(FeedRefused):
        RegimeSource(given)


def test_what_an_operator_took_back_comes_in_again_by_their_word_only(operator: Operator, folder: Path) -> None:
    given = settings(folder, operator.people)
    source, good = RegimeSource(given), in_force_path(folder, RATES).read_bytes()
    between, bad = (dated(RATES, now_ms() - n * HOUR_MS // 2, f"rates-{n}") for n in (3, 2))
    for content in (between, bad):
        put(given, RATES, content)
        assert source.changed() is not None
    operator.forces(good)
    assert source.changed() is not None
    assert version(RegimeSource(given)) == version(source) == "first", "what lay between is no reason against it"
    refused_everywhere(source, given, bad)
    refused_everywhere(source, given, between)
    operator.forces(bad)
    assert source.changed() is not None
    assert version(RegimeSource(given)) == version(source) == "rates-2"
    refused_everywhere(source, given, good)


def test_the_latest_word_about_a_feed_decides(operator: Operator, folder: Path) -> None:
    """A word of a minute ago still counts for its author, and no more once another word took it back."""
    given = settings(folder, operator.people)
    source, good = RegimeSource(given), in_force_path(folder, RATES).read_bytes()
    moved = dated(RATES, now_ms() - HOUR_MS, "moved", MOVED)
    for content, named in ((moved, "moved"), (good, "first")):
        operator.forces(content)
        assert source.changed() is not None
        assert version(RegimeSource(given)) == version(source) == named
    refused_everywhere(source, given, moved)
    later = dated(RATES, now_ms() - HOUR_MS // 2, "later")
    put(given, RATES, later)
    assert source.changed() is not None
    operator.forces(good)
    assert source.changed() is not None
    refused_everywhere(source, given, moved)  # a second word for the same feed leaves the first one standing


def test_words_that_can_not_be_proved_for_now_let_nothing_in(operator: Operator, folder: Path) -> None:
    given = settings(folder, operator.people)
    source, good = RegimeSource(given), in_force_path(folder, RATES).read_bytes()
    put(given, RATES, dated(RATES, now_ms() - HOUR_MS, "bad"))
    source.changed()
    operator.forces(good)
    operator.people.write_text("rubbish")
    put(given, RATES, dated(RATES, now_ms() - HOUR_MS, "bad"))
    with pytest.raises(FeedRefused, match="whether an OPERATOR took it back can't be told"):
        RegimeSource(given)
    assert in_force(folder) == "bad"
