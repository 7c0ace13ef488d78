"""A people's file as the review service writes it."""

from __future__ import annotations

from pathlib import Path

from pipeline.breaker.proofs_files import CLOCKS_APART_MS
from pipeline.io.clock import now_ms
from pipeline.io.postgres import Connection
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey
from pipeline.keys.key_sets import KeyUse
from pipeline.people.act_store import CHECKS, registry_acts
from pipeline.people.people_files import Stamp, stamp_bytes, write_people
from pipeline.people.registry import Registry, advanced
from pipeline.seals.seal_files import seal_key


def write_stamped(owner: Connection, path: Path, key: SigningKey, as_of_ms: int | None = None) -> None:
    """as_of_ms: None stands for the latest that is believed, so that a release of just now is proved by it."""
    acts, registry = registry_acts(owner), Registry()
    for signed in acts:
        registry, _ = advanced(registry, signed, CHECKS)
    at_ms = now_ms() + CLOCKS_APART_MS if as_of_ms is None else as_of_ms
    signature = key.sign(stamp_bytes(registry.root, registry.head, at_ms))
    write_people(path, acts, Stamp(at_ms, registry.head, key.key_id, signature))


def write_for_workers(owner: Connection, path: Path, settings: Settings) -> None:
    """By the key that reviews are sealed with here."""
    write_stamped(owner, path, seal_key(settings, KeyUse.REVIEWS))
