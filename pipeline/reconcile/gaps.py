"""Gaps between the topics, the audit log and the ledger: what is missing, doubled or unfounded, to the offset (I1).

Invariants
1. Nothing is passed over: every record of a stretch is accounted for or lies in a gap.
2. Nothing is accused that is accounted for: a stretch on which both sides agree has no gap.
3. A gap is named: its kind, the topic, the partition, the first and last offset and how many records lie in it; records
   that follow each other on the topic make one gap, whatever offsets between them belong to commit markers.
4. The order of rows, as a database gives them, changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.decision import Outcome
from pipeline.domain.log import TopicPartition
from pipeline.execute.saga import AWAITS_RAIL, State


class Side(StrEnum):
    """The place where the missing thing would stand, or where the one stands that shouldn't."""

    INTAKE = "transactions.v1"
    DECISIONS = "decisions.v1"
    AUDIT = "the audit log"
    LEDGER = "the ledger"
    RAIL = "the rail"
    REVIEW = "the review service"
    PEOPLE = "two people"


class GapKind(StrEnum):
    """Kinds of gap, in the order in which they are looked for."""

    EXPIRED = "EXPIRED"  # records went from the topic before they were reconciled
    UNACCOUNTED = "UNACCOUNTED"  # taken in, and neither decided nor a dead letter nor a duplicate
    ACCOUNTED_TWICE = "ACCOUNTED_TWICE"  # more than one of those
    UNFOUNDED = "UNFOUNDED"  # a decision or dead letter about a record that isn't on the topic
    NOT_AUDITED = "NOT_AUDITED"
    AUDITED_OTHERWISE = "AUDITED_OTHERWISE"  # other bytes than stand on the topic
    AUDITED_TWICE = "AUDITED_TWICE"
    AUDIT_UNFOUNDED = "AUDIT_UNFOUNDED"  # a row without a record on the topic
    NOT_EXECUTED = "NOT_EXECUTED"  # the executor has not heard of the decision
    UNFINISHED = "UNFINISHED"  # begun, and it doesn't rest
    RAIL_SILENT = "RAIL_SILENT"  # money that the rail was asked about, and it has not said
    STALE_HOLD = "STALE_HOLD"  # held, though no case can free it any more
    EXECUTED_OTHERWISE = "EXECUTED_OTHERWISE"  # money moved that nobody allowed
    EXECUTION_UNFOUNDED = "EXECUTION_UNFOUNDED"  # executed without an audited decision
    HEARD_OTHERWISE = "HEARD_OTHERWISE"  # executed with another payer, payee, currency, amount or outcome
    STEPPED_OTHERWISE = "STEPPED_OTHERWISE"  # steps that are no way through the saga, or with an aim it never had
    RULED_OTHERWISE = "RULED_OTHERWISE"  # a step by a ruling that is none, or about something else
    MISPLACED = "MISPLACED"  # the postings' sums aren't what the state says
    POSTED_OTHERWISE = "POSTED_OTHERWISE"  # a posting that neither a step nor a funding moves; its number is the place
    CAUSE_UNFOUNDED = "CAUSE_UNFOUNDED"  # a review or a reversal that the audit log hasn't, or otherwise
    QUARANTINED = "QUARANTINED"  # a record that could not be used, which two people have put aside
    UNPROVED = "UNPROVED"  # a record of which it isn't proved who wrote it
    SOURCE_DIFFERS = "SOURCE_DIFFERS"  # a decision whose source is another payment, or none
    DECIDED_TWICE = "DECIDED_TWICE"  # another decision for the same source record
    DECIDED_LATE = "DECIDED_LATE"  # a decision for a source that workers had passed
    DECIDED_OTHERWISE = "DECIDED_OTHERWISE"  # made again, the decision is another one
    NOT_VERIFIED = "NOT_VERIFIED"  # nobody can make the decision again, as its policy or model is unknown
    UNCOMMITTED = "UNCOMMITTED"  # a decision about a payment that no worker has taken up


