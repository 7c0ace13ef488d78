"""The keys that seal records, and the key set that says which of them to trust, from the settings.

In development those for decisions.v1 are made when they are first asked for, in one folder for all writers, so that the
check is always on; in production nothing is made, and every process is told where its own stand.

Invariants, of topics of which every record is sealed by keys of one use
1. Once the key set holds such a key, valid, ended or revoked, a record without a good seal is nobody's word. So taking
   the key away from a writer doesn't open the topic again.
2. Every reader asks here, so none believes what another one refuses.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from pipeline.domain.log import Outgoing, Presented, Prove, Unproved
from pipeline.io.clock import now_ms
from pipeline.io.kafka import client
from pipeline.io.kafka.topic_settings import BREAKER_HOURS_TOPIC
from pipeline.io.partitioner import Partitioning
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import (
    SigningKey,
    SigningKeyRefused,
    create_signing_key,
    is_signed,
    read_key_set,
    replace_key_set,
)
from pipeline.keys.key_sets import KeySet, KeySetRefused, KeyUse, key_set_of, untrusted, with_key
from pipeline.seals.proving import SEAL_USES, SealCheck
from pipeline.seals.seal import Sealer
from pipeline.terminal.failures import Failure

KEYS_FILE: Final = "keys"
LOOK_S: Final = 5.0
"""Between looks whether the file of the key set has changed."""
TELL_AGAIN_S: Final = 60.0
"""Between lines of the log about records that aren't proved, so that a flood of them doesn't fill it."""
EXECUTIONS: Final = "executions.v1"
DEAD_LETTERS: Final = "transactions.dead.v1"


class SealedTopic(NamedTuple):
    """A topic, the use of the keys that seal it, and the line of the log about what isn't proved.

    is_past_believed: what the broker's own clock stamped before the first key of the use was good needs no seal.
    """

    name: str
    use: KeyUse
    event: str
    is_past_believed: bool


_EXECUTIONS: Final = SealedTopic(EXECUTIONS, KeyUse.EXECUTIONS, "execution_unproved", is_past_believed=True)


def sealer_of(
    settings: Settings, use: KeyUse, partition_of: Callable[[bytes], int] | None = None, name: str = "decisions.v1"
) -> Sealer:
    """Return what seals the records of a writer.

    use: the kind of its records. name: of their topic. partition_of: None asks the broker how many partitions there
    are. Raises Failure, above all where the key set does not trust the key: nobody would heed what it seals. Sealing
    raises KeySetRefused once that is so.
    """
    key = seal_key(settings, use)
    topic = settings.topic(name)
    return Sealer(topic, partition_of or _partitioning(settings, topic).of, key.key_id, _sign(settings, use, key))


def worker_sealer(
    settings: Settings, partition_of: Callable[[bytes], int] | None = None, name: str = "decisions.v1"
) -> Sealer:
    """Return what seals the records of a worker, as `sealer_of` does."""
    return sealer_of(settings, KeyUse.DECISIONS, partition_of, name)


def worker_seal(
    settings: Settings, partition_of: Callable[[bytes], int]
) -> Callable[[Sequence[Outgoing]], list[Outgoing]]:
    """Return what seals all that a worker commits, its decisions and its dead letters. Raises as `sealer_of` does."""
    decisions, letters = worker_sealer(settings, partition_of), worker_sealer(settings, name=DEAD_LETTERS)
    return lambda outgoing: letters.seal(decisions.seal(outgoing))


def seal_key(settings: Settings, use: KeyUse) -> SigningKey:
    """Return a writer's own key. Raises Failure where the key set does not trust it."""
    key = _signing_key(settings, use)
    try:
        why = untrusted(_key_set(settings), use, key.key_id, now_ms(), None)
    except KeySetRefused as refusal:
        raise _no_set(refusal) from refusal
    if why is not None:
        raise Failure(
            f"Records can't be sealed: {why}.", "Give every reader a key set that holds the key, and then this process."
        )
    return key


def seal_keys(settings: Settings) -> KeySet:
    """Return the key set as it is now. Raises KeySetRefused, and Failure where production names none."""
    return _key_set(settings)


def worker_check(settings: Settings) -> SealCheck:
    """Return the check whether a worker wrote what stands on another topic than decisions.v1. Raises the same."""
    return seal_check(settings, KeyUse.DECISIONS)


def seal_check(settings: Settings, use: KeyUse | None = None) -> SealCheck:
    """Return the check of who wrote what stands on decisions.v1. Raises Failure where no key set can be read.

    use: of the keys that seal every record of another topic.
    """
    try:
        source = key_source(settings)
        if not any(source(False).of_use(use) for use in SEAL_USES):
            raise KeySetRefused("the key set holds no key that seals records")
    except KeySetRefused as refusal:
        raise _no_set(refusal) from refusal
    return SealCheck(source, is_signed, now_ms, use)


def decision_proves(settings: Settings) -> Mapping[str, Prove]:
    """Return the check of decisions.v1 by the topic's name, as a LogReader takes it. Raises Failure."""
    return {settings.topic("decisions.v1"): seal_check(settings).unproved}


def letter_proves(settings: Settings) -> Mapping[str, Prove]:
    """Return the check of the dead letters, likewise. Raises Failure."""
    letters = _Told(worker_check(settings), "dead_letter_unproved", sealed_since_ms=None)
    return {settings.topic(DEAD_LETTERS): letters}


