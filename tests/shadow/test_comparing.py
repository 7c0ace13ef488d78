"""The numbered invariants of pipeline.shadow.comparing and of challengers, on decisions as they are made."""

from __future__ import annotations

import numpy as np
import pytest

from models.artefact.files import load
from pipeline.domain.decision import Outcome
from pipeline.domain.features import COLUMN, UNKNOWN
from pipeline.domain.trials.shadow_answer import ShadowStanding
from pipeline.replay.regimes import Missing
from pipeline.shadow.challenger import GlassBox, Statistical
from pipeline.shadow.comparing import compare, segments_of
from tests.archive import OPEN, Archive
from tests.records import PAYMENT
from tests.shadow.given import DEAR_MINOR, constant, placed, strict

COMPARED = ShadowStanding.COMPARED


def test_1_every_decision_gets_one_answer_in_order(archive: Archive) -> None:
    decisions = placed(archive, [1_000, DEAR_MINOR, 2_000])
    answers = compare(decisions, strict(), archive.regime_of)
    assert [each.stored.decision.decision_id for each in decisions] == [each.decision_id for each in answers]
    assert [COMPARED] * 3 == [each.standing for each in answers]
    assert [Outcome.ALLOW, Outcome.BLOCK, Outcome.ALLOW] == [each.challenger_outcome for each in answers]
    assert [False, True, False] == [each.is_disagreement for each in answers]


def test_2_the_same_decision_gets_the_same_answer_whatever_stands_beside_it(archive: Archive) -> None:
    decisions = placed(archive, [1_000, DEAR_MINOR, 2_000, 90_000])
    together = compare(decisions, strict(), archive.regime_of)
    alone = [compare([each], strict(), archive.regime_of)[0] for each in reversed(decisions)]
    assert together == alone[::-1]


def test_a_disagreement_says_why_both_answered_so_and_an_agreement_says_nothing(archive: Archive) -> None:
    quiet, loud = compare(placed(archive, [1_000, DEAR_MINOR]), strict(), archive.regime_of)
    assert (None, None) == (quiet.champion_says, quiet.challenger_says)
    assert loud.champion_says is not None
    assert loud.champion_says.startswith("Allowed")
    assert loud.challenger_says is not None
    assert loud.challenger_says.startswith("Blocked")


def test_a_challenger_that_decided_the_payment_itself_agrees_with_nobody(archive: Archive) -> None:
    champion = GlassBox(load(archive.registry / "small-1"))
    answers = compare(placed(archive, [1_000, DEAR_MINOR]), champion, archive.regime_of)
    assert [ShadowStanding.SAME_MODEL] * 2 == [each.standing for each in answers]


def test_other_bytes_under_the_champions_version_are_another_model(archive: Archive) -> None:
    impostor = constant(0.99, "small-1")
    [answer] = compare(placed(archive, [1_000]), impostor, archive.regime_of)
    assert (COMPARED, Outcome.BLOCK) == (answer.standing, answer.challenger_outcome)


def test_1_a_guardrail_and_the_fallback_speak_for_no_challenger(archive: Archive) -> None:
    blocked = placed(archive, [6_000_000])
    assert {each.stored.decision.route for each in blocked} == {"GUARDRAIL"}
    fallen = placed(archive, [1_000], modes=[OPEN])
    standings = [each.standing for each in compare(blocked + fallen, strict(), archive.regime_of)]
    assert [ShadowStanding.GUARDRAIL, ShadowStanding.FALLBACK] == standings


def test_a_value_that_is_unknown_is_not_asked_about_and_counts_as_no_agreement(archive: Archive) -> None:
    [answer] = compare(placed(archive, [1_000], ip_fraud_reports=UNKNOWN), strict(), archive.regime_of)
    assert answer.standing in (ShadowStanding.VALUE_UNKNOWN, ShadowStanding.GUARDRAIL)
    assert (None, -1) == (answer.challenger_outcome, answer.challenger_probability_ppm)


