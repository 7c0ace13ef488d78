"""The words for a report, the same wherever it is told."""

from __future__ import annotations

from collections.abc import Iterator

from .export import Report
from .findings import Finding
from .freshness import Freshness, ages

FINDINGS_SHOWN = 1000


def is_clean(report: Report, restores_known: int) -> bool:
    """Return whether nothing was found, and no stream began anew that the reader doesn't know of.

    Whoever claims a restore may have what they changed chained anew.
    """
    return not report.findings and len(report.tables.restored) <= restores_known


def finding_text(finding: Finding) -> str:
    """Return where the finding was made, and what it is, without its kind."""
    place = finding.table if finding.partition is None else f"{finding.table}, partition {finding.partition}"
    place += "" if finding.offset is None else f", offset {finding.offset}"
    return f"{place}: {finding.detail}"


def sums(report: Report, fresh: Freshness, restores_known: int) -> Iterator[str]:
    """Yield the lines that end a report."""
    yield (
        f"{report.rows:,} rows of {report.partitions} partitions, {report.heads} signed heads over {report.signed:,} "
        f"of them, {report.younger:,} leaves younger than the export: {len(report.findings) or 'no'} findings"
    )
    tables = report.tables
    yield (
        f"{tables.rows:,} rows of ledger, reviews and control, {tables.signed:,} of {tables.leaves:,} leaves under a "
        f"signed head, {tables.younger:,} younger than the other side"
    )
    if (restores := len(tables.restored)) > restores_known:
        yield f"{restores} streams began anew after a restore, and --restores says that {restores_known} are known"
    yield "; ".join(ages(report.newest_head_ms, report.newest_witness_ms, report.newest_timestamp_ms, fresh))


def unread_text(error: Exception) -> str:
    """Say why nothing can be said, without the number that a system's error begins with."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} can't be read ({error.strerror})"
    return str(error)
