"""`fraud verify`: stored decisions, decided again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from pipeline.decide.decision_topics import Located, Unreadable, find_decision, located
from pipeline.domain.decision import StoredDecision
from pipeline.domain.log import Record
from pipeline.domain.money import count_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.feed_proof_files import feeds_fault_of
from pipeline.replay.verify import Check, Result, verify
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Advance, Output, coloured

CHUNK: Final = 4096
SHOWN_MAX: Final = 50
"""Decisions that are named one by one; the rest are counted."""


class OffsetRange(NamedTuple):
    """[begin, end) of one partition of decisions.v1; None where it is open."""

    partition: int
    begin: int | None
    end: int | None


def archive_of(settings: Settings) -> RegimeArchive:
    return RegimeArchive.of(settings)


def verify_one(settings: Settings, wire: WireFormat, wanted: str, account_id: str | None) -> list[Check]:
    stored = find_decision(settings, wire, wanted, account_id).stored
    return verify([stored], archive_of(settings).regime_of, feeds_fault_of(settings))


def verify_ranges(
    settings: Settings, wire: WireFormat, ranges: Iterable[OffsetRange] | None, advance: Advance
) -> Iterator[Check]:
    """Checks of all decisions (`ranges` None) or of ranges of offsets, in the order they are read."""
    regime_of, feeds_fault = archive_of(settings).regime_of, feeds_fault_of(settings)
    found = _found(settings, ranges)
    done = 0
    while chunk := list(islice(found, CHUNK)):
        decisions: list[StoredDecision] = []
        for record in chunk:
            match located(wire, record):
                case Located(stored=stored):
                    decisions.append(stored)
                case Unreadable(why=why):
                    yield Check(f"{record.source.partition}:{record.source.offset}", Result.DIFFERS, ("encoding",), why)
        yield from verify(decisions, regime_of, feeds_fault)
        done += len(chunk)
        advance(done)


def show_checks(output: Output, checks: Iterable[Check]) -> bool:
    """Names what is not identical, then the counts; True when all are identical."""
    counts: Counter[Result] = Counter()
    for check in checks:
        counts[check.result] += 1
        if check.result is not Result.IDENTICAL and counts.total() - counts[Result.IDENTICAL] <= SHOWN_MAX:
            _show(output, check)
    total = {result.value.lower(): counts[result] for result in Result}
    words = ", ".join(f"{count:,} {name}" for name, count in total.items()).replace("differs", "different")
    is_sound = counts.total() == counts[Result.IDENTICAL]
    output.record(
        {"decisions": counts.total(), **total}, f"{count_text(counts.total(), 'decision')} decided again: {words}."
    )
    return is_sound


def _show(output: Output, check: Check) -> None:
    fields = {
        "decision_id": check.decision_id,
        "result": check.result,
        "differing": list(check.differing),
        "why": check.why,
    }
    detail = check.why or "decided again, these fields are otherwise: " + ", ".join(check.differing)
    output.record(fields, f"{coloured(check.result, 'red', is_bold=True)} {check.decision_id}  {detail}")


def _found(settings: Settings, ranges: Iterable[OffsetRange] | None) -> Iterator[Record]:
    topic = settings.topic("decisions.v1")
    with LogReader.of(settings) as log:
        if ranges is None:
            yield from log.read_all(topic)
            return
        extents = log.extents(topic)
        for partition, begin, end in ranges:
            if partition not in extents:
                raise Failure(f"decisions.v1 has no partition {partition}.", f"It has 0 to {max(extents)}.")
            extent = extents[partition]
            start = max(extent.low, begin or 0)
            if start >= extent.high:
                continue
            for found in log.read(topic, {partition: start}):
                if end is not None and found.source.offset >= end:
                    break
                yield found
