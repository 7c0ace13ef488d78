"""A disk that is kept busy beside a bench, as by a database on the same machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ops.bench.rig.threads import Thread

BLOCK_BYTES: Final = 1024**2
FILE_BLOCKS: Final = 128
"""Blocks of the file; the bound of what stands on the disk, as the file is written from its beginning again."""


@contextlib.contextmanager
def busy_disk(path: Path) -> Iterator[None]:
    """Write a file over and over while the block runs, and wait for the disk after each block. Remove it on leaving."""

    def write() -> None:
        with path.open("wb") as file:
            while not thread.stopping.is_set():
                file.seek(0)
                _write_once(file.fileno(), thread)

    thread = Thread("busy disk", write)
    thread.start()
    try:
        yield
    finally:
        thread.stop()
        path.unlink()


def _write_once(descriptor: int, thread: Thread) -> None:
    block = os.urandom(BLOCK_BYTES)
    for _ in range(FILE_BLOCKS):
        if thread.stopping.is_set():
            return
        os.write(descriptor, block)
        os.fsync(descriptor)
