"""The state store in Redis: dedupe, exact sliding windows, idempotence. What it answers is pipeline.core.windows'.

Keys: `{p3}` tags what belongs to partition 3 (its accounts), `{s0}` what belongs to shard 0 (ids, beneficiaries, IP
addresses, devices, declared months), so that each script touches one slot of a cluster. A batch takes two round trips:
claims first, since only a FRESH payment counts; then accounts and shared windows together. Every tag keeps how far each
partition was observed (`reached`), in the same script that counts: whatever a crash leaves between the scripts, each
goes on from its own place, and a tag that lost writes says so.

A script is sent with what it shares in front, called by its SHA, and loaded again where a server has forgotten it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha1
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

import hiredis
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from pipeline.adapters.state_requests import (
    Answers,
    Chunk,
    Keys,
    account_request,
    chunks,
    claim_request,
    label_arguments,
    shared_request,
)
from pipeline.core.records import UNKNOWN
from pipeline.core.windows import (
    ACCOUNT_BENEFICIARIES_MAX,
    ACCOUNT_PAYMENTS_MAX,
    BENEFICIARY_PAYMENTS_MAX,
    CLAIM_KEPT_MS,
    DAY_MS,
    Labelled,
    PartitionEvents,
    PartitionObservation,
    SnapshotPruned,
    StateLost,
)

__all__ = ["RedisState", "SnapshotPruned", "StateLost", "StateUnavailable"]

CLAIM_BUCKETS: Final = 32_768
"""A shard's ids are spread over so many hashes. Redis keeps a hash of at most 512 fields flat, 24 bytes an id: with
room for ids that are not purged yet, 13 million ids of the last 7 days a shard (22 payments/s); with more, an id takes
three times as much, so raise this or the shards. A hash costs 100 bytes before its first id, 3.3 MB a shard at most."""
EXCEPTIONS_KEPT: Final = 65_536
"""Standings other than FRESH that a shard remembers for each partition, so that what a rebuild passes again stands as
it stood; 8 bytes each."""
REPLY_BYTES: Final = 1 << 20
"""A batch of 1,000 payments is answered with 230 KB."""
TRIES: Final = 2
"""Of one command on a connection that Redis has closed meanwhile. All commands may be sent twice."""

_LUA: Final = Path(__file__).parent / "lua"
_OFFSET: Final = Struct("<q")


class StateUnavailable(Exception):
    """Redis can't be reached in time, or answers that it failed."""


class _BatchConnection(redis.Connection):
    """For a batch's commands and replies: packed in C, where redis-py's asyncio connections do it in Python, 7 µs a
    payment; and read whole, since a reply in pieces waits for its turn on the event loop once a piece."""

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "limit": REPLY_BYTES}

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        words = name.encode().split() if isinstance(name, str) else name.split()  # such as SCRIPT LOAD
        return [hiredis.pack_command((*words, *rest))]


class _Script(NamedTuple):
    text: str
    sha: str


_Call = tuple[_Script, list[str], tuple[Any, ...]]


class _Counting(NamedTuple):
    """A script's call that counts a chunk, and who takes its answer in."""

    call: _Call
    chunk: Chunk
    take: Callable[[Chunk, bytes], None]


class Claimed(NamedTuple):
    """A batch whose payments have their standings, and are not counted yet."""

    batch: Sequence[PartitionEvents]
    counting: Sequence[_Counting]
    answers: Sequence[Answers]  # a share of the batch each


