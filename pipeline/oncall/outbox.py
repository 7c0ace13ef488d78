"""The outbox: what becomes of a message after each attempt to send it.

Invariants
1. A message has one end: DELIVERED, or, told loudly, REFUSED, GAVE_UP or DOUBTFUL. Until then it is tried again.
2. Where a sink knows messages by their key, a message that may have arrived is sent again under its key. Where it knows
   none, it is sent once more, saying so, and never a third time: then it is DOUBTFUL.
3. Attempts are bounded, and their waits grow: a sink that is away for less than about an hour loses nothing.
4. The messages of a group reach a sink in their order. Of several groups the most urgent goes first, so nothing that
   is only to be known keeps anybody from being called. Of those as urgent, what is over waits for what isn't, and codes
   take turns: a flood of one code keeps nobody from being called about another.
5. Whatever a sink says is stored in bounds, and shown as it is written.
6. Whom a sink refuses for now, of several recipients, is tried again within the same bounds, alone: nobody else gets
   the message twice, and no later message waits for it.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.free_text import shown
from pipeline.oncall.messages import Message

ATTEMPTS_MAX: Final = 22
"""With the waits below, 511 s and 13 waits of 300 s: 74 minutes, a fifth more or less."""
WAIT_MS: Final = 1_000
WAIT_MS_MAX: Final = 300_000
RETRY_AFTER_MS_MAX: Final = 3_600_000
"""A sink may ask for no longer wait."""
DOUBTS_MAX: Final = 2
"""Times that a message may have arrived at a sink that takes no key: as it was planned, and the one repeat."""
LATE_MS: Final = 300_000
"""Age of a message that was tried and has not arrived from which people are told so."""
CROWDED: Final = 1_000
"""Messages that wait for one sink from which on nothing is over by the word of those who raise alerts. Whoever raises
and ends by turns would have more and more wait, and each takes some 2 KB. A day without floods has a few dozen."""
SPREAD: Final = 0.2
WHY_CHARACTERS_MAX: Final = 200
RECEIPT_CHARACTERS_MAX: Final = 100
RECIPIENT_DIGITS: Final = 16


class AttemptKind(StrEnum):
    SENDING = "SENDING"
    DELIVERED = "DELIVERED"
    PARTLY = "PARTLY"  # some recipients have it, others are tried again
    LATER = "LATER"
    IN_DOUBT = "IN_DOUBT"
    REFUSED = "REFUSED"
    GAVE_UP = "GAVE_UP"
    DOUBTFUL = "DOUBTFUL"


ENDS: Final = frozenset({AttemptKind.DELIVERED, AttemptKind.REFUSED, AttemptKind.GAVE_UP, AttemptKind.DOUBTFUL})


class Answer(StrEnum):
    """What a sink's answer says of a message, or the lack of one."""

    DELIVERED = "DELIVERED"
    LATER = "LATER"  # it did not arrive, and may later
    IN_DOUBT = "IN_DOUBT"  # it may have arrived
    NEVER = "NEVER"  # it did not arrive, and never will as it is


class Result(NamedTuple):
    """why: in words that hold no secret. retry_after_s: as the sink asks. receipt: what later messages refer to.

    is_partly: of DELIVERED, whether some of those whom the sink was to tell will never get it, as `why` says. waiting:
    of DELIVERED, those who did not get it and may later, by `recipient_id`.
    """

    answer: Answer
    why: str = ""
    retry_after_s: float | None = None
    receipt: str | None = None
    is_partly: bool = False
    waiting: tuple[str, ...] = ()


class Attempt(NamedTuple):
    """A row about a message. again_at_ms: of PARTLY, LATER and IN_DOUBT, from when it may be tried again. waiting: of
    PARTLY, who is to get it then."""

    kind: AttemptKind
    why: str = ""
    again_at_ms: int | None = None
    receipt: str | None = None
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it stands after its attempts. sends: those that were begun; doubts: those that may have arrived.

    waiting: the recipients who alone are still to get it; empty where all are, or nobody.
    """

    message: Message
    is_keyed: bool
    planned_at_ms: int
    sequence: int = 0
    sends: int = 0
    doubts: int = 0
    due_at_ms: int = 0
    is_sending: bool = False
    end: AttemptKind | None = None
    receipt: str | None = None
    waiting: tuple[str, ...] = ()

    @property
    def is_repeat(self) -> bool:
        """Whether the next send may be a second copy at a sink that can't know it again."""
        return self.doubts > 0 and not self.is_keyed


