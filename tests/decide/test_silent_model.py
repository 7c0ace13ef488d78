"""Where the model gives no answer, because something is UNKNOWN or because it fails, the fallback answers (I4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artefact import asking
from models.artefact.asking import FAILED_ALONE_MAX, NOT_TRIED
from models.artefact.files import load_champion
from models.artefact.scoring import score
from pipeline.breaker.answer_counts import counts_of
from pipeline.decide.phrase_books.books import BOOKS
from pipeline.decide.policy import rules_of
from pipeline.decide.verdict import CONFIDENCE_CERTAIN_BP, KEPT_OUT, Mode, Verdict, decide, regime
from pipeline.domain.decision import BreakerState, Outcome, Route, Silence
from pipeline.domain.features import (
    COLUMN,
    EVENT,
    FEATURES,
    NEVER_UNKNOWN,
    NONE,
    STATE_SLICE,
    UNKNOWN,
    Matrix,
    feature_matrix,
)
from pipeline.replay.redecide import Basis, Good, Version, redecide
from pipeline.replay.verify import Result, verify
from pipeline.state.windows import MemoryState
from tests.archive import payment, stored
from tests.decide.test_batch import decisions_of, judged, record
from tests.decisions import decision_of, written
from tests.records import PAYMENT, features, policy, small_model

CLOSED, OPEN = Mode(BreakerState.CLOSED, "all", True), Mode(BreakerState.OPEN, "all", False)
IN_FORCE = regime(policy(), small_model())
SHIPPED = regime(policy(), load_champion(Path("models/registry")))
STRICTNESS = {Outcome.ALLOW: 0, Outcome.ESCALATE: 1, Outcome.BLOCK: 2}
SILENT = {rule.code for rule in rules_of(policy()) if rule.silent_on_unknown}
"""Where what they read is unknown, another rule stands in for these, with an outcome of its own."""
REPORTS = COLUMN["ip_fraud_reports"]
BAD = 2


def seen(*rows: dict[str, int]) -> Matrix:
    """Quiet payments with the features of each row, whose derived ones follow."""
    matrix = np.concatenate([features(**row) for row in rows])
    return feature_matrix(matrix[:, : len(EVENT)], matrix[:, STATE_SLICE])


def test_a_payment_with_an_unknown_value_is_the_fallback_s_and_says_what_is_unknown():
    [v] = decide(seen({"device_fraud_reports": UNKNOWN}), [CLOSED], IN_FORCE)
    assert (v.outcome, v.route, v.mode, v.confidence_bp) == (
        Outcome.BLOCK,
        Route.FALLBACK,
        CLOSED,
        CONFIDENCE_CERTAIN_BP,
    )
    assert v.rules_triggered == ["FALLBACK_REPORTED_DEVICE", "FALLBACK_SUSPECTED_DEVICE"]
    assert (v.model_answer, v.silence) == (None, Silence.NOT_ASKED)
    said = v.reasons[-1]
    assert (said.code, said.observed) == ("MODEL_NOT_ASKED", UNKNOWN)
    assert said.text == "the model was not asked, because it answers only where everything is known"
    assert v.summary == (
        "Blocked by the fallback rules because how many fraud reports the device is linked to is not known. The model"
        " was not asked, because it answers only where everything is known."
    ), "one fact, once"
    assert v.reasons[0].text == "how many fraud reports the device is linked to is not known, and counts as the worst"


def test_further_unknown_values_are_counted():
    [two, four] = decide(
        seen(
            {"beneficiary_count_24h": UNKNOWN, "beneficiary_count_7d": UNKNOWN},
            {name: UNKNOWN for name in FEATURES if name.startswith(("beneficiary_count", "beneficiary_senders"))},
        ),
        [CLOSED, CLOSED],
        IN_FORCE,
    )
    assert two.reasons[-1].text.endswith(" is not known, nor is one thing more")
    assert four.reasons[-1].text.endswith(" is not known, nor are 3 things more")


@pytest.mark.parametrize("state", sorted(KEPT_OUT))
def test_where_the_breaker_kept_the_model_out_as_well_both_are_said(state: BreakerState) -> None:
    """What is unknown was named alone, as if the model would have decided otherwise."""
    unknown, mode = seen({"beneficiary_count_7d": UNKNOWN}), Mode(state, "all", False)
    [kept_out], [asked] = decide(unknown, [mode], IN_FORCE), decide(unknown, [CLOSED], IN_FORCE)
    both = "the circuit breaker kept the model from deciding, and besides the model was not asked, because "
    assert kept_out.reasons[-1].text == both + asked.reasons[-1].text.partition("because ")[2]
    assert f". T{both[1:]}" in kept_out.summary
    assert "breaker" not in asked.summary
    [failed] = decide(seen({}), [mode], IN_FORCE, failed=[0])
    assert failed.silence is Silence.FAILED
    assert failed.reasons[-1].text.startswith("the circuit breaker kept the model from deciding, and besides ")
    [first] = decide(unknown, [mode], regime(policy(), small_model(), book=BOOKS["1"]))
    assert first.reasons[-1].text == asked.reasons[-1].text, "a released book says what it said"


@pytest.mark.parametrize("may", [True, False])
def test_half_open_says_the_same_whichever_of_its_payments_it_is(may: bool) -> None:
    """No decision records that, so that it could not be made again."""
    [said] = decide(seen({"beneficiary_count_7d": UNKNOWN}), [Mode(BreakerState.HALF_OPEN, "all", may)], IN_FORCE)
    assert "breaker" not in said.summary


def test_what_no_rule_reads_is_unknown_and_the_fallback_still_says_that_no_rule_applies():
    [v] = decide(seen({"beneficiary_count_7d": UNKNOWN}), [CLOSED], IN_FORCE)
    assert (v.outcome, v.route) == (Outcome.ALLOW, Route.FALLBACK)
    assert [reason.code for reason in v.reasons] == [
        "NEAREST_FALLBACK_UNUSUAL_AMOUNT",
        "MODEL_NOT_ASKED",
    ]


def test_an_unknown_daily_volume_is_for_a_person():
    [v] = decide(seen({"account_volume_minor_24h": UNKNOWN}), [CLOSED], IN_FORCE)
    assert (v.outcome, v.route, v.rules_triggered) == (Outcome.ESCALATE, Route.FALLBACK, ["SOFT_DAILY_VOLUME"])


NUMBERS = st.one_of(st.integers(0, 12), st.integers(0, 10**6), st.sampled_from([NONE, 0, 1, 60, 20_000_001]))
STATES = st.lists(st.lists(NUMBERS, min_size=len(FEATURES), max_size=len(FEATURES)), min_size=1, max_size=2)
MASK = st.integers(0, 2 ** len(FEATURES) - 1)


@given(STATES, MASK, st.sampled_from([CLOSED, OPEN]), st.sampled_from([IN_FORCE, SHIPPED, regime(policy(), None)]))
def test_i4_whatever_is_unknown_nothing_is_more_permissive_than_the_fallback_that_knows_it(rows, mask, mode, in_force):
    """For every subset of the features: no ALLOW by the model, and none that the fallback with all of them denies."""
    whole = np.array(rows, dtype=np.int64)
    flags = [COLUMN[name] for name in FEATURES if name.startswith("is_")]
    whole[:, flags] = np.minimum(whole[:, flags], 1)
    lost = np.array([mask >> place & 1 == 1 and name not in NEVER_UNKNOWN for place, name in enumerate(FEATURES)])
    masked = np.where(lost, UNKNOWN, whole)
    by_fallback = decide(whole, [OPEN] * len(rows), in_force)
    for known, unknown in zip(by_fallback, decide(masked, [mode] * len(rows), in_force), strict=True):
        if lost.any():
            assert unknown.route is not Route.MODEL
            is_stood_in_for = bool(SILENT & set(known.rules_triggered))
            assert unknown.outcome is not Outcome.ALLOW or known.outcome is Outcome.ALLOW
            assert STRICTNESS[unknown.outcome] >= STRICTNESS[known.outcome] or is_stood_in_for
            applied = set(known.rules_triggered) - SILENT
            assert applied <= set(unknown.rules_triggered) or Route.GUARDRAIL in (known.route, unknown.route)


class Failing:
    """Fails on a payment whose IP address has BAD fraud reports, as often as it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_broken = True
        monkeypatch.setattr(asking, "score", self)

    def __call__(self, model, rows):
        if self.is_broken and (rows[:, REPORTS] == BAD).any():
            raise FloatingPointError("no number")
        return score(model, rows)


