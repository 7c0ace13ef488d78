"""Whatever version was ever live decides its decisions again, to the byte; or a sentence says why it can't."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import pytest

from models.artefact.files import load_version
from models.simulator import TrafficSettings, traffic_events
from ops.bench.reasons.deciding import Deciding
from pipeline.decide.feeds.feed import FeedKind
from pipeline.decide.verdict import regime
from pipeline.domain.decision import Decision
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.redecide import Basis, Good, Version, redecide
from pipeline.replay.verify import Result, verify
from tests.archive import CLOSED, Archive, payment, stored
from tests.decisions import written
from tests.records import POLICY_PATH, feed_content, feeds, policy

REGISTRY = Path("models/registry")
SHIPPED = sorted(path.name for path in REGISTRY.iterdir() if (path / "manifest.json").is_file())
TRAFFIC = TrafficSettings(seed=11, accounts=100, start_ms=1_782_864_000_000, days=16)


def made_by(version: str) -> list[Decision]:
    """Decisions of a stream as the worker makes them, by model, fallback and guardrails."""
    deciding = Deciding(regime(policy(), load_version(REGISTRY, version), feeds()))
    return list(islice(deciding.decisions(traffic_events(TRAFFIC)), 2_400))


def archive_of(folder: Path, registry: Path = REGISTRY) -> RegimeArchive:
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    shutil.copy(POLICY_PATH, policies)
    for kind in FeedKind:
        (policies / f"{kind}.toml").write_bytes(feed_content(kind))
    return RegimeArchive(policies, registry)


@pytest.mark.parametrize("version", SHIPPED)
def test_every_shipped_version_decides_its_decisions_again(tmp_path: Path, version: str) -> None:
    decisions = made_by(version)
    found = [stored(written(decision)) for decision in decisions]
    assert {each.decision.model_version for each in found} == {version}
    assert len({each.decision.route for each in found}) >= 2
    assert {Result.IDENTICAL} == {check.result for check in verify(found, archive_of(tmp_path).regime_of)}


@pytest.mark.parametrize("version", SHIPPED)
def test_every_shipped_version_decides_the_snapshots_of_every_other(tmp_path: Path, version: str) -> None:
    model = load_version(REGISTRY, version)
    archive = archive_of(tmp_path)
    for other in SHIPPED:
        found = [stored(written(decision)) for decision in made_by(other)[:200]]
        good = Good(Version(version, model.hash), None, Basis.RECORDED)
        again = redecide(found, good, archive.regime_of)
        assert all(each.outcome is not None for each in again)
        if other == version:
            assert [each.decision.outcome for each in found] == [each.outcome for each in again]


def test_whoever_is_champion_changes_no_replay(archive: Archive) -> None:
    [value] = archive.values([payment(1)], [CLOSED])
    (archive.registry / "champion").write_text("another\n")
    [check] = verify([stored(value)], archive.regime_of)
    assert check.result is Result.IDENTICAL


def test_a_version_that_the_registry_lost_is_told_in_a_sentence(archive: Archive) -> None:
    [value] = archive.values([payment(1)], [CLOSED])
    shutil.rmtree(archive.registry / "small-1")
    [check] = verify([stored(value)], archive.regime_of)
    assert check.result is Result.UNVERIFIABLE
    assert "small-1" in check.why


def test_two_versions_that_were_swapped_are_found_and_decide_nothing(archive: Archive, tmp_path: Path) -> None:
    """A decision names version and hash: neither another artefact under the name, nor the right one under another."""
    [value] = archive.values([payment(1)], [CLOSED])
    other = SHIPPED[0]
    shutil.copytree(REGISTRY / other, archive.registry / other)
    for source, to in (("small-1", "aside"), (other, "small-1"), ("aside", other)):
        (archive.registry / source).rename(archive.registry / to)
    [check] = verify([stored(value)], archive.regime_of)
    assert check.result is Result.UNVERIFIABLE
    assert "small-1" in check.why
