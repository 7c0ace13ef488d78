"""A model gone wrong, its decisions in the audit log, and what a test appends to that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.artefact.files import golden_json, load, tables_json, write
from models.artefact.scoring import Model
from models.artefact.vectors import golden_vectors
from pipeline.audit.log_store import AuditLog
from pipeline.decide.verdict import regime
from pipeline.domain.decision import Decision
from pipeline.domain.features import COLUMN, FEATURES
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.references import Opening
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.positioned_log import LogBatch, PositionMove
from pipeline.io.postgres import Connection
from pipeline.rollback.ends_service import TopicEnds
from tests.archive import MODEL_FEATURES, Archive
from tests.decisions import record_of
from tests.execute.given import Desk
from tests.records import NOON_MS, feeds, policy, small_model

WIRE = WireFormat()
TOPIC = "decisions.v1"
FUNDS_MINOR = 1_000_000_000
NOBODY_BEHIND = TopicEnds(TOPIC, dict, lambda _: [])
"""The topic as if nothing stood on it: for plans about what was fed by hand."""


class WrongArchive(Archive):
    """Beside `small-1`, which is good: `blocks-all` and `allows-all`, the same with a shifted intercept."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.good = self.in_force
        self._add("blocks-all", 12_000_000)
        self._add("allows-all", -12_000_000)

    def decide_by(self, version: str) -> None:
        self.in_force = regime(policy(), load(self.registry / version), feeds())

    def _add(self, version: str, shift_micro: int, changed: Callable[[Model], Model] = lambda model: model) -> None:
        small = changed(small_model(version))
        wrong = replace(small, intercept_micro=small.intercept_micro + shift_micro)
        rows = np.zeros((64, len(FEATURES)), dtype=np.int64)
        rows[:, COLUMN["amount_gbp_minor"]] = np.arange(64) * 5_000
        rows[:, COLUMN["ip_fraud_reports"]] = np.arange(64) % 5
        manifest = {
            "features": list(MODEL_FEATURES),
            "typical": dict(wrong.typical),
            "training": {},
            "metrics": {},
            "golden": golden_json(golden_vectors(wrong, rows, MODEL_FEATURES)),
            "approvals": [],
        }
        write(self.registry / version, tables_json(wrong), b"# For tests\n", manifest)


class Audited:
    """The audit log's own code and the executor's, fed by hand: records get the next offsets of partition 0."""

    def __init__(self, connection: Connection, directory: Path, desk: Desk, topic: str = TOPIC) -> None:
        self._connection, self.desk = connection, desk
        for positions in (desk.execution.heard, desk.execution.settled):
            positions.topic = topic  # they lie behind the audit log's, of the same topic
        self._log = AuditLog(topic, directory, WIRE, lambda: NOON_MS * 1000)
        self._next = self._log.open(connection, [0])[0]
        self._funded: set[str] = set()

    def append(self, values: Sequence[bytes], *, is_executed: bool = True) -> None:
        records = []
        for offset, value in enumerate(values, start=self._next):
            content = record_of(value)
            records.append(LogRecord(0, offset, NOON_MS, content.account_id.encode(), value, content))
        self._log.store(self._connection, records)
        end = self._next + len(records)
        if is_executed:
            self._fund([record.content for record in records])
            self.desk.execution.accept(self.desk.connection, LogBatch(records, [PositionMove(0, self._next, end)]))
        self._next = end

    def _fund(self, records: Sequence[DecisionRecord]) -> None:
        """Every payer can pay; what is opened already stays as it is."""
        payers = {each.account_id for each in records if isinstance(each, Decision)} - self._funded
        treasurer = self.desk.as_role("fraud_treasurer")
        append_openings(treasurer, [Opening(name, "GBP", 0, FUNDS_MINOR) for name in payers], NOON_MS)
        self._funded |= payers
