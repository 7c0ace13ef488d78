"""Writers of decisions.v1 with keys of their own, and the key set that trusts them."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.domain.log import SEAL_HEADER, Outgoing, Presented
from pipeline.keys.key_files import SigningKey, is_signed
from pipeline.keys.key_sets import KeySet, KeyUse, with_key
from pipeline.seals.proving import SEAL_USES, SealCheck
from pipeline.seals.seal import Sealer

TOPIC = "decisions.v1"
NOW_MS = 1_800_000_000_000
FRAMED = b"\xc3\x01" + bytes(8)
BODIES = {KeyUse.DECISIONS: b"\x00", KeyUse.REVERSALS: b"\x02", KeyUse.REVIEWS: b"\x04"}
"""How a value of each kind begins."""


def signing_key() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.generate())


def value_of(use: KeyUse, text: bytes = b"record") -> bytes:
    return FRAMED + BODIES[use] + text


class Writers:
    """A key for each kind of record, all good since 1970."""

    def __init__(self, topic: str = TOPIC, partition_of: Callable[[bytes], int] = lambda _: 0) -> None:
        self.topic, self.partition_of = topic, partition_of
        self.keys = {use: signing_key() for use in sorted(SEAL_USES)}
        self.key_set = KeySet({})
        for use, key in self.keys.items():
            self.key_set = with_key(self.key_set, use, key.public, 0)

    def sealer(self, use: KeyUse) -> Sealer:
        return sealer_with(self.keys[use], self.topic, self.partition_of)

    def check(self, now_ms: int = NOW_MS) -> SealCheck:
        """Of the key set as it is when it is asked."""
        return SealCheck(lambda _: self.key_set, is_signed, lambda: now_ms)


def sealer_with(key: SigningKey, topic: str = TOPIC, partition_of: Callable[[bytes], int] = lambda _: 0) -> Sealer:
    return Sealer(topic, partition_of, key.key_id, key.sign)


def sealed(sealer: Sealer, *values: bytes, key: bytes = b"account") -> list[Outgoing]:
    return sealer.seal([Outgoing(sealer.topic, key, value) for value in values])


def presented(record: Outgoing, timestamp_ms: int = NOW_MS, *, is_stamped: bool = True) -> Presented:
    """The record as a reader has it."""
    seal = None if record.headers is None else dict(record.headers)[SEAL_HEADER]
    where = record.topic, record.partition, 7, timestamp_ms, is_stamped
    return Presented(*where, record.key, record.value, seal)
