"""Whoever has the shadow's credential writes what it likes, and promotes nothing by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from models.artefact.files import load
from pipeline.decide.rollout.limits import HOUR_MS
from pipeline.domain.identities import DecisionId
from pipeline.domain.trials.shadow_answer import ShadowAnswer, ShadowStanding
from pipeline.io.postgres import Connection, connect
from pipeline.promotion.gate import Reason
from pipeline.shadow.challenger import GlassBox
from pipeline.shadow.comparing import compare
from tests.promotion.stage import CANDIDATE, CHAMPION, Stage
from tests.servers import url_as

SO = "What small-2 is said to have answered can't be relied upon: "


@pytest.fixture
def stage(tmp_path: Path, owner: Connection, database_url: str) -> Iterator[Stage]:
    stage = Stage(tmp_path, owner, database_url)
    yield stage
    stage.close()


class Thief:
    """`true` are the answers that small-2 gives: in 20 of 201 it allows what the champion blocks."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.challenger = GlassBox(load(stage.archive.registry / CANDIDATE))
        decided = stage.decided(CHAMPION, 1, 0, stage.now_ms - 36 * HOUR_MS)
        decided += stage.decided(CHAMPION, 200, 20, stage.now_ms)
        self.true = compare(decided, self.challenger, stage.archive.regime_of)

    def claim(self, answers: Sequence[ShadowAnswer]) -> None:
        self._stage.claim(self.challenger, answers)

    def refusals(self) -> list[str]:
        """Have everything else stand, and return what the gate says of the shadow."""
        self._stage.review(CANDIDATE)
        self._stage.prove(CANDIDATE)
        self._stage.approve(CANDIDATE)
        outcome = self._stage.promote()
        return [each.text for each in outcome.refusals if each.reason is Reason.SHADOW]


@pytest.fixture
def thief(stage: Stage) -> Thief:
    return Thief(stage)


def agreeing(answer: ShadowAnswer) -> ShadowAnswer:
    if answer.challenger_outcome is answer.champion_outcome:
        return answer
    return answer._replace(challenger_outcome=answer.champion_outcome, champion_says=None, challenger_says=None)


def differs(answer: ShadowAnswer) -> bool:
    return answer.challenger_outcome is not answer.champion_outcome


def test_the_true_answers_are_believed(thief: Thief) -> None:
    thief.claim(thief.true)
    assert thief.refusals() == []


def test_disagreements_that_are_written_down_as_agreement_are_found(thief: Thief) -> None:
    thief.claim([agreeing(each) for each in thief.true])
    assert thief.refusals() == [f"{SO}of 201 answers that were drawn 20 are not what it answers."]


def test_disagreements_that_are_left_out_are_found(thief: Thief) -> None:
    thief.claim([each for each in thief.true if not differs(each)])
    assert thief.refusals() == [f"{SO}of 201 decisions that were drawn it has not answered 20."]


@pytest.mark.parametrize("standing", [ShadowStanding.FALLBACK, ShadowStanding.SAME_MODEL, ShadowStanding.GUARDRAIL])
def test_disagreements_that_are_said_to_be_none_of_its_own_are_found(thief: Thief, standing: ShadowStanding) -> None:
    none = {
        "challenger_outcome": None,
        "challenger_probability_ppm": -1,
        "champion_says": None,
        "challenger_says": None,
    }
    thief.claim([each._replace(standing=standing, **none) if differs(each) else each for each in thief.true])
    assert thief.refusals() == [f"{SO}of 201 answers that were drawn 20 are not what it answers."]


def test_disagreements_of_less_value_than_the_payment_are_found(thief: Thief) -> None:
    """From 1,000 pounds on all must be reviewed."""
    thief.claim([each._replace(amount_gbp_minor=0) if differs(each) else each for each in thief.true])
    assert thief.refusals() == [f"{SO}of 201 answers that were drawn 20 are not what it answers."]


def test_probabilities_that_it_did_not_give_are_found(thief: Thief) -> None:
    thief.claim([each._replace(challenger_probability_ppm=1) for each in thief.true])
    assert thief.refusals() == [f"{SO}of 201 answers that were drawn 201 are not what it answers."]


def test_answers_about_payments_that_nobody_decided_are_found(thief: Thief) -> None:
    made_up = [agreeing(each)._replace(decision_id=DecisionId(str(uuid4()))) for each in thief.true]
    thief.claim([*thief.true, *made_up])
    assert thief.refusals() == [f"{SO}201 of 402 answers stand beside no decision of the audit log."]


def test_answers_about_records_that_are_still_to_come_are_found(thief: Thief) -> None:
    made_up = [
        agreeing(each)._replace(decision_id=DecisionId(str(uuid4())), decision_offset=10**9) for each in thief.true
    ]
    thief.claim([*thief.true, *made_up])
    assert thief.refusals() == [f"{SO}201 of 402 answers are about what the audit log doesn't have yet."]


def test_days_on_which_it_did_not_run_are_found(thief: Thief) -> None:
    thief.claim([each._replace(decided_at_ms=each.decided_at_ms - 72 * HOUR_MS) for each in thief.true])
    assert thief.refusals() == [f"{SO}201 of 201 answers stand beside no decision of the audit log."]


def test_an_agreement_that_counts_twice_is_found(stage: Stage, thief: Thief) -> None:
    thief.claim(thief.true)
    with closing(connect(url_as(stage.database_url, "fraud_shadow"), "test")) as connection:
        connection.execute(
            "INSERT INTO shadow.answer (digest, decision_id, filed_at, decided_at, transaction_id, segments,"
            " amount_gbp_minor, standing, champion_version, champion_outcome, challenger_outcome, champion_ppm,"
            " challenger_ppm, topic_partition, topic_offset)"
            " SELECT digest, decision_id, 'epoch', decided_at, transaction_id, segments, amount_gbp_minor, standing,"
            " champion_version, champion_outcome, challenger_outcome, champion_ppm, challenger_ppm, topic_partition,"
            " topic_offset FROM shadow.answer WHERE challenger_outcome = champion_outcome"
        )
    assert thief.refusals() == [f"{SO}about 181 decisions it has more than one answer."]


def test_what_cannot_be_answered_again_proves_nothing(stage: Stage, thief: Thief) -> None:
    thief.claim(thief.true)
    for policy in stage.archive.policies.glob("*.toml"):
        policy.unlink()
    [text] = thief.refusals()
    assert text == (
        f"{SO}of 201 decisions that were drawn 201 can't be answered again here, for want of a policy or a feed."
    )
