"""The report of a drill: evidence as JSON, signed, from which everything else is made."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from pathlib import Path
from typing import Any, Final, NamedTuple

from ops.drills.course import Performed
from ops.drills.page import page
from ops.drills.stage import Asked
from pipeline.domain.times import utc_text
from pipeline.drills.drills import ABOUT, MEASURES, DrillName, Verdict
from pipeline.drills.judging import Finding, judged, verdict_of
from pipeline.drills.objectives import EVERY_DAYS, Drills, Objective
from pipeline.keys.key_files import SigningKey

KIND: Final = "fraud-drill-report-v1"
SIGNATURE_KIND: Final = "fraud-drill-signature-v1"

Report = dict[str, Any]


class Setting(NamedTuple):
    """The circumstances of a drill. is_embedded: the broker keeps nothing, so it proves nothing of a real one."""

    drill_id: str
    asked: Asked
    started_at_ms: int
    ended_at_ms: int
    policy_version: str
    policy_sha256: str
    model_version: str
    release: str
    carried_out_by: str
    is_embedded: bool

    @property
    def counts(self) -> bool:
        """Whether the drill counts towards the schedule, if it was carried out."""
        return self.asked.is_full and not self.is_embedded


def report_of(setting: Setting, drills: Drills | None, performed: Performed | None, why: str) -> Report:
    """Return the report. performed: None where the drill could not be carried out, for the reason `why`."""
    drill = setting.asked.drill
    objective = None if drills is None else drills.of(drill)
    findings: list[Finding] = []
    verdict = Verdict.NOT_CARRIED_OUT
    if performed is not None:
        findings = judged(drill, performed.measured, objective)
        verdict = verdict_of(findings, performed.course.faults)
    return {
        "kind": KIND,
        "drill_id": setting.drill_id,
        "drill": drill.value,
        "about": ABOUT[drill],
        "verdict": verdict.value,
        "why": why,
        "started_at": utc_text(setting.started_at_ms),
        "ended_at": utc_text(setting.ended_at_ms),
        "carried_out_by": setting.carried_out_by,
        "is_full": setting.asked.is_full,
        "is_live": False,
        "is_embedded": setting.is_embedded,
        "counts_towards_schedule": setting.counts and verdict is not Verdict.NOT_CARRIED_OUT,
        "where": "a lane of its own, behind fault proxies",
        "payments_per_second": setting.asked.rate,
        "seed": setting.asked.seed,
        "policy": {"version": setting.policy_version, "sha256": setting.policy_sha256},
        "model": setting.model_version,
        "release": setting.release,
        "due_every_days": EVERY_DAYS if drills is None else drills.every_days,
        "findings": [_finding(drill, each, performed, objective) for each in findings],
        "faults": [] if performed is None else list(performed.course.faults),
        "moments": [] if performed is None else [moment._asdict() for moment in performed.course.moments],
        "samples": [] if performed is None else [sample._asdict() for sample in performed.samples],
        "checked": [] if performed is None else list(performed.checked),
        "leaked_means": "" if performed is None else performed.harm,
        "decided_by_version": {} if performed is None else dict(sorted(performed.answered.items())),
        "breaker_in_place_of_policy": {} if performed is None else performed.settings,
        "records": None if performed is None else _records(performed),
    }


def _finding(drill: DrillName, finding: Finding, performed: Performed | None, objective: Objective | None) -> Report:
    assert performed is not None
    assert finding.measure in MEASURES[drill]
    limit = getattr(objective, finding.measure, None)
    return {
        "measure": finding.measure.value,
        "figure": getattr(performed.measured, finding.measure),
        "objective": limit if limit is None or isinstance(limit, int) else dict(limit),
        "is_met": finding.is_met,
        "why": finding.why,
    }


def _records(performed: Performed) -> Report:
    return {
        "published": performed.published,
        "decisions": performed.decided,
        "set_aside": performed.dead_letters,
    }


class Written(NamedTuple):
    path: Path
    sha256: bytes
    signature: bytes
    key_id: str


def write_report(folder: Path, report: Report, key: SigningKey) -> Written:
    """Write the report and, beside it, its signature and its page; none is overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    text = report_bytes(report)
    path = folder / f"{report['drill']}-{report['drill_id']}.json"
    signature = key.sign(text)
    signed = {
        "kind": SIGNATURE_KIND,
        "sha256": hashlib.sha256(text).hexdigest(),
        "key_id": key.key_id,
        "public": key.public.hex(),
        "signature": b64encode(signature).decode(),
    }
    _write_new(path, text)
    _write_new(signature_path(path), json.dumps(signed, indent=2).encode() + b"\n")
    _write_new(path.with_suffix(".html"), page(report, signed).encode())
    return Written(path, hashlib.sha256(text).digest(), signature, key.key_id)


def report_bytes(report: Report) -> bytes:
    """Return the report as it is signed: one order of keys, and no other form of a number."""
    return (json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def signature_path(path: Path) -> Path:
    return path.with_suffix(".signature.json")


def _write_new(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
