"""Decisions to their Avro bytes, a batch at a time, byte for byte as fastavro writes them (ADR 0003).

An Avro record is the concatenation of its fields: what all decisions of a regime share is encoded once, the numbers of
a batch are encoded together, and the payment's own bytes are spliced in as received. tests/io/test_avro.py
compares with fastavro.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from librt.strings import BytesWriter, read_i64_le
from mypy_extensions import i64

from pipeline.decide.feeds.feed import OF_THE_POLICY, FeedName, Feeds, name_of
from pipeline.decide.verdict import Regime, Verdict
from pipeline.domain.decision import BreakerState, Outcome, Reason, Route
from pipeline.domain.features import Matrix
from pipeline.domain.identities import decision_id
from pipeline.domain.log import Source
from pipeline.domain.payment import Decoded
from pipeline.io.avro.decision_decoder import DECISION

_NO_HASH: Final = bytes(32)
_NOT_ASKED_PPM: Final = -1
"""Stands for the fraud probability on the wire where the model was not asked; the score is 0 then."""
_DECISION_ID_LENGTH: Final = b"\x48"
"""36 characters, as Avro writes a length."""

_REASONS_REMEMBERED: Final = 32_768
"""Reasons whose bytes are kept, 400 bytes each with the reason: three in four say what one said before them."""

_OUTCOMES: Final = {outcome: index for index, outcome in enumerate(Outcome)}
_ROUTES: Final = {route: index for index, route in enumerate(Route)}
_STATES: Final = {state: index for index, state in enumerate(BreakerState)}


class DecisionEncoder:
    """Encodes verdicts reached under one regime; what all its decisions share is encoded once."""

    def __init__(self, header: bytes, in_force: Regime, agent_id: str) -> None:
        model, policy = in_force.model, in_force.policy
        self._start = header + DECISION + _DECISION_ID_LENGTH
        self._agent = encode_text(agent_id)
        self._reasons: dict[Reason, bytes] = {}
        self._versions = b"".join(
            (
                encode_text("none" if model is None else model.version),
                _NO_HASH if model is None else model.hash,
                encode_text(policy.version),
                policy.sha256,
                encode_text(in_force.book.version),
                *(part for name in feed_names(in_force.feeds) for part in (encode_text(name.version), name.sha256)),
            )
        )

    def encode(
        self,
        payments: Sequence[Decoded],
        sources: Sequence[Source],
        observed: Matrix,
        verdicts: Sequence[Verdict],
        decided_at_ms: Sequence[int],
    ) -> list[bytes]:
        """A value each; `observed` is (n, len(FEATURES) + 1): features, then the position of outcomes that they had
        taken in. Everything else has n entries."""
        rows = zip(payments, sources, encode_longs(observed), verdicts, decided_at_ms, strict=True)
        return [self._value(payment, source, row, verdict, at_ms) for payment, source, row, verdict, at_ms in rows]

    def _value(self, payment: Decoded, source: Source, row: bytes, verdict: Verdict, decided_at_ms: int) -> bytes:
        transaction, body, digest = payment
        out = BytesWriter()
        out.write(self._start)
        out.write(decision_id(transaction, digest, source).encode())
        _write_text(out, transaction.transaction_id)
        _write_text(out, transaction.account_id)
        _write_long(out, decided_at_ms)
        out.write(self._agent)
        for number in source:
            _write_long(out, number)
        _write_long(out, _OUTCOMES[verdict.outcome])
        _write_long(out, _ROUTES[verdict.route])
        _write_long(out, _STATES[verdict.mode.state])
        _write_text(out, verdict.mode.scope)
        _write_long(out, verdict.confidence_bp)
        answer = verdict.model_answer
        _write_long(out, _NOT_ASKED_PPM if answer is None else answer.fraud_probability_ppm)
        _write_long(out, 0 if answer is None else answer.score_micro)
        _write_text(out, verdict.summary)
        self._write_reasons(out, verdict.reasons)
        _write_texts(out, verdict.rules_triggered)
        out.write(self._versions)
        snapshot = body + row
        out.write(hashlib.sha256(snapshot).digest())
        out.write(snapshot)
        return out.getvalue()

    def _write_reasons(self, out: BytesWriter, reasons: Sequence[Reason]) -> None:
        """An Avro array: one block of all reasons, then an empty one."""
        _write_long(out, len(reasons))
        for reason in reasons:
            encoded = self._reasons.get(reason)
            if encoded is None:
                encoded = _encode_reason(reason)
                if len(self._reasons) >= _REASONS_REMEMBERED:
                    self._reasons.clear()
                self._reasons[reason] = encoded
            out.write(encoded)
        out.append(0)


def feed_names(feeds: Feeds | None) -> tuple[FeedName, FeedName]:
    """What decisions name the feeds by: exchange rates, then sanctions."""
    if feeds is None:
        return OF_THE_POLICY, OF_THE_POLICY
    return name_of(feeds.exchange_rates), name_of(feeds.sanctions)


def with_position(features: Matrix, outcomes_position: int | Matrix) -> Matrix:
    """The features of payments with the position of outcomes that each had taken in."""
    return np.column_stack((features, np.broadcast_to(outcomes_position, len(features))))


def encode_longs(rows: Matrix) -> list[bytes]:
    """Each row's numbers as Avro longs, one after the other, such as a Features record."""
    numbers, width = rows.astype("<i8").tobytes(), rows.shape[1] * 8
    return [_encode_row(numbers, start, start + width) for start in range(0, len(numbers), width)]


def _encode_row(numbers: bytes, start: i64, end: i64) -> bytes:
    out = BytesWriter()
    place = start
    while place < end:
        _write_long(out, read_i64_le(numbers, place))
        place += 8
    return out.getvalue()


def encode_text(text: str) -> bytes:
    out = BytesWriter()
    _write_text(out, text)
    return out.getvalue()


def _write_text(out: BytesWriter, text: str) -> None:
    encoded = text.encode()
    _write_long(out, len(encoded))
    out.write(encoded)


def _write_long(out: BytesWriter, number: i64) -> None:
    """Avro's zigzag variable-length long. The masks make shifts fill with zeros, in 64 bits as in Python's integers."""
    rest = (number << 1) ^ (number >> 63)
    while rest & ~0x7F:
        byte: int = rest & 0x7F | 0x80  # as an i64 it would be appended through a Python call
        out.append(byte)
        rest = (rest >> 7) & 0x01FF_FFFF_FFFF_FFFF
    byte = rest
    out.append(byte)


def _write_optional(out: BytesWriter, number: int | None) -> None:
    """A union of null and long."""
    if number is None:
        out.append(0)
    else:
        out.append(2)
        _write_long(out, number)


def _encode_reason(reason: Reason) -> bytes:
    code, text, observed, limit, excess, contribution_micro = reason
    out = BytesWriter()
    _write_text(out, code)
    _write_text(out, text)
    _write_long(out, observed)
    _write_optional(out, limit)
    _write_optional(out, excess)
    _write_optional(out, contribution_micro)
    return out.getvalue()


def _write_texts(out: BytesWriter, texts: Sequence[str]) -> None:
    if texts:
        _write_long(out, len(texts))
        for text in texts:
            _write_text(out, text)
    out.append(0)
