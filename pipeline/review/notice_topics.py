"""What the review service tells people of: acts that count as nothing, and rows and records that can't be."""

from __future__ import annotations

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.domain.alert import Alert
from pipeline.people.watch_service import Unproved
from pipeline.review.case_store import CaseFile, RecordPlace


def voided(file: CaseFile, why: str, at_ms: int) -> Alert:
    evidence = {"decision_id": file.case.decision_id, "round": str(file.case.round), "why": why}
    summary = f"What a person did in the case of decision {file.case.decision_id} counts as nothing: {why}."
    return alert(AlertCode.ACT_UNPROVED, summary, "review", evidence, at_ms)


def unproved_act(found: Unproved) -> Alert:
    evidence = {"act": found.digest, "kind": found.kind, "name": found.name, "why": found.why}
    summary = f"The signed act {found.digest[:16]} ({found.kind}) counts as nothing: {found.why}."
    return alert(AlertCode.ACT_UNPROVED, summary, "people", evidence, found.at_ms)


def refused(decision_id: str, place: RecordPlace, why: str, at_ms: int) -> Alert:
    evidence = {"decision_id": decision_id, "partition": str(place.partition), "offset": str(place.offset)}
    summary = f"The review service takes no case from the record at {place.partition}:{place.offset}: {why}."
    return alert(AlertCode.ACT_UNPROVED, summary, "review", evidence, at_ms)
