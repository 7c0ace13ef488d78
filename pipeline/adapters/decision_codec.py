"""Decisions to their Avro bytes, a batch at a time, byte for byte as fastavro writes them (ADR 0003).

An Avro record is the concatenation of its fields: what all decisions of a regime share is encoded once, the numbers of
a batch are encoded together, and the payment's own bytes are spliced in as received. tests/adapters/test_avro.py
compares with fastavro.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pipeline.core.decide import Regime, Verdict, decision_id
from pipeline.core.features import Matrix
from pipeline.core.records import BreakerState, Outcome, Reason, Route, Source, Transaction

_NO_HASH: Final = bytes(32)
_DECISION: Final = b"\0"
"""The union's branch."""
_DECISION_ID_LENGTH: Final = b"\x48"
"""36 characters, as Avro writes a length."""

_OUTCOMES: Final = {outcome: index for index, outcome in enumerate(Outcome)}
_ROUTES: Final = {route: index for index, route in enumerate(Route)}
_STATES: Final = {state: index for index, state in enumerate(BreakerState)}


class Decoded(NamedTuple):
    transaction: Transaction
    body: bytes  # the Avro encoding without framing


class DecisionEncoder:
    """Encodes verdicts reached under one regime; what all its decisions share is encoded once."""

    def __init__(self, header: bytes, in_force: Regime, agent_id: str) -> None:
        model, policy = in_force.model, in_force.policy
        self._start = header + _DECISION + _DECISION_ID_LENGTH
        self._agent = encode_text(agent_id)
        self._versions = b"".join(
            (
                encode_text("none" if model is None else model.version),
                _NO_HASH if model is None else model.hash,
                encode_text(policy.version),
                policy.sha256,
            )
        )

    def encode(
        self,
        payments: Sequence[Decoded],
        sources: Sequence[Source],
        features: Matrix,
        verdicts: Sequence[Verdict],
        decided_at_ms: Sequence[int],
    ) -> list[bytes]:
        """A value each; `features` is (n, len(FEATURES)), everything else has n entries."""
        clocks = encode_longs(np.array(decided_at_ms, dtype=np.int64).reshape(-1, 1))
        heads = encode_longs(np.array([_head(*pair) for pair in zip(sources, verdicts, strict=True)], dtype=np.int64))
        scores = encode_longs(np.array([_scores(verdict) for verdict in verdicts], dtype=np.int64))
        rows = zip(payments, clocks, heads, scores, encode_longs(features), verdicts, strict=True)
        start, agent, versions, sha256 = self._start, self._agent, self._versions, hashlib.sha256
        encoded = []
        for (transaction, body), clock, head, score, row, verdict in rows:
            snapshot = body + row
            transaction_id = transaction.transaction_id
            parts = (
                start,
                decision_id(transaction_id).encode(),
                encode_text(transaction_id),
                encode_text(transaction.account_id),
                clock,
                agent,
                head,
                _TEXTS[verdict.mode.scope],
                score,
                encode_text(verdict.summary),
                _reasons(verdict.reasons),
                _texts(verdict.rules_triggered),
                versions,
                sha256(snapshot).digest(),
                snapshot,
            )
            encoded.append(b"".join(parts))
        return encoded


def _head(source: Source, verdict: Verdict) -> tuple[int, ...]:
    """Six numbers in a row; enums are written as the index of their symbol."""
    states = _STATES[verdict.mode.state]
    return (*source, _OUTCOMES[verdict.outcome], _ROUTES[verdict.route], states)


def _scores(verdict: Verdict) -> tuple[int, int, int]:
    return verdict.confidence_bp, verdict.fraud_probability_ppm, verdict.score_micro


def encode_longs(rows: Matrix) -> list[bytes]:
    """Each row's numbers as Avro longs, one after the other, such as a Features record.

    All rows at once, byte by byte of the numbers: 1.5 µs a row of 41 at 1,000 rows, where one number at a time takes 8
    and fastavro 11.
    """
    zigzag = ((rows << 1) ^ (rows >> 63)).astype(np.uint64).ravel()
    lengths = np.ones(zigzag.shape, dtype=np.int64)
    for bits in range(7, 64, 7):
        longer = zigzag >> np.uint64(bits) != 0
        if not longer.any():
            break
        lengths += longer
    ends = lengths.cumsum()
    encoded = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    place, rest, left = ends - lengths, zigzag, lengths
    while len(rest):
        is_more = left > 1
        encoded[place] = (rest & np.uint64(0x7F)) | (is_more.astype(np.uint64) << np.uint64(7))
        place, rest, left = place[is_more] + 1, rest[is_more] >> np.uint64(7), left[is_more] - 1
    whole = encoded.tobytes()
    row_ends = ends[rows.shape[1] - 1 :: rows.shape[1]].tolist()
    return [whole[start:end] for start, end in zip([0, *row_ends], row_ends, strict=False)]


def encode_long(number: int) -> bytes:
    """Avro's zigzag variable-length long."""
    rest = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


class _Longs(dict[int, bytes]):
    """Remembers what it encoded: 0.05 µs where the computation takes 0.6."""

    REMEMBERED_MAX: Final = 1 << 18  # about 25 MB when full

    def __missing__(self, number: int) -> bytes:
        encoded = encode_long(number)
        if len(self) < self.REMEMBERED_MAX:
            self[number] = encoded
        return encoded


class _Texts(dict[str, bytes]):
    """Remembers the texts of reasons, which `pipeline.core.decide` remembers too: most come again."""

    REMEMBERED_MAX: Final = 1 << 16  # about 15 MB when full

    def __missing__(self, text: str) -> bytes:
        encoded = encode_text(text)
        if len(self) < self.REMEMBERED_MAX:
            self[text] = encoded
        return encoded


_LONGS: Final = _Longs()
_TEXTS: Final = _Texts()


def encode_text(text: str) -> bytes:
    encoded = text.encode()
    return _LONGS[len(encoded)] + encoded


def _reasons(reasons: Sequence[Reason]) -> bytes:
    """An Avro array: one block of all reasons, then an empty one."""
    longs, texts = _LONGS, _TEXTS
    encoded = [longs[len(reasons)]]
    for code, text, observed, limit, excess, contribution_micro in reasons:
        encoded += (
            texts[code],
            texts[text],
            longs[observed],
            b"\0" if limit is None else b"\x02" + longs[limit],
            b"\0" if excess is None else b"\x02" + longs[excess],
            b"\0" if contribution_micro is None else b"\x02" + longs[contribution_micro],
        )
    encoded.append(b"\0")
    return b"".join(encoded)


def _texts(texts: Sequence[str]) -> bytes:
    if not texts:
        return b"\0"
    return _LONGS[len(texts)] + b"".join([_TEXTS[text] for text in texts]) + b"\0"
