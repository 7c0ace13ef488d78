"""The part of the state store in Redis that takes in what became of payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.domain.outcome import PaymentOutcome
from pipeline.io.redis_batches import Command, RedisBatches
from pipeline.state import script_files as scripts
from pipeline.state.outcomes import PAYEES_SEARCHED_MAX, WITHDRAWN_KEPT_MS, WITHDRAWN_MAX
from pipeline.state.periods import ACCOUNT_BENEFICIARIES_MAX
from pipeline.state.requests import Keys, OutcomeRange, Start, outcomes_request
from pipeline.state.script_store import ScriptStore
from pipeline.state.windows import start_of

HELD_KEPT_S: Final = 100 * 86_400
"""Longer than a case may be open (FRAUD_REVIEW_EXPIRY_HOURS)."""


class OutcomeStore(ScriptStore):
    """What became of payments, partition by partition, each outcome taken in once and in order."""

    def __init__(self, redis: RedisBatches, keys: Keys) -> None:
        super().__init__(redis, keys)
        self._outcome_limits = (ACCOUNT_BENEFICIARIES_MAX, WITHDRAWN_MAX, WITHDRAWN_KEPT_MS, PAYEES_SEARCHED_MAX)

    async def apply_outcomes(
        self,
        partition: int,
        first: int,
        last: int,
        outcomes: Sequence[PaymentOutcome],
        *,
        offsets: Sequence[int] | None = None,
        initial: bool = False,
        since_ms: int | None = None,
    ) -> int:
        """Take in the outcomes that the offsets `first` to `last` (exclusive) of the partition's outcomes hold.

        Return the position that the state holds afterwards, the next offset to be read; NONE where it holds none.
        Nothing is taken in where the position wasn't `first`: the caller reads again from what is returned. What is
        taken in by several calls moves the position on with each of them.
        offsets: of the outcomes' records, ascending; None where they follow each other from `first` on.
        initial: as for `observe`; what older outcomes could tell is UNKNOWN from then on. Raises StateUnavailable.
        """
        start = Start(initial, start_of(since_ms) if initial and first > 0 else 0)
        places = range(first, first + len(outcomes)) if offsets is None else offsets
        taken, position = OutcomeRange(last, outcomes, places, start), first
        while True:
            request = outcomes_request(partition, taken, position, self._keys)
            call = (scripts.OUTCOMES, request.keys, (request.body, *self._outcome_limits))
            ((reached, was_there),) = await self._call([call])
            if reached == last or not was_there:
                return int(reached)
            position = reached  # a call does as much as doesn't take long

    async def await_outcomes(self, partition: int, due: int) -> None:
        """Make what outcomes could tell UNKNOWN until the state has taken in all below the offset `due`.

        That is for a state that had them and lost them, as the first of them tell less than all: a payee is known whose
        payment was reversed later, and what was blocked later counts towards the volume of a normal month.
        """
        await self._run([("HSET", self._keys.outcomes(partition), "due", due)])

    async def note_outcome(self, partition: int, note: bytes) -> None:
        """Remember which record was taken in last, as the caller words it."""
        await self._run([("HSET", self._keys.outcomes(partition), "last", note)])

    async def noted_outcome(self, partition: int) -> bytes | None:
        (note,) = await self._run([("HGET", self._keys.outcomes(partition), "last")])
        return None if note is None else bytes(note)

    async def hold_payments(self, partition: int, held: Mapping[str, bytes]) -> None:
        """Remember what was decided, by decision id, for as long as a review of it may come."""
        keys, kept_s = self._keys, HELD_KEPT_S
        commands: list[Command] = [
            ("SET", keys.held(partition, name), text, "EX", kept_s) for name, text in held.items()
        ]
        if commands:
            await self._run(commands)

    async def held_payments(self, partition: int, decision_ids: Sequence[str]) -> dict[str, bytes]:
        """Return what is remembered of these decisions."""
        commands: list[Command] = [("GET", self._keys.held(partition, name)) for name in decision_ids]
        texts = await self._run(commands) if commands else []
        return {name: text for name, text in zip(decision_ids, texts, strict=True) if text is not None}

    async def first_told(self, partition: int, offsets: Mapping[str, int]) -> dict[str, int]:
        """Return the offset at which each record about a decision was first told, by its own id; `offsets` are those
        that it is told at now. It is remembered as long as what was decided."""
        keys = [self._keys.told(partition, name) for name in offsets]
        commands: list[Command] = [
            ("SET", key, offset, "NX", "EX", HELD_KEPT_S) for key, offset in zip(keys, offsets.values(), strict=True)
        ]
        if not commands:
            return {}
        replies = await self._run([*commands, *[("GET", key) for key in keys]])
        return {name: int(text) for name, text in zip(offsets, replies[len(keys) :], strict=True)}

    async def outcomes_position(self, partition: int) -> int | None:
        """Return the next offset of the partition's outcomes that is to be read; None where none was taken in yet."""
        (position,) = await self._run([("HGET", self._keys.outcomes(partition), "position")])
        return None if position is None else int(position)
