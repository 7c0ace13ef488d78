"""A way back stays open, whatever a crash, a revoked key, a late file or another file's refusal leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from models.versions.approval_files import standing_approvals
from models.versions.approvals import APPROVALS_A_KEY_MAX
from models.versions.history import Event
from models.versions.loading_files import load_by_alias
from models.versions.registry_files import AlreadyThere, DirectoryRegistry, RegistryUnavailable
from models.versions.verify_command import verified
from ops.bench.registry.forgeries import copy_of
from ops.bench.registry.scene import AT_MS, FIRST, HOUR_MS, SECOND, Scene, approve, make_scene, move
from pipeline.decide.regime_files import LOAD_AGAIN_S, RegimeSource
from pipeline.keys.key_files import replace_key_set
from pipeline.keys.key_sets import with_revocation
from pipeline.people.people_files import write_people
from pipeline.people.roles import Role
from tests.models.versions.given import keys_of, models_key
from tests.models.versions.test_loading import settings_of
from tests.records import POLICY_PATH
from tests.records import policy as shipped_policy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene") / "bank")


@pytest.fixture
def scene(made: Scene, tmp_path: Path) -> Scene:
    return copy_of(made, tmp_path / "bank")


def test_a_writer_that_was_killed_leaves_a_registry_that_loads_and_moves(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", killed)
    monkeypatch.setattr(Path, "unlink", killed)  # nobody tidies up after a kill
    for folder in ("aliases/champion", "history", FIRST, f"approvals/{FIRST}", f"evidence/{FIRST}"):
        with pytest.raises(KeyboardInterrupt):
            scene.registry.create(f"{folder}/000009.json", b"{}")
    monkeypatch.undo()
    assert load_by_alias(scene.registry, scene.trust).model.version == FIRST
    move(scene, SECOND, AT_MS + 5 * HOUR_MS)
    assert load_by_alias(scene.registry, scene.trust).model.version == SECOND
    assert [each for each in verified(settings_of(scene), None) if each.fault is not None] == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(RegistryUnavailable, match="No space left"):
        DirectoryRegistry(tmp_path).create("history/000001.json", b"{}")
    assert list((tmp_path / "history").iterdir()) == []


def test_an_artefacts_key_that_is_revoked_leaves_what_was_champion_before_to_go_back_to(scene: Scene) -> None:
    """A record saw the signature while the key counted."""
    revoked = with_revocation(scene.keys, scene.artefacts.key_id, AT_MS + 4 * HOUR_MS, "it was copied")
    scene = scene._replace(keys=revoked)
    assert load_by_alias(scene.registry, scene.trust).model.version == FIRST
    move(scene, SECOND, AT_MS + 5 * HOUR_MS, Event.ROLLED_BACK)
    assert load_by_alias(scene.registry, scene.trust).model.version == SECOND


def test_who_left_the_bank_makes_no_way_back_look_bad(scene: Scene) -> None:
    pinned = move(scene, SECOND, AT_MS + 5 * HOUR_MS).approvals
    move(scene, FIRST, AT_MS + 6 * HOUR_MS)
    scene.book.take_role("rita", Role.RISK, AT_MS + 7 * HOUR_MS)
    move(scene, SECOND, AT_MS + 8 * HOUR_MS, Event.ROLLED_BACK, pinned=pinned)
    assert load_by_alias(scene.registry, scene.trust).model.version == SECOND
    assert [each for each in verified(settings_of(scene), None) if each.fault is not None] == []


def test_a_policy_that_can_not_be_used_keeps_no_moved_champion_out(scene: Scene, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_bytes(POLICY_PATH.read_bytes())
    source = RegimeSource(settings_of(scene, policy_path=policy))
    policy.write_text("format = ")
    move(scene, SECOND, AT_MS + 5 * HOUR_MS, Event.ROLLED_BACK)
    with capture_logs() as logs:
        changed = source.changed()
    assert changed is not None
    assert changed.model is not None
    assert changed.model.version == SECOND
    assert [log["event"] for log in logs] == ["change_refused", "regime"]


def test_a_champion_that_is_refused_keeps_no_policy_out(scene: Scene, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_bytes(POLICY_PATH.read_bytes())
    source = RegimeSource(settings_of(scene, policy_path=policy))
    move(scene, SECOND, AT_MS + 5 * HOUR_MS, pinned={})
    assert source.changed() is None
    shipped = f'version = "{shipped_policy().version}"'
    policy.write_text(POLICY_PATH.read_text().replace(shipped, 'version = "stricter"'))
    changed = source.changed()
    assert changed is not None
    assert changed.model is not None
    assert (changed.policy.version, changed.model.version) == ("stricter", FIRST)


@pytest.mark.parametrize("late", ["keys", "people", "memory"])
def test_a_move_is_taken_up_once_what_it_is_proved_by_has_come(scene: Scene, late: str) -> None:
    """Files of a machine come later than the registry's: nothing of the alias changes when they do."""
    settings, clock_s = settings_of(scene), [0.0]
    source = RegimeSource(settings, clock_s=lambda: clock_s[0])
    if late == "keys":
        replace_key_set(scene.folder / "keys", keys_of(models_key(scene.folder, "before")))
    elif late == "people":
        (scene.folder / "people").write_text("")
    else:
        (scene.folder / "memory").rename(scene.folder / "away")
        (scene.folder / "memory").touch()
    move(scene, SECOND, AT_MS + 5 * HOUR_MS, Event.ROLLED_BACK)
    with capture_logs() as logs:
        assert source.changed() is None
        clock_s[0] += LOAD_AGAIN_S
        assert source.changed() is None
    assert [log["event"] for log in logs] == ["change_refused"], "told once"
    if late == "keys":
        replace_key_set(scene.folder / "keys", scene.keys)
    elif late == "people":
        (scene.folder / "people").unlink()
        write_people(scene.folder / "people", scene.book.acts)
    else:
        (scene.folder / "memory").unlink()
        (scene.folder / "away").rename(scene.folder / "memory")
    clock_s[0] += LOAD_AGAIN_S
    changed = source.changed()
    assert changed is not None
    assert changed.model is not None
    assert changed.model.version == SECOND


