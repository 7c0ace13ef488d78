"""The signed report of a drill on the live breaker, and its record."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Final

import psycopg
import redis
from confluent_kafka import KafkaException

from ops.drills.live.live_run import LiveAsked, LiveDrillRefused, LivePerformed, perform_live
from ops.drills.live.watching import samples_of
from ops.drills.report import KIND, Report, write_report
from ops.drills.run import Done, embedded, model_in_force, policy_in_force, record_drill, signing_key
from pipeline.decide.policy import Policy
from pipeline.domain.times import utc_text
from pipeline.drills.consent_store import ConsentRefused
from pipeline.drills.drills import ABOUT, DrillName, Verdict
from pipeline.drills.judging import LIVE_MEASURES, judged, live_objective, verdict_of
from pipeline.drills.objectives import EVERY_DAYS, Objective
from pipeline.drills.store import DrillRecord
from pipeline.io.clock import now_ms
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure

NOT_POSSIBLE: Final = (
    LiveDrillRefused,
    ConsentRefused,
    BrokerFailed,
    KafkaException,
    redis.RedisError,
    psycopg.Error,
    DatabaseUnavailable,
    DatabaseRefused,
    RuntimeError,
    OSError,
    TimeoutError,
    Failure,
)
"""Why a live drill shows nothing, either way. What was thrown by then has its end."""
WHERE: Final = "the live breaker, by consent of two people; no wrong model decided, and no server was taken away"


def carry_out_live(asked: LiveAsked, deployment: Settings, folder: Path, say: Callable[[str], None]) -> Done:
    """Carry a live drill out, and write its signed report into `folder`. Raises Failure where none can be written."""
    folder = folder.resolve()
    key, policy = signing_key(deployment, folder), policy_in_force(deployment)
    started_at_ms, performed, why, begun = now_ms(), None, "", Event()
    try:
        performed = perform_live(asked, deployment, policy, folder, say, begun.set)
    except NOT_POSSIBLE as error:
        is_ours = isinstance(error, LiveDrillRefused | ConsentRefused | Failure)
        why = str(error) if is_ours else f"{type(error).__name__}: {error}"
        if not begun.is_set():
            raise Failure(f"Refused: {why}.", "Nothing was begun, and no consent is used up.") from error
        say(f"it could not be carried out: {why}")
    report = live_report(asked, deployment, policy, performed, why, started_at_ms)
    written = write_report(folder, report, key)
    record = DrillRecord(
        report["drill_id"],
        report["drill"],
        report["verdict"],
        report["why"],
        False,  # it doesn't count towards the schedule: nothing has to be noticed in it
        started_at_ms,
        max(now_ms(), started_at_ms),
        report["carried_out_by"],
        policy.version,
        policy.sha256,
        report["model"],
        report["findings"],
        written.sha256,
        written.key_id,
        written.signature,
    )
    return Done(report, written, record_drill(deployment, record))


def live_report(
    asked: LiveAsked,
    deployment: Settings,
    policy: Policy,
    performed: LivePerformed | None,
    why: str,
    started_at_ms: int,
) -> Report:
    """Return the report, in the form of every drill's. performed: None where it could not be carried out, for `why`."""
    drill = DrillName(asked.drill)
    objective = live_objective(None if policy.drills is None else policy.drills.of(drill))
    findings, verdict, faults = [], Verdict.NOT_CARRIED_OUT, []
    if performed is not None:
        found = judged(drill, performed.measured, objective, LIVE_MEASURES)
        faults = performed.course.faults
        verdict = verdict_of(found, faults)
        findings = [
            {
                "measure": each.measure.value,
                "figure": getattr(performed.measured, each.measure),
                "objective": _limit(objective, each.measure.value),
                "is_met": each.is_met,
                "why": each.why,
            }
            for each in found
        ]
    return {
        "kind": KIND,
        "drill_id": asked.drill_id,
        "drill": drill.value,
        "about": f"what follows is tried, as where {ABOUT[drill]}",
        "verdict": verdict.value,
        "why": why[:2_000],
        "started_at": utc_text(started_at_ms),
        "ended_at": utc_text(now_ms()),
        "carried_out_by": f"{asked.by.name} ({getpass.getuser()} on {socket.gethostname()})",
        "is_full": False,
        "is_live": True,
        "is_embedded": embedded(deployment),
        "counts_towards_schedule": False,
        "where": WHERE,
        "payments_per_second": None,
        "seed": None,
        "policy": {"version": policy.version, "sha256": policy.sha256.hex()},
        "model": model_in_force(deployment),
        "release": version("fraud-decision-pipeline"),
        "due_every_days": EVERY_DAYS if policy.drills is None else policy.drills.every_days,
        "findings": findings,
        "faults": faults,
        "moments": [] if performed is None else [moment._asdict() for moment in performed.course.moments],
        "samples": [] if performed is None else _samples(performed),
        "records": None,
        "live": None if performed is None else _live(performed),
    }


def _limit(objective: Objective | None, measure: str) -> int | None:
    limit: int | None = getattr(objective, measure, None)
    return limit


def _samples(performed: LivePerformed) -> list[dict[str, object]]:
    course = performed.course
    return [each._asdict() for each in samples_of(performed.watched, course.thrown_s, course.states)]


def _live(performed: LivePerformed) -> Report:
    """What only a live drill has: who consented to what, and what it cost."""
    watched, course = performed.watched, performed.course
    return {
        "consent": performed.live._asdict(),
        "decided_by_it": watched.marked,
        "decided_by_fallback_minor": dict(sorted(watched.amounts_minor.items())),
        "partitions": {
            str(partition): {
                "decided_before": seen.before,
                "out_after_s": None if seen.out_s is None else round(seen.out_s - course.thrown_s, 2),
                "last_in_after_s": None if seen.in_s is None else round(seen.in_s - course.thrown_s, 2),
            }
            for partition, seen in sorted(watched.partitions.items())
        },
        "paged": None if course.page is None else course.page.sink,
    }
