"""What the review service tells people of: acts that count as nothing, and rows and records that can't be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.alert import Alert
from pipeline.domain.identities import review_id
from pipeline.io.kafka.client import BrokerAway
from pipeline.people.watch_service import Unproved
from pipeline.review.case_store import CaseFile, RecordPlace

UNTOLD_MAX: Final = 500
"""Alerts that wait for the broker; beyond, what comes up again by itself is left for later."""

log = structlog.get_logger("review")


class Untold:
    """Alerts that wait to be raised: while the broker is away they go on waiting."""

    def __init__(self, alerts: AlertPublisher[None]) -> None:
        self._alerts = alerts
        self._waiting: list[Alert] = []
        self._known: set[str] = set()  # what was told of rows that can't be

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= UNTOLD_MAX

    def void(self, file: CaseFile, why: str, at_ms: int) -> None:
        log.error("case_voided", decision_id=file.case.decision_id, round=file.case.round, why=why)
        self._waiting.append(_voided(file, why, at_ms))

    def is_told_void(self, file: CaseFile) -> bool:
        return _void_name(file) in self._known

    def doubt_void(self, file: CaseFile, at_ms: int) -> None:
        self._known.add(_void_name(file))
        log.error("voided_though_it_counts", decision_id=file.case.decision_id, round=file.case.round)
        self._waiting.append(_voided(file, "somebody voided it, though it counts", at_ms))

    def unfounded(self, file: CaseFile, at_ms: int) -> None:
        """Once for each case that can't be: its record was audited otherwise, or its time is not up."""
        name = review_id(file.case.decision_id, file.case.round)
        if name not in self._known:
            self._known.add(name)
            log.error("case_unfounded", decision_id=file.case.decision_id, round=file.case.round)
            self._waiting.append(_voided(file, "its row is not what the audit log and the clock lead to", at_ms))

    def refuse(self, decision_id: str, place: RecordPlace, why: str, at_ms: int) -> None:
        log.error("record_refused", decision_id=decision_id, **place._asdict(), why=why)
        if not self.is_full:
            self._waiting.append(_refused(decision_id, place, why, at_ms))

    def doubt_acts(self, found: Iterable[Unproved]) -> None:
        self._waiting += map(_unproved_act, found)

    def tell(self) -> None:
        if not self._waiting:
            return
        try:
            self._alerts.publish(self._waiting)
        except BrokerAway as error:
            log.warning("alerts_not_published", count=len(self._waiting), why=str(error))
            return
        self._waiting.clear()


def _void_name(file: CaseFile) -> str:
    return f"{file.case.decision_id}:{len(file.events)}"


def _voided(file: CaseFile, why: str, at_ms: int) -> Alert:
    evidence = {"decision_id": file.case.decision_id, "round": str(file.case.round), "why": why}
    summary = f"What a person did in the case of decision {file.case.decision_id} counts as nothing: {why}."
    return alert(AlertCode.ACT_UNPROVED, summary, "review", evidence, at_ms)


def _unproved_act(found: Unproved) -> Alert:
    evidence = {"act": found.digest, "kind": found.kind, "name": found.name, "why": found.why}
    summary = f"The signed act {found.digest[:16]} ({found.kind}) counts as nothing: {found.why}."
    return alert(AlertCode.ACT_UNPROVED, summary, "people", evidence, found.at_ms)


def _refused(decision_id: str, place: RecordPlace, why: str, at_ms: int) -> Alert:
    evidence = {"decision_id": decision_id, "partition": str(place.partition), "offset": str(place.offset)}
    summary = f"The review service takes no case from the record at {place.partition}:{place.offset}: {why}."
    return alert(AlertCode.ACT_UNPROVED, summary, "review", evidence, at_ms)
