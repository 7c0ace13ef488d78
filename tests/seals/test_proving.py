"""Every way in which a record fails to prove who wrote it, and its reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.domain.log import Presented
from pipeline.keys.key_sets import KeyUse, with_key, with_revocation
from pipeline.seals.proving import SEAL_USES, Refused, kind_of
from tests.seals.given import FRAMED, NOW_MS, Writers, presented, sealed, sealer_with, signing_key, value_of


def one(writers: Writers, use: KeyUse = KeyUse.DECISIONS, value: bytes | None = None) -> Presented:
    return presented(sealed(writers.sealer(use), value_of(use) if value is None else value)[0])


def why(writers: Writers, record: Presented) -> Refused | None:
    found = writers.check().unproved(record)
    return None if found is None else Refused(found.why)


@pytest.mark.parametrize("use", sorted(SEAL_USES))
def test_a_record_is_proved_by_the_key_of_its_kind(use: KeyUse) -> None:
    writers = Writers()
    assert why(writers, one(writers, use)) is None


def _other_partition(_: Writers, record: Presented) -> Presented:
    return record._replace(partition=record.partition + 1)


def _other_topic(_: Writers, record: Presented) -> Presented:
    return record._replace(topic="other.decisions.v1")


def _other_key(_: Writers, record: Presented) -> Presented:
    return record._replace(key=b"other account")


def _changed(_: Writers, record: Presented) -> Presented:
    return record._replace(value=record.value + b"!")


def _unsealed(_: Writers, record: Presented) -> Presented:
    return record._replace(seal=None)


def _garbage(_: Writers, record: Presented) -> Presented:
    return record._replace(seal=b"seal")


def _strangers_key(_: Writers, record: Presented) -> Presented:
    return presented(sealed(sealer_with(signing_key()), record.value)[0])


def _strangers_under_its_name(writers: Writers, record: Presented) -> Presented:
    stranger = signing_key()
    stranger.key_id = writers.keys[KeyUse.DECISIONS].key_id
    return presented(sealed(sealer_with(stranger), record.value)[0])


def _reversal_by_the_worker(writers: Writers, _: Presented) -> Presented:
    return one(writers, KeyUse.DECISIONS, value_of(KeyUse.REVERSALS))


def _review_by_the_worker(writers: Writers, _: Presented) -> Presented:
    return one(writers, KeyUse.DECISIONS, value_of(KeyUse.REVIEWS))


def _decision_by_a_reviewer(writers: Writers, _: Presented) -> Presented:
    return one(writers, KeyUse.REVIEWS, value_of(KeyUse.DECISIONS))


def _signed_by_the_audit_log(writers: Writers, record: Presented) -> Presented:
    key = signing_key()
    writers.key_set = with_key(writers.key_set, KeyUse.AUDIT, key.public, 0)
    return presented(sealed(sealer_with(key), record.value)[0])


def _path_of_another(writers: Writers, _: Presented) -> Presented:
    first, second = sealed(
        writers.sealer(KeyUse.DECISIONS), *(value_of(KeyUse.DECISIONS, text) for text in (b"1", b"2"))
    )
    return presented(first._replace(headers=second.headers))


FORGERIES: dict[Callable[[Writers, Presented], Presented], Refused] = {
    _unsealed: Refused.SEAL_MISSING,
    _garbage: Refused.SEAL_MALFORMED,
    _strangers_key: Refused.KEY_UNKNOWN,
    _strangers_under_its_name: Refused.SEAL_FALSE,
    _reversal_by_the_worker: Refused.KEY_OF_ANOTHER_KIND,
    _review_by_the_worker: Refused.KEY_OF_ANOTHER_KIND,
    _decision_by_a_reviewer: Refused.KEY_OF_ANOTHER_KIND,
    _signed_by_the_audit_log: Refused.KEY_OF_ANOTHER_KIND,
    _path_of_another: Refused.SEAL_FALSE,
    _changed: Refused.SEAL_FALSE,
    _other_key: Refused.SEAL_FALSE,
    _other_partition: Refused.SEAL_FALSE,
    _other_topic: Refused.SEAL_FALSE,
}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__.strip("_"))
def test_1_a_forgery_is_named(forge: Callable[[Writers, Presented], Presented]) -> None:
    writers = Writers()
    record = one(writers)
    assert why(writers, record) is None, "before it is forged"
    assert FORGERIES[forge] is why(writers, forge(writers, record))


def test_a_copy_at_another_offset_is_proved_as_it_does_no_harm() -> None:
    writers = Writers()
    record = one(writers)
    assert why(writers, record._replace(offset=record.offset + 1)) is None


def revoked_at(writers: Writers, at_ms: int) -> None:
    writers.key_set = with_revocation(writers.key_set, writers.keys[KeyUse.DECISIONS].key_id, at_ms, "It was copied.")


def retired_at(writers: Writers, at_ms: int) -> None:
    next_key = signing_key()
    writers.key_set = with_key(writers.key_set, KeyUse.DECISIONS, next_key.public, at_ms - 1_000, at_ms)


@pytest.mark.parametrize(
    ("end", "at_ms", "reason"),
    [
        (revoked_at, NOW_MS - 1, None),
        (revoked_at, NOW_MS, Refused.KEY_REVOKED),
        (revoked_at, NOW_MS + 1, Refused.KEY_REVOKED),
        (retired_at, NOW_MS, None),
        (retired_at, NOW_MS + 1, Refused.KEY_NOT_VALID),
    ],
)
def test_1_a_key_counts_by_the_broker_s_clock(
    end: Callable[[Writers, int], None], at_ms: int, reason: Refused | None
) -> None:
    writers = Writers()
    record = one(writers)._replace(timestamp_ms=at_ms)
    end(writers, NOW_MS)
    assert reason is why(writers, record)


def test_1_a_key_counts_from_its_beginning_on() -> None:
    writers, key = Writers(), signing_key()
    writers.key_set = with_key(writers.key_set, KeyUse.DECISIONS, key.public, NOW_MS)
    record = presented(sealed(sealer_with(key), value_of(KeyUse.DECISIONS))[0])
    assert why(writers, record) is None
    assert Refused.KEY_NOT_VALID is why(writers, record._replace(timestamp_ms=NOW_MS - 1))


@pytest.mark.parametrize(("end", "reason"), [(revoked_at, Refused.KEY_REVOKED), (retired_at, Refused.KEY_NOT_VALID)])
def test_3_a_time_that_the_writer_chose_counts_for_nothing(
    end: Callable[[Writers, int], None], reason: Refused
) -> None:
    writers = Writers()
    record = one(writers)._replace(timestamp_ms=NOW_MS - 3_600_000, is_stamped=False)
    end(writers, NOW_MS - 60_000)
    assert reason is why(writers, record)
    assert why(writers, record._replace(is_stamped=True)) is None


def test_a_revocation_counts_for_signatures_that_were_looked_at_before() -> None:
    writers = Writers()
    record, check = one(writers), writers.check()
    assert check.unproved(record) is None
    revoked_at(writers, NOW_MS)
    assert check.unproved(record) is not None


@pytest.mark.parametrize("value", [b"", b"\xc3\x01", b"\x00\x00\x00\x00\x01", FRAMED, FRAMED + b"\x09", b"garbage"])
def test_a_value_that_cannot_be_read_needs_a_seal_all_the_same(value: bytes) -> None:
    writers = Writers()
    assert kind_of(value) is None
    assert Refused.SEAL_MISSING is why(writers, one(writers, value=value)._replace(seal=None))
    assert why(writers, one(writers, value=value)) is None, "its reader then holds: a writer of ours wrote it"


@pytest.mark.parametrize("use", sorted(SEAL_USES))
def test_kinds_are_told_in_both_framings(use: KeyUse) -> None:
    single = value_of(use)
    assert use is kind_of(single)
    assert use is kind_of(b"\x00\x00\x00\x00\x2a" + single[len(FRAMED) :])
