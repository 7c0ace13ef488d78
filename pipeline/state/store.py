"""The state store in Redis: dedupe, exact sliding windows, idempotence. pipeline.state.windows defines its answers.

The tag `{p3}` marks the keys that belong to partition 3 (its accounts), and `{s0}` those that belong to shard 0 (ids,
beneficiaries, IP addresses, devices, declared months). With one shard on one server, a batch takes one round trip. With
more shards, or on a cluster, a batch takes three, and each script touches one slot: claims come first, since only a
FRESH payment counts; then come accounts, which say what a payment is for its payer, and then shared windows. Under
every tag, the script that counts also stores how far each partition was observed (`reached`). So whatever a crash
leaves between the scripts, each goes on from its own position, and a tag that lost writes says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from pipeline.domain.features import ACCOUNT_PAYMENTS_MAX, BENEFICIARY_PAYMENTS_MAX, NONE
from pipeline.io.redis_batches import Command, RedisBatches
from pipeline.state import script_files as scripts
from pipeline.state.context.context_store import ContextStore
from pipeline.state.marks_store import MarkStore
from pipeline.state.outcome_store import OutcomeStore
from pipeline.state.outcomes import PAYEES_SEARCHED_MAX, WITHDRAWN_KEPT_MS, WITHDRAWN_MAX
from pipeline.state.periods import ACCOUNT_BENEFICIARIES_MAX, DAY_MS, LABEL_WINDOWS_MS
from pipeline.state.requests import (
    Answers,
    Chunk,
    ChunkRequests,
    Keys,
    Start,
    account_request,
    chunks,
    claim_request,
    claims_of,
    in_groups,
    shared_request,
)
from pipeline.state.script_files import Call
from pipeline.state.script_store import StateAhead, StateFault, StateRefused, StateReplaced, StateUnavailable
from pipeline.state.shape import Shape
from pipeline.state.survey import Survey
from pipeline.state.unusual.kinds import answering, kinds
from pipeline.state.windows import (
    CLAIM_KEPT_MS,
    PartitionEvents,
    PartitionObservation,
    SnapshotPruned,
    StateLost,
    start_of,
)

__all__ = [
    "RedisState",
    "SnapshotPruned",
    "StateAhead",
    "StateFault",
    "StateLost",
    "StateRefused",
    "StateReplaced",
    "StateUnavailable",
]

CLAIM_BUCKETS: Final = 32_768
"""Number of hashes that a shard's ids are spread over. Redis keeps a hash of at most 512 fields flat, at 36 bytes an
id. With room for ids that are not purged yet, that makes 13 million ids of the last 7 days in a shard (22 payments/s),
in 0.5 GB. Beyond that, an id takes three times as much, so raise this number or that of the shards. A hash costs 100
bytes before its first id, and up to 16 ids, however old, are not worth a purge: 24 MB a shard at most."""
EXCEPTIONS_KEPT: Final = 65_536
"""Answers other than FRESH that a shard remembers for each partition, so that a rebuild gives the same ones again; each
takes 8 bytes."""

GIVEN_KEPT_MS: Final = CLAIM_KEPT_MS + DAY_MS
"""How long it is remembered which records gave their ids back: longer than a copy of one holds the id."""
LEAVERS_MAX: Final = 2_000
"""Payments that leave windows in one call, beside one for each window of each payment that enters; those whose sender
must be looked up count six times. They take Redis some 2 ms."""
LOG_KEPT_MS: Final = 45 * DAY_MS
"""How far a worker may lag behind the log: records are kept that long by default."""

_OFFSET: Final = Struct("<q")


class Prepared(NamedTuple):
    """A batch with all the requests to Redis about it; it may be observed again and again."""

    batch: Sequence[PartitionEvents]
    requests: Sequence[ChunkRequests]
    is_passing: bool  # some payments may be passed over
    is_silent: bool  # nobody wants the features


class _Asked(NamedTuple):
    """A call that counts, and what takes its reply."""

    chunk: Chunk
    call: Call
    take: Callable[[Chunk, bytes], None]


_AnswersBy = Mapping[int, Answers]
"""Partition → the answers about its share of a batch so far."""


class RedisState(ContextStore, OutcomeStore, MarkStore):
    """Exact state features of payments, each counted once."""

    def __init__(
        self,
        url: str,
        *,
        label_delay_days: int = 7,
        shards: int = 1,
        prefix: str = "fraud",
        timeout_s: float = 2.0,
        claim_buckets: int = CLAIM_BUCKETS,
        leavers_max: int = LEAVERS_MAX,
        beneficiary_kept_ms: int | None = None,
    ) -> None:
        """Connect on first use. A state of another `shape` must not be asked.

        leavers_max: payments that leave windows in one call; more calls follow where it takes more.
        beneficiary_kept_ms: how long after its last payment Redis drops a beneficiary; None for as long as its windows
        reach, as a worker sees them that lags by LOG_KEPT_MS, and the day that it isn't renewed in.
        """
        super().__init__(RedisBatches(url, timeout_s=timeout_s), Keys(prefix, shards))
        self._buckets = claim_buckets
        self._claim_limits = (CLAIM_KEPT_MS, EXCEPTIONS_KEPT)
        self._label_delay_ms = label_delay_days * DAY_MS
        if beneficiary_kept_ms is None:
            beneficiary_kept_ms = self._label_delay_ms + LABEL_WINDOWS_MS[-1] + LOG_KEPT_MS + DAY_MS
        self._account_limits = (ACCOUNT_PAYMENTS_MAX, ACCOUNT_BENEFICIARIES_MAX, leavers_max)
        self._shared_limits = (BENEFICIARY_PAYMENTS_MAX, self._label_delay_ms, beneficiary_kept_ms, leavers_max)
        longest_ms = self._label_delay_ms + LABEL_WINDOWS_MS[-1]
        self._label_limits = (BENEFICIARY_PAYMENTS_MAX, longest_ms, beneficiary_kept_ms)
        self._beneficiary_kept_ms = beneficiary_kept_ms

    def shape(self, topic: str, partitions: int, partitioner: str) -> Shape:
        """Return the shape that this store counts with, on a topic that accounts are spread over so."""
        return Shape(
            topic,
            partitions,
            partitioner,
            len(self._shards),
            self._label_delay_ms,
            self._buckets,
            *self._claim_limits,
            ACCOUNT_PAYMENTS_MAX,
            ACCOUNT_BENEFICIARIES_MAX,
            BENEFICIARY_PAYMENTS_MAX,
            self._beneficiary_kept_ms,
            WITHDRAWN_MAX,
            WITHDRAWN_KEPT_MS,
            PAYEES_SEARCHED_MAX,
        )

    async def observe(
        self,
        batch: Sequence[PartitionEvents],
        *,
        initial: bool = False,
        since_ms: int | None = None,
        is_rebuild: bool = False,
    ) -> list[PartitionObservation]:
        """Count the payments that are not counted yet; answer for the others as the first time.

        initial: a partition that was never observed, or whose state ends before the batch, starts at the batch's start
        offset, for when nothing older can be had. since_ms: the log time of the oldest record that could be had, which
        a start above offset 0 needs; what only older ones could tell is UNKNOWN from then on. is_rebuild: the answers
        are of no use, so that payments are passed over of which nothing is known any more; `initial` implies it.
        Raises StateLost, SnapshotPruned, StateFault or StateUnavailable; a payment that was counted by then stays
        counted.
        """
        prepared = self.prepare(batch, initial=initial, since_ms=since_ms, is_rebuild=is_rebuild)
        return await self.observe_prepared(prepared)

    def prepare(
        self,
        batch: Sequence[PartitionEvents],
        *,
        initial: bool = False,
        since_ms: int | None = None,
        is_rebuild: bool = False,
        is_silent: bool = False,
    ) -> Prepared:
        """Do the part of `observe` that can be done ahead, such as while the previous batch is observed.

        is_silent: Redis makes and sends no features, as nobody wants them; that takes `is_rebuild`.
        """
        assert is_rebuild or not is_silent
        is_late = initial and any(share.start_offset > 0 for share in batch)
        keys, start = self._keys, Start(initial, start_of(since_ms) if is_late else 0, initial or is_rebuild, is_silent)
        requests = [
            ChunkRequests(
                chunk,
                [claim_request(chunk, shard, keys, self._buckets, initial) for shard in self._shards],
                account_request(chunk, keys, start),
                [shared_request(chunk, shard, keys, start) for shard in self._shards],
            )
            for share in batch
            for chunk in chunks(share)
        ]
        return Prepared(batch, requests, start.is_passing, is_silent)

    async def observe_prepared(self, prepared: Prepared, *, when_ready: bool = False) -> list[PartitionObservation]:
        """Do the rest of `observe`.

        when_ready: where what the batch's features come from was never built as a whole (see `mark_ready`), count
        nothing and raise StateLost; where context may have been lost (see `trust_context`), raise ContextUnsure.
        """
        answers = {share.partition: Answers(share.events) for share in prepared.batch}
        if len(self._shards) == 1 and not await self._is_cluster():
            await self._observe_at_once(prepared, answers, when_ready)
        else:
            await self._claim(prepared, answers, when_ready)
            await self._count(prepared, answers, when_ready)
        if prepared.is_silent:
            return []
        if not prepared.is_passing:
            _refuse_missing(answers)
        return [answer.finished(self._label_delay_ms) for answer in answers.values()]

    async def positions(self, partition: int) -> int | None:
        """Return the offset below which all of the partition was observed; None where some was lost or never seen."""
        return (await self.survey([partition])).reached(partition)

    async def survey(self, partitions: Sequence[int]) -> Survey:
        """Return what the state holds of these partitions."""
        keys, shards = self._keys, self._shards
        commands: list[Command] = [("EXISTS", keys.ready(shard)) for shard in shards]
        for partition in partitions:
            commands.append(("EXISTS", keys.account_ready(partition)))
            commands.append(("HMGET", keys.account_progress(partition), "reached", "replaced"))
            commands += [("HGET", keys.shared_progress(shard, partition), "reached") for shard in shards]
            commands += [("HGET", keys.claim_progress(shard), partition) for shard in shards]
        replies = iter(await self._run(commands))
        is_shared_ready = all([next(replies) for _ in shards])
        ready: set[int] = set()
        accounts: dict[int, int | None] = {}
        shared: dict[int, int | None] = {}
        replaced: dict[int, int] = {}
        for partition in partitions:
            if next(replies):
                ready.add(partition)
            reached_by_accounts, replaced_at = next(replies)
            accounts[partition] = _number(reached_by_accounts)
            if replaced_at is not None:
                replaced[partition] = int(replaced_at)
            counted = [_number(next(replies)) for _ in shards]
            replied = [next(replies) for _ in shards]
            claimed = [None if reply is None else int.from_bytes(reply[:7]) for reply in replied]
            reached = [offset for offset in (*counted, *claimed) if offset is not None]
            shared[partition] = min(reached) if len(reached) == 2 * len(shards) else None
        return Survey(accounts, shared, frozenset(ready), is_shared_ready, replaced)

    async def partitions(self) -> list[int]:
        """Return the partitions that the state ever saw."""
        replies = await self._run([("HKEYS", self._keys.claim_progress(shard)) for shard in self._shards])
        return sorted({int(partition) for reply in replies for partition in reply})

    async def begin(self, partition: int, start: int, since_ms: int | None) -> None:
        """Start a partition, under every tag that never saw it, at an offset before which nothing can be had.

        since_ms: the log time of the oldest record that can be had, from which on the tags hold all; None where the log
        begins there.
        """
        await self.observe([PartitionEvents(partition, start, start, start, [])], initial=True, since_ms=since_ms)

    async def mark_ready(self, partitions: Iterable[int], *, is_shared: bool) -> None:
        """Record that all is built under the partitions' own tags and, with `is_shared`, under those that all share."""
        keys = [self._keys.account_ready(partition) for partition in partitions]
        keys += [self._keys.ready(shard) for shard in self._shards] if is_shared else []
        await self._run([("SET", key, 1) for key in keys])

    async def mark_lost(self) -> None:
        """Record that something is missing under the shared tags, so that no worker decides until they are ready."""
        await self._run([("DEL", self._keys.ready(shard)) for shard in self._shards])

    async def release_claims(self, batch: Sequence[PartitionEvents]) -> int:
        """Give back the ids of payments that were set aside undecided, so that they can be decided once more.

        Return how many were held: a copy of what was decided before holds none, and a record gives its id back once.
        Release only what is committed as set aside: a record that is read again claims anew.
        """
        claims = [claim for share in batch for claim in claims_of(share, self._keys, self._buckets)]
        calls: list[Call] = []
        for each in claims:
            keys, given = [each.bucket, each.exceptions, each.given], (each.id_hash, each.held, each.offset)
            calls.append((scripts.RELEASE, keys, (GIVEN_KEPT_MS, *given)))
        return sum(await self._call(calls)) if calls else 0

    async def close(self) -> None:
        await self._redis.close()

    async def _observe_at_once(self, prepared: Prepared, answers: _AnswersBy, when_ready: bool) -> None:
        """Claim and count in one round trip, which takes a single shard.

        A call that stops early asks again from where it stopped. The calls behind it are refused, since they don't
        follow on, and come again once it is through. It is, because each time more of the windows' payments are gone.
        """
        requests, is_stopped = prepared.requests, False
        while requests:
            groups = list(in_groups(requests))[: 1 if is_stopped else None]
            call = self._call_trusting if when_ready else self._call
            replies = await call([self._observing(group, when_ready) for group in groups])
            through = 0
            for group, replies_of_group in zip(groups, replies, strict=True):
                if not replies_of_group:
                    raise StateLost(prepared.batch[0].partition, None)
                through_of_group = await self._take_in_order(group, replies_of_group, answers)
                through += through_of_group
                is_stopped = through_of_group < len(group)
                if is_stopped:
                    break
            requests = requests[through:]

    async def _take_in_order(
        self, group: Sequence[ChunkRequests], replies: Sequence[bytes], answers: _AnswersBy
    ) -> int:
        """Return how many chunks of the group are through. A reply of failure is the last, and raises an exception."""
        in_order = iter(replies)
        for through, (chunk, ((_, places),), _, _) in enumerate(group):
            answer = answers[chunk.partition]
            answer.claimed(chunk, places, await self._body(chunk, next(in_order)))
            for take in (answer.account, answer.shared):
                reply = next(in_order)
                take(chunk, await self._body(chunk, reply))
                if reply[0] == _TOO_MUCH:
                    return through
        return len(group)

    def _observing(self, group: Sequence[ChunkRequests], when_ready: bool) -> Call:
        keys = [self._keys.ready()]
        shape = [_READY.pack(when_ready)]
        bodies: list[bytes] = []
        for _, ((claim, _),), account, (shared,) in group:
            shape.append(_KEY_COUNTS.pack(len(claim.keys), len(account.keys), len(shared.keys)))
            keys += [*claim.keys, *account.keys, *shared.keys]
            bodies += [claim.body, account.body, shared.body]
        limits = (*self._claim_limits, *self._account_limits, *self._shared_limits)
        return scripts.OBSERVE, keys, (b"".join(shape), *limits, *bodies)

    async def _claim(self, prepared: Prepared, answers: _AnswersBy, when_ready: bool) -> None:
        """Claim the ids. The same round trip, because each is dear, asks whether the state is ready."""
        asked = [(requests.chunk, *claim) for requests in prepared.requests for claim in requests.claims]
        calls = [(scripts.CLAIM, request.keys, (request.body, *self._claim_limits)) for _, request, _ in asked]
        keys = [self._keys.ready(shard) for shard in self._shards]
        keys += [self._keys.account_ready(share.partition) for share in prepared.batch]
        call = self._call_trusting if when_ready else self._call
        replies = await call(calls, [("EXISTS", key) for key in keys])
        is_ready, replies = all(replies[: len(keys)]), replies[len(keys) :]
        for (chunk, _, places), reply in zip(asked, replies, strict=True):
            answers[chunk.partition].claimed(chunk, places, await self._body(chunk, reply))
        if when_ready and not is_ready:
            raise StateLost(prepared.batch[0].partition, None)

    async def _count(self, prepared: Prepared, answers: _AnswersBy, when_ready: bool) -> None:
        """Count what is FRESH. The next batch's claim notices state that was lost after this one's."""
        asked: list[_Asked] = []
        for chunk, _, account, _ in prepared.requests:
            answer = answers[chunk.partition]
            told = (answering(account.body), *self._account_limits, answer.freshness_of(chunk))
            asked.append(_Asked(chunk, (scripts.ACCOUNTS, account.keys, told), answer.account))
        await self._count_all(asked, when_ready)
        asked = []
        for chunk, _, _, shared in prepared.requests:
            answer = answers[chunk.partition]
            place = slice(chunk.place, chunk.place + len(chunk.events))
            is_whole = answer.coverage.payments_ms == NONE
            told_kinds = kinds(answer.state[place], answer.counted[place], is_whole=is_whole)
            for request in shared:
                arguments = (request.body, *self._shared_limits, answer.freshness_of(chunk), told_kinds)
                asked.append(_Asked(chunk, (scripts.SHARED, request.keys, arguments), answer.shared))
        await self._count_all(asked, when_ready)

    async def _count_all(self, asked: list[_Asked], when_ready: bool) -> None:
        while asked:
            asked = await self._count_on(asked, when_ready)

    async def _count_on(self, asked: Sequence[_Asked], when_ready: bool) -> list[_Asked]:
        """Return what must be asked again: the calls that stopped early, and those behind that don't follow on."""
        ask = self._call_trusting if when_ready else self._call
        replies = await ask([each.call for each in asked])
        again: list[_Asked] = []
        for each, reply in zip(asked, replies, strict=True):
            if again and reply[0] == _LOST:
                again.append(each)
                continue
            each.take(each.chunk, await self._body(each.chunk, reply))
            if reply[0] == _TOO_MUCH:
                again.append(each)
        return again

    async def _body(self, chunk: Chunk, reply: bytes) -> bytes:
        """Return what follows the first byte of a reply; raise what it says where that is a failure."""
        if reply[0] == _LOST:
            raise StateLost(chunk.partition, await self.positions(chunk.partition))
        if reply[0] == _PRUNED:
            raise SnapshotPruned(chunk.partition, _OFFSET.unpack_from(reply, 1)[0])
        if reply[0] == _REPLACED:
            raise StateReplaced(chunk.partition, _OFFSET.unpack_from(reply, 1)[0])
        return reply[1:]


def _refuse_missing(answers: _AnswersBy) -> None:
    for partition, answer in answers.items():
        if (offset := answer.missing()) is not None:
            raise StateFault(f"the state of partition {partition} says nothing of the payment at {offset}")


def _number(reply: bytes | None) -> int | None:
    return None if reply is None else int(reply)


_LOST: Final = 1
_PRUNED: Final = 2
_TOO_MUCH: Final = 3
_REPLACED: Final = 4
_READY: Final = Struct("B")
_KEY_COUNTS: Final = Struct(">HHH")
