"""The requests to the state store's scripts and their replies, as bytes. The head of each .lua file names its layout.

A chunk is at most CHUNK_EVENTS events of one partition. With more, a script takes more than 5 ms of Redis' CPU; with
fewer, each payment costs more (ADR 0016). Stored times count from 2015-01-01, so that 5 bytes last until 2049.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.context import Label
from pipeline.domain.features import ACCOUNT_STATE, NONE, SHARED_STATE, STATE, UNKNOWN
from pipeline.domain.outcome import PaymentOutcome
from pipeline.state.coverage import DECLARED_MONTH, Coverage, enter_stale, enter_unknown
from pipeline.state.outcomes import (
    DOUBTFUL,
    TO_ANYONE,
    Effect,
    counted_until_ms,
    effect_of,
    is_doubtful,
    payment_ms,
    tombstone_ms,
)
from pipeline.state.recounting import counted_as, restate
from pipeline.state.state_event import StateEvent, claim_name, payee_of
from pipeline.state.windows import ANEW, DEVICE, IP_ADDRESS, LAYOUT, Freshness, PartitionEvents, PartitionObservation

CHUNK_EVENTS: Final = 128
ORIGIN_MS: Final = 1_420_070_400_000
HASHES_CACHED: Final = 131_072
"""Most hashes of party ids that are cached, because the ids come again; 131,072 hashes are about 20 MB."""
ID_HASH_BYTES: Final = 9
"""Length of a transaction id's hash. Among 10^8 ids an unseen one is taken for seen once in 4·10^13 times."""
ACCOUNT_ROW_LENGTH: Final = 1 + len(ACCOUNT_STATE) + 1
"""Numbers in a row of account state: the offset, the features, and the position of the outcomes."""
SHARED_ROW_LENGTH: Final = 2 + len(SHARED_STATE)
"""Numbers in a row of shared state: the offset, the features, and the declared month."""
OUTCOMES_MAX: Final = 256
"""Most outcomes in one call. Each asks Redis up to three times, so that a call takes about a millisecond."""
_MONTH: Final = ACCOUNT_STATE.index("account_normal_month_minor")
_IS_NEW: Final = ACCOUNT_STATE.index("is_new_beneficiary")
_BENEFICIARY, _DECLARED_MONTH = "b", "m"
_FACT_KINDS: Final = {IP_ADDRESS: "i", DEVICE: "d"}

_CLAIMS: Final = Struct(">HHIHIB")
_CLAIM: Final = Struct(">H9s16sBIHHI")
_WINDOWS: Final = Struct(">HIHIHIBBHI")
_SINCE: Final = Struct("<qq")
_PAYMENT: Final = Struct(">HHIHBIBI5s")
_SHARED: Final = Struct(">HIHHHHHBI6s4s")
_COUNT: Final = Struct(">H")
_DUE: Final = Struct(">HI")
_RANGE: Final = Struct(">HIHIBHI")
_OUTCOME: Final = Struct(">HBBIBIHI5s6sHIHI")
_OFFSET_BYTES: Final = 6


class Chunk(NamedTuple):
    partition: int
    first: int
    last: int  # exclusive
    committed: int
    events: Sequence[StateEvent]
    place: int  # index of its first event in the partition's share of the batch
    id_hashes: Sequence[bytes]  # of the transaction ids, ID_HASH_BYTES each
    outcomes_due: int = 0


class Start(NamedTuple):
    """How a tag that doesn't reach a batch's start may go on."""

    initial: bool = False  # from that start, where nothing older can be had
    since_ms: int = 0  # the log time of the oldest record that could be had
    is_passing: bool = False  # over payments that count for nothing any more
    is_silent: bool = False  # nobody wants the rows


class OutcomeRange(NamedTuple):
    """Outcomes of the offsets up to `last` of their log."""

    last: int  # exclusive
    outcomes: Sequence[PaymentOutcome]
    offsets: Sequence[int]  # of their records, ascending
    start: Start


class Request(NamedTuple):
    keys: list[str]
    body: bytes


