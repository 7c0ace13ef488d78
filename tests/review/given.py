"""People, cases and rules that the tests of the review start from."""

from __future__ import annotations

from pipeline.domain.decision import Outcome
from pipeline.people.roles import Person, Role
from pipeline.review.cases import (
    Case,
    CaseEvent,
    CaseStanding,
    Judgement,
    ReviewRefusal,
    ReviewRules,
    advanced,
    claim,
    judge,
    opening,
    standing,
)
from tests.records import NOON_MS

HOUR_MS = 3_600_000
RULES = ReviewRules(four_eyes_gbp_minor=1_000_000, claim_ms=HOUR_MS // 2, reason_characters_min=10)
ANN = Person("ann", frozenset({Role.REVIEWER}))
BEN = Person("ben", frozenset({Role.REVIEWER}))
SUE = Person("sue", frozenset({Role.SENIOR_REVIEWER}))
EVE = Person("eve", frozenset({Role.ADMIN, Role.ROLLBACK_APPROVER}))
ALLOW = Judgement(Outcome.ALLOW, "called the customer, who knows the payee")
BLOCK = Judgement(Outcome.BLOCK, "the payee's account is a known mule")
SMALL = Case("d-1", 1, "tx-1", "GB29-0001", "GBP", 12_345, 12_345, NOON_MS, NOON_MS + 24 * HOUR_MS)
LARGE = SMALL._replace(amount_minor=2_000_000, amount_gbp_minor=2_000_000)


def opened(case: Case = SMALL) -> CaseStanding:
    return standing([opening(case)])


def after(at: CaseStanding, event: CaseEvent | ReviewRefusal) -> CaseStanding:
    assert isinstance(event, CaseEvent), event
    return advanced(at, event)


def claimed(case: Case = SMALL, by: Person = ANN, now_ms: int = NOON_MS + 1) -> CaseStanding:
    at = opened(case)
    return after(at, claim(case, at, by, now_ms, RULES))


def proposed(case: Case = LARGE, by: Person = ANN) -> CaseStanding:
    at = claimed(case, by)
    return after(at, judge(case, at, by, ALLOW, NOON_MS + 2, RULES))
