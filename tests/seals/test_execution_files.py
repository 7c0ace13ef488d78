"""What became of payments is believed only under a good seal, once the key set holds a key of use executions."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.domain.log import Outgoing
from pipeline.io.settings import Profile
from pipeline.keys.key_files import create_signing_key, read_key_set, replace_key_set
from pipeline.keys.key_sets import KeySet, KeyUse, with_key, with_revocation
from pipeline.seals.proving import SEAL_USES, Refused
from pipeline.seals.seal_files import EXECUTIONS, execution_proves, execution_sealer
from pipeline.terminal.failures import Failure
from tests.seals.given import NOW_MS, presented, sealed, sealer_with
from tests.seals.test_label_files import made, settings

VALUE = b"\xc3\x01" + bytes(8) + b"an execution"
UNSEALED = Outgoing(EXECUTIONS, b"payer", VALUE)


def test_where_nobody_seals_executions_none_is_refused(tmp_path: Path) -> None:
    made(tmp_path, KeyUse.DECISIONS)
    assert {} == execution_proves(settings(tmp_path))
    assert execution_sealer(settings(tmp_path)) is None


@pytest.mark.parametrize("use", [*sorted(SEAL_USES), KeyUse.LABELS])
def test_once_executions_are_sealed_only_the_executor_says_what_became_of_payments(tmp_path: Path, use: KeyUse) -> None:
    keys = made(tmp_path, KeyUse.EXECUTIONS, use)
    prove = execution_proves(settings(tmp_path))[EXECUTIONS]
    [ours], [others] = (sealed(sealer_with(keys[each], EXECUTIONS), VALUE) for each in (KeyUse.EXECUTIONS, use))
    assert prove(presented(ours)) is None
    whys = [prove(each) for each in (presented(UNSEALED), presented(others))]
    assert [Refused.SEAL_MISSING, Refused.KEY_OF_ANOTHER_KIND] == [each and each.why for each in whys]


@pytest.mark.parametrize("changed", [{"value": VALUE + b"!"}, {"key": b"another"}, {"partition": 3}])
def test_a_seal_is_good_for_its_own_execution_alone(tmp_path: Path, changed: dict[str, object]) -> None:
    keys = made(tmp_path, KeyUse.EXECUTIONS)
    [record] = sealed(sealer_with(keys[KeyUse.EXECUTIONS], EXECUTIONS), VALUE)
    unproved = execution_proves(settings(tmp_path))[EXECUTIONS](presented(record)._replace(**changed))
    assert unproved is not None
    assert Refused.SEAL_FALSE == unproved.why


def test_what_the_broker_stamped_before_the_first_key_was_good_is_believed_unsealed(tmp_path: Path) -> None:
    """What was told until then taught the workers whom accounts pay; a time that a writer chose proves nothing."""
    keys = KeySet({})
    for number, since_ms in enumerate((NOW_MS, NOW_MS - 1_000)):
        key = create_signing_key(tmp_path / f"{number}.key", KeyUse.EXECUTIONS, with_set=False)
        keys = with_key(keys, KeyUse.EXECUTIONS, key.public, since_ms)
    replace_key_set(tmp_path / "keys", with_revocation(keys, key.key_id, NOW_MS, "it was copied"))
    prove = execution_proves(settings(tmp_path))[EXECUTIONS]
    assert prove(presented(UNSEALED, NOW_MS - 1_001)) is None
    assert prove(presented(UNSEALED, NOW_MS - 1_000)) is not None
    assert prove(presented(UNSEALED, NOW_MS - 1_001, is_stamped=False)) is not None


def test_a_revoked_key_leaves_the_topic_closed(tmp_path: Path) -> None:
    keys = made(tmp_path, KeyUse.EXECUTIONS)
    key_id = keys[KeyUse.EXECUTIONS].key_id
    replace_key_set(tmp_path / "keys", with_revocation(read_key_set(tmp_path / "keys"), key_id, NOW_MS, "copied"))
    prove = execution_proves(settings(tmp_path))[EXECUTIONS]
    [record] = sealed(sealer_with(keys[KeyUse.EXECUTIONS], EXECUTIONS), VALUE)
    assert prove(presented(record, NOW_MS - 1)) is None
    for each in (presented(record), presented(record)._replace(seal=None)):
        assert prove(each) is not None


@pytest.mark.parametrize("uses", [[KeyUse.DECISIONS], [KeyUse.DECISIONS, KeyUse.EXECUTIONS]])
def test_in_production_an_executor_tells_nothing_unsealed(tmp_path: Path, uses: list[KeyUse]) -> None:
    """Neither without a key that readers trust, nor under one that is for other records."""
    made(tmp_path, *uses)
    given = settings(tmp_path, profile=Profile.PRODUCTION, seal_key_file=tmp_path / KeyUse.DECISIONS)
    with pytest.raises(Failure, match="not for executions"):
        execution_sealer(given)
