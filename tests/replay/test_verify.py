import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.decide.decision_encoder import DecisionEncoder, encode_longs, with_position
from pipeline.decide.phrase_books import books
from pipeline.decide.phrase_books.books import PhraseBook
from pipeline.decide.verdict import Mode, decide, regime
from pipeline.domain.decision import BreakerState, StoredDecision
from pipeline.domain.features import COLUMN
from pipeline.domain.log import Source
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.regimes import Missing, RegimeKey
from pipeline.replay.verify import Result, verify
from tests.archive import CLOSED, OPEN, WIRE, payment, stored
from tests.decisions import decision_of, written
from tests.records import decoded_of

SANCTIONED = {"beneficiary_country": "KP"}


def results(archive, values):
    return [check.result for check in verify([stored(value) for value in values], archive.regime_of)]


def test_decisions_of_every_route_are_identical_when_decided_again(archive):
    payments = [payment(n) for n in range(60)] + [payment(n, **SANCTIONED) for n in range(60, 70)]
    modes = [CLOSED if n % 3 else OPEN for n in range(70)]
    values = archive.values(payments, modes, ip_fraud_reports=2)
    routes = {stored(value).decision.route for value in values}
    assert routes == {"MODEL", "FALLBACK", "GUARDRAIL"}
    assert results(archive, values) == [Result.IDENTICAL] * 70


def test_order_is_the_order_asked_for(archive):
    values = archive.values([payment(n) for n in range(5)], [CLOSED] * 5)
    decisions = [stored(value) for value in values]
    checks = verify(decisions[::-1], archive.regime_of)
    assert [check.decision_id for check in checks] == [each.decision.decision_id for each in decisions[::-1]]


@pytest.mark.parametrize(
    ("name", "altered"),
    [("outcome", "ALLOW"), ("confidence_bp", 1), ("summary", "Blocked because."), ("score_micro", 5), ("reasons", ())],
)
def test_an_altered_field_is_named(archive, name, altered):
    [value] = archive.values([payment(1)], [CLOSED], ip_fraud_reports=3)
    decision = decision_of(value)
    assert getattr(decision, name) != altered
    [check] = verify([stored(written(decision._replace(**{name: altered})))], archive.regime_of)
    assert check.result is Result.DIFFERS
    assert name in check.differing


def with_feature(value, name, number):
    """The stored record with one feature changed and everything else, its hash included, as it was."""
    features = decision_of(value).snapshot.features
    changed = list(features)
    changed[COLUMN[name]] = number
    tail, other = encode_longs(with_position(np.array([features, changed], dtype=np.int64), -1))
    assert value.endswith(tail)
    return value[: -len(tail)] + other


@pytest.mark.parametrize("name", ["account_count_24h", "amount_gbp_minor", "beneficiary_frauds_30d"])
def test_an_altered_feature_is_found(archive, name):
    [value] = archive.values([payment(1)], [CLOSED])
    changed = with_feature(value, name, decision_of(value).snapshot.features[COLUMN[name]] + 1)
    [check] = verify([stored(changed)], archive.regime_of)
    assert check.result is Result.DIFFERS
    assert "input_hash" in check.differing


@pytest.mark.parametrize("name", ["account_age_days", "account_average_minor_30d"])
def test_a_feature_that_follows_from_others_is_found_although_its_hash_fits(archive, name):
    [value] = archive.values([payment(1)], [CLOSED])
    transaction, features, _ = decision_of(value).snapshot
    matrix = np.array([features], dtype=np.int64)
    matrix[0, COLUMN[name]] += 1
    encoder = DecisionEncoder(WIRE.header("decision.v1"), archive.in_force, "decide/test")
    [verdict] = decide(matrix, [CLOSED], archive.in_force)
    [forged] = encoder.encode([decoded_of(transaction)], [Source(0, 0, 0)], with_position(matrix, -1), [verdict], [1])
    [check] = verify([stored(forged)], archive.regime_of)
    assert check.result is Result.UNVERIFIABLE or f"snapshot.features.{name}" in check.differing


def test_a_missing_policy_makes_a_decision_unverifiable(archive):
    values = archive.values([payment(1)], [CLOSED])
    for path in archive.policies.iterdir():
        path.unlink()
    [check] = verify([stored(values[0])], archive.regime_of)
    assert check.result is Result.UNVERIFIABLE
    assert "no policy" in check.why


