"""What seals cost a decision: microseconds of CPU to seal a batch, and to check it as a reader does.

Batches of records of a decision's size are sealed under one signature for each group, as the worker does, and checked
by the executor's own check, with its key set. Nothing else runs in the process, and no server is needed.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.domain.log import SEAL_HEADER, Outgoing, Presented
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.keys.key_files import SigningKey, is_signed
from pipeline.keys.key_sets import KeySet, KeyUse, with_key
from pipeline.seals import seal
from pipeline.seals.proving import SealCheck
from pipeline.seals.seal import Sealer

TOPIC: Final = "decisions.v1"
PARTITIONS: Final = 4
VALUE_BYTES: Final = 850
"""The size of a usual decision; hashing takes the same for all contents."""
BATCHES: Final[Sequence[int]] = (1, 10, 100, 800, 1_000)
ROUNDS: Final = 50
FRAME: Final = b"\xc3\x01" + bytes(8) + b"\0"


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    del folder
    rounds = ROUNDS // 10 if is_quick else ROUNDS
    key = SigningKey(Ed25519PrivateKey.generate())
    keys = with_key(KeySet({}), KeyUse.DECISIONS, key.public, 0)
    sealer = Sealer(TOPIC, Partitioning(Partitioner.CRC32, PARTITIONS).of, key.key_id, key.sign)
    measured = {}
    for size in BATCHES:
        measured[size] = _measured(sealer, keys, size, rounds)
        say(f"a batch of {size:,}: {measured[size]}")
    return {"is_compiled": not seal.__file__.endswith(".py"), "value_bytes": VALUE_BYTES, "batches": measured}


def _measured(sealer: Sealer, keys: KeySet, size: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds, in microseconds a record, and the header's bytes."""
    sealing, checking, header_bytes = [], [], 0
    for _ in range(max(rounds, 2_000 // size)):
        records = [Outgoing(TOPIC, b"GB29-%04d" % (at % 5_000), FRAME + os.urandom(VALUE_BYTES)) for at in range(size)]
        began = time.process_time()
        sealed = sealer.seal(records)
        sealing.append((time.process_time() - began) * 1e6 / size)
        presented = [_presented(at, record) for at, record in enumerate(sealed)]
        check = SealCheck(lambda _: keys, is_signed, lambda: 0)
        began = time.process_time()
        assert not any(check.unproved(record) for record in presented), "what was sealed is proved"
        checking.append((time.process_time() - began) * 1e6 / size)
        header_bytes = sum(len(record.seal or b"") for record in presented)
    return {
        "seal_us": round(statistics.median(sealing), 2),
        "check_us": round(statistics.median(checking), 2),
        "header_bytes": round(header_bytes / size),
    }


def _presented(offset: int, record: Outgoing) -> Presented:
    assert record.headers is not None, "it is sealed"
    found = dict(record.headers)[SEAL_HEADER]
    assert isinstance(found, bytes), "a seal is bytes"
    return Presented(TOPIC, record.partition, offset, 1_800_000_000_000, True, record.key, record.value, found)
