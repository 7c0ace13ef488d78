"""A person at work in the demonstration, who claims and decides an escalation."""

from __future__ import annotations

from typing import Final

from ops.demo.backstage import PLANNER
from ops.demo.scene import Scene
from ops.processes.people import People
from pipeline.domain.decision import Outcome
from pipeline.domain.money import money_text
from pipeline.review.cases import needs_second
from pipeline.review.desk_command import claim, decide, open_cases, rules_of

CASES_LOOKED_AT: Final = 50
REASON: Final = "The customer was called back and knows the payment."


def review_one(scene: Scene, people: People) -> str | None:
    """Decide one case and say so in a sentence; None where no case waits that one person may decide."""
    settings = scene.as_role("fraud_review")
    for file in open_cases(settings, CASES_LOOKED_AT):
        if not needs_second(file.case, rules_of(settings)):
            case = file.case
            claim(settings, case.decision_id, people[PLANNER])
            decide(settings, case.decision_id, Outcome.ALLOW, people[PLANNER], REASON)
            amount = money_text(case.amount_minor, case.currency)
            return f"{PLANNER} claims the escalation of {case.transaction_id}, {amount}, and decides: ALLOW. {REASON}"
    return None
