"""Reading a file that people put there: a policy, or a file of a model.

Whatever stands under the name, reading it ends: a FIFO without a writer is not waited for, and no more is read of a
file than it may hold.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_plain(path: Path, bytes_max: int) -> bytes:
    """Return the content, or the first `bytes_max` + 1 bytes of a longer one, which the caller refuses by its length.

    A link is followed. Raises OSError, also for what is no plain file.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        return file.read(bytes_max + 1)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