def worker_proves(settings: Settings) -> Mapping[str, Prove]:
    """Return the checks of what workers seal: decisions.v1, the dead letters and breaker_hours.v1. Raises Failure."""
    hours = _Told(worker_check(settings), "breaker_hour_unproved", sealed_since_ms=None)
    return {**decision_proves(settings), **letter_proves(settings), settings.topic(BREAKER_HOURS_TOPIC): hours}


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


def execution_proves(settings: Settings) -> Mapping[str, Prove]:
    """Return the check of executions.v1, as `topic_proves` does."""
    return topic_proves(settings, _EXECUTIONS)


def execution_sealer(settings: Settings) -> Sealer | None:
    """Return what seals what the executor tells, as `topic_sealer` does; in production nothing is told unsealed."""
    if settings.profile is Profile.PRODUCTION:
        return sealer_of(settings, KeyUse.EXECUTIONS, name=EXECUTIONS)
    return topic_sealer(settings, _EXECUTIONS)


def make_seal_keys(directory: Path) -> None:
    """Make a key for each use, USE.key, and their key set, in a new folder. Nothing happens where they are there.

    Of several processes that come at once one makes them, and the others take what it made.
    """
    if (directory / KEYS_FILE).exists():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        keys = KeySet({})
        for use in sorted(SEAL_USES):
            key = create_signing_key(partial / f"{use}.key", use, with_set=False)
            keys = with_key(keys, use, key.public, 0)  # from 1970 on: a replay's records are of any time
        replace_key_set(partial / KEYS_FILE, keys)
        partial.rename(directory)
    except OSError:
        if not (directory / KEYS_FILE).exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _names_a_set(settings: Settings) -> bool:
    return settings.seal_keys is not None or settings.seal_keys_file is not None


def _sign(settings: Settings, use: KeyUse, key: SigningKey) -> Callable[[bytes], bytes]:
    """Return what signs while the key set trusts the key.

    A writer that went on under a key that has ended would write what nobody heeds, for good: payments decided so are
    never made, and none waits.
    """
    source = key_source(settings)

    def sign(text: bytes) -> bytes:
        why = untrusted(source(False), use, key.key_id, now_ms(), None)
        if why is not None:
            raise KeySetRefused(why)
        return key.sign(text)

    return sign


def _partitioning(settings: Settings, topic: str) -> Partitioning:
    """Ask for this topic alone, since not every writer may see the payments'. Raises BrokerFailed."""
    admin = client.admin_client(settings.bootstrap_servers, settings.kafka_options)
    return Partitioning(settings.partitioner, len(client.partitions_of(admin, topic)))


def _signing_key(settings: Settings, use: KeyUse) -> SigningKey:
    try:
        if settings.seal_key is not None:
            return SigningKey.from_text(settings.seal_key, "seal_key")
        if settings.seal_key_file is not None:
            return SigningKey.from_file(settings.seal_key_file)
        return SigningKey.from_file(_made(settings) / f"{use}.key")
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", f"Create one with `fraud keys create {use} PATH`.") from refusal


def _key_set(settings: Settings) -> KeySet:
    """Raises KeySetRefused."""
    if settings.seal_keys is not None:
        return key_set_of(settings.seal_keys)
    return read_key_set(_key_set_path(settings))


def _key_set_path(settings: Settings) -> Path:
    return settings.seal_keys_file or _made(settings) / KEYS_FILE


def key_source(settings: Settings) -> Callable[[bool], KeySet]:
    """Return the key set's source, as SealCheck takes it. Raises KeySetRefused, and Failure where none is named."""
    if settings.seal_keys is not None:
        keys = key_set_of(settings.seal_keys)
        return lambda _: keys
    return KeySetFile(_key_set_path(settings))


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


class KeySetFile:
    """A key set that is read anew when its file has changed; for one thread."""

    def __init__(self, path: Path) -> None:
        """Raises KeySetRefused."""
        self._path = path
        self._keys = read_key_set(path)
        self._seen = _mark(path)
        self._due_s = time.monotonic() + LOOK_S

    def __call__(self, is_wanting: bool) -> KeySet:
        """Return what the file says, as of now where a key is wanted that it lacked, else as of LOOK_S ago at most.

        Raises KeySetRefused where the file has become unreadable: what it said before may be revoked by now.
        """
        if is_wanting or time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + LOOK_S
            if (mark := _mark(self._path)) != self._seen:
                self._keys = read_key_set(self._path)
                self._seen = mark
        return self._keys


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _made(settings: Settings) -> Path:
    """The folder of the keys that development makes for itself."""
    if settings.profile is Profile.PRODUCTION:
        raise Failure(
            "In production no key for seals is made on the way.",
            "Set FRAUD_SEAL_KEY_FILE and FRAUD_SEAL_KEYS_FILE, or the secrets seal_key and seal_keys.",
        )
    try:
        make_seal_keys(settings.seal_directory)
    except OSError as error:
        raise Failure(
            f"{settings.seal_directory} can't be made ({error.strerror}).", "Set FRAUD_SEAL_DIRECTORY to a folder."
        ) from error
    return settings.seal_directory


def _no_set(refusal: KeySetRefused) -> Failure:
    return Failure(
        f"Nobody can tell who wrote what stands on decisions.v1: {refusal}.",
        "Set FRAUD_SEAL_KEYS_FILE to the key set that `fraud keys create decisions` made.",
    )