class RedisState:
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
    ) -> None:
        """`shards`, `label_delay_days` and `claim_buckets` are for ever: changed, the state must be rebuilt."""
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), TRIES - 1),
            socket_read_size=REPLY_BYTES,
            connection_class=_BatchConnection,  # of redis:// URLs; TLS and unix sockets keep their own
        )
        self._keys, self._shards, self._buckets = Keys(prefix, shards), range(shards), claim_buckets
        self._claim_limits = (CLAIM_KEPT_MS, EXCEPTIONS_KEPT)
        self._account_limits = (ACCOUNT_PAYMENTS_MAX, ACCOUNT_BENEFICIARIES_MAX)
        self._shared_limits = (BENEFICIARY_PAYMENTS_MAX, label_delay_days * DAY_MS)

    async def observe(
        self, batch: Sequence[PartitionEvents], *, initial: bool = False, is_rebuild: bool = False
    ) -> list[PartitionObservation]:
        """Counts what was not counted yet; answers what it answered the first time.

        initial: what was never observed starts at the batch's start offsets; for when nothing older can be had.
        is_rebuild: snapshots that were dropped because they were committed are not missed. `initial` implies it.
        Raises StateLost, SnapshotPruned or StateUnavailable; whatever was counted by then stays counted.
        """
        return await self.count(await self.claim(batch, initial=initial, is_rebuild=is_rebuild))

    async def claim(
        self,
        batch: Sequence[PartitionEvents],
        *,
        initial: bool = False,
        is_rebuild: bool = False,
        when_ready: bool = False,
    ) -> Claimed:
        """The first half of `observe`, in log order too, but it need not wait until the batch before is counted.

        when_ready: StateLost also where the state was never built as a whole (see `mark_ready`), or was lost so.
        """
        answers = [Answers(len(share.events)) for share in batch]
        work = [(chunk, answer) for share, answer in zip(batch, answers, strict=True) for chunk in chunks(share)]
        if not await self._claim(work, initial) and when_ready:
            raise StateLost(batch[0].partition, None)
        return Claimed(batch, list(self._counting(work, initial, initial or is_rebuild)), answers)

    async def count(self, claimed: Claimed) -> list[PartitionObservation]:
        """The second half of `observe`. State that was lost after the claim is noticed by the next batch's claim."""
        replies = await self._call([counting.call for counting in claimed.counting])
        for counting, reply in zip(claimed.counting, replies, strict=True):
            counting.take(counting.chunk, await self._body(counting.chunk, reply))
        return [PartitionObservation(answer.standings, answer.finished()) for answer in claimed.answers]

    async def positions(self, partition: int) -> int | None:
        """The offset up to which all of the partition was observed; None where some of it was lost or never seen."""
        keys = self._keys
        commands: list[tuple[Any, ...]] = [("HGET", keys.account_progress(partition), "reached")]
        for shard in self._shards:
            commands.append(("HGET", keys.shared_progress(shard, partition), "reached"))
            commands.append(("HGET", keys.claim_progress(shard), partition))
        reached, *others = await self._run(commands)
        if reached is None or None in others:
            return None
        shared = [int(reply) for reply in others[0::2]]
        claimed = [int.from_bytes(reply[:7]) for reply in others[1::2]]
        return min(int(reached), *shared, *claimed)

    async def mark_ready(self) -> None:
        """The state is built, of every partition."""
        await self._run([("SET", self._keys.ready(), 1)])

    async def label(self, label: Labelled) -> bool:
        """Marks the payment, in windows that it is in already as in those to come; False where none holds it."""
        key = self._keys.beneficiary(label.beneficiary_account_id)
        arguments = label_arguments(label)
        (answer,) = await self._call([(_LABEL, [key], arguments)])
        return bool(answer)

    async def upsert_account(self, account_id: str, updated_at_ms: int, normal_month_gbp_minor: int | None) -> None:
        """The newest wins; None takes a declaration back."""
        declared = UNKNOWN if normal_month_gbp_minor is None else normal_month_gbp_minor
        await self._call([(_NEWEST, [self._keys.declared_month(account_id)], (updated_at_ms, declared))])

    async def upsert_risk_signal(self, kind: str, entity: str, fraud_reports: int, observed_at_ms: int) -> None:
        """`kind` is IP_ADDRESS or DEVICE; the newest wins."""
        await self._call([(_NEWEST, [self._keys.fact(kind, entity)], (observed_at_ms, fraud_reports))])

    async def close(self) -> None:
        await self._redis.aclose()

    async def _claim(self, work: Sequence[tuple[Chunk, Answers]], initial: bool) -> bool:
        """Whether the state is ready: asked on the way, since a round trip is dear while others want the event loop."""
        asked = [
            (chunk, answers, *claim_request(chunk, shard, self._keys, self._buckets, initial))
            for chunk, answers in work
            for shard in self._shards
        ]
        calls = [(_CLAIM, request.keys, (request.body, *self._claim_limits)) for _, _, request, _ in asked]
        is_ready, *replies = await self._call(calls, [("EXISTS", self._keys.ready())])
        for (chunk, answers, _, places), reply in zip(asked, replies, strict=True):
            answers.claimed(chunk, places, await self._body(chunk, reply))
        return bool(is_ready)

    def _counting(self, work: Sequence[tuple[Chunk, Answers]], initial: bool, is_rebuild: bool) -> Iterator[_Counting]:
        for chunk, answers in work:
            counted = answers.counted(chunk)
            request = account_request(chunk, counted, self._keys, initial, is_rebuild)
            call = (_ACCOUNTS, request.keys, (request.body, *self._account_limits))
            yield _Counting(call, chunk, answers.account)
            for shard in self._shards:
                request = shared_request(chunk, counted, shard, self._keys, initial, is_rebuild)
                call = (_SHARED, request.keys, (request.body, *self._shared_limits))
                yield _Counting(call, chunk, answers.shared)

    async def _body(self, chunk: Chunk, reply: bytes) -> bytes:
        """What follows the first byte of a reply that is no failure."""
        if reply[0] == _LOST:
            raise StateLost(chunk.partition, await self.positions(chunk.partition))
        if reply[0] == _PRUNED:
            raise SnapshotPruned(chunk.partition, _OFFSET.unpack_from(reply, 1)[0])
        return reply[1:]

    async def _call(self, calls: Sequence[_Call], before: Sequence[tuple[Any, ...]] = ()) -> list[Any]:
        """Replies to the commands `before`, then to the calls."""
        scripts = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for script, keys, arguments in calls]
        commands = [*before, *scripts]
        try:
            return await self._run(commands)
        except NoScriptError:
            await self._run([("SCRIPT LOAD", script.text) for script in _SCRIPTS])
            return await self._run(commands)  # what ran before the missing script is not counted again

    async def _run(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Replies in order. Raises NoScriptError, or StateUnavailable, which never quotes a key (I10)."""
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise StateUnavailable(f"Redis can't be reached: {type(error).__name__}") from error
        failures = [reply for reply in replies if isinstance(reply, Exception)]
        for failure in failures:
            if isinstance(failure, NoScriptError):
                raise failure
        if failures:
            raise StateUnavailable(f"Redis failed: {type(failures[0]).__name__}") from failures[0]
        return replies


def _script(*names: str) -> _Script:
    text = "\n".join((_LUA / f"{name}.lua").read_text() for name in names)
    return _Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


_LOST: Final = 1
_PRUNED: Final = 2
_CLAIM: Final = _script("calls", "progress", "claim")
_ACCOUNTS: Final = _script("calls", "progress", "packed_log", "observe_accounts")
_SHARED: Final = _script("calls", "progress", "packed_log", "beneficiary", "observe_shared")
_LABEL: Final = _script("calls", "packed_log", "beneficiary", "label")
_NEWEST: Final = _script("newest")
_SCRIPTS: Final = (_CLAIM, _ACCOUNTS, _SHARED, _LABEL, _NEWEST)
