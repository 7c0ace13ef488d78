"""Deciding a batch by two models: each payment by the one that its mode names.

Invariants
1. A payment's verdict and its decision's bytes are those of its model alone, as if that one had decided every payment.
2. Everything stays in the order of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.decide.decision_encoder import DecisionEncoder
from pipeline.decide.phrase_books.money import Money
from pipeline.decide.rollout.sharing import Rollout
from pipeline.decide.verdict import Mode, Regime, Verdict, verdicts_of
from pipeline.domain.features import Matrix
from pipeline.domain.log import Source
from pipeline.domain.payment import Decoded


class Encoding(NamedTuple):
    """What an encoder takes, an entry a payment."""

    payments: Sequence[Decoded]
    sources: Sequence[Source]
    observed: Matrix
    verdicts: Sequence[Verdict]
    decided_at_ms: Sequence[int]

    def of(self, places: list[int]) -> Encoding:
        return Encoding(
            [self.payments[place] for place in places],
            [self.sources[place] for place in places],
            self.observed[places],
            [self.verdicts[place] for place in places],
            [self.decided_at_ms[place] for place in places],
        )


class Candidate:
    """A model that is being rolled out, and the encoder of what it decides."""

    def __init__(self, regime: Regime, encoder: DecisionEncoder) -> None:
        self._regime, self._encoder = regime, encoder

    @classmethod
    def of(cls, header: bytes, rollout: Rollout, agent_id: str) -> Candidate:
        return cls(rollout.candidate, DecisionEncoder(header, rollout.candidate, agent_id))

    def verdicts(
        self, features: Matrix, modes: Sequence[Mode], champion: Regime, own: Sequence[Money | None]
    ) -> Iterator[Verdict]:
        """Return one verdict a row, by the model that its mode names. `own` has an entry a row."""
        is_candidates = [mode.is_candidates for mode in modes]
        if not any(is_candidates):
            yield from verdicts_of(features, modes, champion, own=own)
            return
        chosen = np.array(is_candidates)
        streams = {
            is_its: verdicts_of(
                features[chosen == is_its],
                [mode for mode in modes if mode.is_candidates is is_its],
                self._regime if is_its else champion,
                own=[each for each, mode in zip(own, modes, strict=True) if mode.is_candidates is is_its],
            )
            for is_its in (False, True)
        }
        for is_its in is_candidates:
            yield next(streams[is_its])

    def encode(self, champion: DecisionEncoder, encoding: Encoding) -> list[bytes]:
        """Return a decision's bytes for each payment; each names the model that decided it."""
        values: list[bytes] = [b""] * len(encoding.payments)
        for is_its, encoder in ((False, champion), (True, self._encoder)):
            places = [place for place, each in enumerate(encoding.verdicts) if each.mode.is_candidates is is_its]
            if places:
                for place, value in zip(places, encoder.encode(*encoding.of(places)), strict=True):
                    values[place] = value
        return values
