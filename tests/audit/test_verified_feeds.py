"""The offline verifier asks who published the feeds that decisions name, of a promised export."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from ops.verifier.export import Outside, Trust, verify_export
from ops.verifier.feeds import Feeds
from ops.verifier.findings import Finding, Kind
from ops.verifier.freshness import Freshness
from ops.verifier.keys import read_keys
from pipeline.decide.feeds.feed import FeedKind, parse_feed
from pipeline.decide.feeds.signature_files import keep_signature, signature_text
from pipeline.keys.key_files import SigningKey, create_signing_key, read_key_set
from pipeline.keys.key_sets import KeyUse, key_set_text, with_revocation

PROMISE = Path(__file__).parents[1] / "released" / "0.1.0"
SIGNED_MS = 1_790_000_000_000


class Bench:
    """The promised export, and an archive of the feeds that its decisions name."""

    def __init__(self, folder: Path) -> None:
        self.export, self.feeds = folder / "export", folder / "feeds"
        self.archive = self.feeds / "archive"
        self.archive.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress((PROMISE / "export.tar.gz").read_bytes()))) as packed:
            packed.extractall(self.export, filter="data")
        self.key = create_signing_key(folder / "feeds.key", KeyUse.FEEDS)
        self.keys_path = folder / "feeds.key.keys"
        keys = read_key_set(self.keys_path)
        begun = keys.keys[self.key.key_id]._replace(valid_from_ms=0)
        self.keys_path.write_text(key_set_text(keys._replace(keys={begun.key_id: begun})))
        for kind in FeedKind:
            shutil.copy(PROMISE / "policies" / f"{kind}.toml", self.archive)
            self.sign(kind, self.key)

    def sign(self, kind: FeedKind, key: SigningKey, added: bytes = b"") -> None:
        content = (PROMISE / "policies" / f"{kind}.toml").read_bytes()
        keep_signature(self.feeds, parse_feed(content), signature_text(key, content + added, SIGNED_MS))

    def found(self) -> list[Finding]:
        at_ms = int(json.loads((self.export / "manifest.json").read_text())["exported_at_ms"])
        feeds = Feeds(self.archive, read_keys(self.keys_path))
        trust = Trust(read_keys(next(self.export.glob("*.keys"))), Freshness(at_ms, None), feeds=feeds)
        return verify_export(self.export, Outside(self.export / "outside"), trust, with_tables=False).findings


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_decisions_by_signed_feeds_are_as_they_were_written(bench: Bench) -> None:
    assert [] == bench.found()


def test_a_feed_without_its_signature_is_found(bench: Bench) -> None:
    next(bench.archive.glob("sanctions-*.sig")).unlink()
    [found] = bench.found()
    assert found.kind is Kind.FEED_UNSIGNED
    assert "the sanctions " in found.detail


def test_a_signature_over_other_bytes_is_found(bench: Bench) -> None:
    bench.sign(FeedKind.EXCHANGE_RATES, bench.key, b"#")
    [found] = bench.found()
    assert (found.kind, found.table) == (Kind.FEED_UNSIGNED, "feeds")
    assert "its signature does not hold" in found.detail


def test_a_feed_that_is_gone_is_found(bench: Bench) -> None:
    (bench.archive / "exchange_rates.toml").unlink()
    assert [Kind.FEED_MISSING] == [each.kind for each in bench.found()]


def test_a_key_of_another_use_or_a_revoked_one_signs_no_feed(bench: Bench, tmp_path: Path) -> None:
    bench.sign(FeedKind.SANCTIONS, create_signing_key(tmp_path / "seals.key", KeyUse.DECISIONS))
    assert [Kind.KEY_UNKNOWN] == [each.kind for each in bench.found()]
    bench.sign(FeedKind.SANCTIONS, bench.key)
    keys = with_revocation(read_key_set(bench.keys_path), bench.key.key_id, SIGNED_MS + 1, "it was stolen")
    bench.keys_path.write_text(key_set_text(keys))
    assert [Kind.KEY_REVOKED] * 2 == [each.kind for each in bench.found()]


def test_a_key_set_that_also_holds_keys_of_models_is_read(bench: Bench) -> None:
    read = json.loads(bench.keys_path.read_text())
    public = b"\x02" + bytes(range(32))
    other = {"key_id": hashlib.sha256(public).hexdigest()[:16], "use": "artefacts", "public": public.hex()}
    read["keys"].append({**read["keys"][0], **other})
    bench.keys_path.write_text(json.dumps(read))
    assert [] == bench.found()
    read["keys"][-1]["use"] = "feeds"
    bench.keys_path.write_text(json.dumps(read))
    with pytest.raises(ValueError, match="is no key set"):
        bench.found()
