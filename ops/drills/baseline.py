"""What is usual, for drills on what only history shows: a week of hours as the lane's own first payments were.

Drift is judged against the same hours of several days, which no drill can wait for. So the hours of a week go onto the
lane's own breaker_hours.v1, made from what the model has just answered, and the worker starts anew and reads them.
"""

from __future__ import annotations

import time
from typing import Final

from ops.drills.stage import DrillNotCarriedOut, Stage
from pipeline.breaker.answer_counts import ALL
from pipeline.breaker.detecting.baselines import HOUR_MS
from pipeline.breaker.detecting.history import HOURS_KEPT_MAX
from pipeline.domain.context import BreakerHour
from pipeline.domain.decision import Decision, Outcome, Route
from pipeline.domain.features import NONE
from pipeline.domain.log import Outgoing
from pipeline.io.clock import now_ms
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.kafka.topic_settings import BREAKER_HOURS_TOPIC
from pipeline.seals.seal_files import worker_sealer

DAYS: Final = 7
STRAY_PERCENT: Final = 12
"""How far an hour's mean score strays from the others', one day up, the next down: the lane's hours pass in seconds."""
RECENT_S: Final = 15.0
"""Time of which the answers count: they are of about the hour in which the fault begins."""


def lay_baseline(stage: Stage) -> None:
    """Publish a week of hours, and let the worker start anew. Raises DrillNotCarriedOut."""
    since_s = time.monotonic() - max(RECENT_S, stage.policy.breaker.window_s)
    recent = (each.decision for each in stage.decided.since() if each.at_s >= since_s)
    answers = [decision for decision in recent if decision.route is Route.MODEL]
    if len(answers) < stage.policy.breaker.minimum_sample:
        raise DrillNotCarriedOut(f"the model answered {len(answers)} payments only, too few to be what is usual")
    sealer = worker_sealer(stage.direct, name=BREAKER_HOURS_TOPIC)
    publisher = BulkPublisher(stage.direct)
    this_hour = now_ms() // HOUR_MS
    hours = [
        Outgoing(sealer.topic, str(number % HOURS_KEPT_MAX).encode(), stage.wire.encode(_hour(stage, answers, number)))
        for number in range(this_hour - DAYS * 24, this_hour)
    ]
    for each in sealer.seal(hours):
        publisher.publish(each.topic, each.key or b"", each.value, 0, each.headers)
    publisher.flush()
    stage.worker.stop()
    stage.worker.start()


def _hour(stage: Stage, answers: list[Decision], number: int) -> BreakerHour:
    counts = _counts(answers, 100 + STRAY_PERCENT * (1 if number // 24 % 2 else -1))
    scopes = [ALL, f"model:{stage.models.good}"]
    return BreakerHour(number * HOUR_MS, scopes, counts * len(scopes), [], [])


def _counts(answers: list[Decision], percent: int) -> list[int]:
    """Return the six counts of a scope: allowed, blocked, escalated, failed, scores and their squares."""
    by_outcome = [sum(each.outcome is outcome for each in answers) for outcome in (Outcome.ALLOW, Outcome.BLOCK)]
    known = [each.fraud_probability_ppm * percent // 100 for each in answers if each.fraud_probability_ppm != NONE]
    squares = sum(ppm * ppm // 1_000_000 for ppm in known)
    return [*by_outcome, len(answers) - sum(by_outcome), 0, sum(known), squares]