@pytest.fixture
def failing(monkeypatch):
    return Failing(monkeypatch)


def by_name(verdicts: list[Verdict]) -> list[tuple[Route, Silence | None, str]]:
    return [(v.route, v.silence, v.fault) for v in verdicts]


@pytest.mark.usefixtures("failing")
def test_a_payment_that_the_model_fails_on_is_the_fallback_s_and_the_others_are_the_model_s():
    rows = seen({}, {"ip_fraud_reports": BAD}, {"amount_gbp_minor": 9_999})
    verdicts = decide(rows, [CLOSED] * 3, IN_FORCE)
    answered, failed = (Route.MODEL, None, ""), (Route.FALLBACK, Silence.FAILED, "FloatingPointError")
    assert by_name(verdicts) == [answered, failed, answered]
    assert verdicts[1].outcome is Outcome.ESCALATE
    assert verdicts[1].reasons[-1].code == "MODEL_FAILED"
    assert verdicts[1].summary.endswith(" The model was asked, but gave no answer that can be used.")
    assert verdicts[1].model_answer is None


@pytest.mark.usefixtures("failing")
def test_a_model_that_fails_in_shadow_is_told_too():
    [v] = decide(seen({"ip_fraud_reports": BAD}), [OPEN], IN_FORCE)
    assert (v.route, v.silence, v.model_answer) == (Route.FALLBACK, Silence.FAILED, None)


