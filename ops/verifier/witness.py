"""The witness's statements: which heads somebody outside has seen, and when; and the timestamps over them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from .findings import Finding, Kind
from .keys import WITNESS, KeySet, Signed, distrusted

STATEMENT_KIND: Final = "fraud-audit-witness-v1"
ZEROS: Final = "00" * 32
TIMESTAMP_APART_MS: Final = 300_000
"""Most time between what a statement says and its timestamp: the authority is asked at once."""

TimeOf = Callable[[bytes, bytes], int]
"""Takes a timestamp and the text that it is over; gives its time. Raises ValueError where it does not hold."""


class Statement(NamedTuple):
    text: str
    number: int
    previous: str
    witnessed_at_ms: int
    heads: Sequence[Mapping[str, Any]]
    key_id: str
    signature: bytes
    timestamp: bytes | None

    @property
    def signed(self) -> Signed:
        return Signed(self.text.encode(), self.key_id, self.signature, WITNESS, self.witnessed_at_ms)


class Seen(NamedTuple):
    """What counts of the statements.

    seen_ms: when a head was seen first, by partition and by the SHA-256 of its text. newest_ms: of the last statement;
    timestamped_ms: the newest time that an authority gave. None where there is none.
    """

    seen_ms: Mapping[int, Mapping[str, tuple[int, int]]]  # tree size and time
    newest_ms: int | None
    timestamped_ms: int | None
    statements: int


def read_statements(path: Path) -> list[Statement]:
    """Raises ValueError, OSError."""
    with path.open(encoding="utf-8") as file:
        return [_statement(line, str(path)) for line in file]


def check_statements(
    topic: str, statements: Sequence[Statement], heads: Mapping[int, set[str]], keys: KeySet, time_of: TimeOf | None
) -> tuple[Seen, list[Finding]]:
    """Check that each is signed and names the one before, and that each head that it has seen is among `heads`.

    heads: the SHA-256 of each head's text, by partition. time_of: None where no authority is trusted.
    """
    findings: list[Finding] = []
    seen: dict[int, dict[str, tuple[int, int]]] = {}
    sizes: dict[int, int] = {}
    newest_ms = timestamped_ms = None
    before: Statement | None = None
    for statement in statements:
        if before is not None and statement.text == before.text:
            continue
        stamped_ms = _timestamp(statement, time_of, findings)
        if (why := distrusted(statement.signed, keys, stamped_ms, Kind.WITNESS_REFUSED)) is not None:
            findings.append(_about(why[0], statement, why[1]))
            continue
        if (statement.number, statement.previous) != _after(before):
            findings.append(_about(Kind.WITNESS_MISSING, statement, "not the one that it names stands before it"))
        for head in statement.heads if statement.heads != (before.heads if before else ()) else ():
            if head["topic"] == topic:
                findings += _check_head(statement, head, heads, sizes)
                theirs = seen.setdefault(head["partition"], {})
                theirs.setdefault(head["head"], (head["tree_size"], statement.witnessed_at_ms))
        before, newest_ms = statement, statement.witnessed_at_ms
        timestamped_ms = stamped_ms if timestamped_ms is None else max(timestamped_ms, stamped_ms or 0)
    return Seen(seen, newest_ms, timestamped_ms, len(statements)), findings


def seen_at_ms(seen: Seen, partition: int, tree_size: int) -> int | None:
    """When the head of that size, or one that came after and so covers it, was seen first; None: never."""
    theirs = seen.seen_ms.get(partition, {}).values()
    return min((at_ms for size, at_ms in theirs if size >= tree_size), default=None)


def _check_head(
    statement: Statement, head: Mapping[str, Any], heads: Mapping[int, set[str]], sizes: dict[int, int]
) -> list[Finding]:
    partition, size = head["partition"], head["tree_size"]
    findings = []
    if head["head"] not in heads.get(partition, set()):
        detail = f"statement {statement.number} saw another head of size {size}, or one that is gone"
        findings.append(Finding(Kind.WITNESS_CONTRADICTED, "head", partition, None, detail))
    if size < sizes.get(partition, 0):
        findings.append(_about(Kind.WITNESS_CONTRADICTED, statement, f"partition {partition} has shrunk to {size}"))
    sizes[partition] = size
    return findings


def _timestamp(statement: Statement, time_of: TimeOf | None, findings: list[Finding]) -> int | None:
    if time_of is None or statement.timestamp is None:
        return None
    try:
        at_ms = time_of(statement.timestamp, statement.text.encode())
    except ValueError as error:
        findings.append(_about(Kind.TIMESTAMP_REFUSED, statement, str(error)))
        return None
    if abs(at_ms - statement.witnessed_at_ms) > TIMESTAMP_APART_MS:
        findings.append(_about(Kind.TIMESTAMP_REFUSED, statement, "its timestamp is of another time"))
    return at_ms


def _after(before: Statement | None) -> tuple[int, str]:
    if before is None:
        return 1, ZEROS
    return before.number + 1, hashlib.sha256(before.text.encode()).hexdigest()


def _statement(line: str, where: str) -> Statement:
    try:
        read = json.loads(line)
        text, timestamp = read["statement"], read["timestamp"]
        fields = json.loads(text)
        if fields["kind"] != STATEMENT_KIND:
            raise ValueError("it is of another kind")
        return Statement(
            text,
            int(fields["number"]),
            fields["previous"],
            int(fields["witnessed_at_ms"]),
            [dict(head) for head in fields["heads"]],
            read["key_id"],
            bytes.fromhex(read["signature"]),
            None if timestamp is None else bytes.fromhex(timestamp),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} holds what is no witness statement: {error}") from error


def _about(kind: Kind, statement: Statement, detail: str) -> Finding:
    return Finding(kind, "witness", None, None, f"statement {statement.number}: {detail}")
