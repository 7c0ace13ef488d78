"""The part of the state store that holds context: facts, labels, and how far the log of either was taken in.

Invariants
1. Under every shard's tag stands how far each partition of each context topic was taken in, moved by the same script
   that changes what the record says there. So a tag that lost a record has lost the position too, and says so.
2. A record that doesn't follow on is refused (ContextBehind), and nothing is changed: what is missing before it must
   come first, or the position would hide it.
3. No payment is decided by what came over a connection by which the positions were not compared with the log
   (ContextUnsure). A server that lost acknowledged writes has closed its connections, or another one has taken its
   place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from struct import Struct
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError

from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.features import NONE
from pipeline.domain.log import Record, Source
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS
from pipeline.io.redis_batches import Command, ConnectionsChanged, RedisBatches
from pipeline.state import script_files as scripts
from pipeline.state.context.facts import LogPlace
from pipeline.state.requests import Keys, label_arguments
from pipeline.state.script_files import Call
from pipeline.state.script_store import ScriptStore, StateUnavailable
from pipeline.state.state_event import payee_of
from pipeline.state.windows import ContextUnsure

ACCOUNTS, SIGNALS, LABELS = "accounts.v1", "risk_signals.v1", "labels.v1"
WAITING_MAX: Final = 65_536
"""Most labels of a shard that wait for their payments: some 20 MB, and 70 with the longest texts that a label may have
(`context_checks`). More come of an outage of days only."""
WAITING_READ: Final = 512
"""Labels that one step of a look at those that wait reads."""
TOLD_KEPT_S: Final = 7 * 86_400
"""How long it is remembered that a label waited in vain. Kafka delivers it again after seconds, if at all."""

_MOVE: Final = Struct(">HIHIHIB")
_POSITION: Final = Struct(">HIHHI")
_PLACE: Final = Struct(">qq")
_WAITING: Final = Struct(">qqH")


class ContextBehind(Exception):
    """The state lacks records of a context partition before the one that was handed in."""

    def __init__(self, topic: str, partition: int, position: int) -> None:
        super().__init__(f"the state has {topic}[{partition}] to {position} only")
        self.topic, self.partition, self.position = topic, partition, position


class Turn(NamedTuple):
    """The turn of a record in the reading of its partition, which moves the position."""

    first: int  # the offset behind the record before, or an earlier one
    is_beginning: bool = False  # no record before `first` can be had any more


class LabelFate(IntEnum):
    """What became of a label that was taken in."""

    NO_ROOM = 0  # its payment isn't there, and too many labels wait
    MARKED = 1
    WAITS = 2  # for its payment; or it did so in vain, and that was told
    UNMATCHED = 3  # its payment isn't there, and it doesn't wait


class WaitingLabel(NamedTuple):
    record: Record
    since_ms: int


class _How(IntEnum):
    STAY = 0
    GO_ON = 1
    BEGIN = 2
    BEGIN_ANEW = 3


class ContextStore(ScriptStore):
    """Facts and labels, with their positions in the log."""

    def __init__(self, redis: RedisBatches, keys: Keys) -> None:
        super().__init__(redis, keys)
        self._label_limits: tuple[int, int, int]  # payments of a beneficiary; its longest window, and its time in Redis
        self._trusted: int | None = None  # connections made when context was last found to be whole

    # Whether what Redis says of context may be relied on

    async def connect(self) -> int:
        """Reach every server; return the number of connections that were made so far, for `trust_context`."""
        try:
            await self._redis.each(("PING",))
        except (RedisError, OSError) as error:
            raise StateUnavailable(f"Redis can't be reached: {type(error).__name__}") from error
        return self._redis.connections

    def trust_context(self, connections: int) -> bool:
        """Rely on context as long as no further connection is made; return whether none was made meanwhile."""
        self._trusted = connections
        return self.is_context_trusted

    def distrust_context(self) -> None:
        self._trusted = None

    @property
    def is_context_trusted(self) -> bool:
        return self._trusted == self._redis.connections

    async def _call_trusting(self, calls: Sequence[Call], before: Sequence[Command] = ()) -> list[Any]:
        """Do as `_call` does over the connections that are trusted; raise ContextUnsure before another one is used."""
        if not self.is_context_trusted:
            raise ContextUnsure
        try:
            return await self._call(calls, before, self._trusted)
        except ConnectionsChanged as changed:
            raise ContextUnsure from changed

    # Positions

    async def context_positions(self, topic: str) -> dict[int, int]:
        """Return by partition the offset below which every shard has taken in all; none where one never saw it."""
        replies = await self._run([("HGETALL", self._keys.context(shard)) for shard in self._shards])
        by_shard = [_positions(reply, topic) for reply in replies]
        everywhere = set.intersection(*map(set, by_shard))
        return {partition: min(each[partition] for each in by_shard) for partition in everywhere}

    async def pass_context(self, topic: str, place: LogPlace, turn: Turn) -> None:
        """Move the position over a record that changes nothing. Raises ContextBehind."""
        await self._move(topic, place.partition, _turn(topic, place, turn))

    async def reach_context(self, topic: str, partition: int, first: int, last: int, *, is_beginning: bool) -> None:
        """Move the position from `first` to `last`, between which the log has no record. Raises ContextBehind."""
        how = _How.BEGIN if is_beginning else _How.GO_ON
        await self._move(topic, partition, _move(topic, partition, first, last, 0, how))

    async def begin_context_anew(self, topic: str, partition: int, position: int, first: int) -> None:
        """Begin at `first` with a topic that was made anew: its log ends before `position`, which the state holds."""
        await self._move(topic, partition, _move(topic, partition, first, position, 0, _How.BEGIN_ANEW))

    # What is taken in. A record with no turn is handed in ahead of it, and doesn't move the position.

    async def upsert_account(self, account: Account, place: LogPlace, turn: Turn | None = None) -> None:
        """Take in what an account declares, as `facts` says; None takes a declaration back."""
        month = account.normal_month_gbp_minor
        await self._month(account.account_id, account.updated_at_ms, NONE if month is None else month, place, turn)

    async def withdraw_account(self, account_id: str, place: LogPlace, turn: Turn | None = None) -> None:
        """Take back what an account declared before `place`: none is declared then."""
        await self._month(account_id, None, NONE, place, turn)

    async def upsert_risk_signal(self, signal: RiskSignal, place: LogPlace, turn: Turn | None = None) -> None:
        """Take in the fraud reports of an entity, as `facts` says; an address is in its canonical spelling."""
        await self._reports(signal.kind, signal.entity, signal.observed_at_ms, signal.fraud_reports, place, turn)

    async def withdraw_risk_signal(
        self, kind: RiskSignalKind, entity: str, place: LogPlace, turn: Turn | None = None
    ) -> None:
        """Take back the reports of an entity that were made before `place`: there are 0 then."""
        await self._reports(kind, entity, None, 0, place, turn)

    async def label(self, label: Label) -> bool:
        """Mark the payment, in the windows that hold it and in those that it will enter; False where none holds it."""
        key = self._keys.beneficiary(payee_of(label.beneficiary_account_id))
        (answer,) = await self._call([(scripts.LABEL, [key], (*label_arguments(label), *self._label_limits))])
        return bool(answer)

    async def take_label(self, label: Label, place: LogPlace, turn: Turn, waiting: WaitingLabel | None) -> LabelFate:
        """Mark the payment, or let the label wait for it as `waiting`; None where it may not.

        One that was read before doesn't wait again. Raises ContextBehind.
        """
        payee = payee_of(label.beneficiary_account_id)
        shard, name = self._keys.shard(payee), f"{place.partition}:{place.offset}"
        keys = [
            self._keys.beneficiary(payee),
            self._keys.context(shard),
            self._keys.labels_waiting(shard),
            self._keys.label_told(shard, name),
        ]
        move, text = _turn(LABELS, place, turn), b"" if waiting is None else _waiting_text(waiting)
        call = (scripts.TAKE_LABEL, keys, (*label_arguments(label), *self._label_limits, move, name, text, WAITING_MAX))
        return LabelFate(await self._move(LABELS, place.partition, move, call, shard))

    async def waiting_labels(self, shard: int, cursor: int) -> tuple[int, dict[str, WaitingLabel]]:
        """Return some of the labels of a shard that wait, by name, and where the next step goes on; 0 at the end."""
        scanned = ("HSCAN", self._keys.labels_waiting(shard), cursor, "COUNT", WAITING_READ)
        ((following, pairs),) = await self._run([scanned])
        names = [name.decode() for name in pairs[::2]]
        return int(following), {name: _waiting_label(name, text) for name, text in zip(names, pairs[1::2], strict=True)}

    async def end_waiting(self, shard: int, name: str, *, is_told: bool) -> None:
        """Let a label wait no more. is_told: it waited in vain, and people know."""
        told: list[Command] = [("SET", self._keys.label_told(shard, name), 1, "EX", TOLD_KEPT_S)] if is_told else []
        await self._run([*told, ("HDEL", self._keys.labels_waiting(shard), name)])

    async def count_waiting(self) -> list[int]:
        """Return how many labels wait, by shard."""
        replies = await self._run([("HLEN", self._keys.labels_waiting(shard)) for shard in self._shards])
        return [int(reply) for reply in replies]

    async def take_labels_lease(self, holder: str, lease_ms: int) -> bool:
        """Return whether `holder` is the worker that looks at the labels that wait, for another `lease_ms`."""
        return await self._take_lease(self._keys.labels_lease(), holder, lease_ms)

    async def refusal_told(self, topic: str, partition: int) -> LogPlace | None:
        """Return the place of the last context record of a partition whose refusal has been told."""
        [text] = await self._run([("GET", self._keys.refusal_told(topic, partition))])
        if text is None:
            return None
        log_time_ms, offset = _PLACE.unpack(text)
        return LogPlace(log_time_ms, offset, partition)

    async def tell_refusal(self, topic: str, place: LogPlace) -> None:
        text = _PLACE.pack(place.log_time_ms, place.offset)
        await self._run([("SET", self._keys.refusal_told(topic, place.partition), text)])

    async def _month(self, account_id: str, at_ms: int | None, value: int, place: LogPlace, turn: Turn | None) -> None:
        key, shard = self._keys.declared_month(account_id), self._keys.shard(account_id)
        await self._state_fact(ACCOUNTS, key, shard, at_ms, value, place, turn)

    async def _reports(
        self, kind: str, entity: str, at_ms: int | None, value: int, place: LogPlace, turn: Turn | None
    ) -> None:
        key, shard = self._keys.fact(kind, entity), self._keys.shard(entity)
        await self._state_fact(SIGNALS, key, shard, at_ms, value, place, turn)

    async def _state_fact(
        self, topic: str, key: str, shard: int, at_ms: int | None, value: int, place: LogPlace, turn: Turn | None
    ) -> None:
        move = _turn(topic, place, turn)
        stated = ("" if at_ms is None else at_ms, value, place.log_time_ms, place.partition, place.offset)
        call = (scripts.NEWEST, [key, self._keys.context(shard)], (*stated, FUTURE_TOLERANCE_MS, move))
        if turn is None:
            await self._call([call])
        else:
            await self._move(topic, place.partition, move, call, shard)

    async def _move(
        self, topic: str, partition: int, move: bytes, call: Call | None = None, its_shard: int | None = None
    ) -> int:
        """Move the position under every tag; under that of `its_shard`, by `call`, whose reply is returned."""
        calls: list[Call] = [
            call
            if call is not None and shard == its_shard
            else (scripts.PASS_CONTEXT, [self._keys.context(shard)], (move,))
            for shard in self._shards
        ]
        replies = [int(reply) for reply in await self._call(calls)]
        if (least := min(replies)) < 0:
            raise ContextBehind(topic, partition, -1 - least)
        return replies[its_shard or 0]


def _turn(topic: str, place: LogPlace, turn: Turn | None) -> bytes:
    if turn is None:
        return _move(topic, place.partition, 0, 0, 0, _How.STAY)
    how = _How.BEGIN if turn.is_beginning else _How.GO_ON
    first, last = min(turn.first, place.offset), place.offset + 1
    return _move(topic, place.partition, first, last, place.log_time_ms, how)


def _move(topic: str, partition: int, first: int, last: int, log_time_ms: int, how: _How) -> bytes:
    numbers = (first >> 32, first & 0xFFFFFFFF, last >> 32, last & 0xFFFFFFFF)
    return _MOVE.pack(*numbers, log_time_ms >> 32, log_time_ms & 0xFFFFFFFF, how) + f"{topic}:{partition}".encode()


def _positions(reply: Mapping[bytes, bytes] | Sequence[bytes], topic: str) -> Mapping[int, int]:
    """Return by partition the positions in one topic, from a hash of all as either version of the protocol gives it."""
    pairs = reply.items() if isinstance(reply, Mapping) else zip(reply[::2], reply[1::2], strict=True)
    found: dict[int, int] = {}
    for name, text in pairs:
        its_topic, _, partition = name.decode().rpartition(":")
        if its_topic == topic:
            upper, lower, *_ = _POSITION.unpack_from(text)
            found[int(partition)] = (upper << 32) + lower
    return found


def _waiting_text(label: WaitingLabel) -> bytes:
    key, value, (_, _, log_time_ms) = label.record
    return _WAITING.pack(log_time_ms, label.since_ms, len(key or b"")) + (key or b"") + (value or b"")


def _waiting_label(name: str, text: bytes) -> WaitingLabel:
    log_time_ms, since_ms, key_bytes = _WAITING.unpack_from(text)
    partition, _, offset = name.partition(":")
    value_at = _WAITING.size + key_bytes
    source = Source(int(partition), int(offset), log_time_ms)
    return WaitingLabel(Record(text[_WAITING.size : value_at], text[value_at:], source), since_ms)
