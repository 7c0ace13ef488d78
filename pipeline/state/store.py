"""The state store in Redis: dedupe, exact sliding windows, idempotence. pipeline.state.windows defines its answers.

The tag `{p3}` marks the keys that belong to partition 3 (its accounts), and `{s0}` those that belong to shard 0 (ids,
beneficiaries, IP addresses, devices, declared months). With one shard, one server holds everything, and a batch takes
one round trip. With more shards a batch takes two, and each script touches one slot of a cluster: claims come first,
since only a FRESH payment counts; then come accounts and shared windows together. Under every tag, the script that
counts also stores how far each partition was observed (`reached`). So whatever a crash leaves between the scripts, each
goes on from its own position, and a tag that lost writes says so.

A script is sent with the code that it shares in front of it. It is called by its SHA, and loaded again where a server
has forgotten it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha1
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

from redis.exceptions import NoScriptError, RedisError

from pipeline.domain.context import Label
from pipeline.domain.features import ACCOUNT_PAYMENTS_MAX, BENEFICIARY_PAYMENTS_MAX, NONE
from pipeline.io.redis_batches import Command, RedisBatches
from pipeline.state.requests import (
    CHUNK_EVENTS,
    Answers,
    Chunk,
    Keys,
    Request,
    account_request,
    chunks,
    claim_request,
    label_arguments,
    shared_request,
)
from pipeline.state.windows import (
    ACCOUNT_BENEFICIARIES_MAX,
    CLAIM_KEPT_MS,
    DAY_MS,
    LABEL_WINDOWS_MS,
    PartitionEvents,
    PartitionObservation,
    SnapshotPruned,
    StateLost,
)

__all__ = ["RedisState", "SnapshotPruned", "StateLost", "StateUnavailable"]

CLAIM_BUCKETS: Final = 32_768
"""Number of hashes that a shard's ids are spread over. Redis keeps a hash of at most 512 fields flat, at 24 bytes an
id. With room for ids that are not purged yet, that makes 13 million ids of the last 7 days in a shard (22 payments/s).
Beyond that, an id takes three times as much, so raise this number or that of the shards. A hash costs 100 bytes before
its first id, and up to 16 ids, however old, are not worth a purge: 16 MB a shard at most."""
EXCEPTIONS_KEPT: Final = 65_536
"""Answers other than FRESH that a shard remembers for each partition, so that a rebuild gives the same ones again; each
takes 8 bytes."""

LEAVERS_MAX: Final = 2_000
"""Payments that leave windows in one call, beside one for each window of each payment that enters; those whose sender
must be looked up count six times. They take Redis some 2 ms."""
LOG_KEPT_MS: Final = 45 * DAY_MS
"""How far a worker may lag behind the log: records are kept that long by default."""

_LUA: Final = Path(__file__).parent / "lua"
_OFFSET: Final = Struct("<q")


class StateUnavailable(Exception):
    """Redis could not be reached in time, or answered that it failed."""


class _Script(NamedTuple):
    text: str
    sha: str


_Call = tuple[_Script, list[str], tuple[Any, ...]]


class _Requests(NamedTuple):
    """The requests about one chunk."""

    chunk: Chunk
    claims: Sequence[tuple[Request, Sequence[int]]]  # by shard, with the indices of the chunk's events it is about
    account: Request
    shared: Sequence[Request]  # by shard


class Prepared(NamedTuple):
    """A batch with all the requests to Redis about it; it may be observed again and again."""

    batch: Sequence[PartitionEvents]
    requests: Sequence[_Requests]


class _Asked(NamedTuple):
    """A call that counts, and what takes its reply."""

    chunk: Chunk
    call: _Call
    take: Callable[[Chunk, bytes], None]


_AnswersBy = Mapping[int, Answers]
"""Partition → the answers about its share of a batch so far."""


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
        leavers_max: int = LEAVERS_MAX,
        beneficiary_kept_ms: int | None = None,
    ) -> None:
        """Connect on first use. If `shards`, `label_delay_days` or `claim_buckets` change, rebuild the state.

        leavers_max: payments that leave windows in one call; more calls follow where it takes more.
        beneficiary_kept_ms: how long after its last payment Redis drops a beneficiary; None for as long as its windows
        reach, as a worker sees them that lags by LOG_KEPT_MS, and the day that it isn't renewed in.
        """
        self._redis = RedisBatches(url, timeout_s=timeout_s)
        self._keys, self._shards, self._buckets = Keys(prefix, shards), range(shards), claim_buckets
        self._is_one_server = shards == 1
        self._claim_limits = (CLAIM_KEPT_MS, EXCEPTIONS_KEPT)
        label_delay_ms = label_delay_days * DAY_MS
        if beneficiary_kept_ms is None:
            beneficiary_kept_ms = label_delay_ms + LABEL_WINDOWS_MS[-1] + LOG_KEPT_MS + DAY_MS
        self._account_limits = (ACCOUNT_PAYMENTS_MAX, ACCOUNT_BENEFICIARIES_MAX, leavers_max)
        self._shared_limits = (BENEFICIARY_PAYMENTS_MAX, label_delay_ms, beneficiary_kept_ms, leavers_max)

    async def observe(
        self, batch: Sequence[PartitionEvents], *, initial: bool = False, is_rebuild: bool = False
    ) -> list[PartitionObservation]:
        """Count the payments that are not counted yet; answer for the others as the first time.

        initial: a partition that was never observed starts at the batch's start offset, for when nothing older can be
        had. is_rebuild: a snapshot that was dropped because it was committed is not an error; `initial` implies it.
        Raises StateLost, SnapshotPruned or StateUnavailable; a payment that was counted by then stays counted.
        """
        return await self.observe_prepared(self.prepare(batch, initial=initial, is_rebuild=is_rebuild))

    def prepare(self, batch: Sequence[PartitionEvents], *, initial: bool = False, is_rebuild: bool = False) -> Prepared:
        """Do the part of `observe` that can be done ahead, such as while the previous batch is observed."""
        keys, is_passing = self._keys, initial or is_rebuild
        requests = [
            _Requests(
                chunk,
                [claim_request(chunk, shard, keys, self._buckets, initial) for shard in self._shards],
                account_request(chunk, keys, initial, is_passing),
                [shared_request(chunk, shard, keys, initial, is_passing) for shard in self._shards],
            )
            for share in batch
            for chunk in chunks(share)
        ]
        return Prepared(batch, requests)

    async def observe_prepared(self, prepared: Prepared, *, when_ready: bool = False) -> list[PartitionObservation]:
        """Do the rest of `observe`.

        when_ready: where the state was never built as a whole (see `mark_ready`), count nothing and raise StateLost.
        """
        answers = {share.partition: Answers(len(share.events)) for share in prepared.batch}
        if self._is_one_server:
            await self._observe_at_once(prepared, answers, when_ready)
        else:
            await self._claim(prepared, answers, when_ready)
            await self._count(prepared, answers)
        return [answer.finished() for answer in answers.values()]

    async def positions(self, partition: int) -> int | None:
        """Return the offset below which all of the partition was observed; None where some was lost or never seen."""
        keys = self._keys
        commands: list[Command] = [("HGET", keys.account_progress(partition), "reached")]
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
        """Record that the state of every partition is built."""
        await self._run([("SET", self._keys.ready(), 1)])

    async def label(self, label: Label) -> bool:
        """Mark the payment, in the windows that hold it and in those that it will enter; False where none holds it."""
        key = self._keys.beneficiary(label.beneficiary_account_id)
        arguments = label_arguments(label)
        (answer,) = await self._call([(_LABEL, [key], arguments)])
        return bool(answer)

    async def upsert_account(self, account_id: str, updated_at_ms: int, normal_month_gbp_minor: int | None) -> None:
        """Store what an account declares; the newest wins, and None takes a declaration back."""
        declared = NONE if normal_month_gbp_minor is None else normal_month_gbp_minor
        await self._call([(_NEWEST, [self._keys.declared_month(account_id)], (updated_at_ms, declared))])

    async def upsert_risk_signal(self, kind: str, entity: str, fraud_reports: int, observed_at_ms: int) -> None:
        """Store the fraud reports of an entity; the newest wins. `kind` is IP_ADDRESS or DEVICE."""
        await self._call([(_NEWEST, [self._keys.fact(kind, entity)], (observed_at_ms, fraud_reports))])

    async def close(self) -> None:
        await self._redis.close()

    async def _observe_at_once(self, prepared: Prepared, answers: _AnswersBy, when_ready: bool) -> None:
        """Claim and count in one round trip, which takes a single shard.

        A call that stops early asks again from where it stopped. The calls behind it are refused, since they don't
        follow on, and come again once it is through. It is, because each time more of the windows' payments are gone.
        """
        requests, is_stopped = prepared.requests, False
        while requests:
            groups = list(_groups(requests))[: 1 if is_stopped else None]
            replies = await self._call([self._observing(group, when_ready) for group in groups])
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

    async def _take_in_order(self, group: Sequence[_Requests], replies: Sequence[bytes], answers: _AnswersBy) -> int:
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

    def _observing(self, group: Sequence[_Requests], when_ready: bool) -> _Call:
        keys = [self._keys.ready()]
        shape = [_READY.pack(when_ready)]
        bodies: list[bytes] = []
        for _, ((claim, _),), account, (shared,) in group:
            shape.append(_KEY_COUNTS.pack(len(claim.keys), len(account.keys), len(shared.keys)))
            keys += [*claim.keys, *account.keys, *shared.keys]
            bodies += [claim.body, account.body, shared.body]
        limits = (*self._claim_limits, *self._account_limits, *self._shared_limits)
        return _OBSERVE, keys, (b"".join(shape), *limits, *bodies)

    async def _claim(self, prepared: Prepared, answers: _AnswersBy, when_ready: bool) -> None:
        """Claim the ids. The same round trip, because each is dear, asks whether the state is ready."""
        asked = [(requests.chunk, *claim) for requests in prepared.requests for claim in requests.claims]
        calls = [(_CLAIM, request.keys, (request.body, *self._claim_limits)) for _, request, _ in asked]
        is_ready, *replies = await self._call(calls, [("EXISTS", self._keys.ready())])
        for (chunk, _, places), reply in zip(asked, replies, strict=True):
            answers[chunk.partition].claimed(chunk, places, await self._body(chunk, reply))
        if when_ready and not is_ready:
            raise StateLost(prepared.batch[0].partition, None)

    async def _count(self, prepared: Prepared, answers: _AnswersBy) -> None:
        """Count what is FRESH. The next batch's claim notices state that was lost after this one's."""
        asked: list[_Asked] = []
        for chunk, _, account, shared in prepared.requests:
            answer = answers[chunk.partition]
            freshness = answer.freshness_of(chunk)
            call: _Call = (_ACCOUNTS, account.keys, (account.body, *self._account_limits, freshness))
            asked.append(_Asked(chunk, call, answer.account))
            for request in shared:
                call = (_SHARED, request.keys, (request.body, *self._shared_limits, freshness))
                asked.append(_Asked(chunk, call, answer.shared))
        while asked:
            asked = await self._count_on(asked)

    async def _count_on(self, asked: Sequence[_Asked]) -> list[_Asked]:
        """Return what must be asked again: the calls that stopped early, and those behind that don't follow on."""
        replies = await self._call([each.call for each in asked])
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
        """Return what follows the first byte of a reply; raise StateLost or SnapshotPruned where that is a failure."""
        if reply[0] == _LOST:
            raise StateLost(chunk.partition, await self.positions(chunk.partition))
        if reply[0] == _PRUNED:
            raise SnapshotPruned(chunk.partition, _OFFSET.unpack_from(reply, 1)[0])
        return reply[1:]

    async def _call(self, calls: Sequence[_Call], before: Sequence[Command] = ()) -> list[Any]:
        """Return the replies to the commands `before`, then those to the calls."""
        scripts = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for script, keys, arguments in calls]
        commands = [*before, *scripts]
        try:
            return await self._run(commands)
        except NoScriptError:
            await self._run([("SCRIPT", "LOAD", script.text) for script in _SCRIPTS])
            return await self._run(commands)  # payments counted before the missing script are not counted again

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order. Raises NoScriptError, or StateUnavailable, which never quotes a key (I10)."""
        try:
            replies = await self._redis.run(commands)
        except (RedisError, OSError) as error:
            raise StateUnavailable(f"Redis can't be reached: {type(error).__name__}") from error
        failures = [reply for reply in replies if isinstance(reply, Exception)]
        for failure in failures:
            if isinstance(failure, NoScriptError):
                raise failure
        if failures:
            raise StateUnavailable(f"Redis failed: {type(failures[0]).__name__}") from failures[0]
        return replies


def _groups(requests: Sequence[_Requests]) -> Iterator[list[_Requests]]:
    """Group the requests into calls; a call takes chunks of up to CHUNK_EVENTS events in all, and at least one."""
    group: list[_Requests] = []
    events = 0
    for request in requests:
        if group and events + len(request.chunk.events) > CHUNK_EVENTS:
            yield group
            group, events = [], 0
        group.append(request)
        events += len(request.chunk.events)
    yield group


def _text(*names: str) -> str:
    return "\n".join((_LUA / f"{name}.lua").read_text() for name in names)


def _function(name: str, *names: str) -> str:
    """Return a script as a Lua function of its KEYS and ARGV."""
    return f"local function {name}(KEYS, ARGV)\n{_text(*names, name)}\nend\n"


def _script(text: str) -> _Script:
    return _Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


_LOST: Final = 1
_PRUNED: Final = 2
_TOO_MUCH: Final = 3
_READY: Final = Struct("B")
_KEY_COUNTS: Final = Struct(">HHH")
_CLAIM: Final = _script(_text("calls", "progress", "claim"))
_ACCOUNTS: Final = _script(_text("calls", "progress", "packed_log", "observe_accounts"))
_SHARED: Final = _script(_text("calls", "progress", "packed_log", "beneficiary", "observe_shared"))
_OBSERVE: Final = _script(
    _text("calls", "progress")
    + _function("claim")
    + _function("observe_accounts", "packed_log")
    + _function("observe_shared", "packed_log", "beneficiary")
    + _text("observe")
)
_LABEL: Final = _script(_text("calls", "packed_log", "beneficiary", "label"))
_NEWEST: Final = _script(_text("newest"))
_SCRIPTS: Final = (_CLAIM, _ACCOUNTS, _SHARED, _OBSERVE, _LABEL, _NEWEST)
