"""A bound on the memory that reading a file may take, whatever the file says of itself.

Parquet and Arrow files say how much they unpack to, and a hostile one lies: packed pages, texts that a million rows
share, runs and prefixes make gigabytes of some kilobytes. Only the system knows what is really taken.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

READ_BYTES_MAX: Final = 2 * 1024**3
"""What one step of reading may take beyond what the process holds: a row group's columns, and 4,096 rows of them as
values. A million payments with every text at its limit take 1.2 GB; row groups and record batches have fewer rows."""
_PAGES: Final = Path("/proc/self/statm")
_DATA_PLACE: Final = 5
"""Pages of data and stack, of which the first is what RLIMIT_DATA counts."""


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Make an allocation that takes the process over READ_BYTES_MAX more than it has raise MemoryError.

    The bound is the process's: other threads should not allocate much meanwhile. Without Linux there is none.
    """
    if sys.platform != "linux" or not _PAGES.exists():
        yield
        return
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    held = int(_PAGES.read_text(encoding="ascii").split()[_DATA_PLACE]) * resource.getpagesize()
    others = [each for each in (before, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([held + READ_BYTES_MAX, *others]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))