MEANING_OF: Final[Mapping[GapKind, str]] = {
    GapKind.EXPIRED: "Records went from the topic before they were reconciled",
    GapKind.UNACCOUNTED: "Payments were taken in, and are neither decided nor set aside",
    GapKind.ACCOUNTED_TWICE: "Payments have more than one decision or dead letter",
    GapKind.UNFOUNDED: "Decisions or dead letters are about payments that nobody published",
    GapKind.NOT_AUDITED: "Decisions are missing in the audit log",
    GapKind.AUDITED_OTHERWISE: "The audit log says otherwise than was decided",
    GapKind.AUDITED_TWICE: "The audit log has decisions twice",
    GapKind.AUDIT_UNFOUNDED: "The audit log has decisions that no worker published",
    GapKind.NOT_EXECUTED: "The executor has not heard of decisions",
    GapKind.UNFINISHED: "Executions have begun, and do not come to rest",
    GapKind.RAIL_SILENT: "The rail does not say what became of payments",
    GapKind.STALE_HOLD: "Payments are held, and no case can free them any more",
    GapKind.EXECUTED_OTHERWISE: "Money moved that nobody allowed",
    GapKind.EXECUTION_UNFOUNDED: "Payments were executed without an audited decision",
    GapKind.HEARD_OTHERWISE: "Payments were executed otherwise than they were decided",
    GapKind.STEPPED_OTHERWISE: "Executions took steps that no execution may take",
    GapKind.RULED_OTHERWISE: "Executions went by a ruling that nobody made about them",
    GapKind.MISPLACED: "Postings do not add up to what the ledger says of payments",
    GapKind.POSTED_OTHERWISE: "Postings move money that neither a step nor a funding moves",
    GapKind.CAUSE_UNFOUNDED: "Executions went by a review or a reversal that the audit log has not so",
    GapKind.QUARANTINED: "Two people have put aside what could not be used",
    GapKind.UNPROVED: "Nothing proves who wrote records, and nothing is done by them",
    GapKind.SOURCE_DIFFERS: "Decisions are about another payment than stands at their source, or none",
    GapKind.DECIDED_TWICE: "Payments were decided a second time",
    GapKind.DECIDED_LATE: "Payments were decided that workers had passed",
    GapKind.DECIDED_OTHERWISE: "Decisions are not what their payments lead to",
    GapKind.NOT_VERIFIED: "Decisions name a policy or a model that nobody has",
    GapKind.UNCOMMITTED: "Payments were decided that no worker has taken up",
}
"""What is wrong, to whoever is woken by it."""

SIDE_OF: Final[Mapping[GapKind, Side]] = {
    GapKind.EXPIRED: Side.INTAKE,
    GapKind.UNACCOUNTED: Side.DECISIONS,
    GapKind.ACCOUNTED_TWICE: Side.DECISIONS,
    GapKind.UNFOUNDED: Side.DECISIONS,
    GapKind.NOT_AUDITED: Side.AUDIT,
    GapKind.AUDITED_OTHERWISE: Side.AUDIT,
    GapKind.AUDITED_TWICE: Side.AUDIT,
    GapKind.AUDIT_UNFOUNDED: Side.AUDIT,
    GapKind.NOT_EXECUTED: Side.LEDGER,
    GapKind.UNFINISHED: Side.LEDGER,
    GapKind.RAIL_SILENT: Side.RAIL,
    GapKind.STALE_HOLD: Side.REVIEW,
    GapKind.EXECUTED_OTHERWISE: Side.LEDGER,
    GapKind.EXECUTION_UNFOUNDED: Side.LEDGER,
    GapKind.HEARD_OTHERWISE: Side.LEDGER,
    GapKind.STEPPED_OTHERWISE: Side.LEDGER,
    GapKind.RULED_OTHERWISE: Side.LEDGER,
    GapKind.MISPLACED: Side.LEDGER,
    GapKind.POSTED_OTHERWISE: Side.LEDGER,
    GapKind.CAUSE_UNFOUNDED: Side.LEDGER,
    GapKind.QUARANTINED: Side.PEOPLE,
    GapKind.UNPROVED: Side.DECISIONS,
    GapKind.SOURCE_DIFFERS: Side.DECISIONS,
    GapKind.DECIDED_TWICE: Side.DECISIONS,
    GapKind.DECIDED_LATE: Side.DECISIONS,
    GapKind.DECIDED_OTHERWISE: Side.DECISIONS,
    GapKind.NOT_VERIFIED: Side.DECISIONS,
    GapKind.UNCOMMITTED: Side.DECISIONS,
}
"""Which side of the comparison is wrong."""

PASSING: Final = frozenset(
    {
        GapKind.UNACCOUNTED,
        GapKind.NOT_AUDITED,
        GapKind.NOT_EXECUTED,
        GapKind.UNFINISHED,
        GapKind.RAIL_SILENT,
        GapKind.STALE_HOLD,
    }
)
"""Gaps that may only be late: they are given their grace, and may close later. The others are wrong at once, for
ever."""

UNFOUNDED_DECISIONS: Final = frozenset(
    {GapKind.SOURCE_DIFFERS, GapKind.DECIDED_TWICE, GapKind.DECIDED_LATE, GapKind.DECIDED_OTHERWISE}
    | {GapKind.NOT_VERIFIED, GapKind.UNCOMMITTED}
)
"""Gaps that a decision under a good seal may show: somebody else may have the key."""

RESTING: Final = frozenset({State.SETTLED, State.HELD, State.REFUSED, State.REVERSED, State.RELEASED})


class Gap(NamedTuple):
    kind: GapKind
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    records: int

    @property
    def side(self) -> Side:
        return SIDE_OF[self.kind]


class Execution(NamedTuple):
    """The fate of one audited decision, or of what people said of one later.

    state: None where it was heard of and nothing was done yet; is_heard: False where it wasn't even heard of.
    is_changed: a review or a reversal came after the decision.
    """

    offset: int
    outcome: Outcome
    is_heard: bool
    state: State | None
    is_changed: bool


