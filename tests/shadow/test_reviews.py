"""What people say of disagreements, and what the summary and the report make of it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.context import Label
from pipeline.domain.decision import Outcome
from pipeline.domain.trials.shadow_answer import ShadowAnswer, ShadowStanding
from pipeline.io.clock import now_ms
from pipeline.io.kafka.positioned_log import PositionMove
from pipeline.io.postgres import connect
from pipeline.people.act_store import read_claims, read_registry
from pipeline.people.store import is_known
from pipeline.shadow.answer_store import AnswerStore
from pipeline.shadow.challenger import SAYS_CHARACTERS_MAX
from pipeline.shadow.report_command import frauds_found
from pipeline.shadow.review_store import DisagreementRefused, append_review
from pipeline.shadow.reviews import BANDS_GBP_MINOR, DisagreementVerdict, band_of, stratum_of
from pipeline.shadow.summary_store import (
    answer_about,
    counted,
    disagreements_of,
    proved_reviews,
    summary,
)
from tests.known import appoint, identity, revoke
from tests.servers import url_as
from tests.shadow.given import constant, strict

TOPIC = "decisions.v1"
DAY_MS = 86_400_000
ALLOW, BLOCK, ESCALATE = Outcome.ALLOW, Outcome.BLOCK, Outcome.ESCALATE
REASON = "The payee is a known mule of last week."


def answer(
    number: int,
    champion: Outcome = ALLOW,
    challenger: Outcome | None = ALLOW,
    amount: int = 5_000,
    at_ms: int | None = None,
    standing: ShadowStanding = ShadowStanding.COMPARED,
    transaction_id: str | None = None,
) -> ShadowAnswer:
    differs = challenger is not None and challenger is not champion
    return ShadowAnswer(
        f"00000000-0000-5000-8000-{number:012d}",  # type: ignore[arg-type]
        transaction_id or f"tx-{number}",
        "GB29-0001",
        0,
        number,
        now_ms() if at_ms is None else at_ms,
        "channel:CARD\npostcode_area=SW",
        amount,
        "strict-1",
        strict().digest,
        "small-1",
        standing,
        champion,
        challenger,
        10_000,
        -1 if challenger is None else 20_000,
        "said by the champion" if differs else None,
        "said by the challenger" if differs else None,
    )


@pytest.fixture
def digest() -> bytes:
    return strict().digest


@pytest.fixture
def given_answers(database_url: str):
    """Store answers, as the service does."""
    store, stored = AnswerStore(strict(), TOPIC), [0]

    def give(*answers: ShadowAnswer) -> None:
        with closing(connect(url_as(database_url, "fraud_shadow"), "test")) as connection:
            store.next_offsets(connection, [0], {0: 0})
            store.append(connection, answers, [PositionMove(0, stored[0], stored[0] + len(answers))])
        stored[0] += len(answers)

    return give


@pytest.fixture
def desk(owner, database_url: str):
    appoint(owner, {"ann": "REVIEWER", "sue": "SENIOR_REVIEWER", "olaf": "OPERATOR"})
    with closing(connect(url_as(database_url, "fraud_review"), "test")) as connection:
        yield connection


def reviewed(desk, digest: bytes, number: int, by: str, verdict=DisagreementVerdict.CHAMPION_RIGHT, reason=REASON):
    [about] = answer_about(desk, digest, f"tx-{number}")
    return append_review(desk, digest, about, verdict, reason, identity(by))


def test_a_review_counts_once_it_is_signed_and_proved(given_answers, desk, digest: bytes) -> None:
    given_answers(answer(1, BLOCK, ALLOW), answer(2, ALLOW, ESCALATE, 200_000), answer(3))
    reviewed(desk, digest, 1, "ann")
    reviewed(desk, digest, 1, "sue", DisagreementVerdict.UNCLEAR)
    found = summary(desk, "strict-1", digest.hex())
    assert (3, 2, 1, 1, 0) == (found.sample, found.disagreements, found.reviewed, found.above, found.above_reviewed)
    assert {"CHAMPION_RIGHT": 1, "UNCLEAR": 1} == found.verdicts
    assert [("ALLOW -> ESCALATE, 1,000 to 10,000 GBP", 1, 0, 0), ("BLOCK -> ALLOW, below 100 GBP", 1, 1, 0)] == [
        tuple(each) for each in found.strata
    ]
    assert ["tx-2"] == [each.transaction_id for each in disagreements_of(desk, digest, 10, is_open=True)]


def test_a_challenger_is_right_where_nobody_who_reviewed_it_says_otherwise(given_answers, desk, digest: bytes) -> None:
    """So a second review by a friend outvotes nobody."""
    given_answers(answer(1, BLOCK, ALLOW), answer(2, BLOCK, ALLOW))
    right, unclear = DisagreementVerdict.CHALLENGER_RIGHT, DisagreementVerdict.UNCLEAR
    reviewed(desk, digest, 1, "ann", unclear)
    reviewed(desk, digest, 1, "sue", right)
    reviewed(desk, digest, 2, "ann", right)
    reviewed(desk, digest, 2, "sue", right)
    [stratum] = summary(desk, "strict-1", digest.hex()).strata
    assert (2, 2, 1) == (stratum.disagreements, stratum.reviewed, stratum.challenger_right)


def test_rows_of_reviews_are_among_those_that_people_s_acts_are_proved_for(given_answers, desk, owner, digest) -> None:
    given_answers(answer(1, BLOCK, ALLOW))
    said = reviewed(desk, digest, 1, "ann")
    claims = [row for part in read_claims(owner) for row in part if row.of_table == "control.disagreement_review"]
    assert [(said.act, "DISAGREEMENT_REVIEWED", "ann")] == [(row.act, row.kind, row.name) for row in claims]


def test_only_a_reviewer_reviews_and_only_what_is_a_disagreement(given_answers, desk, digest: bytes) -> None:
    given_answers(answer(1, BLOCK, ALLOW), answer(2))
    with pytest.raises(DisagreementRefused, match="REVIEWER"):
        reviewed(desk, digest, 1, "olaf")
    with pytest.raises(DisagreementRefused, match="not registered"):
        reviewed(desk, digest, 1, "mallory")
    with pytest.raises(DisagreementRefused, match="do not disagree"):
        reviewed(desk, digest, 2, "ann")
    with pytest.raises(DisagreementRefused, match="10 to 500"):
        reviewed(desk, digest, 1, "ann", reason="short")
    reviewed(desk, digest, 1, "ann")
    with pytest.raises(DisagreementRefused, match="reviewed it before"):
        reviewed(desk, digest, 1, "ann")


def test_a_review_of_one_challenger_says_nothing_of_another(given_answers, desk, digest: bytes) -> None:
    given_answers(answer(1, BLOCK, ALLOW))
    [about] = answer_about(desk, digest, "tx-1")
    with pytest.raises(DisagreementRefused, match="do not disagree"):
        append_review(desk, constant(0.1).digest, about, DisagreementVerdict.UNCLEAR, REASON, identity("ann"))
    other = about._replace(challenger_outcome=ESCALATE)
    with pytest.raises(DisagreementRefused, match="do not disagree"):
        append_review(desk, digest, other, DisagreementVerdict.UNCLEAR, REASON, identity("ann"))


def test_a_review_of_whoever_is_no_reviewer_any_more_stands_as_it_did_when_it_was_made(
    given_answers, desk, owner, digest: bytes
) -> None:
    given_answers(answer(1, BLOCK, ALLOW))
    reviewed(desk, digest, 1, "ann")
    revoke(owner, "ann", "REVIEWER")
    assert summary(desk, "strict-1", digest.hex()).reviewed == 1
    assert is_known(read_registry(owner), identity("ann"))


def test_a_row_that_nobody_signed_counts_for_nothing(given_answers, desk, owner, digest: bytes) -> None:
    given_answers(answer(1, BLOCK, ALLOW), answer(2, BLOCK, ALLOW))
    said = reviewed(desk, digest, 1, "ann")
    owner.execute("ALTER TABLE control.disagreement_review DISABLE TRIGGER ALL")
    owner.execute(
        """INSERT INTO control.disagreement_review (act, digest, decision_id, outcomes, verdict, reason, reviewed_by)
           SELECT sha256(act), digest, %s, outcomes, verdict, reason, reviewed_by FROM control.disagreement_review""",
        [answer(2).decision_id],
    )
    found, unproved = proved_reviews(desk, digest)
    assert ([said.act], 1) == ([each.act for each in found], unproved)
    whole = summary(desk, "strict-1", digest.hex())
    assert (1, 1) == (whole.reviewed, whole.reviews_unproved)


def test_reviews_are_never_changed(given_answers, desk, owner, digest: bytes) -> None:
    given_answers(answer(1, BLOCK, ALLOW))
    reviewed(desk, digest, 1, "ann")
    for statement in (
        "UPDATE control.disagreement_review SET verdict = 'UNCLEAR'",
        "TRUNCATE control.disagreement_review",
    ):
        with pytest.raises(psycopg.errors.RestrictViolation):
            owner.execute(statement.encode())


def test_2_a_day_counts_only_where_the_shadow_ran_then(given_answers, owner, database_url: str, digest: bytes) -> None:
    """Answers of four days: the first is its beginning; the second and the fourth come days late."""
    today = now_ms() // DAY_MS * DAY_MS
    given_answers(*(answer(day, at_ms=today - (4 - day) * DAY_MS + 1_000) for day in range(1, 5)))
    found = summary(owner, "strict-1", digest.hex())
    assert (4, today - 3 * DAY_MS + 1_000, today + 1_000) == (found.sample, found.first_ms, found.last_ms)
    late = datetime.fromtimestamp(today / 1000, UTC) + timedelta(seconds=1)
    assert found.days_covered == (1 if now_ms() - today < DAY_MS else 0), late
    assert found.days_covered == 1


def test_without_an_answer_nothing_is_known(owner, digest: bytes) -> None:
    found = summary(owner, "strict-1", digest.hex())
    assert (0, 0, 0, 0, (0, 0)) == (found.sample, found.first_ms, found.last_ms, found.days_covered, found.stopped)


def test_agreement_among_what_the_champion_stops_is_apart(given_answers, owner, digest: bytes) -> None:
    """A challenger that allows everything agrees on all but what matters."""
    given_answers(*(answer(number) for number in range(98)), answer(98, BLOCK, ALLOW), answer(99, ESCALATE, ALLOW))
    found = summary(owner, "strict-1", digest.hex())
    assert ((100, 98), (2, 0)) == (found.overall, found.stopped)


def test_what_was_not_compared_is_no_agreement(given_answers, owner, digest: bytes) -> None:
    aside = [each for each in ShadowStanding if each not in (ShadowStanding.COMPARED, ShadowStanding.OTHER)]
    given_answers(*(answer(number, BLOCK, None, standing=each) for number, each in enumerate(aside)))
    found = summary(owner, "strict-1", digest.hex())
    assert (0, 0, 0) == (found.sample, found.overall.agreed, found.disagreements)
    assert {each: 1 for each in map(str, aside)} == {name: n for name, n in found.standings.items() if n}


def test_what_the_champion_answered_and_the_challenger_could_not_is_counted(
    given_answers, owner, digest: bytes
) -> None:
    """One that answers 10,000 easy payments, and is silent on all others, agreed with the champion in 100 %."""
    silent = [(BLOCK, ShadowStanding.FAILED), (ALLOW, ShadowStanding.VALUE_UNKNOWN), (ALLOW, ShadowStanding.FAILED)]
    unasked = answer(9, BLOCK, None, standing=ShadowStanding.VALUE_UNKNOWN)._replace(champion_probability_ppm=-1)
    given_answers(*(answer(n, outcome, None, standing=each) for n, (outcome, each) in enumerate(silent)), unasked)
    found = summary(owner, "strict-1", digest.hex(), champion="small-1")
    assert (3, 1) == (found.unanswered, found.stopped_unanswered)
    assert 0 == summary(owner, "strict-1", digest.hex(), champion="small-0").unanswered


def test_a_value_that_is_not_known_counts_as_the_highest(given_answers, owner, digest: bytes) -> None:
    given_answers(answer(1, BLOCK, ALLOW, -1), answer(2, BLOCK, ALLOW, 900_000), answer(3, BLOCK, ALLOW, 0))
    assert ["tx-1", "tx-2", "tx-3"] == [each.transaction_id for each in disagreements_of(owner, digest, 9)]
    assert summary(owner, "strict-1", digest.hex(), 1_000_000_000).above == 1
    bands = {each.band for each in counted(owner, digest, 10) if each.segment == "postcode_area=SW"}
    assert {"10,000 GBP and more, or unknown", "1,000 to 10,000 GBP", "below 100 GBP"} == bands


@given(st.integers(-1, 10**11))
def test_bands_are_those_of_the_database(amount: int) -> None:
    """width_bucket counts the edges at or below a value."""
    expected = len(BANDS_GBP_MINOR) if amount < 0 else sum(edge <= amount for edge in BANDS_GBP_MINOR)
    assert expected == band_of(amount)
    assert stratum_of("BLOCK ALLOW", amount).startswith("BLOCK -> ALLOW, ")


def label(number: int, *, fraud: bool = True) -> Label:
    return Label(f"tx-{number}", "GB29-0001", "GB29-0002", 0, fraud, 1, "test")


def test_fraud_found_is_of_labelled_payments_that_both_answered_and_the_last_label_counts(
    given_answers, owner, digest: bytes
) -> None:
    given_answers(
        answer(1, ALLOW, BLOCK, 7_000),
        answer(2, BLOCK, ALLOW, 2_000),
        answer(3, BLOCK, ESCALATE),
        answer(4, ALLOW, BLOCK, 900),
        answer(5, ALLOW, None, standing=ShadowStanding.GUARDRAIL),
    )
    labels = [label(number) for number in (1, 1, 2, 3, 4, 5, 99)] + [label(4, fraud=False)]
    found = frauds_found(owner, digest, labels)
    assert (2, 2, 7_000, 2_000, True) == (*found[:4], found.is_whole)
    assert (3, 1, 1) == (found.difference.of, found.difference.more, found.difference.fewer)
    assert found.difference.low_ppm <= 0 <= found.difference.high_ppm
    assert not frauds_found(owner, digest, labels, frauds_max=1).is_whole


def test_two_decisions_about_one_payment_are_not_guessed_between(given_answers, owner, digest: bytes) -> None:
    given_answers(answer(1, BLOCK, ALLOW, transaction_id="tx"), answer(2, BLOCK, ALLOW, transaction_id="tx"))
    assert len(answer_about(owner, digest, "tx")) == 2
    assert len(answer_about(owner, digest, answer(1).decision_id)) == 1


def test_texts_that_the_database_can_t_hold_hold_nobody_up(given_answers, owner, digest: bytes) -> None:
    hostile = answer(1, BLOCK, ALLOW)._replace(
        transaction_id="\0" * 500, segments="\0\n" * 20, champion_says="\0" * SAYS_CHARACTERS_MAX
    )
    given_answers(hostile._replace(segments="\0\n\0"))
    assert len(disagreements_of(owner, digest, 9)) == 1
