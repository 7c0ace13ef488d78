"""Findings of reconciliation: told on alerts.v1, kept in control.reconciliation and control.reconciliation_gap."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid5

from pipeline.alerts.catalogue import AlertCode, alert, partitions_alert, unfiled_alert
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.alert import Alert, Severity
from pipeline.domain.money import count_text
from pipeline.io.filing import MONTHS_AHEAD_MIN
from pipeline.io.postgres import Connection, statements
from pipeline.reconcile.comparison_store import Looked, Looking
from pipeline.reconcile.gaps import MEANING_OF, PASSING, UNFOUNDED_DECISIONS, Gap, GapKind

ALERTS_MAX: Final = 100
"""Alerts about one stretch; the gaps beyond are counted in one alert more."""
OPEN_GAPS_MAX: Final = 100
"""Looked at again at a time, the oldest first."""
_CODES: Final = {
    GapKind.UNPROVED: AlertCode.RECORD_UNPROVED,
    **dict.fromkeys(UNFOUNDED_DECISIONS, AlertCode.DECISION_UNFOUNDED),
}
_NAMESPACE: Final = UUID("3c6e1f0d-9a57-5b42-8d1e-7f20b4c95a68")


class Findings:
    """For one thread. Raises psycopg's errors and BrokerFailed."""

    def __init__(self, alerts: AlertPublisher[None]) -> None:
        self._alerts = alerts
        self._statements = statements("pipeline.reconcile", "reconcile")

    def tell(self, gaps: Sequence[Gap], at_ms: int) -> None:
        """A gap that is told again has the same alert id."""
        alerts = [gap_alert(gap, at_ms) for gap in gaps[:ALERTS_MAX]]
        if len(gaps) > ALERTS_MAX:
            alerts.append(_further_alert(gaps[ALERTS_MAX:], at_ms))
        if alerts:
            self._alerts.publish(alerts)

    def store(
        self, connection: Connection, gaps: Sequence[Gap], looked: Looked, stretch: str, opened_at_ms: int
    ) -> None:
        """stretch: JSON, what was compared."""
        counts = {name: value for name, value in looked._asdict().items() if name != "gaps"}
        opened_at = datetime.fromtimestamp(opened_at_ms / 1000, UTC)
        row = {**counts, "opened_at": opened_at, "stretch": stretch, "gaps": len(gaps)}
        connection.execute(self._statements["insert_reconciliation"], row)
        for gap in gaps:
            connection.execute(self._statements["insert_gap"], gap_row(gap, "OPENED"))

    def watch_months(self, connection: Connection, at_ms: int) -> None:
        """Tell where partitions run short, and what stands outside every month."""
        found = connection.execute(self._statements["months_ahead"]).fetchone()
        assert found is not None, "an aggregate has one row"
        months = -1 if found[0] is None else int(found[0])
        alerts = [partitions_alert(months, at_ms)] if months < MONTHS_AHEAD_MIN else []
        rows = connection.execute(self._statements["unfiled"]).fetchall()
        alerts += [unfiled_alert(table, count, at_ms) for table, count in rows]
        if alerts:
            self._alerts.publish(alerts)

    def quarantined(self, connection: Connection, topics: Sequence[str], *, is_untold: bool) -> list[Gap]:
        """The records that were put aside; is_untold: only those that were not stored as gaps yet."""
        name = "quarantined_untold" if is_untold else "quarantined"
        rows = connection.execute(self._statements[name], {"topics": list(topics)}).fetchall()
        return [Gap(GapKind.QUARANTINED, topic, partition, at, at, 1) for topic, partition, at in rows]

    def store_gaps(self, connection: Connection, gaps: Sequence[Gap]) -> None:
        with connection.transaction():
            for gap in gaps:
                connection.execute(self._statements["insert_gap"], gap_row(gap, "OPENED"))

    def open_gaps(self, connection: Connection) -> list[Gap]:
        """The oldest that have not closed and may."""
        rows = connection.execute(
            self._statements["open_gaps"], {"kinds": sorted(PASSING), "limit": OPEN_GAPS_MAX}
        ).fetchall()
        return [Gap(GapKind(kind), *rest) for kind, *rest in rows]

    def close_filled(self, connection: Connection, looking: Looking) -> list[Gap]:
        """The oldest open gaps that have been filled since; they are stored as closed."""
        with connection.transaction():
            filled = [gap for gap in self.open_gaps(connection) if looking.is_filled(connection, gap)]
            for gap in filled:
                connection.execute(self._statements["insert_gap"], gap_row(gap, "CLOSED"))
        return filled


def gap_alert(gap: Gap, at_ms: int) -> Alert:
    offsets = f"{gap.first_offset} to {gap.last_offset}" if gap.records > 1 else f"{gap.first_offset}"
    place = f"{gap.topic}[{gap.partition}] at {offsets}"
    where = f"{count_text(gap.records, 'record')} of {place}"
    stolen = " A worker's signing key may be stolen." if gap.kind in UNFOUNDED_DECISIONS else ""
    summary = f"{MEANING_OF[gap.kind]}: {where} ({gap.kind}).{stolen}"
    evidence = {name: str(value) for name, value in gap._asdict().items()} | {"side": str(gap.side)}
    severity = Severity.WARNING if gap.kind in PASSING else Severity.CRITICAL
    return alert(_CODES.get(gap.kind, AlertCode.RECONCILIATION_GAP), summary, "all", evidence, at_ms, severity)


def _further_alert(gaps: Sequence[Gap], at_ms: int) -> Alert:
    first = gap_alert(gaps[0], at_ms)
    more = count_text(len(gaps), "gap")
    summary = f"Reconciliation found {more} more than are told one by one; control.reconciliation_gap holds them all."
    return alert(AlertCode.RECONCILIATION_GAPS, summary, "all", {"first": first.alert_id}, at_ms)


def gap_row(gap: Gap, event: str) -> dict[str, object]:
    named = "|".join(map(str, gap))
    return {**gap._asdict(), "gap_id": uuid5(_NAMESPACE, named), "side": str(gap.side), "event": event}
