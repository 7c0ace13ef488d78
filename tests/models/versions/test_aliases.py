"""An alias moves by a signed record that follows the one before, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.artefact.files import ModelRefused
from models.versions.alias_files import champion_record, move_alias
from models.versions.aliases import Seen
from models.versions.history import Event
from models.versions.history_files import read_history
from models.versions.locations import Alias
from models.versions.registry_files import AlreadyThere
from tests.models.versions.given import VERSION, keys_of, models_key, shipped_registry


def test_an_alias_moves_by_records_that_follow_each_other(tmp_path: Path) -> None:
    registry, key = shipped_registry(tmp_path / "registry"), models_key(tmp_path)
    keys = keys_of(key)
    with pytest.raises(ModelRefused, match="the registry names no champion"):
        champion_record(registry, keys)
    first = move_alias(registry, keys, key, alias=Alias.CHAMPION, version=VERSION, by="a", at_ms=5, event=Event.BEGUN)
    second = move_alias(registry, keys, key, alias=Alias.CHAMPION, version=VERSION, by="b", at_ms=6)
    assert second == champion_record(registry, keys)._replace(signatures=())
    assert (1, 2, first.sha256) == (first.sequence, second.sequence, second.before_sha256)
    assert [Event.BEGUN, Event.PROMOTED] == [record.event for record in read_history(registry, keys)]
    with pytest.raises(AlreadyThere):
        registry.create("aliases/champion/000002.json", b"{}")


def test_an_older_registry_is_told_by_what_was_seen_of_a_newer_one(tmp_path: Path) -> None:
    registry, key = shipped_registry(tmp_path / "registry"), models_key(tmp_path)
    keys = keys_of(key)
    for at_ms in (5, 6):
        last = move_alias(registry, keys, key, alias=Alias.CHAMPION, version=VERSION, by="a", at_ms=at_ms)
    seen = Seen(last.sequence, last.sha256)
    assert champion_record(registry, keys, seen).sha256 == last.sha256
    (registry.root / "aliases/champion/000002.json").unlink()
    assert champion_record(registry, keys).sequence == 1
    with pytest.raises(ModelRefused, match="an older registry was put in its place"):
        champion_record(registry, keys, seen)
