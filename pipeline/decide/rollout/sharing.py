"""Who answers a payment while a new model takes the traffic over by shares: the champion, or the candidate.

Invariants
1. The choice follows from the transaction's id, the salt and the share alone, so every worker makes the same one, and a
   worker that starts again makes it again.
2. A growing share keeps the ids that it has and adds more, as long as the salt stays.
3. Whoever names payments can't choose: the hash is keyed with a salt that only the registry holds.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from models.artefact.scoring import Model
from pipeline.decide.verdict import Regime

SHARE_PPM_ALL: Final = 1_000_000
_DIGEST_BYTES: Final = 8


def bucket_ppm(salt: bytes, transaction_id: str) -> int:
    """Return a number from 0 to 999,999, evenly spread, and for ever the same for an id under a salt.

    The rest of 2^64 by a million makes the first buckets likelier by one in 10^13.
    """
    digest = hashlib.blake2b(transaction_id.encode(), key=salt, digest_size=_DIGEST_BYTES).digest()
    return int.from_bytes(digest) % SHARE_PPM_ALL


def salt_key(salt: str) -> bytes:
    """Return the key of the hash: a salt of any length, so that a longer one than blake2b takes keeps all its bits."""
    return hashlib.sha256(salt.encode()).digest()


class Sharing(NamedTuple):
    """The share of payments that a candidate answers. key: of the hash, as `salt_key` has it."""

    share_ppm: int
    key: bytes

    def chooses(self, transaction_id: str) -> bool:
        """Return whether the candidate answers this payment."""
        return bucket_ppm(self.key, transaction_id) < self.share_ppm


class Rollout(NamedTuple):
    """A candidate beside the champion. Both decide under the same policy and the same feeds."""

    candidate: Regime
    sharing: Sharing

    @property
    def model(self) -> Model:
        model = self.candidate.model
        assert model is not None, "a candidate is a model that could be loaded"
        return model

    @property
    def summary(self) -> dict[str, object]:
        return {"model": self.model.version, "share_ppm": self.sharing.share_ppm}