class Claim(NamedTuple):
    """A record's hold on its id: the field `id_hash` of the hash `bucket` has the value `held`.

    Where the record was answered as no first one, `exceptions` says so, and it holds nothing; nor does it where `given`
    says that it gave its id back.
    """

    bucket: str
    exceptions: str
    given: str
    id_hash: bytes
    held: bytes
    offset: int


class ChunkRequests(NamedTuple):
    """The requests about one chunk."""

    chunk: Chunk
    claims: Sequence[tuple[Request, Sequence[int]]]  # by shard, with the indices of the chunk's events it is about
    account: Request
    shared: Sequence[Request]  # by shard


class Keys:
    """Names of the keys in Redis. The part in braces decides a key's slot."""

    def __init__(self, prefix: str, shards: int) -> None:
        self._prefix, self.shards = f"{prefix}:{LAYOUT}", shards

    def shard(self, name: str) -> int:
        return crc32(name.encode()) % self.shards if self.shards > 1 else 0

    def ready(self, shard: int = 0) -> str:
        """Return the key that is there once everything under a shard's tag was built; it goes where that goes."""
        return f"{self._prefix}:{{s{shard}}}ready"

    def account_ready(self, partition: int) -> str:
        return f"{self._prefix}:{{p{partition}}}ready"

    def backup(self) -> str:
        """Return the key of the time, in ms, of the last backup that ended well."""
        return f"{self._prefix}:{{s0}}backup"

    def regime(self) -> str:
        return f"{self._prefix}:{{s0}}regime"  # that people were told of last

    def is_mark(self, key: str) -> bool:
        """Return whether a key says that something is whole, so that it may only stand beside what it speaks of."""
        name = key.rpartition("}")[2]
        return name in ("ready", "progress", "claims", "outcomes", "context") or name.startswith("progress:")

    def everything(self) -> str:
        """Return the pattern of all keys of this layout, and of none of another prefix that begins like this one."""
        return f"{self._prefix}:{{*"

    def lease(self, partition: int) -> str:
        return f"{self._prefix}:{{p{partition}}}rebuilder"

    def shape(self) -> str:
        return f"{self._prefix}:{{s0}}shape"

    def evictions(self) -> str:
        """Return the key of what each server had evicted when the state began, and of how many keys it lost since."""
        return f"{self._prefix}:{{s0}}evictions"

    def account_progress(self, partition: int) -> str:
        return f"{self._prefix}:{{p{partition}}}progress"

    def outcomes(self, partition: int) -> str:
        return f"{self._prefix}:{{p{partition}}}outcomes"

    def held(self, partition: int, decision_id: str) -> str:
        return f"{self._prefix}:{{p{partition}}}h:{decision_id}"

    def told(self, partition: int, name: str) -> str:
        return f"{self._prefix}:{{p{partition}}}t:{name}"

    def account_outcomes(self, partition: int) -> str:
        """Return the prefix of the outcomes of the partition's accounts; an account's id completes it."""
        return f"{self._prefix}:{{p{partition}}}o:"

    def claim_progress(self, shard: int) -> str:
        return f"{self._prefix}:{{s{shard}}}claims"

    def exceptions(self, shard: int, partition: int) -> str:
        return f"{self._prefix}:{{s{shard}}}exceptions:{partition}"

    def given_back(self, shard: int, partition: int) -> str:
        return f"{self._prefix}:{{s{shard}}}given:{partition}"

    def shared_progress(self, shard: int, partition: int) -> str:
        return f"{self._prefix}:{{s{shard}}}progress:{partition}"

    def buckets(self, shard: int) -> str:
        """Return the prefix of the shard's id buckets; the number of a bucket completes it."""
        return f"{self._prefix}:{{s{shard}}}c:"

    def accounts(self, partition: int) -> str:
        """Return the prefix of the partition's accounts; an account's id completes it."""
        return f"{self._prefix}:{{p{partition}}}a:"

    def beneficiary(self, beneficiary_id: str) -> str:
        return self.shared(self.shard(beneficiary_id), _BENEFICIARY) + beneficiary_id

    def fact(self, kind: str, entity: str) -> str:
        return self.shared(self.shard(entity), _FACT_KINDS[kind]) + entity

    def context(self, shard: int) -> str:
        """Return the key of how far the context topics were taken in under a shard's tag."""
        return f"{self._prefix}:{{s{shard}}}context"

    def labels_waiting(self, shard: int) -> str:
        return f"{self._prefix}:{{s{shard}}}labels"

    def label_told(self, shard: int, name: str) -> str:
        return f"{self._prefix}:{{s{shard}}}label-told:{name}"

    def labels_lease(self) -> str:
        return f"{self._prefix}:{{s0}}labels-looker"

    def refusal_told(self, topic: str, partition: int) -> str:
        return f"{self._prefix}:{{s0}}refused:{topic}:{partition}"

    def declared_month(self, account_id: str) -> str:
        return self.shared(self.shard(account_id), _DECLARED_MONTH) + account_id

    def shared(self, shard: int, kind: str) -> str:
        """Return the prefix of one kind of key in the shard; an id completes it."""
        return f"{self._prefix}:{{s{shard}}}{kind}:"


