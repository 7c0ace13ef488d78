"""Who may say what payments turned out to be: the check of labels.v1, where the key set holds a key of use labels.

Invariants
1. Once the key set holds such a key, valid, ended or revoked, a label without a good seal is nobody's word: no feature,
   rule, model, monitor or rollout takes it in. So taking the key away from a publisher doesn't open the topic again.
2. Every reader asks here, so none believes what another one refuses.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import structlog

from pipeline.domain.log import Presented, Prove, Unproved
from pipeline.io.clock import now_ms
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import is_signed
from pipeline.keys.key_sets import KeySetRefused, KeyUse
from pipeline.seals.proving import SealCheck
from pipeline.seals.seal import Sealer
from pipeline.seals.seal_files import key_source, sealer_of
from pipeline.terminal.failures import Failure

LABELS: Final = "labels.v1"
TELL_AGAIN_S: Final = 60.0
"""Between lines of the log about labels that aren't proved, so that a flood of them doesn't fill it."""

log = structlog.stdlib.get_logger("labels")


def label_proves(settings: Settings) -> Mapping[str, Prove]:
    """Return the check of labels.v1 by the topic's name, as a LogReader takes it, for one thread.

    It is empty where nobody seals labels. Raises Failure where the key set can't be read, or production names none.
    """
    if not _names_a_set(settings) and settings.profile is not Profile.PRODUCTION:
        return {}  # the keys that development makes for itself seal decisions alone
    try:
        source = key_source(settings)
    except KeySetRefused as refusal:
        raise Failure(
            f"Nobody can tell who wrote what stands on {LABELS}: {refusal}.",
            "Set FRAUD_SEAL_KEYS_FILE to the key set that every reader has.",
        ) from refusal
    if not source(False).of_use(KeyUse.LABELS):
        return {}
    return {settings.topic(LABELS): _Told(SealCheck(source, is_signed, now_ms, KeyUse.LABELS))}


def label_sealer(settings: Settings) -> Sealer | None:
    """Return what seals a publisher's labels; None where nobody seals them, as far as the publisher is told.

    Where readers know better, its labels are dead letters. Raises Failure, as `sealer_of` does.
    """
    is_sealed = _names_a_set(settings) and label_proves(settings)
    return sealer_of(settings, KeyUse.LABELS, name=LABELS) if is_sealed else None


def _names_a_set(settings: Settings) -> bool:
    return settings.seal_keys is not None or settings.seal_keys_file is not None


class _Told:
    """A check that says in the log what it refuses."""

    def __init__(self, check: SealCheck) -> None:
        self._check, self._count, self._told_at_s = check, 0, -TELL_AGAIN_S

    def __call__(self, record: Presented) -> Unproved | None:
        unproved = self._check.unproved(record)
        if unproved is None:
            return None
        self._count += 1
        if time.monotonic() - self._told_at_s >= TELL_AGAIN_S:
            place = {"topic": record.topic, "partition": unproved.partition, "offset": unproved.offset}
            log.error("label_unproved", **place, why=unproved.why, key_id=unproved.key_id, so_far=self._count)
            self._told_at_s = time.monotonic()
        return unproved
