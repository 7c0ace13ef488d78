"""In production a decision is verified only where its feeds were signed by their publisher."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.decide.feeds.feed import FeedKind, parse_feed
from pipeline.decide.feeds.signature_files import keep_signature, signature_text
from pipeline.domain.decision import StoredDecision
from pipeline.explain.explanation import explanation
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import SigningKey, create_signing_key, read_key_set
from pipeline.keys.key_sets import KeyUse, key_set_text, with_revocation
from pipeline.replay.feed_proof_files import feeds_fault_of
from pipeline.replay.verify import Check, Result, regime_key, verify
from tests.archive import CLOSED, Archive, payment, stored
from tests.records import feed_content

SIGNED_MS = max(parse_feed(feed_content(kind)).as_of_ms for kind in FeedKind) + 60_000
DECIDED_MS = SIGNED_MS + 60_000


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    made = create_signing_key(tmp_path / "feeds.key", KeyUse.FEEDS)
    path = tmp_path / "feeds.key.keys"
    keys = read_key_set(path)
    only = keys.keys[made.key_id]._replace(valid_from_ms=0)
    path.write_text(key_set_text(keys._replace(keys={made.key_id: only})))
    return made


@pytest.fixture
def settings(tmp_path: Path, archive: Archive) -> Settings:
    development = Settings(
        policy_archive=archive.policies,
        model_registry=archive.registry,
        feeds_path=tmp_path / "feeds",
        seal_keys_file=tmp_path / "feeds.key.keys",
    )
    return development.model_copy(update={"profile": Profile.PRODUCTION})


def decided(archive: Archive) -> StoredDecision:
    [value] = archive.values([payment(1)], [CLOSED])
    return stored(value)


def checked(archive: Archive, settings: Settings) -> Check:
    [check] = verify([decided(archive)], archive.regime_of, feeds_fault_of(settings))
    return check


def signed(settings: Settings, key: SigningKey, kind: FeedKind) -> None:
    content = feed_content(kind)
    keep_signature(settings.feeds_path, parse_feed(content), signature_text(key, content, SIGNED_MS))


def test_a_decision_by_a_feed_that_nobody_signed_is_not_verified(
    archive: Archive, settings: Settings, key: SigningKey
) -> None:
    signed(settings, key, FeedKind.EXCHANGE_RATES)
    check = checked(archive, settings)
    assert check.result is Result.UNVERIFIABLE
    assert check.why.startswith("nothing proves who published its sanctions ")
    assert "is not signed" in check.why
    told = explanation(decided(archive), 0, 0, archive.regime_of, feeds_fault_of(settings))
    assert told.check == check


def test_a_decision_by_signed_feeds_is_verified(archive: Archive, settings: Settings, key: SigningKey) -> None:
    for kind in FeedKind:
        signed(settings, key, kind)
    assert checked(archive, settings).result is Result.IDENTICAL


def test_a_signature_that_comes_later_counts(archive: Archive, settings: Settings, key: SigningKey) -> None:
    feeds_fault = feeds_fault_of(settings)
    found = [decided(archive)]
    assert verify(found, archive.regime_of, feeds_fault)[0].result is Result.UNVERIFIABLE
    for kind in FeedKind:
        signed(settings, key, kind)
    assert verify(found, archive.regime_of, feeds_fault)[0].result is Result.IDENTICAL


def test_a_signature_over_another_feed_proves_nothing(archive: Archive, settings: Settings, key: SigningKey) -> None:
    for kind in FeedKind:
        content = feed_content(kind)
        keep_signature(settings.feeds_path, parse_feed(content), signature_text(key, content + b"#", SIGNED_MS))
    assert "is not one of the key" in checked(archive, settings).why


@pytest.mark.parametrize(
    ("revoked_at_ms", "is_proved"), [(DECIDED_MS + 1, True), (DECIDED_MS, False), (SIGNED_MS, False)]
)
def test_a_revoked_keys_signature_counts_for_what_was_decided_before(
    archive: Archive, settings: Settings, key: SigningKey, tmp_path: Path, revoked_at_ms: int, is_proved: bool
) -> None:
    for kind in FeedKind:
        signed(settings, key, kind)
    path = tmp_path / "feeds.key.keys"
    path.write_text(key_set_text(with_revocation(read_key_set(path), key.key_id, revoked_at_ms, "it was stolen")))
    why = feeds_fault_of(settings)(regime_key(decided(archive).decision), DECIDED_MS)
    assert why is None if is_proved else "is revoked since" in str(why)


def test_outside_production_no_signature_is_needed(archive: Archive, settings: Settings) -> None:
    assert checked(archive, settings.model_copy(update={"profile": Profile.DEVELOPMENT})).result is Result.IDENTICAL