def test_a_model_with_another_hash_makes_a_decision_unverifiable(archive):
    values = archive.values([payment(1)], [CLOSED])
    found = stored(values[0])
    other = found._replace(decision=found.decision._replace(model_hash=bytes(32)))
    [check] = verify([other], archive.regime_of)
    assert check.result is Result.UNVERIFIABLE
    assert "another hash" in check.why


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_can_change_unseen(archive, data):
    """Every single-byte change is unreadable, unverifiable or different; but for the bytes that say who and when."""
    [value] = archive.values([payment(1)], [CLOSED], ip_fraud_reports=3)
    place = data.draw(st.integers(10, len(value) - 1))
    changed = bytearray(value)
    changed[place] ^= data.draw(st.integers(1, 255))
    again = WIRE.decode_stored_decision(bytes(changed))
    if not isinstance(again, StoredDecision):
        return
    original = decision_of(value)
    free = ("decided_at_ms", "agent_id", "source_partition", "source_offset", "source_timestamp_ms", "breaker_scope")
    if any(getattr(again.decision, name) != getattr(original, name) for name in free):
        return
    if again.decision.breaker_state is BreakerState.HALF_OPEN:
        return
    [check] = verify([again], archive.regime_of)
    assert check.result is not Result.IDENTICAL


@pytest.mark.parametrize(
    ("mode", "state"),
    [
        (Mode(BreakerState.OPEN, "all", True), "OPEN"),
        (Mode(BreakerState.UNKNOWN, "all", True), "UNKNOWN"),
        (Mode(BreakerState.CLOSED, "all", False), "CLOSED"),
    ],
)
def test_a_route_that_the_breaker_s_state_does_not_allow_differs(archive, mode, state):
    [value] = archive.values([payment(1)], [mode])
    assert decision_of(value).breaker_state == state
    [check] = verify([stored(value)], archive.regime_of)
    assert check.differing == ("route",)


def test_archive_folders_may_be_empty(tmp_path: Path):
    assert isinstance(RegimeArchive(tmp_path, tmp_path).regime_of(RegimeKey(bytes(32), "none", bytes(32))), Missing)


class Reworded(PhraseBook):
    """A later book, which says of the nearest rule something else."""

    def __init__(self) -> None:
        super().__init__("next")

    def nearest(self, clear: str, *, is_fallback: bool) -> str:
        return f"nothing came nearer than this: {clear}"


def test_a_decision_is_verified_in_the_words_of_its_own_phrase_book(archive, monkeypatch):
    """Both before and after another book is the current one, and beside decisions of that one."""
    old = archive.values([payment(1)], [CLOSED])
    later = Reworded()
    monkeypatch.setitem(books.BOOKS, "next", later)
    archive.in_force = regime(archive.in_force.policy, archive.in_force.model, archive.in_force.feeds, book=later)
    new = archive.values([payment(1)], [CLOSED])
    assert decision_of(new[0]).phrase_book_version == "next"
    assert "nothing came nearer" in decision_of(new[0]).summary
    assert results(archive, [*old, *new]) == [Result.IDENTICAL] * 2


def test_the_words_of_another_book_than_the_one_named_differ(archive, monkeypatch):
    monkeypatch.setitem(books.BOOKS, "next", Reworded())
    [value] = archive.values([payment(1)], [CLOSED])
    renamed = decision_of(value)._replace(phrase_book_version="next")
    [check] = verify([stored(written(renamed))], archive.regime_of)
    assert check.differing == ("summary", "reasons")


@pytest.mark.parametrize(("version", "said"), [("", "names no phrase book"), ("17", "has only 1")])
def test_a_phrase_book_that_is_not_here_makes_a_decision_unverifiable(archive, version, said):
    [value] = archive.values([payment(1)], [CLOSED])
    named = decision_of(value)._replace(phrase_book_version=version)
    [check] = verify([stored(written(named))], archive.regime_of)
    assert check.result is Result.UNVERIFIABLE
    assert said in check.why


@pytest.mark.parametrize("field", ["code", "observed", "limit", "excess", "contribution_micro", "text"])
def test_every_part_of_a_reason_is_compared(archive, field):
    [value] = archive.values([payment(1)], [CLOSED])
    decision = decision_of(value)
    first = decision.reasons[0]._replace(**{field: "X" if field in ("code", "text") else 17})
    forged = written(decision._replace(reasons=(first, *decision.reasons[1:])))
    [check] = verify([stored(forged)], archive.regime_of)
    assert check.differing == ("reasons",)


def test_a_foreign_payments_decision_is_identical_when_decided_again(archive):
    currencies = ("EUR", "JPY", "KWD")
    foreign = [payment(n, currency=currency, amount_minor=1_000_000) for n, currency in enumerate(currencies)]
    values = archive.values(foreign, [CLOSED, OPEN, CLOSED], is_unpaid_beneficiary=1)
    assert results(archive, values) == [Result.IDENTICAL] * 3
    assert "EUR 10,000.00 (£8,720.00)" in "".join(reason.text for reason in decision_of(values[0]).reasons)


@pytest.mark.parametrize("put_there", [lambda path: path.symlink_to("nowhere"), Path.mkdir, os.mkfifo])
def test_what_is_no_plain_file_in_the_archive_stops_no_check(archive, put_there):
    [value] = archive.values([payment(1)], [CLOSED])
    before = verify([stored(value)], archive.regime_of)
    put_there(archive.policies / "a.toml")
    again = RegimeArchive(archive.policies, archive.registry)
    assert verify([stored(value)], again.regime_of) == before
