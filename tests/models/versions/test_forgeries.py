"""Forgeries that are whole are refused, each with one sentence; and what they are done to loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.versions.loading_files import load_by_alias
from ops.bench.registry.forgeries import FORGERIES, copy_of, refused_with
from ops.bench.registry.scene import FIRST, Scene, make_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene") / "bank")


def test_the_registry_that_forgeries_are_done_to_loads(scene: Scene) -> None:
    loaded = load_by_alias(scene.registry, scene.trust)
    assert loaded.record is not None
    assert (FIRST, 3, None) == (loaded.model.version, loaded.record.sequence, loaded.candidate)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_whole_forgery_is_refused_in_a_sentence(scene: Scene, tmp_path: Path, name: str) -> None:
    said = refused_with(FORGERIES[name], copy_of(scene, tmp_path / "forged"))
    assert said is not None, f"{name} got through"
    assert 20 < len(said) < 300
    print(f"{name}: {said}")
