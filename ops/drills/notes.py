"""What is noted while a drill runs: its moments, its samples, and what was found."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ops.drills.decided import Decided
from pipeline.domain.decision import Decision
from pipeline.drills.judging import Measured

SAMPLES_MAX: Final = 4_000
"""Most samples that a report holds: over an hour of one a second."""


class Moment(NamedTuple):
    """Something that happened, in seconds after the fault; before it they are negative."""

    second: float
    what: str


class Sample(NamedTuple):
    """One second of decisions, and how things stood at its end."""

    second: int
    allow: int
    block: int
    escalate: int
    by_model: int
    by_fallback: int
    state: str
    is_ready: bool


@dataclass(slots=True)
class Course:
    """What is noted while a drill runs; times are those of time.monotonic(), but for fault_ms, which is a clock's."""

    fault_s: float = 0.0
    fault_ms: int = 0
    mended_s: float | None = None
    detected_s: float | None = None
    tripped_s: float | None = None
    paged_s: float | None = None
    recovered_s: float | None = None
    moments: list[Moment] = field(default_factory=list)
    states: list[tuple[float, str, bool]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def note(self, what: str, at_s: float | None = None) -> None:
        second = (time.monotonic() if at_s is None else at_s) - self.fault_s
        self.moments.append(Moment(round(second, 2), what))

    def begin_fault(self, at_s: float, at_ms: int) -> None:
        """Take a time for the fault's; what was noted before it is told in seconds before it from now on.

        It stays noted, since a model that was out of the loop before anything was wrong explains what comes after.
        """
        self.fault_s, self.fault_ms = at_s, at_ms
        self.moments = [moment._replace(second=round(moment.second - at_s, 2)) for moment in self.moments]

    def measured(self, leaked: Iterable[Decision] | None) -> Measured:
        wrong = None if leaked is None else list(leaked)
        amounts = Counter[str]()
        for decision in wrong or ():
            amounts[decision.snapshot.transaction.currency] += decision.snapshot.transaction.amount_minor
        return Measured(
            detect_s=self._after_fault(self.detected_s),
            trip_s=self._after_fault(self.tripped_s),
            page_s=self._after_fault(self.paged_s),
            recover_s=_span(self.mended_s, self.recovered_s),
            leaked=None if wrong is None else len(wrong),
            leaked_minor=None if wrong is None else dict(sorted(amounts.items())),
        )

    def _after_fault(self, at_s: float | None) -> float | None:
        return _span(self.fault_s, at_s)


def _span(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else round(max(end_s - start_s, 0.0), 2)


def samples(course: Course, decided: Iterable[Decided]) -> list[Sample]:
    """Return the course second by second, from the first decision on."""
    seconds: dict[int, Counter[str]] = {}
    for at_s, decision in decided:
        second = int((at_s - course.fault_s) // 1)
        seconds.setdefault(second, Counter()).update((decision.outcome.value, decision.route.value))
    stood = {int((at_s - course.fault_s) // 1): (state, is_ready) for at_s, state, is_ready in course.states}
    every = range(min(stood, default=0), max(stood, default=-1) + 1)
    found, last = [], ("UNKNOWN", False)
    for second in list(every)[:SAMPLES_MAX]:
        last = stood.get(second, last)
        counts = seconds.get(second, Counter())
        found.append(
            Sample(
                second, counts["ALLOW"], counts["BLOCK"], counts["ESCALATE"], counts["MODEL"], counts["FALLBACK"], *last
            )
        )
    return found