def chunks(share: PartitionEvents) -> Iterator[Chunk]:
    """Split the share into chunks that are as few and as even as can be, in order.

    Each chunk ends at the first event of the next.
    """
    events, first = share.events, share.start_offset
    count = -(-len(events) // CHUNK_EVENTS) or 1
    size = -(-len(events) // count) or 1
    for place in range(0, max(len(events), 1), size):
        past = place + size
        last = events[past].offset if past < len(events) else share.end_offset
        chunk = events[place:past]
        hashes = [_id_hash(event.transaction_id) for event in chunk]
        yield Chunk(share.partition, first, last, share.committed_offset, chunk, place, hashes, share.outcomes_due)
        first = last


def claim_request(chunk: Chunk, shard: int, names: Keys, buckets: int, initial: bool) -> tuple[Request, list[int]]:
    """Return the request, and the indices of the chunk's events that it asks about."""
    keys = [names.claim_progress(shard), names.exceptions(shard, chunk.partition)]
    prefix, shards, pack = names.buckets(shard), names.shards, _CLAIM.pack
    parts = [_CLAIMS.pack(chunk.partition, *_six(chunk.first), *_six(chunk.last), initial)]
    numbers: dict[int, int] = {}
    places: list[int] = []
    for place, (event, id_hash) in enumerate(zip(chunk.events, chunk.id_hashes, strict=True)):
        name = claim_name(event)
        checksum = crc32(name.encode())
        if checksum % shards != shard:
            continue
        bucket = checksum // shards % buckets
        number = numbers.setdefault(bucket, len(numbers) + 3)
        claimed = id_hash if event.source_system is None else _id_hash(name)
        time, offset = event.log_time_ms - ORIGIN_MS, event.offset
        parts.append(
            pack(number, claimed, event.payment_digest, time >> 32, time & 0xFFFFFFFF, chunk.partition,
                 offset >> 32, offset & 0xFFFFFFFF)
        )  # fmt: skip
        places.append(place)
    keys += [f"{prefix}{bucket}" for bucket in numbers]
    return Request(keys, b"".join(parts)), places


def claims_of(share: PartitionEvents, names: Keys, buckets: int) -> Iterator[Claim]:
    """Yield the claims by which the share's events hold their ids, as claim_request writes them."""
    for chunk in chunks(share):
        for shard in range(names.shards):
            request, _ = claim_request(chunk, shard, names, buckets, initial=False)
            for place in range(_CLAIMS.size, len(request.body), _CLAIM.size):
                entry = request.body[place : place + _CLAIM.size]
                number, claimed = int.from_bytes(entry[:2]), entry[2:-_OFFSET_BYTES]
                offset = int.from_bytes(entry[-_OFFSET_BYTES:])
                id_hash, held = claimed[:ID_HASH_BYTES], claimed[ID_HASH_BYTES:]
                given = names.given_back(shard, chunk.partition)
                yield Claim(request.keys[number - 1], request.keys[1], given, id_hash, held, offset)


def account_request(chunk: Chunk, names: Keys, start: Start) -> Request:
    prefix, pack = names.accounts(chunk.partition), _PAYMENT.pack
    parts = [_windows_header(chunk, start), _DUE.pack(*_six(chunk.outcomes_due))]
    numbers: dict[str, int] = {}
    for place, event in enumerate(chunk.events):
        if not event.is_counted:
            continue
        number = numbers.setdefault(event.account_id, len(numbers) + 2)
        time, offset = event.event_time_ms - ORIGIN_MS, event.offset
        amount = counted_as(event)
        parts.append(
            pack(number, offset >> 32, offset & 0xFFFFFFFF, place, time >> 32, time & 0xFFFFFFFF,
                 amount >> 32, amount & 0xFFFFFFFF, party_hash(event.beneficiary_account_id))
        )  # fmt: skip
    keys = [names.account_progress(chunk.partition), *[prefix + account_id for account_id in numbers]]
    return Request(keys, b"".join(parts))


def outcomes_request(partition: int, taken: OutcomeRange, first: int, names: Keys) -> Request:
    """Return the request to take in up to OUTCOMES_MAX outcomes of a range, from offset `first` on."""
    prefix, start, place = names.account_outcomes(partition), taken.start, bisect_left(taken.offsets, first)
    past = place + OUTCOMES_MAX
    last = taken.offsets[past] if past < len(taken.offsets) else taken.last
    parts = [_RANGE.pack(*_six(first), *_six(last), start.initial, *_six(start.since_ms))]
    numbers: dict[str, int] = {}
    for outcome, offset in zip(taken.outcomes[place:past], taken.offsets[place:past], strict=True):
        number = numbers.setdefault(outcome.account_id, len(numbers) + 2)
        parts.append(_outcome_part(number, outcome, offset))
    keys = [names.outcomes(partition), *[prefix + account_id for account_id in numbers]]
    return Request(keys, b"".join(parts))


def _outcome_part(number: int, outcome: PaymentOutcome, offset: int) -> bytes:
    effect, is_doubted = effect_of(outcome), is_doubtful(outcome)
    is_taken_out = effect in (Effect.WITHDRAW, Effect.HOLD)
    time_ms = payment_ms(outcome) if effect in (Effect.MAKE, Effect.ALLOW) else tombstone_ms(outcome)
    until_ms = outcome.made_at_ms if effect is Effect.MAKE else counted_until_ms(outcome)
    made_at = until_ms - ORIGIN_MS if effect is Effect.MAKE or is_taken_out or is_doubted else 0
    time = max(time_ms - ORIGIN_MS, 0)
    amount = outcome.amount_gbp_minor if is_taken_out else 0
    told = effect + (not outcome.beneficiary_account_id) * TO_ANYONE + is_doubted * DOUBTFUL
    order = offset if outcome.order == NONE else outcome.order
    return _OUTCOME.pack(
        number, told, time >> 32, time & 0xFFFFFFFF, made_at >> 32, made_at & 0xFFFFFFFF, *_six(amount),
        party_hash(payee_of(outcome.beneficiary_account_id)), blake2b(outcome.name, digest_size=6).digest(),
        *_six(offset), *_six(order),
    )  # fmt: skip


def shared_request(chunk: Chunk, shard: int, names: Keys, start: Start) -> Request:
    """Return the request for one shard; it leaves out events that have nothing in this shard."""
    pack, shard_of, is_only = _SHARED.pack, names.shard, names.shards == 1
    of_beneficiary, of_month = names.shared(shard, _BENEFICIARY), names.shared(shard, _DECLARED_MONTH)
    of_address, of_device = names.shared(shard, _FACT_KINDS[IP_ADDRESS]), names.shared(shard, _FACT_KINDS[DEVICE])
    beneficiaries: dict[str, int] = {}
    facts: dict[str, int] = {}
    parts: list[bytes] = []
    for place, event in enumerate(chunk.events):
        if not event.is_counted:
            continue
        beneficiary, address, device, month = 0, 0, 0, 0
        payee, account_id, ip_address, device_id = (
            event.beneficiary_account_id, event.account_id, event.ip_address, event.device_id,
        )  # fmt: skip
        if is_only or shard_of(payee) == shard:
            beneficiary = beneficiaries.setdefault(of_beneficiary + payee, len(beneficiaries) + 1)
        if ip_address is not None and (is_only or shard_of(ip_address) == shard):
            address = facts.setdefault(of_address + ip_address, len(facts) + 1)
        if device_id is not None and (is_only or shard_of(device_id) == shard):
            device = facts.setdefault(of_device + device_id, len(facts) + 1)
        if is_only or shard_of(account_id) == shard:
            month = facts.setdefault(of_month + account_id, len(facts) + 1)
        if beneficiary or address or device or month:
            time, offset = event.event_time_ms - ORIGIN_MS, event.offset
            parts.append(
                pack(offset >> 32, offset & 0xFFFFFFFF, place, beneficiary, address, device, month,
                     time >> 32, time & 0xFFFFFFFF, party_hash(account_id),
                     payment_hash(chunk.id_hashes[place], event.event_time_ms))
            )  # fmt: skip
    header = _windows_header(chunk, start) + _COUNT.pack(len(beneficiaries))
    keys = [names.shared_progress(shard, chunk.partition), *beneficiaries, *facts]
    return Request(keys, header + b"".join(parts))


def label_arguments(label: Label) -> tuple[int, bytes, int, int]:
    """Return the arguments of label.lua: the event time, payment and sender hash, 1 for fraud, and when it was made."""
    payment = payment_hash(_id_hash(label.transaction_id), label.event_time_ms) + party_hash(label.account_id)
    return label.event_time_ms - ORIGIN_MS, payment, int(label.fraud), label.labelled_at_ms


@lru_cache(HASHES_CACHED)
def party_hash(party_id: str) -> bytes:
    """Return 6 bytes that tell apart the accounts or beneficiaries that one beneficiary or account deals with.

    An account keeps the first 5. Among 1,000 beneficiaries a new one is taken for a known one once in 10^9 times.
    """
    return blake2b(party_id.encode(), digest_size=6).digest()


def payment_hash(id_hash: bytes, event_time_ms: int) -> bytes:
    """Return 4 bytes that, together with the sender's hash, tell a beneficiary's payments apart."""
    return ((int.from_bytes(id_hash[:4]) ^ event_time_ms) & 0xFFFFFFFF).to_bytes(4)


def _id_hash(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=ID_HASH_BYTES).digest()


def in_groups(requests: Sequence[ChunkRequests]) -> Iterator[list[ChunkRequests]]:
    """Group the requests into calls; a call takes chunks of up to CHUNK_EVENTS events in all, and at least one."""
    group: list[ChunkRequests] = []
    events = 0
    for request in requests:
        if group and events + len(request.chunk.events) > CHUNK_EVENTS:
            yield group
            group, events = [], 0
        group.append(request)
        events += len(request.chunk.events)
    yield group


class Answers:
    """The observation of one partition's share, which the replies fill in as they come."""

    def __init__(self, events: Sequence[StateEvent]) -> None:
        self._events = events
        self.freshness = np.full(len(events), Freshness.FRESH, dtype=np.int8)
        self.state = np.full((len(events), len(STATE)), NONE, dtype=np.int64)
        self._declared = np.full(len(events), NONE, dtype=np.int64)
        self._outcomes_position = np.full(len(events), NONE, dtype=np.int64)
        self._month_blocks = np.zeros(len(events), dtype=np.int64)
        self._is_stale = np.zeros(len(events), dtype=np.bool_)
        self.counted = np.full(len(events), NONE, dtype=np.int64)
        self.coverage = Coverage()

    def claimed(self, chunk: Chunk, places: Sequence[int], body: bytes) -> None:
        """Take in a claim's reply; `body` holds a byte for each of the chunk's events at the indices `places`."""
        if len(places) == len(chunk.events):
            self.freshness[chunk.place : chunk.place + len(places)] = np.frombuffer(body, dtype=np.int8)
        else:
            self.freshness[np.array(places, dtype=np.intp) + chunk.place] = np.frombuffer(body, dtype=np.int8)

    def freshness_of(self, chunk: Chunk) -> bytes:
        """Return the freshness of the chunk's events, a byte for each."""
        return self.freshness[chunk.place : chunk.place + len(chunk.events)].tobytes()

    def account(self, chunk: Chunk, body: bytes) -> None:
        payments_ms, outcomes_ms = _SINCE.unpack_from(body)
        self.coverage = self.coverage._replace(payments_ms=payments_ms, outcomes_ms=outcomes_ms)
        rows, places = _rows(chunk, body, ACCOUNT_ROW_LENGTH)
        self.state[places, : len(ACCOUNT_STATE)] = rows[:, 1:-1]
        self._outcomes_position[places] = rows[:, -1]
        packed = rows[:, 1 + _IS_NEW]  # see the head of observe_accounts.lua
        self.state[places, _IS_NEW] = packed & 1
        self._month_blocks[places] = packed >> 1 & 3
        self.counted[places] = packed >> 3
        self._is_stale[places] = packed == UNKNOWN

    def shared(self, chunk: Chunk, body: bytes) -> None:
        """Merge in one shard's reply.

        A shard knows its own part of a payment; it answers NONE for the rest.
        """
        received_ms, _ = _SINCE.unpack_from(body)
        self.coverage = self.coverage._replace(received_ms=max(self.coverage.received_ms, received_ms))
        rows, places = _rows(chunk, body, SHARED_ROW_LENGTH)
        columns, told = slice(len(ACCOUNT_STATE), len(STATE)), rows[:, 1:-1]
        self.state[places, columns] = np.where(told == NONE, self.state[places, columns], told)
        self._declared[places] = np.maximum(self._declared[places], rows[:, -1])

    def missing(self) -> int | None:
        """Return the offset of the first payment that counts and of which Redis told nothing; None where there is none.

        A payment that is judged on nothing would look like an account's first one.
        """
        counted = np.fromiter([event.is_counted for event in self._events], np.bool_, len(self._events))
        is_told = (self.state[:, 0] != NONE) & (self.state[:, len(ACCOUNT_STATE)] != NONE)
        missing = np.flatnonzero(counted & (self.freshness % ANEW == Freshness.FRESH) & ~is_told)
        return self._events[missing[0]].offset if missing.size else None

    def finished(self, label_delay_ms: int) -> PartitionObservation:
        restate(self.state, self._events, self.counted)
        is_declared = self._declared != NONE
        positions = self._outcomes_position
        month_blocks = np.where(is_declared, DECLARED_MONTH, self._month_blocks)
        enter_unknown(self.state, self._events, month_blocks, positions, self.coverage, label_delay_ms)
        enter_stale(self.state, self._is_stale, month_blocks)
        month = self.state[:, _MONTH]
        month[:] = np.where(is_declared, self._declared, month)
        return PartitionObservation(self.freshness % ANEW, self.state, self._outcomes_position)


def _windows_header(chunk: Chunk, start: Start) -> bytes:
    ends = (*_six(chunk.first), *_six(chunk.last), *_six(chunk.committed))
    rebuild = 2 if start.is_silent else int(start.is_passing)
    return _WINDOWS.pack(*ends, start.initial, rebuild, *_six(start.since_ms))


def _six(number: int) -> tuple[int, int]:
    """Split a 6-byte integer into its upper 2 and its lower 4 bytes."""
    return number >> 32, number & 0xFFFFFFFF


def _rows(chunk: Chunk, body: bytes, length: int) -> tuple[NDArray[np.int64], slice | NDArray[np.intp]]:
    """Return the rows of a reply, and their indices in the partition's share."""
    rows = np.frombuffer(body, dtype="<i8", offset=_SINCE.size).reshape(-1, length)
    if len(rows) == len(chunk.events):  # one row for each event, both by ascending offset
        return rows, slice(chunk.place, chunk.place + len(rows))
    offsets = np.array([event.offset for event in chunk.events], dtype=np.int64)
    return rows, np.searchsorted(offsets, rows[:, 0]) + chunk.place
