"""The background of an attack: honest simulated traffic, and what a thief can know of the accounts in it.

Invariants
1. Equal seeds give equal worlds, whichever version is attacked: comparisons are paired.
2. A part of the world answers for its accounts and payees as the whole does: every payment that any of them takes part
   in is in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from models.simulator import LabelledTransaction, TrafficSettings, traffic_events
from pipeline.decide.batch import Judge, Reading, TopicNames
from pipeline.decide.feeds.feed import NO_FEEDS, FeedKind, Feeds, parse_new_feed
from pipeline.decide.feeds.feed_files import shipped_as_of
from pipeline.decide.policy import Policy
from pipeline.decide.verdict import regime
from pipeline.domain.context import Account
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.state.context.facts import LogPlace
from pipeline.state.periods import BLOCK_MS, DAY_MS
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import MemoryState, PartitionEvents, PartitionObservation

START_MS: Final = 688 * BLOCK_MS
"""The start of a block of 30 days, so that accounts that declare no normal month have a whole one behind them."""
ACCOUNTS: Final = 300
DAYS: Final = 33
"""The longest window and a few days: accounts have a past, and building it takes seconds."""
HONEST_DAYS: Final = 5
"""The last days of the background are decided by the attacked version: what honest people meet, and what the breaker
takes for usual."""
_BATCH: Final = 256
PLAN_DAYS_MAX: Final = 90
"""Feeds are as of this long after the world's end, so that they never grow old under an attack."""
WORLDS_MAX: Final = 2
PAID_AFTER_MS: Final = 1_000
OLD_ACCOUNT_DAYS: Final = 60
AGENT: Final = "red-team"
TOPICS: Final = TopicNames("decisions.v1", "alerts.v1")


class Dossier(NamedTuple):
    """What a thief who holds an account's log-in sees of it."""

    account_id: str
    latest: Transaction  # its latest payment with a device and an address of its own
    month_minor: int  # pence in a normal month: as declared, or of the last 30 days
    payees: tuple[str, ...]  # whom it paid at least a day ago, by name
    last_paid_ms: int


class Seen(NamedTuple):
    """A payment of the background as the state sees it, and what became of it."""

    transaction: Transaction
    event: StateEvent
    outcome: PaymentOutcome


class Observed(NamedTuple):
    """A batch of the background's last days, as it was read and observed: the same for every version."""

    reading: Reading
    observation: list[PartitionObservation]
    logged_at_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class World:
    seed: int
    end_ms: int
    seen: tuple[Seen, ...]  # in log order; the offset of each is its place
    profiles: dict[str, Account]
    dossiers: tuple[Dossier, ...]  # from the poorest to the richest
    of_account: dict[str, list[int]]
    of_payee: dict[str, list[int]]
    last_days: tuple[Observed, ...]

    @property
    def next_offset(self) -> int:
        return len(self.seen)

    def part(self, accounts: Collection[str], payees: Collection[str]) -> MemoryState:
        """Return the state at the world's end, whole for these accounts and payees, and for no others."""
        places = {place for account in accounts for place in self.of_account.get(account, ())}
        places.update(place for payee in payees for place in self.of_payee.get(payee, ()))
        seen = [self.seen[place] for place in sorted(places)]
        state = MemoryState()
        for account in sorted(accounts):
            if (profile := self.profiles.get(account)) is not None:
                state.upsert_account(profile, LogPlace(profile.updated_at_ms, 0))
        end = self.next_offset
        state.observe([PartitionEvents(0, 0, end, end, [each.event for each in seen])])
        state.apply_outcomes(0, 0, len(seen), [each.outcome for each in seen])
        return state


def world_of(seed: int, policy: Policy, accounts: int = ACCOUNTS, days: int = DAYS) -> World:
    """Return the world of a seed: one object for every version that is attacked in it. It takes seconds to build."""
    key = (seed, policy.sha256, accounts, days)
    if key not in _WORLDS:
        if len(_WORLDS) >= WORLDS_MAX:
            del _WORLDS[next(iter(_WORLDS))]
        _WORLDS[key] = _made(seed, policy, accounts, days)
    return _WORLDS[key]


def fresh_feeds() -> Feeds:
    feeds = NO_FEEDS
    for kind in FeedKind:
        as_of_ms = START_MS + (DAYS + PLAN_DAYS_MAX) * DAY_MS
        feeds = feeds.with_feed(parse_new_feed(shipped_as_of(kind, as_of_ms), kind))
    return feeds


