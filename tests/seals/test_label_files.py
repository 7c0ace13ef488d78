"""Whoever may write to labels.v1 is believed only with a good seal, once the key set holds a key of use labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.domain.log import Outgoing
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import SigningKey, create_signing_key, read_key_set, replace_key_set
from pipeline.keys.key_sets import KeySet, KeyUse, with_key, with_revocation
from pipeline.seals.label_files import LABELS, label_proves, label_sealer
from pipeline.seals.proving import SEAL_USES, Refused
from pipeline.seals.seal_files import sealer_of
from pipeline.terminal.failures import Failure
from tests.seals.given import NOW_MS, presented, sealed, sealer_with

VALUE = b"\xc3\x01" + bytes(8) + b"a label"


def settings(folder: Path, **named: object) -> Settings:
    return Settings.model_validate({"topic_prefix": "", "seal_keys_file": folder / "keys", **named})


def made(folder: Path, *uses: KeyUse) -> dict[KeyUse, SigningKey]:
    """Make a key for each use, and their key set."""
    keys, found = KeySet({}), {}
    for use in uses:
        found[use] = create_signing_key(folder / use, use, with_set=False)
        keys = with_key(keys, use, found[use].public, 0)
    replace_key_set(folder / "keys", keys)
    return found


def test_where_nobody_seals_labels_none_is_refused(tmp_path: Path) -> None:
    made(tmp_path, KeyUse.DECISIONS)
    assert {} == label_proves(settings(tmp_path))
    assert label_sealer(settings(tmp_path)) is None
    assert {} == label_proves(Settings.model_validate({"seal_directory": tmp_path / "made"}))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("use", sorted(SEAL_USES))
def test_once_labels_are_sealed_only_their_own_key_says_what_a_payment_was(tmp_path: Path, use: KeyUse) -> None:
    keys = made(tmp_path, KeyUse.LABELS, use)
    prove = label_proves(settings(tmp_path))[LABELS]
    [ours], [others] = (sealed(sealer_with(keys[each], LABELS), VALUE) for each in (KeyUse.LABELS, use))
    assert prove(presented(ours)) is None
    whys = [prove(each) for each in (presented(Outgoing(LABELS, b"payee", VALUE)), presented(others))]
    assert [Refused.SEAL_MISSING, Refused.KEY_OF_ANOTHER_KIND] == [each and each.why for each in whys]


@pytest.mark.parametrize("changed", [{"value": VALUE + b"!"}, {"key": b"another"}, {"partition": 3}])
def test_a_seal_is_good_for_its_own_label_alone(tmp_path: Path, changed: dict[str, object]) -> None:
    keys = made(tmp_path, KeyUse.LABELS)
    [record] = sealed(sealer_with(keys[KeyUse.LABELS], LABELS), VALUE)
    unproved = label_proves(settings(tmp_path))[LABELS](presented(record)._replace(**changed))
    assert unproved is not None
    assert Refused.SEAL_FALSE == unproved.why


def test_a_revoked_key_leaves_the_topic_closed(tmp_path: Path) -> None:
    keys = made(tmp_path, KeyUse.LABELS)
    key_id = keys[KeyUse.LABELS].key_id
    revoked = with_revocation(read_key_set(tmp_path / "keys"), key_id, NOW_MS, "it was copied")
    replace_key_set(tmp_path / "keys", revoked)
    prove = label_proves(settings(tmp_path))[LABELS]
    [record] = sealed(sealer_with(keys[KeyUse.LABELS], LABELS), VALUE)
    assert prove(presented(record, NOW_MS - 1)) is None
    for each in (presented(record), presented(record)._replace(seal=None)):
        assert prove(each) is not None


def test_a_decision_by_the_key_of_labels_is_nobodys_word(tmp_path: Path) -> None:
    made(tmp_path, KeyUse.LABELS, KeyUse.DECISIONS)
    given = settings(tmp_path, seal_key_file=tmp_path / KeyUse.LABELS)
    with pytest.raises(Failure, match="not for decisions"):
        sealer_of(given, KeyUse.DECISIONS, lambda _: 0)


def test_production_that_names_no_key_set_reads_no_label(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="FRAUD_SEAL_KEYS_FILE"):
        label_proves(settings(tmp_path, profile=Profile.PRODUCTION, seal_keys_file=None))


def test_a_publisher_that_was_told_of_no_key_set_seals_nothing(tmp_path: Path) -> None:
    """Readers that have a key set make its labels dead letters."""
    assert label_sealer(settings(tmp_path, profile=Profile.PRODUCTION, seal_keys_file=None)) is None


def test_a_flood_of_forged_labels_is_one_line_of_the_log(tmp_path: Path) -> None:
    made(tmp_path, KeyUse.LABELS)
    prove = label_proves(settings(tmp_path))[LABELS]
    with capture_logs() as lines:
        for _ in range(1_000):
            assert prove(presented(Outgoing(LABELS, b"payee", VALUE))) is not None
    assert ["label_unproved"] == [line["event"] for line in lines]
