"""What a feature is worth that a decision's writer did not know: nothing then, and UNKNOWN to whatever reads it now."""

from __future__ import annotations

import hashlib
import re

import pytest

from pipeline.decide.policy import parse_policy
from pipeline.decide.verdict import regime
from pipeline.domain.decision import StoredDecision
from pipeline.domain.features import COLUMN, NONE, UNKNOWN
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.writers import Release, down_to, header_of, resolution_of_itself
from pipeline.replay.feature_lists import held_columns, observed_by, unheld_features
from pipeline.replay.redecide import Basis, Good, RegimeMissing, Version, redecide
from pipeline.replay.verify import Result, verify
from tests.archive import CLOSED, WIRE, Archive, payment, stored
from tests.records import POLICY_PATH, policy, small_model

OLD = Release("decision.v1", 1)


def old(value: bytes) -> bytes:
    """The decision as a writer of the first release would have written it, hash and all."""
    body, same = down_to(OLD).resolved(value[10:]), resolution_of_itself(OLD)
    begin, end = same.span(body, "snapshot")
    at, behind = same.span(body, "input_hash")
    return header_of(OLD) + body[:at] + hashlib.sha256(body[begin:end]).digest() + body[behind:]


def plain_policy() -> bytes:
    """The shipped policy without the rules that read a feature which writers of the first release did not know."""
    text, unheld = POLICY_PATH.read_text(), unheld_features(1)
    rule = re.compile(r"^\[\[(?:hard|soft|fallback)\.rules\]\]\n(?:(?!\[).*\n)+", re.MULTILINE)
    return rule.sub(lambda found: "" if any(name in found[0] for name in unheld) else found[0], text).encode()


def test_nothing_is_held_back_of_the_current_release(archive: Archive) -> None:
    found = stored(archive.values([payment(1)], [CLOSED])[0])
    matrix = observed_by([found.decision], [found.release], archive.in_force)
    assert found.decision.snapshot.features == tuple(matrix[0].tolist())
    assert len(COLUMN) == len(held_columns(found.release))


def test_a_regime_that_reads_none_of_them_is_not_told_of_them(archive: Archive) -> None:
    found = stored(old(archive.values([payment(1)], [CLOSED])[0]))
    plain = regime(parse_policy(plain_policy()), small_model())
    [row] = observed_by([found.decision], [found.release], plain)
    assert {NONE} == {int(row[COLUMN[name]]) for name in unheld_features(1)}


def test_what_follows_from_what_its_writer_did_not_know_is_not_computed_again() -> None:
    held = set(held_columns(1).tolist())
    assert COLUMN["account_average_minor_30d"] in held
    assert COLUMN["account_volume_percent_of_normal_month"] not in held


def test_to_a_regime_that_reads_one_of_them_all_are_unknown(archive: Archive) -> None:
    found = stored(old(archive.values([payment(1)], [CLOSED])[0]))
    [row] = observed_by([found.decision], [found.release], regime(policy(), small_model()))
    assert {UNKNOWN} == {int(row[COLUMN[name]]) for name in unheld_features(1)}


def test_a_decision_of_before_there_were_feeds_and_phrase_books_says_what_it_lacks(archive: Archive) -> None:
    """Release 4 is the first whose decisions name both; `tests/released` shows those of it verified by later ones."""
    path = next(archive.policies.glob("default.toml"))
    path.write_bytes(plain_policy())
    archive.in_force = regime(parse_policy(path.read_bytes()), archive.in_force.model)
    values = archive.values([payment(number) for number in range(30)], [CLOSED] * 30, ip_fraud_reports=2)
    checks = verify([stored(old(value)) for value in values], archive.regime_of)
    assert {Result.UNVERIFIABLE} == {check.result for check in checks}, checks[0]
    assert {"the decision names no feeds"} == {check.why.partition(",")[0] for check in checks}


@pytest.mark.parametrize("place", [40, 200, -30, -3])
def test_a_changed_byte_of_a_decision_of_before_is_found(archive: Archive, place: int) -> None:
    path = next(archive.policies.glob("default.toml"))
    path.write_bytes(plain_policy())
    archive.in_force = regime(parse_policy(path.read_bytes()), archive.in_force.model)
    value = bytearray(old(archive.values([payment(1)], [CLOSED])[0]))
    value[place] ^= 0x02
    found = WIRE.decode_stored_decision(bytes(value))
    if isinstance(found, StoredDecision):
        [check] = verify([found], archive.regime_of)
        assert check.result is not Result.IDENTICAL
    else:
        assert isinstance(found, Refusal)


def test_a_decision_of_before_there_were_feeds_is_not_decided_again_without_them(archive: Archive) -> None:
    values = archive.values([payment(number) for number in range(20)], [CLOSED] * 20)
    now = archive.in_force.policy
    good = Good(None, Version(now.version, now.sha256), Basis.RECORDED)
    with pytest.raises(RegimeMissing, match="names no feeds"):
        redecide([stored(old(value)) for value in values], good, archive.regime_of)
