"""People who decide cases while a rollback is applied, and what is done behind the plans' back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ops.bench.rig.publisher import publish
from ops.bench.rig.sealed import sealed
from ops.bench.rig.services import url_of
from ops.bench.rig.threads import Thread
from ops.bench.rig.topics_io import Outbound
from ops.stack.real import RealStack
from pipeline.domain.decision import Outcome
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.postgres import connect
from pipeline.people.key_files import Identity
from pipeline.review.cases import Judgement, ReviewRules
from pipeline.review.desk_store import Acted, ReviewDesk
from pipeline.rollback.plan_content_store import read_content
from pipeline.rollback.plan_store import read_plan
from pipeline.rollback.reversal import Approval, reversal

REVIEWER: Final = "rita"
FOUR_EYES_GBP_MINOR: Final = 1 << 60
"""No payment of the bench is worth it, so one reviewer is enough."""
_RULES: Final = ReviewRules(four_eyes_gbp_minor=FOUR_EYES_GBP_MINOR, claim_ms=600_000, reason_characters_min=1)
_PAUSE_S: Final = 0.05
_REASON: Final = "The customer was called while the rollback ran."
STALE_MAX: Final = 200


class Reviewing:
    """A reviewer who decides case after case, one half each way."""

    def __init__(self, stack: RealStack, reviewer: Identity) -> None:
        self._url, self.decided, self._reviewer = url_of(stack.database_url, "fraud_review"), 0, reviewer
        self._thread, self._is_started = Thread("reviewing", self._review), False

    def start(self) -> None:
        """Begin, where that was not done yet."""
        if not self._is_started:
            self._is_started = True
            self._thread.start()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Let the reviewer go home on leaving."""
        try:
            yield
        finally:
            self._thread.stop()

    def _review(self) -> None:
        with connect(self._url, "bench") as connection:
            desk = ReviewDesk(connection, _RULES, now_ms)
            while not self._thread.stopping.wait(_PAUSE_S):
                for file in desk.open_cases(1):
                    judgement = Judgement(Outcome.ALLOW if self.decided % 2 else Outcome.BLOCK, _REASON)
                    desk.claim(file.case.decision_id, self._reviewer)
                    acted = desk.judge(file.case.decision_id, self._reviewer, judgement)
                    self.decided += isinstance(acted, Acted)


def append_stale(stack: RealStack, plan_id: str) -> set[str]:
    """Append reversals of a plan that another one has overtaken, as if it had been applied all the same.

    Return their ids. What they say counts nowhere.
    """
    wire = WireFormat()
    with connect(url_of(stack.database_url, "fraud_reader"), "bench") as connection:
        plan = read_plan(connection, plan_id)
        assert plan is not None, "it was made here"
        content = read_content(connection, plan_id, plan.content_hash)
        assert content is not None, "nobody has altered it"
    approval = Approval("abe", now_ms())
    with content:
        lines = [line for line, _ in zip(content.changing(), range(STALE_MAX), strict=False)]
    records = [reversal(plan.header, plan.content_hash, line, approval) for line in lines]
    outbound = [Outbound(each.account_id.encode(), wire.encode(each), 0) for each in records]
    servers, topic = stack.bootstrap_servers, "decisions.v1"
    publish(servers, topic, sealed(servers, topic, outbound))
    return {each.reversal_id for each in records}
