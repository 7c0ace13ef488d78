"""`fraud keys`: every key of the pipeline is made here, in a file that only its owner can read.

Keys that sign are trusted by a key set, a file of public keys. A key is rotated by making the next one and ending the
one before; a key that somebody else may have is revoked, from the moment on from which they may have had it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.domain.times import utc_text
from pipeline.io.clock import now_ms
from pipeline.io.sealing import DeadLetterKey, create_key_file
from pipeline.keys.artefact_key_files import ArtefactKey, create_artefact_key
from pipeline.keys.key_files import SigningKey, create_signing_key, read_key_set, replace_key_set, set_path_beside
from pipeline.keys.key_sets import KeySet, KeySetRefused, KeyUse, TrustedKey, with_key, with_revocation
from pipeline.seals.proving import SEAL_USES
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output, coloured

AHEAD_MAX_MS: Final = 5 * 60_000
"""A revocation's moment may lie this far ahead, as two clocks may differ by as much. One further ahead is a slip of
the pen."""
REGISTRY_USES: Final = frozenset({KeyUse.MODELS, KeyUse.ARTEFACTS})
"""Uses whose keys sign in the registry of models; workers know them from the key set of seals."""


class Created(NamedTuple):
    """setting: the variable that makes a process use it; public: the half to hand on, None where there is none."""

    key_id: str
    path: Path
    setting: str
    public: Path | None
    advice: str


def create_dead_letter_key(path: Path) -> Created:
    """Its id stands in every dead letter sealed with it."""
    with _file_failures(path):
        create_key_file(path)
    key_id = DeadLetterKey.from_file(path).key_id
    return Created(key_id, path, "FRAUD_DEAD_LETTER_KEY_FILE", None, "and keep a copy safe")


def create_signature_key(use: KeyUse, path: Path, key_set: Path | None) -> Created:
    """Its id stands in all that is signed with it.

    key_set: an existing one that takes it in beside those that it holds; None: a new one, `path`.keys, is made.
    """
    held = None if key_set is None else _read(key_set)
    with _file_failures(path):
        key = _made(path, use, with_set=held is None)
    if key_set is not None and held is not None:
        _replace(key_set, lambda: with_key(held, use, key.public, now_ms()))
    return _created(key.key_id, use, path, key_set or set_path_beside(path))


def rotate_key(use: KeyUse, path: Path, key_set: Path, overlap_hours: float) -> Created:
    """Make the next key; those before it end after the overlap, in which the service is given the new one."""
    held = _read(key_set)
    if not held.of_use(use):
        raise Failure(f"The key set {key_set} has no key for {use} to rotate.", f"Run `fraud keys create {use}`.")
    with _file_failures(path):
        key = _made(path, use, with_set=False)
    began_ms = now_ms()
    retire_at_ms = began_ms + round(overlap_hours * 3_600_000)
    _replace(key_set, lambda: with_key(held, use, key.public, began_ms, retire_at_ms))
    return _created(key.key_id, use, path, key_set)


def revoke_key(key_id: str, key_set: Path, since: datetime | None, reason: str) -> TrustedKey:
    """Revoke a key from that moment on; None: from now on. Raises Failure."""
    held = _read(key_set)
    at_ms = now_ms() if since is None else round(since.timestamp() * 1000)
    if at_ms > now_ms() + AHEAD_MAX_MS:
        what = f"Until {utc_text(at_ms)}, which is to come, the key would go on counting. Nothing was done."
        raise Failure(what, "Name the moment from which somebody else may have had it, or leave --since out.")
    revoked = _replace(key_set, lambda: with_revocation(held, key_id, at_ms, reason))
    return revoked.keys[key_id]


def listed_keys(key_set: Path) -> list[TrustedKey]:
    return list(_read(key_set).keys.values())


def show_trusted(output: Output, key: TrustedKey) -> None:
    until = "without end" if key.valid_until_ms is None else f"until {utc_text(key.valid_until_ms)}"
    line = f"{key.key_id} {key.use:<9} from {utc_text(key.valid_from_ms)} {until}"
    if key.revoked_at_ms is not None:
        line += coloured(f", revoked since {utc_text(key.revoked_at_ms)}: {key.reason}", "red")
    fields = {**key._asdict(), "public": key.public.hex()}
    output.record(fields, line)


def _made(path: Path, use: KeyUse, *, with_set: bool) -> SigningKey | ArtefactKey:
    if use is KeyUse.ARTEFACTS:
        return create_artefact_key(path, with_set=with_set)
    return create_signing_key(path, use, with_set=with_set)


def _created(key_id: str, use: KeyUse, path: Path, key_set: Path) -> Created:
    if use in SEAL_USES:
        setting = "FRAUD_SEAL_KEY_FILE"
        advice = (
            f"once {key_set} is with every reader and writer of decisions.v1: under a key that is unknown nobody acts"
        )
    elif use is KeyUse.LABELS:
        setting = "FRAUD_SEAL_KEY_FILE"
        advice = f"where labels are published; once {key_set} is with a reader, it takes in no label that isn't sealed"
    elif use is KeyUse.EXECUTIONS:
        setting = "FRAUD_SEAL_KEY_FILE"
        advice = (
            f"for the executor, once {key_set} is with every reader of executions.v1: what it tells unsealed from now"
            " on no decision worker believes"
        )
    elif use in REGISTRY_USES:
        setting = f"FRAUD_{use.upper()}_KEY_FILE"
        advice = f"where versions are signed and aliases moved, once {key_set} is with every worker"
    else:
        setting = f"FRAUD_{use.upper()}_KEY_FILE"
        advice = f"and give {key_set} to the audit service, the witness and those who verify"
    return Created(key_id, path, setting, path.with_name(f"{path.name}.pub"), advice)


def _read(path: Path) -> KeySet:
    try:
        return read_key_set(path)
    except KeySetRefused as refusal:
        raise Failure(f"{refusal}.", "Give a .keys file that `fraud keys create` made.") from refusal


def _replace(path: Path, change: Callable[[], KeySet]) -> KeySet:
    try:
        changed = change()
    except KeySetRefused as refusal:
        raise Failure(f"{refusal}.", "`fraud keys list` shows what the set holds.") from refusal
    with _file_failures(path):
        replace_key_set(path, changed)
    return changed


def show_key(output: Output, created: Created) -> None:
    fields = {"key_id": created.key_id, "path": str(created.path), "setting": created.setting}
    if created.public is not None:
        fields["public"] = str(created.public)
    line = f"Key {created.key_id} stands in {created.path}. Set {created.setting}={created.path}, {created.advice}."
    output.record(fields, line)


@contextmanager
def _file_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise Failure(f"{error.filename} exists; a key is never overwritten.", "Give another path.") from error
    except OSError as error:
        raise Failure(f"{path} can't be written ({error.strerror}).", "Give a path in a folder of yours.") from error
