"""Two models on the same stored decisions: which outcomes change, where, and what that costs and saves.

Invariants
1. Both outcomes are decided by the code that serves, from the stored snapshot, under the policy and the feeds of each
   decision, and with the breaker's word as it was recorded.
2. A payment without a label is counted among none of the costs and savings; it is told apart.
3. An escalation counts as stopped: a person looks at it, and what they would say is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from models.artefact.scoring import Model
from pipeline.domain.decision import Outcome, StoredDecision
from pipeline.domain.features import COLUMN
from pipeline.replay.feature_lists import unheld_features
from pipeline.replay.redecide import Basis, Good, Redecided, Version, redecide
from pipeline.replay.regimes import RegimeOf

LabelKey = tuple[str, str]
"""Account and transaction; ids of different systems aside, a payment's."""
BANDS_MINOR: Final = (5_000, 25_000, 200_000, 500_000, 5_000_000)
"""Upper ends of the bands of value, in pence: where the shipped policy's rules begin."""
_AMOUNT: Final = COLUMN["amount_gbp_minor"]


class Sum(NamedTuple):
    """Payments, and what they are worth in pence; one without an exchange rate counts and is worth nothing here."""

    payments: int = 0
    minor: int = 0

    def plus(self, amount_minor: int) -> Sum:
        return Sum(self.payments + 1, self.minor + max(amount_minor, 0))


class Part(NamedTuple):
    """A segment, or a band of value: how many decisions, and how many of them change."""

    name: str
    decisions: int
    changed: Sum


class Worth(NamedTuple):
    """The cost and the saving of a change, among payments whose outcome changes and that have a label."""

    fraud_caught: Sum = Sum()  # let go before, stopped after
    fraud_missed: Sum = Sum()
    honest_stopped: Sum = Sum()
    honest_freed: Sum = Sum()
    unlabelled: Sum = Sum()  # changes, and nobody has said what it was


class Differences(NamedTuple):
    decisions: int
    undecidable: int  # stored payments that no release would accept now
    lacking: int  # made by writers that did not know a feature that either reads: the fallback answers in its place
    changed: Sum
    transitions: Mapping[tuple[Outcome, Outcome], Sum]
    segments: tuple[Part, ...]
    bands: tuple[Part, ...]
    worth: Worth


def differences(
    stored: Sequence[StoredDecision],
    before: Model,
    after: Model,
    regime_of: RegimeOf,
    is_fraud: Mapping[LabelKey, bool],
) -> Differences:
    """Raises RegimeMissing where a policy, a feed or a model that is needed isn't archived."""
    earlier = redecide(stored, _good(before), regime_of)
    later = redecide(stored, _good(after), regime_of)
    tally = _Tally(is_fraud)
    for decision, was, now in zip(stored, earlier, later, strict=True):
        tally.add(decision, was, now)
    reads = frozenset([*before.typical, *after.typical])
    lacking = sum(not reads.isdisjoint(unheld_features(each.release)) for each in stored)
    return tally.whole(len(stored), lacking)


def _good(model: Model) -> Good:
    return Good(Version(model.version, model.hash), None, Basis.RECORDED)


class _Tally:
    def __init__(self, is_fraud: Mapping[LabelKey, bool]) -> None:
        self._is_fraud = is_fraud
        self._undecidable, self._changed, self._worth = 0, Sum(), Worth()
        self._transitions: dict[tuple[Outcome, Outcome], Sum] = {}
        self._of_part: Counter[str] = Counter()
        self._changed_of: dict[str, Sum] = {}

    def add(self, stored: StoredDecision, was: Redecided, now: Redecided) -> None:
        if was.outcome is None or now.outcome is None:
            self._undecidable += 1
            return
        snapshot = stored.decision.snapshot
        amount_minor = snapshot.features[_AMOUNT]
        parts = [f"{name}={value}" for name, value in sorted(snapshot.transaction.segments.items())]
        parts.append(_band(amount_minor))
        self._of_part.update(parts)
        if was.outcome is now.outcome:
            return
        self._changed = self._changed.plus(amount_minor)
        key = was.outcome, now.outcome
        self._transitions[key] = self._transitions.get(key, Sum()).plus(amount_minor)
        for part in parts:
            self._changed_of[part] = self._changed_of.get(part, Sum()).plus(amount_minor)
        self._weigh(stored, was.outcome, now.outcome, amount_minor)

    def whole(self, decisions: int, lacking: int) -> Differences:
        bands = [_band(0), *map(_band, BANDS_MINOR), _band(-1)]
        return Differences(
            decisions=decisions,
            undecidable=self._undecidable,
            lacking=lacking,
            changed=self._changed,
            transitions=dict(sorted(self._transitions.items())),
            segments=self._parts(sorted(name for name in self._of_part if "=" in name)),
            bands=self._parts([name for name in dict.fromkeys(bands) if name in self._of_part]),
            worth=self._worth,
        )

    def _parts(self, names: Sequence[str]) -> tuple[Part, ...]:
        return tuple(Part(name, self._of_part[name], self._changed_of.get(name, Sum())) for name in names)

    def _weigh(self, stored: StoredDecision, was: Outcome, now: Outcome, amount_minor: int) -> None:
        payment, worth = stored.decision.snapshot.transaction, self._worth
        is_fraud = self._is_fraud.get((payment.account_id, payment.transaction_id))
        was_stopped, is_stopped = was is not Outcome.ALLOW, now is not Outcome.ALLOW
        if is_fraud is None:
            self._worth = worth._replace(unlabelled=worth.unlabelled.plus(amount_minor))
        elif was_stopped == is_stopped:
            return  # stopped either way, by a block or by a person
        elif is_fraud and is_stopped:
            self._worth = worth._replace(fraud_caught=worth.fraud_caught.plus(amount_minor))
        elif is_fraud:
            self._worth = worth._replace(fraud_missed=worth.fraud_missed.plus(amount_minor))
        elif is_stopped:
            self._worth = worth._replace(honest_stopped=worth.honest_stopped.plus(amount_minor))
        else:
            self._worth = worth._replace(honest_freed=worth.honest_freed.plus(amount_minor))


def _band(amount_minor: int) -> str:
    if amount_minor < 0:
        return "no exchange rate"
    for number, end in enumerate(BANDS_MINOR):
        if amount_minor < end:
            low = BANDS_MINOR[number - 1] if number else 0
            return f"£{low // 100:,} to £{end // 100:,}"
    return f"£{BANDS_MINOR[-1] // 100:,} and more"
