"""A batch that our code fails on: tried again, and then halved until the record that causes it stands alone.

Invariants
1. Parts are tried in log order: nothing of a later part is tried before all of an earlier one has an end.
2. Every record ends in exactly one part that succeeded, or alone as poison (I1).
3. A part is tried at most ATTEMPTS_MAX times, but for `try_again`. A half has failed once, as a part of its whole.
4. The spans of all parts, one after the other, are the spans of the whole.

A record that stands alone is poison where it alone is to blame; the caller finds that out, and may have it tried again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.domain.log import Record, Span

ATTEMPTS_MAX: Final = 3
"""Attempts at one part, before it is halved. A batch of 800 with one poison record is tried 3 + 10 · 2 times, and the
halves without it once each."""


class Part(NamedTuple):
    """Records of a batch, in log order, and the stretches of the log that they were read from."""

    records: Sequence[Record]
    spans: Sequence[Span]


class Attempt(NamedTuple):
    """The next thing to do: try `part`, or set its one record aside where it `is_poison`."""

    part: Part
    failures: int
    is_poison: bool = False


class Bisection:
    """The parts of a batch that are still to be tried. The caller reports each attempt before it asks for the next."""

    def __init__(self, whole: Part, failures: int) -> None:
        """`failures`: how often the whole, which is not empty, has failed already; enough of them halve it at once."""
        assert whole.records
        self._waiting: list[Attempt] = []  # the next is the last
        self._await(whole, failures)

    @property
    def next(self) -> Attempt | None:
        """None when every record has an end."""
        return self._waiting[-1] if self._waiting else None

    def succeeded(self) -> None:
        self._waiting.pop()

    def failed(self) -> None:
        """Note that an attempt failed; setting a record aside must not fail."""
        attempt = self._waiting.pop()
        assert not attempt.is_poison
        self._await(attempt.part, attempt.failures + 1)

    def try_again(self) -> None:
        """Try a record once more that stood as poison: what it failed on was no fault of its own."""
        attempt = self._waiting.pop()
        assert attempt.is_poison
        self._waiting.append(Attempt(attempt.part, ATTEMPTS_MAX - 1))

    def _await(self, part: Part, failures: int) -> None:
        if failures < ATTEMPTS_MAX:
            self._waiting.append(Attempt(part, failures))
        elif len(part.records) == 1:
            self._waiting.append(Attempt(part, failures, is_poison=True))
        else:
            first, second = halves(part)
            self._waiting += [Attempt(second, 1), Attempt(first, 1)]


def halves(part: Part) -> tuple[Part, Part]:
    """The part's records in two, each with its spans, which meet where the first half ends."""
    middle = len(part.records) // 2
    first, second = split_spans(part.records[:middle], part.spans)
    return Part(part.records[:middle], first), Part(part.records[middle:], second)


def split_spans(first_records: Sequence[Record], spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """The spans of the first part of a batch and those of the rest, meeting where the first part ends."""
    ends: Mapping[int, int] = {record.source.partition: record.source.offset + 1 for record in first_records}
    first = [span._replace(end_offset=ends[span.partition]) for span in spans if span.partition in ends]
    second = [span._replace(start_offset=ends.get(span.partition, span.start_offset)) for span in spans]
    return first, [span for span in second if span.start_offset < span.end_offset]