def _made(seed: int, policy: Policy, accounts: int, days: int) -> World:
    rules = regime(policy, None, fresh_feeds())
    settings = TrafficSettings(seed, accounts, START_MS, days, fraud_share=0.0)
    events = list(traffic_events(settings))
    profiles = {each.account_id: each for each in events if isinstance(each, Account)}
    payments = [each.transaction for each in events if isinstance(each, LabelledTransaction)]
    judge, wire = Judge(rules, WireFormat(), TOPICS, AGENT, lambda _: 0), WireFormat()
    records = [record_of(wire, payment, place, payment.event_time_ms) for place, payment in enumerate(payments)]
    reading = judge.read(records)
    assert not reading.refused, "the simulator's payments can be decided"
    [share] = judge.state_events(reading, [Span(0, 0, len(records), 0)])
    end_ms = START_MS + days * DAY_MS
    seen = tuple(Seen(payment, event, _paid(event)) for payment, event in zip(payments, share.events, strict=True))
    of_account, of_payee = defaultdict(list), defaultdict(list)
    for place, each in enumerate(seen):
        of_account[each.event.account_id].append(place)
        of_payee[each.event.beneficiary_account_id].append(place)
    dossiers = _dossiers(seen, of_account, profiles, end_ms)
    last_days = tuple(_last_days(seen, profiles, judge, records, end_ms - HONEST_DAYS * DAY_MS))
    return World(seed, end_ms, seen, profiles, dossiers, dict(of_account), dict(of_payee), last_days)


def _last_days(
    seen: tuple[Seen, ...], profiles: dict[str, Account], judge: Judge, records: list[Record], from_ms: int
) -> Iterator[Observed]:
    """Observe all of the background, in order, and yield what is of the last days."""
    state = MemoryState()
    for profile in profiles.values():
        state.upsert_account(profile, LogPlace(profile.updated_at_ms, 0))
    for begin in range(0, len(seen), _BATCH):
        end = min(begin + _BATCH, len(seen))
        part = seen[begin:end]
        observation = state.observe([PartitionEvents(0, begin, end, begin, [each.event for each in part])])
        state.apply_outcomes(0, begin, end, [each.outcome for each in part])
        if part[0].event.event_time_ms >= from_ms:
            yield Observed(judge.read(records[begin:end]), observation, part[-1].event.log_time_ms)


_WORLDS: dict[tuple[int, bytes, int, int], World] = {}


def record_of(wire: WireFormat, payment: Transaction, offset: int, logged_at_ms: int) -> Record:
    value = wire.encode_transaction(payment)
    return Record(payment.account_id.encode(), value, Source(0, offset, logged_at_ms))


def _paid(event: StateEvent) -> PaymentOutcome:
    """All of the background was paid: the same past for every version that is attacked."""
    return PaymentOutcome(
        event.account_id, event.beneficiary_account_id, OutcomeKind.MADE, event.event_time_ms,
        event.event_time_ms + PAID_AFTER_MS, event.amount_gbp_minor if event.is_counted else -1, event.payment_digest,
    )  # fmt: skip


def _dossiers(
    seen: tuple[Seen, ...], of_account: dict[str, list[int]], profiles: dict[str, Account], end_ms: int
) -> tuple[Dossier, ...]:
    """Return the accounts in pounds that were opened long enough ago, and paid from a device of their own."""
    found: list[Dossier] = []
    for account_id, places in of_account.items():
        own = [seen[place] for place in places]
        online = [each for each in own if each.transaction.device_id and each.transaction.ip_address]
        latest = online[-1].transaction if online else None
        if latest is None or latest.currency != "GBP":
            continue
        if end_ms // DAY_MS - latest.account_opened_epoch_day < OLD_ACCOUNT_DAYS:
            continue
        profile = profiles.get(account_id)
        declared = None if profile is None else profile.normal_month_gbp_minor
        past = sum(each.event.amount_gbp_minor for each in own if each.event.event_time_ms > end_ms - 30 * DAY_MS)
        known = {each.event.beneficiary_account_id for each in own if each.event.event_time_ms < end_ms - 2 * DAY_MS}
        found.append(Dossier(account_id, latest, declared or past, tuple(sorted(known)), own[-1].event.event_time_ms))
    return tuple(sorted(found, key=lambda each: (each.month_minor, each.account_id)))
