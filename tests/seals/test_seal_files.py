"""Where keys come from: development makes them, production is told, and nobody goes on without."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.io.clock import now_ms
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import create_signing_key, read_key_set, replace_key_set, set_path_beside
from pipeline.keys.key_sets import KeySet, KeySetRefused, KeyUse, with_key, with_revocation
from pipeline.seals import seal_files
from pipeline.seals.proving import SEAL_USES
from pipeline.seals.seal_files import KEYS_FILE, KeySetFile, make_seal_keys, seal_check, sealer_of
from pipeline.terminal.failures import Failure
from tests.seals.given import presented, sealed, value_of


def settings(**named: object) -> Settings:
    return Settings.model_validate({"topic_prefix": "", **named})


def first_partition(_: bytes) -> int:
    return 0


@pytest.mark.parametrize("use", sorted(SEAL_USES))
def test_development_makes_the_keys_and_always_checks(tmp_path: Path, use: KeyUse) -> None:
    given = settings(seal_directory=tmp_path / "var" / "seals")
    [record] = sealed(sealer_of(given, use, first_partition), value_of(use))
    check = seal_check(given)
    assert check.unproved(presented(record, is_stamped=False)) is None
    assert check.unproved(presented(record)._replace(seal=None)) is not None


def test_of_processes_that_start_at_once_all_have_the_same_keys(tmp_path: Path) -> None:
    folder = tmp_path / "seals"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(make_seal_keys, [folder] * 24))
    assert {KEYS_FILE, *(f"{use}{end}" for use in SEAL_USES for end in (".key", ".key.pub"))} == {
        path.name for path in folder.iterdir()
    }
    assert [folder.name] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("act", [seal_check, lambda given: sealer_of(given, KeyUse.DECISIONS, first_partition)])
def test_production_makes_no_key(tmp_path: Path, act: object) -> None:
    given = settings(profile=Profile.PRODUCTION, seal_directory=tmp_path / "seals")
    make_seal_keys(tmp_path / "seals")
    with pytest.raises(Failure, match="FRAUD_SEAL_KEYS_FILE"):
        act(given)  # type: ignore[operator]


def test_a_writer_whose_key_nobody_trusts_does_not_start(tmp_path: Path) -> None:
    make_seal_keys(tmp_path / "seals")
    create_signing_key(tmp_path / "other", KeyUse.DECISIONS, with_set=False)
    given = settings(seal_key_file=tmp_path / "other", seal_keys_file=tmp_path / "seals" / KEYS_FILE)
    with pytest.raises(Failure, match="not in the key set"):
        sealer_of(given, KeyUse.DECISIONS, first_partition)


@pytest.mark.parametrize("ending", ["ended", "revoked", "gone"])
def test_a_writer_seals_nothing_more_once_its_key_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Nobody would heed it, for good: a decision is never executed then, and its payment never decided anew."""
    monkeypatch.setattr(seal_files, "LOOK_S", 0.0)
    folder = tmp_path / "seals"
    make_seal_keys(folder)
    sealer = sealer_of(settings(seal_directory=folder), KeyUse.DECISIONS, first_partition)
    value = value_of(KeyUse.DECISIONS)
    assert sealed(sealer, value)
    keys = read_key_set(folder / KEYS_FILE)
    if ending == "ended":
        other = create_signing_key(tmp_path / "next", KeyUse.DECISIONS, with_set=False)
        keys = with_key(keys, KeyUse.DECISIONS, other.public, now_ms() - 2, now_ms() - 1)
    elif ending == "revoked":
        keys = with_revocation(keys, sealer.key_id, now_ms() - 1, "it was copied")
    else:
        keys = KeySet({name: key for name, key in keys.keys.items() if name != sealer.key_id})
    replace_key_set(folder / KEYS_FILE, keys)
    with pytest.raises(KeySetRefused, match=sealer.key_id):
        sealed(sealer, value)


@pytest.mark.parametrize("use", sorted(SEAL_USES - {KeyUse.DECISIONS}))
def test_a_writer_with_another_kind_s_key_does_not_start(tmp_path: Path, use: KeyUse) -> None:
    make_seal_keys(tmp_path / "seals")
    given = settings(seal_key_file=tmp_path / "seals" / "decisions.key", seal_keys_file=tmp_path / "seals" / KEYS_FILE)
    with pytest.raises(Failure, match=f"is for decisions, not for {use}"):
        sealer_of(given, use, first_partition)


def test_a_set_without_a_key_that_seals_is_no_set(tmp_path: Path) -> None:
    create_signing_key(tmp_path / "audit", KeyUse.AUDIT)
    with pytest.raises(Failure, match="holds no key that seals records"):
        seal_check(settings(seal_keys_file=set_path_beside(tmp_path / "audit")))


def test_a_key_set_is_read_anew_when_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_files, "LOOK_S", 0.0)
    make_seal_keys(tmp_path / "seals")
    path = tmp_path / "seals" / KEYS_FILE
    source = KeySetFile(path)
    [key] = source(False).of_use(KeyUse.DECISIONS)
    replace_key_set(path, with_revocation(read_key_set(path), key.key_id, 1, "It was copied."))
    assert 1 == source(False).keys[key.key_id].revoked_at_ms
    path.write_text("{")
    with pytest.raises(KeySetRefused):
        source(False)
