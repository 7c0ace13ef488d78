"""Whether it is proved who wrote a record of decisions.v1, or of labels.v1.

Invariants
1. A record is proved only by a seal over exactly it, by a key that the key set holds for its kind of record and that
   was good when the broker took the record.
2. A record that is not proved has a reason, the first in the order of `Refused`.
3. A time that a writer could choose proves nothing: where the broker's own clock did not stamp the record, it counts
   as written now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from pipeline.domain.log import Presented, Unproved
from pipeline.keys.key_sets import KeySet, KeyUse, TrustedKey
from pipeline.seals.seal import Seal, leaf_hash, read_seal, root_of, signed_text

ROOTS_MAX: Final = 4_096
"""Most signatures that are remembered as good: about 1 MB."""
_KINDS: Final[Mapping[int, KeyUse]] = {0: KeyUse.DECISIONS, 2: KeyUse.REVERSALS, 4: KeyUse.REVIEWS}
"""Which use of a key each record of decision.v1's union needs, by the first byte of its body."""
SEAL_USES: Final = frozenset(_KINDS.values())


class Refused(StrEnum):
    """Why a record is not proved, in the order in which it is looked for."""

    SEAL_MISSING = "SEAL_MISSING"
    SEAL_MALFORMED = "SEAL_MALFORMED"
    KEY_UNKNOWN = "KEY_UNKNOWN"  # to this key set; another one may know it
    KEY_OF_ANOTHER_KIND = "KEY_OF_ANOTHER_KIND"  # it is for other records than this one
    KEY_NOT_VALID = "KEY_NOT_VALID"  # not yet, or no longer, when the record came
    KEY_REVOKED = "KEY_REVOKED"  # somebody else may have had it when the record came
    SEAL_FALSE = "SEAL_FALSE"  # over another record, or by another key


class SealCheck:
    """For one thread. `unproved` is a `Prove`."""

    def __init__(
        self,
        keys: Callable[[bool], KeySet],
        is_signed: Callable[[bytes, bytes, bytes], bool],
        now_ms: Callable[[], int],
        use: KeyUse | None = None,
    ) -> None:
        """Take the key set's source, which is told whether a key is wanted that the set lacked.

        is_signed: of a raw public key, a text and a signature. now_ms: the time where the broker says none. use: of the
        keys that seal every record of the topic; None: on decisions.v1 it follows from the kind of record.
        """
        self._use = use
        self._keys, self._is_signed, self._now_ms = keys, is_signed, now_ms
        self._good: dict[tuple[bytes, bytes, bytes], None] = {}  # public key, root and signature

    def unproved(self, record: Presented) -> Unproved | None:
        """Return why it isn't proved who wrote the record; None where it is."""
        seal = None if record.seal is None else read_seal(record.seal)
        why = self._refusal(record, seal)
        if why is None:
            return None
        return Unproved(record.partition, record.offset, record.value, why, None if seal is None else seal.key_id)

    def _refusal(self, record: Presented, seal: Seal | None) -> Refused | None:
        if record.seal is None:
            return Refused.SEAL_MISSING
        if seal is None:
            return Refused.SEAL_MALFORMED
        key = self._keys(False).keys.get(seal.key_id) or self._keys(True).keys.get(seal.key_id)
        if key is None:
            return Refused.KEY_UNKNOWN
        if not self._is_of_kind(key, record.value):
            return Refused.KEY_OF_ANOTHER_KIND
        at_ms = record.timestamp_ms if record.is_stamped else self._now_ms()
        if at_ms < key.valid_from_ms or (key.valid_until_ms is not None and at_ms > key.valid_until_ms):
            return Refused.KEY_NOT_VALID
        if key.revoked_at_ms is not None and at_ms >= key.revoked_at_ms:
            return Refused.KEY_REVOKED
        root = root_of(leaf_hash(record.topic, record.partition, record.key, record.value), seal)
        return None if self._is_good(key, root, seal) else Refused.SEAL_FALSE

    def _is_of_kind(self, key: TrustedKey, value: bytes) -> bool:
        """A value that can't be read yet, such as one of a later schema, may come from any of the writers; it is
        refused when it is decoded, and holds its reader."""
        if self._use is not None:
            return key.use is self._use
        kind = kind_of(value)
        return key.use in SEAL_USES if kind is None else key.use is kind

    def _is_good(self, key: TrustedKey, root: bytes, seal: Seal) -> bool:
        """Look at each signature once, and not once for every record under it."""
        known = key.public, root, seal.signature
        if known in self._good:
            return True
        if not self._is_signed(key.public, signed_text(root), seal.signature):
            return False
        if len(self._good) >= ROOTS_MAX:
            del self._good[next(iter(self._good))]
        self._good[known] = None
        return True


def kind_of(value: bytes) -> KeyUse | None:
    """Return the use of the keys that may seal a value; None where it can't be told what it holds."""
    if value[:2] == b"\xc3\x01":  # single-object encoding
        at = 10
    elif value[:1] == b"\0":  # Confluent framing
        at = 5
    else:
        return None
    return _KINDS.get(value[at]) if len(value) > at else None
