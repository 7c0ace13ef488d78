"""A worker decides by what signed records name, goes on by it when the registry is spoilt, and never goes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from models.artefact.files import ModelRefused
from models.versions.alias_files import move_alias
from models.versions.loading_files import champion_version_of, load_champion_of
from models.versions.locations import Alias
from ops.bench.registry.forgeries import copy_of
from ops.bench.registry.scene import AT_MS, FIRST, HOUR_MS, SECOND, Scene, make_scene, move
from pipeline.decide.regime_files import RegimeSource
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import replace_key_set
from pipeline.people.people_files import write_people
from tests.records import POLICY_PATH


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene") / "bank")


@pytest.fixture
def scene(made: Scene, tmp_path: Path) -> Scene:
    return copy_of(made, tmp_path / "bank")


def settings_of(scene: Scene, **others: object) -> Settings:
    replace_key_set(scene.folder / "keys", scene.keys)
    write_people(scene.folder / "people", scene.book.acts)
    given = {
        "model_registry": scene.registry.root,
        "seal_keys_file": scene.folder / "keys",
        "people_file": scene.folder / "people",
        "model_memory": scene.folder / "memory",
        "policy_path": POLICY_PATH,
        "feeds_path": scene.folder / "feeds",
    }
    return Settings(**{**given, **others})  # type: ignore[arg-type]


def test_a_worker_follows_the_signed_records(scene: Scene) -> None:
    source = RegimeSource(settings_of(scene))
    assert source.current.model is not None
    assert source.current.model.version == FIRST
    move(scene, SECOND, AT_MS + 5 * HOUR_MS)
    changed = source.changed()
    assert changed is not None
    assert changed.model is not None
    assert changed.model.version == SECOND
    assert champion_version_of(settings_of(scene)) == SECOND


def test_a_plain_champion_names_nothing_where_records_are_signed(scene: Scene) -> None:
    (scene.registry.root / "champion").write_text(f"{SECOND}\n")
    assert load_champion_of(settings_of(scene)).model.version == FIRST


def test_what_is_spoilt_at_work_changes_nothing(scene: Scene) -> None:
    source = RegimeSource(settings_of(scene))
    in_force = source.current
    move(scene, SECOND, AT_MS + 5 * HOUR_MS, pinned={})
    with capture_logs() as logs:
        assert source.changed() is None
        assert source.changed() is None
    assert [log["event"] for log in logs] == ["change_refused"], "told once"
    assert "is not approved" in logs[0]["why"]
    assert source.current is in_force


def test_an_older_registry_is_refused_at_work_and_at_a_start(scene: Scene) -> None:
    settings, before = settings_of(scene), scene.folder / "before"
    shutil.copytree(scene.registry.root, before)
    source = RegimeSource(settings)
    move(scene, SECOND, AT_MS + 5 * HOUR_MS)
    assert source.changed() is not None
    shutil.rmtree(scene.registry.root)
    shutil.copytree(before, scene.registry.root)
    with capture_logs() as logs:
        assert source.changed() is None
    assert "an older registry was put in its place" in logs[0]["why"]
    with pytest.raises(ModelRefused, match="an older registry was put in its place"):
        RegimeSource(settings)


def test_what_can_not_be_remembered_is_not_taken_up(scene: Scene) -> None:
    (scene.folder / "memory").write_text("no folder")
    with pytest.raises(ModelRefused, match="what was in force before can't be read"):
        load_champion_of(settings_of(scene))


def test_a_registry_with_signed_records_is_not_read_by_its_pointer(scene: Scene) -> None:
    """Whoever takes the keys away gets a refusal, and no unsigned champion."""
    (scene.registry.root / "champion").write_text(f"{SECOND}\n")
    with pytest.raises(ModelRefused, match="the registry's champion is signed"):
        load_champion_of(settings_of(scene, seal_keys_file=None))


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"seal_keys_file": None}, "holds no key of use models"),
        ({"people_file": None}, "names no file that says who may approve a model"),
        ({"people_file": Path("/nowhere")}, "who approved the model can't be told"),
        ({"seal_keys_file": Path("/nowhere")}, "the keys that sign models can't be told"),
        ({"model_registry": Path("models/registry")}, "the registry names no champion"),
    ],
)
def test_production_loads_nothing_that_is_not_proved(scene: Scene, others: dict[str, object], said: str) -> None:
    with pytest.raises(ModelRefused, match=said):
        load_champion_of(settings_of(scene, profile=Profile.PRODUCTION, **others))


def test_development_without_keys_goes_by_the_plain_pointer() -> None:
    loaded = load_champion_of(Settings(model_registry=Path("models/registry")))
    assert (FIRST, None) == (loaded.model.version, loaded.record)


@pytest.mark.parametrize("salt", ["", "0" * 31])
def test_a_share_by_a_salt_that_can_be_guessed_is_refused(scene: Scene, salt: str) -> None:
    with pytest.raises(ModelRefused, match="a share is chosen by it"):
        move_alias(
            scene.registry, scene.keys, scene.models, alias=Alias.CHAMPION, version=SECOND, by="the gate",
            at_ms=AT_MS + 5 * HOUR_MS, share_ppm=10_000, salt=salt,
        )  # fmt: skip


def test_a_share_leaves_the_version_before_in_force(scene: Scene) -> None:
    pinned = move(scene, SECOND, AT_MS + 5 * HOUR_MS).approvals
    move(scene, FIRST, AT_MS + 6 * HOUR_MS)
    move_alias(
        scene.registry, scene.keys, scene.models, alias=Alias.CHAMPION, version=SECOND, by="the gate",
        at_ms=AT_MS + 7 * HOUR_MS, share_ppm=10_000, salt="5" * 32, approvals=pinned,
    )  # fmt: skip
    loaded = load_champion_of(settings_of(scene))
    assert loaded.candidate is not None
    assert (FIRST, SECOND) == (loaded.model.version, loaded.candidate.version)
    assert champion_version_of(settings_of(scene)) == FIRST
