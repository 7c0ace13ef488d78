"""A decision follows from the feeds that it names, whatever is in force when it is verified."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.decide.batch import Judge, Judged, TopicNames
from pipeline.decide.decision_encoder import DecisionEncoder, with_position
from pipeline.decide.feeds.feed import NO_FEEDS, FeedKind, Feeds, parse_new_feed
from pipeline.decide.verdict import Mode, Regime, decide
from pipeline.domain.decision import BreakerState, Decision, Outcome, Route, StoredDecision
from pipeline.domain.features import COLUMN, NONE, UNKNOWN
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.payment import Transaction
from pipeline.replay.redecide import Basis, Good, Version, redecide
from pipeline.replay.verify import Result, verify
from pipeline.state.windows import MemoryState
from tests.archive import CLOSED, WIRE, Archive, stored
from tests.decisions import written
from tests.records import NOON_MS, PAYMENT, decoded_of, feed_content, feeds

HOUR_MS = 3_600_000
TOPICS = TopicNames("decisions.v1", "alerts.v1")
EUROS = PAYMENT._replace(currency="EUR", amount_minor=2_000_00, transaction_id="tx-eur")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def of(kind: FeedKind, at: str, *changes: tuple[str, str], version: str = "other") -> bytes:
    """A feed of another moment."""
    lines = feed_content(kind).decode().splitlines(keepends=True)
    text = "".join(f'version = "{version}"\n' if line.startswith("version = ") else line for line in lines)
    text = "".join(
        f"as_of = {at}\n" if line.startswith("as_of = ") else line for line in text.splitlines(keepends=True)
    )
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text.encode()


def kept(archive: Archive, content: bytes) -> bytes:
    feed = parse_new_feed(content)
    (archive.policies / f"{feed.sha256.hex()}.toml").write_bytes(content)
    return content


def under(in_force: Regime, *contents: bytes) -> Regime:
    found = in_force.feeds
    assert found is not None
    for content in contents:
        found = found.with_feed(parse_new_feed(content))
    return dataclasses.replace(in_force, feeds=found)


def decided(
    in_force: Regime, payments: Sequence[Transaction], state: MemoryState, start: int = 0, log_ms: int = NOON_MS
) -> list[StoredDecision]:
    """The decisions of a worker about one batch of partition 0."""
    judge = Judge(in_force, WIRE, TOPICS, "decide/test", lambda _key: 0)
    records = [
        Record(each.account_id.encode(), WIRE.encode_transaction(each), Source(0, start + place, log_ms))
        for place, each in enumerate(payments)
    ]
    reading = judge.read(records)
    observed = state.observe(judge.state_events(reading, [Span(0, start, start + len(records), start)]))
    judged = Judged.whole(judge.judge(reading, observed, lambda _: CLOSED, log_ms + 5))
    return [stored(out.value) for out in judged.outgoing if out.topic == TOPICS.decisions]


def numbered(count: int, start: int = 0) -> list[Transaction]:
    return [
        PAYMENT._replace(
            transaction_id=f"tx-{start + n}", currency=("GBP", "EUR", "USD")[n % 3], amount_minor=90_00 + n
        )
        for n in range(count)
    ]


def test_a_decision_names_its_feeds_and_is_verified_by_them(archive: Archive) -> None:
    found = decided(archive.in_force, [PAYMENT, EUROS], MemoryState())
    rates, sanctions = feeds()
    assert rates is not None
    assert sanctions is not None
    for each in found:
        decision = each.decision
        assert (decision.exchange_rates_version, decision.exchange_rates_hash) == (rates.version, rates.sha256)
        assert (decision.sanctions_version, decision.sanctions_hash) == (sanctions.version, sanctions.sha256)
    assert [check.result for check in verify(found, archive.regime_of)] == [Result.IDENTICAL] * 2


def test_a_feed_that_changes_in_the_middle_of_a_log_changes_the_batch_and_what_follows(archive: Archive) -> None:
    """Each batch is judged by the feeds that its worker had when it took the batch up, and names them."""
    state, found = MemoryState(), []
    dearer = kept(archive, of(FeedKind.EXCHANGE_RATES, "2025-11-25T11:00:00Z", ('"0.8720"', '"0.9000"')))
    ended = kept(archive, of(FeedKind.SANCTIONS, "2025-11-25T11:30:00Z", ("from = 2022-02-24", "from = 2030-01-01")))
    regimes = [archive.in_force, under(archive.in_force, dearer), under(archive.in_force, dearer, ended)]
    for number, in_force in enumerate(regimes):
        batch = numbered(12, start=12 * number)
        found += decided(in_force, batch, state, 12 * number, NOON_MS + number * HOUR_MS)
    names = [(each.decision.exchange_rates_version, each.decision.sanctions_version) for each in found]
    first = feeds()
    assert first.exchange_rates is not None
    assert first.sanctions is not None
    before = first.exchange_rates.version, first.sanctions.version
    assert names == [before] * 12 + [("other", before[1])] * 12 + [("other", "other")] * 12
    assert [check.result for check in verify(found, archive.regime_of)] == [Result.IDENTICAL] * 36
    shuffled = found[::-1]
    assert {check.result for check in verify(shuffled, archive.regime_of)} == {Result.IDENTICAL}


def test_two_workers_with_different_feeds_each_name_their_own(archive: Archive) -> None:
    dearer = kept(archive, of(FeedKind.EXCHANGE_RATES, "2025-11-25T11:00:00Z", ('"0.8720"', '"0.9000"')))
    [one] = decided(archive.in_force, [EUROS], MemoryState())
    [other] = decided(under(archive.in_force, dearer), [EUROS], MemoryState())
    amounts = [each.decision.snapshot.features[COLUMN["amount_gbp_minor"]] for each in (one, other)]
    assert amounts == [1_744_00, 1_800_00]
    assert one.decision.exchange_rates_hash != other.decision.exchange_rates_hash
    assert [check.result for check in verify([one, other], archive.regime_of)] == [Result.IDENTICAL] * 2


@pytest.mark.parametrize("kind", FeedKind)
def test_a_missing_feed_makes_a_decision_unverifiable_and_says_which(archive: Archive, kind: FeedKind) -> None:
    found = decided(archive.in_force, [EUROS], MemoryState())
    (archive.policies / f"{kind}.toml").unlink()
    [check] = verify(found, archive.regime_of)
    assert check.result is Result.UNVERIFIABLE
    assert check.why.startswith(f"no feed of {kind} in ")
    assert "has the hash" in check.why


@pytest.mark.parametrize("kind", FeedKind)
def test_a_feed_of_the_archive_that_was_altered_is_none(archive: Archive, kind: FeedKind) -> None:
    found = decided(archive.in_force, [EUROS], MemoryState())
    path = archive.policies / f"{kind}.toml"
    path.write_bytes(path.read_bytes() + b"\n")
    [check] = verify(found, archive.regime_of)
    assert check.result is Result.UNVERIFIABLE


@pytest.mark.parametrize(
    "change",
    [
        {"exchange_rates_version": "none"},
        {"exchange_rates_version": ""},
        {"exchange_rates_version": "other"},
        {"exchange_rates_hash": bytes(32)},
        {"exchange_rates_version": "none", "exchange_rates_hash": bytes(32)},
        {"sanctions_version": "none", "sanctions_hash": bytes(32)},
        {"sanctions_version": "", "sanctions_hash": bytes(32)},
        {
            "exchange_rates_version": "",
            "exchange_rates_hash": bytes(32),
            "sanctions_version": "",
            "sanctions_hash": bytes(32),
        },
    ],
)
def test_a_decision_that_names_other_feeds_than_it_was_made_by_is_found(
    archive: Archive, change: dict[str, object]
) -> None:
    [found] = decided(archive.in_force, [EUROS], MemoryState())
    forged = stored(written(found.decision._replace(**change)))
    [check] = verify([forged], archive.regime_of)
    assert check.result is not Result.IDENTICAL


def test_feeds_that_are_exchanged_for_each_other_are_found(archive: Archive) -> None:
    [found] = decided(archive.in_force, [EUROS], MemoryState())
    was = found.decision
    exchanged = was._replace(exchange_rates_hash=was.sanctions_hash, sanctions_hash=was.exchange_rates_hash)
    [check] = verify([found._replace(decision=exchanged)], archive.regime_of)
    assert check.result is Result.UNVERIFIABLE
    assert check.why == "the feed sanctions.toml is one of sanctions, and the decision names it for exchange_rates"


def one_of(archive: Archive, rates_at: str, sanctions_at: str, paid: Transaction, log_ms: int) -> Decision:
    contents = of(FeedKind.EXCHANGE_RATES, rates_at), of(FeedKind.SANCTIONS, sanctions_at)
    in_force = under(archive.in_force, *(kept(archive, content) for content in contents))
    [found] = decided(in_force, [paid], MemoryState(), log_ms=log_ms)
    [check] = verify([found], archive.regime_of)
    assert check.result is Result.IDENTICAL
    return found.decision


@pytest.mark.parametrize(
    ("rates_at", "sanctions_at", "currency", "codes"),
    [
        ("2025-11-18T12:00:01Z", "2025-11-18T12:00:01Z", "EUR", set()),
        ("2025-11-18T12:00:00Z", "2025-11-25T00:00:00Z", "EUR", {"SOFT_EXCHANGE_RATE_OLD"}),
        ("2025-11-18T12:00:00Z", "2025-11-25T00:00:00Z", "GBP", set()),  # pounds need no rate
        ("2025-11-25T00:00:00Z", "2025-11-18T12:00:00Z", "GBP", {"SOFT_SANCTIONS_LIST_OLD"}),
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "EUR", {"SOFT_EXCHANGE_RATE_OLD", "SOFT_SANCTIONS_LIST_OLD"}),
    ],
)
def test_a_payment_that_a_feed_is_too_old_for_is_escalated_by_the_logs_time(
    archive: Archive, rates_at: str, sanctions_at: str, currency: str, codes: set[str]
) -> None:
    paid = PAYMENT._replace(currency=currency)
    decision = one_of(archive, rates_at, sanctions_at, paid, NOON_MS)
    assert codes == {code for code in decision.rules_triggered if code.endswith("_OLD")}
    assert decision.outcome is (Outcome.ESCALATE if codes else Outcome.ALLOW)


def test_the_events_own_time_makes_no_feed_young(archive: Archive) -> None:
    dated_back = PAYMENT._replace(currency="EUR", event_time_ms=NOON_MS - 30 * 24 * HOUR_MS)
    decision = one_of(archive, "2025-10-26T00:00:00Z", "2025-10-26T00:00:00Z", dated_back, NOON_MS)
    assert {"SOFT_EXCHANGE_RATE_OLD", "SOFT_SANCTIONS_LIST_OLD"} <= set(decision.rules_triggered)


def test_without_a_feed_a_payment_is_blocked_and_verified_as_that(archive: Archive) -> None:
    for found, triggered in (
        (NO_FEEDS, "HARD_SANCTIONED_COUNTRY"),
        (Feeds(None, feeds().sanctions), "HARD_UNSUPPORTED_CURRENCY"),
    ):
        in_force = dataclasses.replace(archive.in_force, feeds=found)
        [made] = decided(in_force, [EUROS], MemoryState())
        assert (made.decision.outcome, made.decision.route) == (Outcome.BLOCK, Route.GUARDRAIL)
        assert triggered in made.decision.rules_triggered
        assert made.decision.exchange_rates_version == "none"
        [check] = verify([made], archive.regime_of)
        assert check.result is Result.IDENTICAL


@pytest.mark.parametrize("name", ["exchange_rate_age_hours", "sanctions_list_age_hours"])
def test_an_age_that_was_altered_is_found_although_its_hash_fits(archive: Archive, name: str) -> None:
    [found] = decided(archive.in_force, [EUROS], MemoryState())
    matrix = np.array([found.decision.snapshot.features], dtype=np.int64)
    matrix[0, COLUMN[name]] += 1
    encoder = DecisionEncoder(WIRE.header("decision.v1"), archive.in_force, "decide/test")
    [verdict] = decide(matrix, [Mode(BreakerState.CLOSED, "all", True)], archive.in_force)
    payments = [decoded_of(found.decision.snapshot.transaction)]
    [value] = encoder.encode(payments, [found.decision.source], with_position(matrix, -1), [verdict], [NOON_MS])
    [check] = verify([stored(value)], archive.regime_of)
    assert f"snapshot.features.{name}" in check.differing


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 400),
    st.integers(0, 400),
    st.sampled_from(["GBP", "EUR", "USD", "XAU"]),
    st.sampled_from(["GB", "RU", "ZZ"]),
)
def test_what_was_decided_by_some_feeds_is_never_more_lenient_than_by_young_ones(
    archive: Archive, rates_hours: int, sanctions_hours: int, currency: str, country: str
) -> None:
    """I4: a feed that grows old, or goes, makes no decision more permissive."""
    paid = PAYMENT._replace(currency=currency, beneficiary_country=country)
    strictness = [Outcome.ALLOW, Outcome.ESCALATE, Outcome.BLOCK]
    [young] = decided(archive.in_force, [paid], MemoryState())
    moments = (
        np.datetime_as_string(np.datetime64(NOON_MS - hours * HOUR_MS, "ms"), unit="s", timezone="UTC")
        for hours in (rates_hours, sanctions_hours)
    )
    old = one_of(archive, *moments, paid, NOON_MS)
    [gone] = decided(dataclasses.replace(archive.in_force, feeds=NO_FEEDS), [paid], MemoryState())
    assert strictness.index(young.decision.outcome) <= strictness.index(old.outcome)
    assert strictness.index(old.outcome) <= strictness.index(gone.decision.outcome)
    rate_age = old.snapshot.features[COLUMN["exchange_rate_age_hours"]]
    assert rate_age == {"GBP": NONE, "XAU": UNKNOWN}.get(currency, rates_hours)


def test_another_policy_decides_again_by_the_feeds_of_then(archive: Archive) -> None:
    dearer = kept(archive, of(FeedKind.EXCHANGE_RATES, "2025-11-25T11:00:00Z", ('"0.8720"', '"0.9000"')))
    paid = EUROS._replace(amount_minor=5_555_556)  # £50,000.01 at the dearer rate, £48,444.45 at the other
    [one] = decided(archive.in_force, [paid], MemoryState())
    [other] = decided(under(archive.in_force, dearer), [paid], MemoryState())
    policy = archive.in_force.policy
    good = Good(None, Version(policy.version, policy.sha256), Basis.RECORDED)
    answers = redecide([one, other], good, archive.regime_of)
    assert [answer.outcome for answer in answers] == [one.decision.outcome, other.decision.outcome]
    assert other.decision.outcome is Outcome.BLOCK
