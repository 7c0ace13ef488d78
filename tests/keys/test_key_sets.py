"""Key sets: what a signature counts for, and what may be changed."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.keys.key_sets import (
    KeySet,
    KeySetRefused,
    KeyUse,
    TrustedKey,
    key_id_of,
    key_set_of,
    key_set_text,
    untrusted,
    with_key,
    with_revocation,
)

TIMES = st.integers(0, 4_000_000_000_000)
PUBLIC = hashlib.sha256(b"one").digest()
KEY_ID = key_id_of(PUBLIC)
ONE = with_key(KeySet({}), KeyUse.AUDIT, PUBLIC, 1_000)


@st.composite
def trusted_keys(draw: st.DrawFn) -> TrustedKey:
    use, begins_ms = draw(st.sampled_from(KeyUse)), draw(TIMES)
    public = draw(st.binary(min_size=use.public_bytes, max_size=use.public_bytes))
    ends_ms = draw(st.none() | TIMES.map(lambda span_ms: begins_ms + span_ms // 2))
    revoked_ms = draw(st.none() | TIMES)
    reason = None if revoked_ms is None else draw(st.sampled_from(["It was copied.", "Ünsicher"]))
    return TrustedKey(key_id_of(public), use, public, begins_ms, ends_ms, revoked_ms, reason)


@given(st.lists(trusted_keys(), max_size=5, unique_by=lambda key: key.key_id))
def test_a_set_reads_back_as_it_was_written(keys: list[TrustedKey]) -> None:
    written = KeySet({key.key_id: key for key in keys})
    assert written == key_set_of(key_set_text(written))


@given(TIMES, st.none() | TIMES, st.none() | TIMES, st.none() | TIMES)
def test_1_and_2_a_signature_counts_in_its_key_s_time_alone(
    signed_ms: int, ends_ms: int | None, revoked_ms: int | None, seen_ms: int | None
) -> None:
    key = TrustedKey(
        KEY_ID, KeyUse.AUDIT, PUBLIC, 1_000, ends_ms, revoked_ms, "why" if revoked_ms is not None else None
    )
    keys = KeySet({KEY_ID: key})
    is_in_time = signed_ms >= 1_000 and (ends_ms is None or signed_ms <= ends_ms)
    is_before = revoked_ms is None or (signed_ms < revoked_ms and seen_ms is not None and seen_ms < revoked_ms)
    assert (is_in_time and is_before) == (untrusted(keys, KeyUse.AUDIT, KEY_ID, signed_ms, seen_ms) is None)
    assert untrusted(keys, KeyUse.WITNESS, KEY_ID, signed_ms, seen_ms) is not None
    assert untrusted(keys, KeyUse.AUDIT, "0" * 16, signed_ms, seen_ms) is not None


def test_3_rotation_ends_the_keys_of_that_use_and_takes_none_away() -> None:
    other = hashlib.sha256(b"two").digest()
    both = with_key(ONE, KeyUse.WITNESS, other, 1_500)
    rotated = with_key(both, KeyUse.AUDIT, hashlib.sha256(b"three").digest(), 2_000, 3_000)
    assert [3_000, None, None] == [key.valid_until_ms for key in rotated.keys.values()]
    later = with_key(rotated, KeyUse.AUDIT, hashlib.sha256(b"four").digest(), 4_000, 5_000)
    assert [3_000, None, 5_000, None] == [key.valid_until_ms for key in later.keys.values()]
    with pytest.raises(KeySetRefused, match="already"):
        with_key(later, KeyUse.AUDIT, PUBLIC, 6_000)


def test_a_revocation_is_moved_back_and_never_forward() -> None:
    revoked = with_revocation(ONE, KEY_ID, 5_000, "It was copied.")
    assert 4_000 == with_revocation(revoked, KEY_ID, 4_000, "Earlier still.").keys[KEY_ID].revoked_at_ms
    with pytest.raises(KeySetRefused, match="already"):
        with_revocation(revoked, KEY_ID, 6_000, "Later.")
    for reason in ("", " ", "x" * 501, "\x1b[31m", "\u200b"):
        with pytest.raises(KeySetRefused, match="printable reason"):
            with_revocation(ONE, KEY_ID, 5_000, reason)


TEXT = key_set_text(ONE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        TEXT.replace("fraud-key-set-v1", "another"),
        TEXT.replace(KEY_ID, "0" * 16),
        TEXT.replace("1970-01-01T00:00:01.000Z", "1970-01-01T00:00:01"),  # no time zone
        TEXT.replace('"1970-01-01T00:00:01.000Z"', "null"),
        TEXT.replace('"1970-01-01T00:00:01.000Z"', "1"),
        TEXT.replace('"audit"', '"other"'),
        TEXT.replace('"valid_until"', '"valid_till"'),
        TEXT.replace(PUBLIC.hex(), PUBLIC.hex()[2:]),
        TEXT.replace('"reason": null', '"reason": 5'),
        TEXT.replace('"revoked_at": null', '"revoked_at": "1970-01-01T00:00:02Z"'),  # without a reason
        TEXT.replace('"valid_until": null', '"valid_until": "1970-01-01T00:00:00Z"'),  # before it begins
    ],
)
def test_what_is_no_key_set_is_refused(text: str) -> None:
    assert text != TEXT
    with pytest.raises(KeySetRefused):
        key_set_of(text)


def test_a_key_that_stands_twice_is_refused() -> None:
    twice = json.loads(TEXT)
    twice["keys"] *= 2
    with pytest.raises(KeySetRefused, match="twice"):
        key_set_of(json.dumps(twice))
