"""Seals under the keys that development makes, for tests that write decisions.v1 themselves."""

from __future__ import annotations

from functools import lru_cache

from pipeline.domain.log import Header, Outgoing
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey
from pipeline.keys.key_sets import KeyUse
from pipeline.review.service import Seals
from pipeline.seals.passed_over_store import PassedOver
from pipeline.seals.proving import kind_of
from pipeline.seals.seal import Sealer
from pipeline.seals.seal_files import make_seal_keys


def seal_headers(topic: str, key: bytes, value: bytes, partition: int, use: KeyUse | None = None) -> list[Header]:
    """The headers of a record that a writer of ours wrote. use: None for that of its kind, else a worker's."""
    signing_key = development_key(use or kind_of(value) or KeyUse.DECISIONS)
    sealer = Sealer(topic, lambda _: partition, signing_key.key_id, signing_key.sign)
    [record] = sealer.seal([Outgoing(topic, key, value)])
    assert record.headers is not None
    return record.headers


@lru_cache
def development_key(use: KeyUse) -> SigningKey:
    directory = Settings().seal_directory
    make_seal_keys(directory)
    return SigningKey.from_file(directory / f"{use}.key")


def review_seals(topic: str) -> Seals:
    """For a review service in this process, over a reader that is told to believe what it reads."""
    return Seals(list, PassedOver("review", topic))
