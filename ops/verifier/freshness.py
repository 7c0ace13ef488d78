"""How fresh an export is: an old one may be clean and hide everything since."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from .findings import Finding, Kind
from .leaves import Entry

MAX_AGE_DEFAULT: Final = "15m"
"""A witness statement is at most 5 minutes old while all is well; the rest is for exporting and verifying."""
AHEAD_MAX_MS: Final = 60_000
_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Freshness(NamedTuple):
    """The time by the verifier's clock, and the age that is accepted; None: any, because the caller said so.

    is_witnessed: somebody outside must have seen the log. is_timestamped: an authority must have said when.
    """

    now_ms: int
    age_max_ms: int | None
    is_witnessed: bool = True
    is_timestamped: bool = False


def age_of(text: str) -> int | None:
    """Milliseconds of `15m`, `2h`, `90s` or `30d`; None of `any`. Raises ValueError."""
    if text == "any":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if match is None:
        raise ValueError(f"{text} is no age; write 15m, 2h, 30d, or any")
    return int(match[1]) * _UNITS[match[2]]


def check_freshness(
    fresh: Freshness, head_ms: int | None, witness_ms: int | None, timestamp_ms: int | None
) -> list[Finding]:
    """Check the newest head, the newest witness statement and the newest timestamp; None: there is none."""
    findings = []
    if fresh.is_witnessed and witness_ms is None:
        findings.append(_stale(Kind.WITNESS_MISSING, "nobody outside has seen this log"))
    if fresh.is_timestamped and timestamp_ms is None:
        findings.append(_stale(Kind.TIMESTAMP_REFUSED, "no authority has said when this log was seen"))
    # Where the log is witnessed, the witness says how old it is: heads are signed only while records come.
    wanted = {"witness statement": witness_ms} if fresh.is_witnessed else {"head": head_ms}
    if fresh.is_timestamped:
        wanted["timestamp"] = timestamp_ms
    for what, at_ms in wanted.items():
        if at_ms is not None and fresh.age_max_ms is not None and fresh.now_ms - at_ms > fresh.age_max_ms:
            findings.append(
                _stale(Kind.STALE, f"its newest {what} is of {time_text(at_ms)}, {age_text(fresh, at_ms)} old")
            )
    for what, at_ms in {"head": head_ms, "witness statement": witness_ms, "timestamp": timestamp_ms}.items():
        if at_ms is not None and at_ms - fresh.now_ms > AHEAD_MAX_MS:
            findings.append(_stale(Kind.STALE, f"its newest {what} is of {time_text(at_ms)}, which is yet to come"))
    return findings


def check_unsigned(fresh: Freshness, partition: int, unsigned: Sequence[Entry]) -> list[Finding]:
    """Check that no record waits for a signature longer than the age that is accepted."""
    if not unsigned or fresh.age_max_ms is None:
        return []
    since_ms = unsigned[0].recorded_at_us // 1000
    if fresh.now_ms - since_ms <= fresh.age_max_ms:
        return []
    detail = f"{len(unsigned)} records since {time_text(since_ms)} are under no signed head"
    return [Finding(Kind.STALE, "leaves", partition, None, detail)]


def ages(head_ms: int | None, witness_ms: int | None, timestamp_ms: int | None, fresh: Freshness) -> list[str]:
    """Say how old the newest of each kind of evidence is."""
    newest = {"newest head": head_ms, "last seen by the witness": witness_ms, "last timestamp": timestamp_ms}
    return [
        f"{what}: never" if at_ms is None else f"{what}: {time_text(at_ms)}, {age_text(fresh, at_ms)} ago"
        for what, at_ms in newest.items()
    ]


def time_text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age_text(fresh: Freshness, at_ms: int) -> str:
    seconds = max(fresh.now_ms - at_ms, 0) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _stale(kind: Kind, detail: str) -> Finding:
    return Finding(kind, "export", None, None, detail)
