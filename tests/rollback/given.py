"""Plans that the tests of the rollback start from."""

from __future__ import annotations

from hypothesis import strategies as st

from pipeline.domain.decision import Outcome
from pipeline.people.roles import Person, Role
from pipeline.rollback.reversal import Approval, PlanHeader, PlanLine, disposition
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


@st.composite
def plan_lines(draw: st.DrawFn) -> PlanLine:
    number = draw(st.integers(0, 10**6))
    before, after = draw(st.none() | outcomes), draw(st.none() | outcomes)
    return PlanLine(
        f"d-{number}",
        f"tx-{number}",
        f"GB29-{number % 7}",
        number % 4,
        number,
        draw(st.sampled_from(["GBP", "EUR", "JPY"])),
        draw(st.integers(1, 10**11)),
        draw(st.integers(-1, 10**11)),
        before,
        after,
        disposition(before, after, is_reviewed=draw(st.booleans())),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.text(max_size=20)),
        draw(st.sampled_from(["", "00ff"])),
    )