def test_an_approval_is_given_anew_once_it_is_a_day_old(scene: Scene) -> None:
    """A trial in the shadow takes four weeks, and an approval counts for thirty days."""
    people, day_ms = scene.book.people, 24 * HOUR_MS
    with pytest.raises(AlreadyThere):
        approve(scene, SECOND, at_ms=AT_MS + day_ms - 1)
    approve(scene, SECOND, at_ms=AT_MS + 40 * day_ms)
    standing = standing_approvals(scene.registry, SECOND, people, AT_MS + 41 * day_ms)
    assert standing.faults == ()
    latest = {each.role: each.at_ms for each in sorted(standing.approvals.values(), key=lambda each: each.at_ms)}
    assert set(latest.values()) == {AT_MS + 40 * day_ms}
    move(scene, SECOND, AT_MS + 41 * day_ms)
    assert load_by_alias(scene.registry, scene.trust).model.version == SECOND
    for renewal in range(2, APPROVALS_A_KEY_MAX):
        approve(scene, SECOND, at_ms=AT_MS + renewal * 40 * day_ms)
    with pytest.raises(AlreadyThere):
        approve(scene, SECOND, at_ms=AT_MS + 1_000 * day_ms)


def test_a_name_that_can_not_be_written_is_told_and_stops_no_telling(scene: Scene) -> None:
    (scene.registry.root / "approvals" / FIRST / os.fsdecode(b"\xff\x1b[31m")).touch()
    [fault] = standing_approvals(scene.registry, FIRST, scene.book.people, AT_MS + HOUR_MS).faults
    assert fault.isascii()
    assert fault.isprintable()
