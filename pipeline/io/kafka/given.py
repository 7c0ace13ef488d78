"""Records that a reader is given in place of what the library would read, by and by."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from confluent_kafka import Message


class Given:
    """Records of one partition, in order; behind them all, the next one is at `end`. is_over: all were taken.

    is_large: what they are unpacked from may take much memory, so that of several only one is begun at a time.
    """

    def __init__(self, messages: Iterator[Message], end: int, *, is_large: bool = False) -> None:
        self._messages, self.end, self.is_large, self.is_over = messages, end, is_large, False

    def some(self, most: int, bytes_most: int) -> tuple[list[Message], int]:
        """Return the next records, and what they weigh, which is over bytes_most by one record at most."""
        taken, weight = list[Message](), 0
        for message in islice(self._messages, most):
            taken.append(message)
            weight += len(message.value() or b"")
            if weight > bytes_most:
                return taken, weight
        self.is_over = len(taken) < most
        return taken, weight