def accounting_gaps(place: TopicPartition, records: Sequence[int], accounted: Iterable[int]) -> list[Gap]:
    """records: offsets taken in, ascending. accounted: the offset that each decision, dead letter and duplicate names
    as its source, within the same stretch."""
    times = Counter(accounted)
    known = frozenset(records)
    return [
        *_gaps(GapKind.UNACCOUNTED, place, records, known - times.keys()),
        *_gaps(
            GapKind.ACCOUNTED_TWICE, place, records, {at for at, count in times.items() if count > 1 and at in known}
        ),
        *_strays(GapKind.UNFOUNDED, place, times.keys() - known),
    ]


def audit_gaps(place: TopicPartition, on_topic: Mapping[int, bytes], audited: Iterable[tuple[int, bytes]]) -> list[Gap]:
    """Digests of the records' bytes by offset, ascending; and those of the audit log's rows of the same stretch."""
    rows = list(audited)
    times = Counter(offset for offset, _ in rows)
    other = {offset for offset, digest in rows if offset in on_topic and digest != on_topic[offset]}
    order = list(on_topic)
    return [
        *_gaps(GapKind.NOT_AUDITED, place, order, on_topic.keys() - times.keys()),
        *_gaps(GapKind.AUDITED_OTHERWISE, place, order, other),
        *_gaps(
            GapKind.AUDITED_TWICE, place, order, {at for at, count in times.items() if count > 1 and at in on_topic}
        ),
        *_strays(GapKind.AUDIT_UNFOUNDED, place, times.keys() - on_topic.keys()),
    ]


def repetition_gaps(place: TopicPartition, on_topic: Sequence[int], repeated: Collection[int]) -> list[Gap]:
    """repeated: of the decisions on_topic, those about a transaction that had been decided before (I2)."""
    return _gaps(GapKind.ACCOUNTED_TWICE, place, on_topic, frozenset(repeated))


def execution_gaps(place: TopicPartition, executions: Iterable[Execution]) -> list[Gap]:
    """Gaps of the audited records of a stretch."""
    rows = sorted(executions)
    order = [row.offset for row in rows]
    found: dict[GapKind, set[int]] = {}
    for row in rows:
        if (kind := _execution_gap(row)) is not None:
            found.setdefault(kind, set()).add(row.offset)
    return [gap for kind in GapKind if kind in found for gap in _gaps(kind, place, order, found[kind])]


def fault_gaps(place: TopicPartition, faults: Iterable[tuple[int, GapKind]]) -> list[Gap]:
    """What is wrong at offsets of a stretch; each is a gap of its own, so that whoever finds it names it alike."""
    return [Gap(kind, *place, offset, offset, 1) for offset, kind in sorted(set(faults))]


def _execution_gap(row: Execution) -> GapKind | None:
    if not row.is_heard:
        return GapKind.NOT_EXECUTED
    if row.state is State.SETTLED and row.outcome is not Outcome.ALLOW and not row.is_changed:
        return GapKind.EXECUTED_OTHERWISE
    if row.state in AWAITS_RAIL:
        return GapKind.RAIL_SILENT
    return None if row.state in RESTING else GapKind.UNFINISHED


def named_gaps(
    topic: str, partition: int, order: Sequence[int], faults: Mapping[GapKind, Collection[int]]
) -> list[Gap]:
    """Gaps of faults found one by one: offsets by kind, all of them in the order of the topic's records."""
    place = TopicPartition(topic, partition)
    return [gap for kind in GapKind if kind in faults for gap in _gaps(kind, place, order, frozenset(faults[kind]))]


def expired_gaps(place: TopicPartition, position: int, oldest_offset: int) -> list[Gap]:
    """The offsets that the topic no longer holds; how many of them were records nobody can tell, so all count."""
    if oldest_offset <= position:
        return []
    return [Gap(GapKind.EXPIRED, *place, position, oldest_offset - 1, oldest_offset - position)]


def _repeated(times: Counter[int]) -> set[int]:
    return {offset for offset, count in times.items() if count > 1}


def _gaps(kind: GapKind, place: TopicPartition, order: Sequence[int], wrong: Collection[int]) -> list[Gap]:
    """Runs of `wrong` in the order of the topic's records."""
    if not wrong:
        return []
    gaps: list[Gap] = []
    run: list[int] = []
    for offset in order:
        if offset in wrong:
            run.append(offset)
        elif run:
            gaps.append(Gap(kind, *place, run[0], run[-1], len(run)))
            run = []
    return [*gaps, Gap(kind, *place, run[0], run[-1], len(run))] if run else gaps


def _strays(kind: GapKind, place: TopicPartition, offsets: Collection[int]) -> list[Gap]:
    """Gaps of offsets that are no records of the topic: each run of neighbours makes one."""
    every = range(min(offsets), max(offsets) + 1) if offsets else range(0)
    if len(every) > _STRAY_SPAN_MAX:
        return [Gap(kind, *place, offset, offset, 1) for offset in sorted(offsets)]
    return _gaps(kind, place, every, frozenset(offsets))


_STRAY_SPAN_MAX: Final = 1_000_000
"""Beyond it runs aren't looked for: two stray offsets may lie 2^60 apart."""
