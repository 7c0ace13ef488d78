"""The breaker's word on each payment of a batch, and which model it is about while two of them decide.

Invariants
1. Once a candidate's own scope trips, the champion answers its share from the next batch on, in every worker and
   without anybody's hand, and not the fallback. Who watches rollouts (pipeline/promotion) takes it back for good
   within seconds; until then, and where a person has it rolled out anew, its way back is the breaker's probation.
2. Where nothing is known of the breaker, nothing is a candidate's (I4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pipeline.breaker import Routing, draw_of
from pipeline.breaker.answer_counts import ALL, model_scope
from pipeline.breaker.states import BreakerRecord
from pipeline.decide.rollout.sharing import Sharing
from pipeline.decide.verdict import Mode, Regime
from pipeline.domain.decision import BreakerState
from pipeline.domain.payment import Transaction

ModeOf = Callable[[Transaction], Mode]
_IN_THE_LOOP: Final = frozenset({BreakerState.CLOSED, BreakerState.HALF_OPEN})


def modes_under(records: Mapping[str, BreakerRecord], in_force: Regime, now_ms: int) -> ModeOf:
    """Return the breaker's word on each payment that this regime's model would answer, if it is decided now."""
    version = None if in_force.model is None else in_force.model.version
    settings = in_force.policy.breaker
    routing = Routing(records, version, settings.declares, draw_of(now_ms, settings))
    if routing.uniform is not None:
        uniform = Mode(*routing.uniform)
        return lambda _transaction: uniform
    return lambda transaction: _mode(routing, transaction)


def is_in_the_loop(records: Mapping[str, BreakerRecord], version: str) -> bool:
    """Return whether a version's own scope is known to be CLOSED, or on probation.

    One that isn't recorded is CLOSED beside others that are recorded.
    """
    if ALL not in records:
        return False
    own = records.get(model_scope(version))
    return own is None or own.state in _IN_THE_LOOP


def shared_modes(champion: ModeOf, candidate: ModeOf, sharing: Sharing) -> ModeOf:
    """Return the word on each payment by the model that answers it."""

    def mode_of(transaction: Transaction) -> Mode:
        if sharing.chooses(transaction.transaction_id):
            return candidate(transaction)._replace(is_candidates=True)
        return champion(transaction)

    return mode_of


def _mode(routing: Routing, transaction: Transaction) -> Mode:
    return Mode(*routing.route_of(transaction.account_id, transaction.segments, transaction.channel))
