"""Plans that the tests of the rollback start from."""

from __future__ import annotations

from hypothesis import strategies as st

from pipeline.domain.decision import Outcome
from pipeline.domain.reversal import RecordKind, RecordName
from pipeline.people.roles import Person, Role
from pipeline.rollback.reversal import (
    Approval,
    Place,
    PlanHeader,
    PlanLine,
    Standing,
    disposition,
    outcome_before,
)
from tests.records import NOON_MS

REQUESTER = Person("rae", frozenset({Role.ROLLBACK_REQUESTER}))
APPROVER = Person("abe", frozenset({Role.ROLLBACK_APPROVER}))
APPROVAL = Approval("abe", NOON_MS + 60_000)
HEADER = PlanHeader(
    "plan-1",
    "rae",
    NOON_MS,
    NOON_MS + 3_600_000,
    "the model blocked honest payments",
    {"model": "glass-wrong", "route": "MODEL"},
    "glass-good",
    "00" * 32,
    "2026-11",
    "11" * 32,
    "RECORDED",
)

outcomes = st.sampled_from(Outcome)
standings = st.builds(
    Standing,
    st.sampled_from(Place),
    st.sampled_from(["", "SETTLED", "RECALLING"]),
    st.builds(RecordName, st.sampled_from(RecordKind), st.text(max_size=9)),
    st.none() | outcomes,
    st.booleans(),
    st.booleans(),
)


def standing(place, outcome, *, is_reviewed=False):
    """What the ledger says where nothing else matters."""
    return Standing(place, "", RecordName(RecordKind.DECISION, "d"), outcome, is_reviewed, False)


@st.composite
def plan_lines(draw: st.DrawFn) -> PlanLine:
    number = draw(st.integers(0, 10**6))
    stands, after = draw(standings), draw(st.none() | outcomes)
    return PlanLine(
        f"d-{number}",
        f"tx-{number}",
        f"GB29-{number % 7}",
        number % 4,
        number,
        draw(st.sampled_from(["GBP", "EUR", "JPY"])),
        draw(st.integers(1, 10**11)),
        draw(st.integers(-1, 10**11)),
        outcome_before(stands),
        after,
        disposition(stands, after),
        stands.place is Place.HELD,
        stands.is_in_review,
        draw(st.text(max_size=20)),
        draw(st.sampled_from(["", "00ff"])),
        stands.state,
        *stands.replaces,
    )
