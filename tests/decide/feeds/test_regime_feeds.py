"""Feeds as workers take them up from their folder: what can't be used changes nothing, and each file stands alone."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.decide.feeds.age_agent import AgeWatch
from pipeline.decide.feeds.feed import FEED_BYTES_MAX, NO_FEEDS, FeedKind, FeedRefused, parse_new_feed
from pipeline.decide.feeds.feed_files import archive_folder, archived, in_force_path, provide_feeds, shipped_as_of
from pipeline.decide.feeds.forced_files import word_for, write_word
from pipeline.decide.feeds.signature_files import keep_signature, signature_fault, signature_text
from pipeline.decide.regime_files import RegimeSource
from pipeline.decide.verdict import regime
from pipeline.domain.alert import Severity
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import create_signing_key
from pipeline.keys.key_sets import KeyUse
from tests.known import identity
from tests.records import POLICY_PATH, feed_content, feeds, policy

KINDS = tuple(FeedKind)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def dated(kind: FeedKind, at_ms: int, version: str, *changes: tuple[str, str]) -> bytes:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = feed_content(kind).decode().splitlines(keepends=True)
    names = {"version = ": f'version = "{version}"\n', "as_of = ": f"as_of = {at}\n"}
    text = "".join(next((new for begin, new in names.items() if line.startswith(begin)), line) for line in lines)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text.encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "feeds"


@pytest.fixture
def given(tmp_path: Path, folder: Path) -> Settings:
    shutil.copy(POLICY_PATH, tmp_path / "policy.toml")
    return Settings(policy_path=tmp_path / "policy.toml", feeds_path=folder)


def put(given: Settings, kind: FeedKind, content: bytes) -> None:
    path = in_force_path(given.feeds_path, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


def begun(given: Settings) -> RegimeSource:
    """A worker that began with feeds of two hours ago."""
    for kind in KINDS:
        put(given, kind, dated(kind, now_ms() - 2 * HOUR_MS, "first"))
    return RegimeSource(given)


def versions(source: RegimeSource) -> tuple[str, ...]:
    assert source.current.feeds is not None
    return tuple(feed.version for feed in source.current.feeds if feed is not None)


def test_development_begins_with_the_shipped_feeds_of_today(given: Settings, folder: Path) -> None:
    source = RegimeSource(given)
    assert source.current.feeds == feeds()
    assert [path.name for path, _ in archived(folder)] == sorted(
        f"{kind}-{feed.version}-{feed.sha256.hex()[:16]}.toml"
        for kind in KINDS
        if (feed := feeds().of(kind)) is not None
    )


def test_the_shipped_feeds_of_another_day_are_put_in_force_anew_and_a_persons_are_not(given: Settings) -> None:
    put(given, KINDS[0], shipped_as_of(KINDS[0], now_ms() - 3 * DAY_MS))
    mine = dated(KINDS[1], now_ms() - 3 * DAY_MS, "mine")
    put(given, KINDS[1], mine)
    provide_feeds(given)
    contents = [in_force_path(given.feeds_path, kind).read_bytes() for kind in KINDS]
    assert contents == [feed_content(KINDS[0]), mine]


def test_production_makes_no_feeds(given: Settings, folder: Path) -> None:
    provide_feeds(given.model_copy(update={"profile": Profile.PRODUCTION}))
    assert not folder.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_younger_feed_is_taken_up_and_kept(given: Settings, folder: Path, kind: FeedKind) -> None:
    source = begun(given)
    content = dated(kind, now_ms() - HOUR_MS, "second")
    put(given, kind, content)
    changed = source.changed()
    assert changed is source.current
    assert versions(source) == tuple("second" if each is kind else "first" for each in KINDS)
    assert content in [path.read_bytes() for path, _ in archived(folder)]
    assert source.changed() is None


def _gone(path: Path) -> None:
    path.unlink()


def _holding(content: bytes) -> Callable[[Path], None]:
    def put_there(path: Path) -> None:
        path.unlink()
        path.write_bytes(content)

    return put_there


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _huge(path: Path) -> None:
    os.truncate(path, 2**40)


RATES, SANCTIONS = KINDS
BAD: dict[str, Callable[[Path], None]] = {
    "gone": _gone,
    "empty": _holding(b""),
    "a directory": _directory,
    "a FIFO": _fifo,
    "huge": _huge,
    "no text": _holding(b"\xff\xfe\x00"),
    "zeros": _holding(bytes(FEED_BYTES_MAX)),
    "half of it": _holding(dated(RATES, now_ms() - HOUR_MS, "second")[:900]),
    "the other kind": _holding(dated(SANCTIONS, now_ms() - HOUR_MS, "second")),
    "older": _holding(dated(RATES, now_ms() - 3 * HOUR_MS, "second")),
    "of the future": _holding(dated(RATES, now_ms() + HOUR_MS, "second")),
    "moved": _holding(dated(RATES, now_ms() - HOUR_MS, "second", ('"0.8720"', '"0.0872"'))),
    "shrunken": _holding(dated(RATES, now_ms() - HOUR_MS, "second", ('  { code = "EUR"', '  # { code = "EUR"'))),
    "another currency": _holding(dated(RATES, now_ms() - HOUR_MS, "second", ('currency = "GBP"', 'currency = "EUR"'))),
    "without a zone": _holding(feed_content(RATES).replace(b"T00:00:00Z", b"T00:00:00")),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_feed_that_can_not_be_used_changes_nothing_and_is_told_once(given: Settings, bad: str) -> None:
    source = begun(given)
    before = source.current
    BAD[bad](in_force_path(given.feeds_path, RATES))
    with capture_logs() as logs:
        assert source.changed() is None
        assert source.changed() is None
    assert [(each["event"], each["kind"], each["kept"]) for each in logs] == [("feed_refused", RATES, "first")]
    assert logs[0]["why"]
    assert source.current is before


def test_a_refused_feed_keeps_nothing_else_out(given: Settings) -> None:
    """A policy and a list of sanctions that come with it are taken up, and later the feed itself when it is mended."""
    source = begun(given)
    put(given, RATES, b"rubbish")
    put(given, SANCTIONS, dated(SANCTIONS, now_ms() - HOUR_MS, "second"))
    given.policy_path.write_bytes(POLICY_PATH.read_bytes() + b"# written again\n")
    assert source.changed() is not None
    assert versions(source) == ("first", "second")
    assert source.current.policy.sha256 != policy().sha256
    put(given, RATES, dated(RATES, now_ms() - HOUR_MS, "second"))
    given.policy_path.write_bytes(b"rubbish")
    assert source.changed() is not None, "nor does a refused policy"
    assert versions(source) == ("second", "second")


def test_two_workers_come_to_the_same_feeds(given: Settings) -> None:
    one, other = begun(given), RegimeSource(given)
    put(given, RATES, dated(RATES, now_ms() - HOUR_MS, "second"))
    assert one.changed() is not None
    assert versions(one) != versions(other), "for the seconds between two looks"
    assert other.changed() is not None
    assert one.current.feeds == other.current.feeds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [None, b"", b"rubbish", "future"])
def test_a_worker_does_not_start_without_a_feed_that_can_be_used(
    given: Settings, kind: FeedKind, content: bytes | str | None
) -> None:
    begun(given)
    path = in_force_path(given.feeds_path, kind)
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else dated(kind, now_ms() + HOUR_MS, "second"))
    with pytest.raises(OSError if content is None else FeedRefused):
        RegimeSource(given)


def test_nobodys_word_lets_an_older_feed_in(given: Settings, folder: Path, tmp_path: Path) -> None:
    """A word that no file of people proves counts as little as none (tests/decide/feeds/test_forcing.py)."""
    source = begun(given)
    older = dated(RATES, now_ms() - 3 * HOUR_MS, "older")
    running = source.current.feeds
    assert running is not None
    assert running.exchange_rates is not None
    word = word_for(running.exchange_rates, parse_new_feed(older), "the last ones were wrong")
    write_word(folder, word, identity("on-call"), now_ms(), "a registry")
    put(given, RATES, older)
    with capture_logs() as logs:
        assert source.changed() is None
    assert "FRAUD_PEOPLE_FILE names no file" in logs[0]["why"]


def signed_by(tmp_path: Path, use: KeyUse, content: bytes) -> bytes:
    path = tmp_path / f"{use}.key"
    return signature_text(create_signing_key(path, use), content, now_ms())


@pytest.mark.parametrize(
    ("use", "what", "why"),
    [
        (KeyUse.FEEDS, "it", None),
        (KeyUse.FEEDS, "nothing", "the feed is not signed"),
        (KeyUse.FEEDS, "other", "is not one of the key"),
        (KeyUse.FEEDS, "rubbish", "the feed's signature can't be read"),
        (KeyUse.DECISIONS, "it", "is for decisions, not for feeds"),
    ],
)
def test_production_takes_no_feed_that_its_publisher_has_not_signed(
    given: Settings, tmp_path: Path, use: KeyUse, what: str, why: str | None
) -> None:
    content = dated(RATES, now_ms() - HOUR_MS, "second")
    feed, signature = parse_new_feed(content), signed_by(tmp_path, use, content + (b"#" if what == "other" else b""))
    if what != "nothing":
        keep_signature(given.feeds_path, feed, b"{}" if what == "rubbish" else signature)
    keys = tmp_path / f"{use}.key.keys"
    production = given.model_copy(update={"profile": Profile.PRODUCTION, "seal_keys_file": keys})
    fault = signature_fault(production, feed, content)
    assert fault is None if why is None else why in str(fault)
    assert signature_fault(given, feed, content) is None, "in development none is needed"
    nobody = production.model_copy(update={"seal_keys_file": None})
    assert signature_fault(nobody, feed, content) is not None


def test_a_feed_that_grows_old_warns_before_it_is_too_old_and_both_end() -> None:
    in_force, watch = regime(policy(), None, feeds()), AgeWatch()
    rates, sanctions = feeds()
    assert rates is not None
    assert sanctions is not None
    assert watch.look(in_force, rates.as_of_ms + 95 * HOUR_MS) == []
    [ageing] = watch.look(in_force, rates.as_of_ms + 96 * HOUR_MS)
    assert (ageing.code, ageing.severity, ageing.scope) == ("FEED_AGEING", Severity.WARNING, "sanctions")
    assert "96 hours old, and too old in 72 hours" in ageing.summary
    assert watch.look(in_force, rates.as_of_ms + 97 * HOUR_MS) == [], "told once"
    told = watch.look(in_force, rates.as_of_ms + 168 * HOUR_MS)
    assert [(each.code, each.scope, each.is_over) for each in told] == [
        ("FEED_TOO_OLD", "exchange_rates", False),
        ("FEED_AGEING", "sanctions", True),
        ("FEED_TOO_OLD", "sanctions", False),
    ]
    assert {each.severity for each in told if not each.is_over} == {Severity.CRITICAL}
    again = watch.look(in_force, rates.as_of_ms)
    assert [(each.code, each.scope, each.is_over) for each in again] == [
        ("FEED_TOO_OLD", "exchange_rates", True),
        ("FEED_TOO_OLD", "sanctions", True),
    ]


def test_a_feed_that_there_is_not_is_too_old() -> None:
    told = AgeWatch().look(regime(policy(), None, NO_FEEDS), now_ms())
    assert [(each.code, each.scope) for each in told] == [("FEED_TOO_OLD", kind) for kind in KINDS]


def test_every_worker_raises_the_same_alert() -> None:
    in_force, at_ms = regime(policy(), None, feeds()), now_ms() + 400 * DAY_MS
    one, other = AgeWatch().look(in_force, at_ms), AgeWatch().look(in_force, at_ms + HOUR_MS)
    assert [each.alert_id for each in one] == [each.alert_id for each in other]


def test_what_a_worker_keeps_is_nowhere_but_in_the_archive(given: Settings, folder: Path) -> None:
    source = begun(given)
    put(given, RATES, dated(RATES, now_ms() - HOUR_MS, "second"))
    source.changed()
    assert {path.name for path in folder.iterdir()} == {"exchange_rates.toml", "sanctions.toml", "archive"}
    assert all(path.suffix == ".toml" for path in archive_folder(folder).iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_starts_takes_up_no_older_feed_than_was_in_force(given: Settings, kind: FeedKind) -> None:
    """Else an end of the process, which anybody may bring about, would let an older list in."""
    begun(given)
    put(given, kind, dated(kind, now_ms() - HOUR_MS, "second"))
    RegimeSource(given)
    put(given, kind, dated(kind, now_ms() - 2 * HOUR_MS, "older"))
    with pytest.raises(FeedRefused, match="it would follow second"):
        RegimeSource(given)
    put(given, kind, dated(kind, now_ms(), "third"))
    assert "third" in versions(RegimeSource(given))