def test_a_feature_that_the_writer_did_not_know_is_unknown_to_a_challenger_that_reads_it(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.shadow.comparing.unheld_features", lambda _: frozenset({"ip_fraud_reports"}))
    reads, does_not = constant(0.1), Statistical("other-1", b"\1" * 32, ("amount_gbp_minor",), _tenth)
    decisions = placed(archive, [1_000])
    assert compare(decisions, reads, archive.regime_of)[0].standing is ShadowStanding.VALUE_UNKNOWN
    assert compare(decisions, does_not, archive.regime_of)[0].standing is COMPARED


def test_a_regime_that_is_gone_is_said_and_not_guessed(archive: Archive) -> None:
    [answer] = compare(placed(archive, [1_000]), strict(), lambda _: Missing("it is gone"))
    assert answer.standing is ShadowStanding.REGIME_MISSING


@pytest.mark.parametrize("said", [np.nan, np.inf, -0.1, 1.1])
def test_3_what_is_no_probability_is_a_failure(archive: Archive, said: float) -> None:
    [answer] = compare(placed(archive, [1_000]), constant(said), archive.regime_of)
    assert (ShadowStanding.FAILED, None) == (answer.standing, answer.challenger_outcome)


def test_3_a_challenger_that_raises_or_answers_about_other_payments_has_failed_and_no_more(archive: Archive) -> None:
    def raises(_rows):
        raise MemoryError

    def too_many(rows):
        return np.zeros(len(rows) + 1, dtype=np.float32)

    for wrong in (raises, too_many):
        challenger = Statistical("wrong-1", b"\2" * 32, ("amount_gbp_minor",), wrong)
        answers = compare(placed(archive, [1_000, 2_000]), challenger, archive.regime_of)
        assert [ShadowStanding.FAILED] * 2 == [each.standing for each in answers]


def test_2_a_statistical_challenger_is_held_to_the_policys_own_limit(archive: Archive) -> None:
    limit_ppm = archive.in_force.policy.model.block_probability_ppm
    decisions = placed(archive, [1_000])
    [below] = compare(decisions, constant((limit_ppm - 100) / 1e6), archive.regime_of)
    [at] = compare(decisions, constant((limit_ppm + 100) / 1e6), archive.regime_of)
    assert below.challenger_outcome is not Outcome.BLOCK
    assert at.challenger_outcome is Outcome.BLOCK


def test_2_soft_guardrails_escalate_what_either_kind_of_challenger_would_allow(archive: Archive) -> None:
    """A probability just below the limit is unsure, which a soft guardrail of the shipped policy escalates."""
    limit_ppm = archive.in_force.policy.model.block_probability_ppm
    [unsure] = compare(placed(archive, [1_000]), constant((limit_ppm - 1_000) / 1e6), archive.regime_of)
    assert unsure.challenger_outcome is Outcome.ESCALATE
    assert "soft guardrail" in str(unsure.challenger_says)


def test_a_payment_is_in_its_channel_and_in_each_segment_of_its_own() -> None:
    assert ["channel:FASTER_PAYMENT", "age_band=30-39", "postcode_area=SW"] == segments_of(PAYMENT).split("\n")
    hostile = PAYMENT._replace(segments={f"n{n}\n": "x\n" * 500 for n in range(50)})
    lines = segments_of(hostile).split("\n")
    assert len(lines) == 8
    assert max(map(len, lines)) <= 100


def test_the_amount_is_what_the_decision_knew(archive: Archive) -> None:
    [answer] = compare(placed(archive, [12_300]), strict(), archive.regime_of)
    assert answer.amount_gbp_minor == 12_300 == archive_amount(archive)


def archive_amount(archive: Archive) -> int:
    [one] = placed(archive, [12_300])
    return one.stored.decision.snapshot.features[COLUMN["amount_gbp_minor"]]


def _tenth(rows):
    return np.full(len(rows), 0.1, dtype=np.float32)