def after(delivery: Delivery, attempt: Attempt) -> Delivery:
    """The message after one more row about it."""
    moved = replace(delivery, sequence=delivery.sequence + 1, is_sending=attempt.kind is AttemptKind.SENDING)
    if attempt.kind is AttemptKind.SENDING:
        return replace(moved, sends=delivery.sends + 1)
    doubts = delivery.doubts + (attempt.kind in (AttemptKind.IN_DOUBT, AttemptKind.DOUBTFUL))
    end = attempt.kind if attempt.kind in ENDS else None
    waiting, receipt = attempt.waiting or delivery.waiting, attempt.receipt or delivery.receipt
    return replace(moved, doubts=doubts, end=end, due_at_ms=attempt.again_at_ms or 0, receipt=receipt, waiting=waiting)


def recipient_id(address: str) -> str:
    """The name under which a recipient waits: no address is stored with a message."""
    return hashlib.sha256(address.encode()).hexdigest()[:RECIPIENT_DIGITS]


def bounded_result(result: Result) -> Result:
    """The result as it can be stored and shown, whatever a sink said: every one passes here before it becomes a row."""
    receipt, wait_s = result.receipt, result.retry_after_s
    is_receipt = receipt is not None and receipt.isascii() and receipt.isprintable()
    is_wait = wait_s is not None and math.isfinite(wait_s)
    return result._replace(
        why=shown(result.why)[:WHY_CHARACTERS_MAX],
        receipt=receipt[:RECEIPT_CHARACTERS_MAX] or None if receipt is not None and is_receipt else None,
        retry_after_s=min(RETRY_AFTER_MS_MAX / 1000, max(0.0, wait_s)) if wait_s is not None and is_wait else None,
    )


def unstorable(attempt: Attempt) -> Attempt:
    """The end of a message whose attempt the database refuses to take, in words of our own."""
    is_delivered = attempt.kind is AttemptKind.DELIVERED
    return Attempt(AttemptKind.DELIVERED if is_delivered else AttemptKind.GAVE_UP, "what became of it can't be stored")


def judged(delivery: Delivery, result: Result, now_ms: int) -> Attempt:
    """The row that follows from a sink's answer to the send that is under way."""
    assert delivery.is_sending, "an answer follows a send"
    result = bounded_result(result)
    why = result.why
    match result.answer:
        case Answer.DELIVERED if not result.waiting:
            return Attempt(AttemptKind.DELIVERED, why, receipt=result.receipt)
        case Answer.NEVER:
            return Attempt(AttemptKind.REFUSED, why)
        case Answer.IN_DOUBT if not delivery.is_keyed and delivery.doubts + 1 >= DOUBTS_MAX:
            return Attempt(AttemptKind.DOUBTFUL, why)
    if delivery.sends >= ATTEMPTS_MAX:
        return Attempt(AttemptKind.GAVE_UP, why)
    again_at_ms = now_ms + _wait_ms(delivery, result.retry_after_s)
    if result.answer is Answer.DELIVERED:
        return Attempt(AttemptKind.PARTLY, why, again_at_ms, result.receipt, result.waiting)
    kind = AttemptKind.IN_DOUBT if result.answer is Answer.IN_DOUBT else AttemptKind.LATER
    return Attempt(kind, why, again_at_ms)


def interrupted(delivery: Delivery, now_ms: int) -> Attempt:
    """The row of a send during which the service died."""
    return judged(delivery, Result(Answer.IN_DOUBT, "the service ended while it was sent"), now_ms)


def is_late(delivery: Delivery, now_ms: int, taken_at_ms: int) -> bool:
    """Whether people must be told that the message has not arrived yet.

    taken_at_ms: when its sink took a message last, or could have begun to. A message that was not even tried waits for
    others where that is lately, and else for a sink that asked for patience.
    """
    is_under_way = delivery.end is None and not delivery.waiting
    since_ms = delivery.planned_at_ms if delivery.sends else max(delivery.planned_at_ms, taken_at_ms)
    return is_under_way and now_ms - since_ms >= LATE_MS


def put_back(delivery: Delivery, by_ms: int, now_ms: int) -> Delivery:
    """The message as of a clock that was put back by so much: nothing of it waits for longer than it was to."""
    due_at_ms = min(delivery.due_at_ms - by_ms, now_ms + RETRY_AFTER_MS_MAX)
    return replace(delivery, planned_at_ms=min(delivery.planned_at_ms, now_ms), due_at_ms=due_at_ms)


def _wait_ms(delivery: Delivery, retry_after_s: float | None) -> int:
    """Longer each time, spread by the message's own id, so that many do not come back at once; at least as asked."""
    grown = min(WAIT_MS_MAX, WAIT_MS << min(delivery.sends - 1, 30))
    place = zlib.crc32(f"{delivery.message.delivery_id}|{delivery.sends}".encode()) / 0xFFFFFFFF
    spread = int(grown * (1 - SPREAD + 2 * SPREAD * place))
    asked = 0 if retry_after_s is None else min(RETRY_AFTER_MS_MAX, int(max(0.0, retry_after_s) * 1000))
    return max(spread, asked)