@pytest.mark.usefixtures("failing")
def test_a_broken_model_gives_up_its_batch():
    verdicts = decide(seen(*[{"ip_fraud_reports": BAD}] * 50, {}), [CLOSED] * 51, IN_FORCE)
    faults = [v.fault for v in verdicts]
    assert faults == ["FloatingPointError"] * FAILED_ALONE_MAX + [NOT_TRIED] * (51 - FAILED_ALONE_MAX)
    assert {v.route for v in verdicts} == {Route.FALLBACK}


@pytest.mark.usefixtures("failing")
def test_a_failure_is_an_error_for_the_breaker_and_a_payment_that_nobody_asked_about_is_none():
    """Nothing is left for bisection, which would make each a dead letter."""
    payments = [record(place, PAYMENT._replace(transaction_id=f"tx-{place}")) for place in range(3)]
    result = judged(payments, state=Reported([0, BAD, UNKNOWN]))
    assert [d.route for d in decisions_of(result)] == [Route.MODEL, Route.FALLBACK, Route.FALLBACK]
    assert dict(result.model_faults) == {"FloatingPointError": 1}
    assert (result.unasked, dict(result.dead_letters)) == (1, {})
    counts = counts_of(result.answers, 5, 3, "small-1", lambda _name, _value: False)["all"]
    assert (counts.answered, counts.errors) == (1, 1)


class Reported:
    """A state that names other fraud reports of the IP address, payment by payment."""

    def __init__(self, reports: list[int]) -> None:
        self._reports = reports

    def observe(self, shares):
        [observation] = MemoryState().observe(shares)
        observation.state[:, REPORTS - STATE_SLICE.start] = self._reports
        return [observation]


def test_a_decision_of_a_failed_model_is_verified_from_what_it_records(archive, failing):
    values = archive.values([payment(n) for n in range(3)], [CLOSED, OPEN, CLOSED], ip_fraud_reports=BAD)
    failing.is_broken = False  # years later the artefact answers
    checks = verify([stored(value) for value in values], archive.regime_of)
    assert [check.result for check in checks] == [Result.IDENTICAL] * 3
    decision = decision_of(values[0])
    assert (decision.route, decision.breaker_state) == (Route.FALLBACK, BreakerState.CLOSED)
    assert (decision.fraud_probability_ppm, decision.has_model_failed) == (NONE, True)


def test_a_decision_on_something_unknown_is_verified(archive):
    half_open = Mode(BreakerState.HALF_OPEN, "all", True)
    modes = [CLOSED, OPEN, half_open]
    values = archive.values([payment(n) for n in range(3)], modes, beneficiary_count_7d=UNKNOWN)
    assert [check.result for check in verify([stored(v) for v in values], archive.regime_of)] == [Result.IDENTICAL] * 3


@pytest.mark.parametrize("state", [BreakerState.CLOSED, BreakerState.HALF_OPEN])
def test_the_route_of_the_model_where_something_is_unknown_differs(archive, state):
    [value] = archive.values([payment(1)], [Mode(state, "all", True)], beneficiary_count_7d=UNKNOWN)
    forged = written(decision_of(value)._replace(route=Route.MODEL))
    [check] = verify([stored(forged)], archive.regime_of)
    assert "route" in check.differing


def test_a_failure_that_is_struck_from_the_record_differs(archive, failing):
    [value] = archive.values([payment(1)], [CLOSED], ip_fraud_reports=BAD)
    decision = decision_of(value)
    struck = written(decision._replace(reasons=decision.reasons[:-1]))
    failing.is_broken = False
    [check] = verify([stored(struck)], archive.regime_of)
    assert "route" in check.differing


def test_a_failure_stays_with_the_model_that_failed_when_it_is_decided_again(archive, failing):
    [value] = archive.values([payment(1)], [CLOSED], ip_fraud_reports=BAD)
    decision = decision_of(value)
    failing.is_broken = False
    same_policy = Version(decision.policy_version, decision.policy_hash)
    same_model = Version(decision.model_version, decision.model_hash)
    for good, says in (
        (Good(None, same_policy, Basis.RECORDED), "gave no answer"),
        (Good(None, same_policy, Basis.CLOSED), "Allowed because"),
        (Good(same_model, None, Basis.RECORDED), "Allowed because"),
    ):
        [again] = redecide([stored(value)], good, archive.regime_of)
        assert says in again.why
