"""Topics of which every record is sealed by keys of one use, where the key set holds such a key.

Invariants
1. Once the key set holds such a key, valid, ended or revoked, a record without a good seal is nobody's word. So taking
   the key away from a writer doesn't open the topic again.
2. Every reader asks here, so none believes what another one refuses.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, NamedTuple

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

TELL_AGAIN_S: Final = 60.0
"""Between lines of the log about records that aren't proved, so that a flood of them doesn't fill it."""


class SealedTopic(NamedTuple):
    """A topic, the use of the keys that seal it, and the line of the log about what isn't proved.

    is_past_believed: what the broker's own clock stamped before the first key of the use was good needs no seal.
    """

    name: str
    use: KeyUse
    event: str
    is_past_believed: bool


def topic_proves(settings: Settings, topic: SealedTopic) -> Mapping[str, Prove]:
    """Return the check of the topic by its name, as a LogReader takes it, for one thread.

    It is empty where nobody seals the topic. Raises Failure where the key set can't be read, or production names none.
    """
    if not _names_a_set(settings) and settings.profile is not Profile.PRODUCTION:
        return {}  # the keys that development makes for itself seal decisions alone
    try:
        source = key_source(settings)
    except KeySetRefused as refusal:
        raise Failure(
            f"Nobody can tell who wrote what stands on {topic.name}: {refusal}.",
            "Set FRAUD_SEAL_KEYS_FILE to the key set that every reader has.",
        ) from refusal
    keys = source(False).of_use(topic.use)
    if not keys:
        return {}
    sealed_since_ms = min(key.valid_from_ms for key in keys) if topic.is_past_believed else None
    check = SealCheck(source, is_signed, now_ms, topic.use)
    return {settings.topic(topic.name): _Told(check, topic.event, sealed_since_ms)}


def topic_sealer(settings: Settings, topic: SealedTopic) -> Sealer | None:
    """Return what seals a writer's records; None where nobody seals them, as far as the writer is told.

    Where readers know better, its records are nobody's word. Raises Failure, as `sealer_of` does.
    """
    is_sealed = _names_a_set(settings) and topic_proves(settings, topic)
    return sealer_of(settings, topic.use, name=topic.name) if is_sealed else None


def _names_a_set(settings: Settings) -> bool:
    return settings.seal_keys is not None or settings.seal_keys_file is not None


class _Told:
    """A check that says in the log what it refuses."""

    def __init__(self, check: SealCheck, event: str, sealed_since_ms: int | None) -> None:
        self._check, self._event, self._sealed_since_ms = check, event, sealed_since_ms
        self._log = structlog.stdlib.get_logger("seals")
        self._count, self._told_at_s = 0, -TELL_AGAIN_S

    def __call__(self, record: Presented) -> Unproved | None:
        since_ms = self._sealed_since_ms
        if since_ms is not None and record.is_stamped and record.timestamp_ms < since_ms:
            return None
        unproved = self._check.unproved(record)
        if unproved is None:
            return None
        self._count += 1
        if time.monotonic() - self._told_at_s >= TELL_AGAIN_S:
            place = {"topic": record.topic, "partition": unproved.partition, "offset": unproved.offset}
            self._log.error(self._event, **place, why=unproved.why, key_id=unproved.key_id, so_far=self._count)
            self._told_at_s = time.monotonic()
        return unproved
