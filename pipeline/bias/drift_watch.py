"""Drift, day by day: what stands as drifted, and what is told of it.

A day is of UTC and whole, so that the rhythm of the hours is no drift. One look a day is what `stability` splits the
year's risk over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from pipeline.bias.drift.assessing import drift_report
from pipeline.bias.drift.counting import NOTHING, InputCounts
from pipeline.bias.drift.reference import Reference
from pipeline.bias.drift.settings import DriftSettings
from pipeline.bias.drift.stability import Stability

DAY_MINUTES: Final = 24 * 60
DAY_MS: Final = DAY_MINUTES * 60_000
STANDING_MAX: Final = 100


class Counted(Protocol):
    """What was counted of a version over some minutes."""

    @property
    def version(self) -> str: ...
    @property
    def inputs(self) -> InputCounts: ...


class DriftWatch:
    """For one thread. day: the first that was not looked at yet, counted from 1970; -1 before the first look."""

    def __init__(self, day: int = -1, standing: Sequence[str] = ()) -> None:
        self._day, self._standing = day, list(standing)

    @classmethod
    def of(cls, stored: object) -> DriftWatch:
        if not isinstance(stored, dict):
            return cls()
        day, standing = stored.get("day"), stored.get("standing")
        if not isinstance(day, int) or not isinstance(standing, list):
            raise ValueError("the state of drift has a day and a list")
        return cls(day, [str(version) for version in standing])

    def json(self) -> dict[str, object]:
        return {"day": self._day, "standing": self._standing}

    def is_due(self, minute: int) -> bool:
        """Return whether a day is over; the first time, wait for a whole one."""
        today = (minute + 1) // DAY_MINUTES
        if self._day < 0:
            self._day = today
        return today > self._day

    def span_ms(self, until_ms: int) -> tuple[int, int]:
        """Return the day to look at, the latest that is over, and go on to the next."""
        today = until_ms // DAY_MS
        self._day = today
        return (today - 1) * DAY_MS, today * DAY_MS

    def look(
        self, spans: Sequence[Counted], references: Mapping[str, Reference | None], settings: DriftSettings
    ) -> tuple[dict[str, tuple[Stability, ...]], list[str]]:
        """Return what drifted, by version, and the versions of which it was told and which don't drift any more."""
        counts: dict[str, InputCounts] = {}
        for span in spans:
            counts[span.version] = counts.get(span.version, NOTHING).plus(span.inputs)
        found: dict[str, tuple[Stability, ...]] = {}
        ended: list[str] = []
        for version, counted in sorted(counts.items()):
            report = drift_report(counted, references.get(version), settings)
            if report.drifted:
                found[version] = report.drifted
            elif version in self._standing and report.is_proved_stable:
                ended.append(version)
        self._standing = [each for each in self._standing if each not in ended]
        self._standing += [version for version in found if version not in self._standing]
        self._standing = self._standing[-STANDING_MAX:]
        return found, ended
