"""What was caught and whom it troubled, week by week: decisions held against the truth.

Stopped means blocked or escalated. Fraud is caught where it was stopped; an honest payment that was stopped was
troubled. Amounts are in pence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.domain.decision import Outcome

WEEK_MS: Final = 7 * 86_400_000
POUND_MINOR: Final = 100
PPM: Final = 1_000_000


class Judged(NamedTuple):
    """A payment as it was decided, and the truth about it."""

    event_time_ms: int
    amount_minor: int
    is_fraud: bool
    outcomes: Mapping[str, Outcome]  # by who decided


@dataclass(slots=True)
class Tally:
    """Counts of one decider in one span of time."""

    fraud: int = 0
    fraud_minor: int = 0
    fraud_blocked: int = 0
    fraud_escalated: int = 0
    fraud_stopped_minor: int = 0
    honest: int = 0
    honest_blocked: int = 0
    honest_escalated: int = 0
    honest_stopped_minor: int = 0

    def add(self, judged: Judged, outcome: Outcome) -> None:
        is_stopped = outcome is not Outcome.ALLOW
        if judged.is_fraud:
            self.fraud += 1
            self.fraud_minor += judged.amount_minor
            self.fraud_blocked += outcome is Outcome.BLOCK
            self.fraud_escalated += outcome is Outcome.ESCALATE
            self.fraud_stopped_minor += judged.amount_minor if is_stopped else 0
        else:
            self.honest += 1
            self.honest_blocked += outcome is Outcome.BLOCK
            self.honest_escalated += outcome is Outcome.ESCALATE
            self.honest_stopped_minor += judged.amount_minor if is_stopped else 0

    def shown(self) -> dict[str, int]:
        caught = self.fraud_blocked + self.fraud_escalated
        stopped = self.honest_blocked + self.honest_escalated
        return {
            "fraud": self.fraud,
            "fraud_blocked": self.fraud_blocked,
            "fraud_escalated": self.fraud_escalated,
            "fraud_caught_ppm": _share_ppm(caught, self.fraud),
            "fraud_gbp": self.fraud_minor // POUND_MINOR,
            "fraud_caught_gbp": self.fraud_stopped_minor // POUND_MINOR,
            "fraud_caught_value_ppm": _share_ppm(self.fraud_stopped_minor, self.fraud_minor),
            "honest": self.honest,
            "honest_blocked": self.honest_blocked,
            "honest_escalated": self.honest_escalated,
            "honest_stopped_ppm": _share_ppm(stopped, self.honest),
            "honest_stopped_gbp": self.honest_stopped_minor // POUND_MINOR,
        }


@dataclass(slots=True)
class Weeks:
    """Tallies by decider and by week since `begin_ms`, and over all weeks."""

    begin_ms: int
    by_week: dict[tuple[str, int], Tally] = field(default_factory=dict)
    whole: dict[str, Tally] = field(default_factory=dict)

    def add_all(self, judged: Iterable[Judged]) -> None:
        for each in judged:
            assert each.event_time_ms >= self.begin_ms, "what a model learned from says nothing about it"
            week = (each.event_time_ms - self.begin_ms) // WEEK_MS
            for decider, outcome in each.outcomes.items():
                self.by_week.setdefault((decider, week), Tally()).add(each, outcome)
                self.whole.setdefault(decider, Tally()).add(each, outcome)

    def shown(self) -> dict[str, object]:
        """Return, for each decider, all weeks together and each of them in order."""
        return {
            decider: {
                "all": tally.shown(),
                "weeks": [each.shown() for (name, _), each in sorted(self.by_week.items()) if name == decider],
            }
            for decider, tally in self.whole.items()
        }


def _share_ppm(part: int, whole: int) -> int:
    """Return the share in millionths, rounded down; 0 of nothing."""
    return part * PPM // whole if whole else 0
