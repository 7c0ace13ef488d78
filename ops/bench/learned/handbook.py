"""The Fraud Detection Handbook's payments through the real stack, by a model that learned from their first 30 %.

The model is trained by what `fraud models train` calls, features and settings chosen, from a file of the first 30 %
that ends where it ends: what had no label by then taught nothing. Then all payments go through the worker in their
order, day by day, each day after the labels that had come by its beginning; those of the first 30 % only so that the
state knows the accounts. What follows is held against the truth, week by week, at the thresholds of the shipped
policy: what the worker decided; what the fallback rules alone would have, on the same snapshots; and what guardrails
without model and fallback would have.

On the same snapshots means: as if each had decided that payment alone. Volumes leave out what was blocked, so a
decider's own history could differ a little; no rule of the fallback reads a volume.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]

from models.artefact.files import CHAMPION, MANIFEST
from models.train.learning_command import Asked, trained
from ops.bench.learned.weeks import Judged, Weeks
from ops.bench.rig.services import worker_process
from ops.bench.rig.stored import Tail
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import prepare_topics
from ops.bench.rig.waiting import wait_committed
from ops.bench.speed.handbook_rate import PATH
from ops.compiled import compiled_tree_or_none, python_path
from ops.stack.real import RealStack
from pipeline.breaker.answer_counts import ALL
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.policy import parse_new_policy
from pipeline.decide.verdict import Mode, Regime, decide, regime
from pipeline.domain.context import Label
from pipeline.domain.decision import BreakerState, Decision, Outcome
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.settings import Settings
from pipeline.publish.file_command import check_file, require_sound
from pipeline.publish.payment_files import open_payments
from pipeline.publish.payment_source import LABELLED_AFTER_MS, FilePayment
from pipeline.publish.whole_check import payments_of
from pipeline.state.context.context_store import LABELS
from pipeline.state.store import RedisState

DATA: Final = "FRAUD_HANDBOOK"
"""The environment variable that names the Handbook's parquet file where it is not beside the project."""
POLICY: Final = Path("pipeline/decide/policies/default.toml")
VERSION: Final = "handbook-30"
SEED: Final = 1
JOBS: Final = 2
"""Bags learned at a time; the bytes are the same with one."""
LEARNED_PERCENT: Final = 30
QUICK_PAYMENTS: Final = 300_000
QUICK_LEARNED_PERCENT: Final = 60
"""A quick run has a month, of whose first 18 days a week is too young to be taught."""
DAY_MS: Final = 86_400_000
SECONDS_MAX: Final = 7_200.0
"""Time for all payments to be decided; on two shared cores a tenth of the usual rate still makes it."""
ROWS: Final = 2_048
SAID_DAYS: Final = 14
MODEL: Final = "model"
FALLBACK: Final = "fallback_alone"
NO_MODEL: Final = "no_model"


def run(
    say: Callable[[str], None],
    folder: Path,
    *,
    is_quick: bool,
    sizes: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, object]:
    """Measure. sizes: `payments`, and the `percent` of them that is learned from."""
    path = Path(os.environ.get(DATA, PATH))
    payments = sizes.get("payments", QUICK_PAYMENTS if is_quick else pa_parquet.read_metadata(path).num_rows)
    percent = sizes.get("percent", QUICK_LEARNED_PERCENT if is_quick else LEARNED_PERCENT)
    learned = payments * percent // 100
    model = _learned(say, path, learned, folder)
    tree = compiled_tree_or_none(say)
    environment = {**python_path(tree), "FRAUD_MODEL_REGISTRY": str(folder / "registry")}
    with RealStack(folder / "stack") as stack:
        prepare_topics(stack.bootstrap_servers, "")
        with running(worker_process(folder, stack.bootstrap_servers, stack.redis_url, environment=environment)):
            started = time.monotonic()
            settings = Settings(bootstrap_servers=stack.bootstrap_servers, redis_url=stack.redis_url)
            published = _publish(say, path, payments, settings)
            seconds = time.monotonic() - started
        say(f"all decided after {seconds:.0f} s; holding decisions against the truth")
        return {
            "compiled": tree is not None,
            "learned_payments": learned,
            "model": model,
            "seconds": round(seconds, 1),
            **_judged(say, stack.bootstrap_servers, published, learned),
        }


def _learned(say: Callable[[str], None], path: Path, learned: int, folder: Path) -> dict[str, object]:
    """Write the first payments as a file of their own, learn from it, and make the model champion of a registry."""
    slice_path, registry = folder / "learned.parquet", folder / "registry"
    pa_parquet.write_table(pa_parquet.read_table(path).slice(0, learned), slice_path)
    started = time.monotonic()
    asked = Asked(slice_path, "file", None, at_own_times=False, are_labels_final=False, plan=None, map_path=None)
    metrics = trained(asked, registry, VERSION, SEED, JOBS)
    (registry / CHAMPION).write_text(f"{VERSION}\n")
    choosing = json.loads((registry / VERSION / MANIFEST).read_bytes())["training"]["choosing"]
    say(f"learned from {learned:,} payments in {time.monotonic() - started:.0f} s: {metrics}")
    return {**metrics, "choosing": choosing}


def _publish(say: Callable[[str], None], path: Path, count: int, settings: Settings) -> list[FilePayment]:
    """Publish day by day, each day's payments once the labels of before are in the state; return all payments."""
    source = open_payments(path, with_labels=True)
    require_sound(source, check_file(source, count))
    publisher, wire, published = BulkPublisher(settings), WireFormat(), list[FilePayment]()
    due: deque[Transaction] = deque()
    labels = 0
    for day, of_day in groupby(islice(payments_of(source), count), _day):
        labels += _publish_labels(publisher, settings, wire, due, day * DAY_MS)
        asyncio.run(_wait_labels(settings, labels))
        for each in of_day:
            payment = each.transaction
            value = wire.encode_transaction(payment)
            topic = settings.topic("transactions.v1")
            publisher.publish(topic, payment.account_id.encode(), value, payment.event_time_ms)
            published.append(each)
            if each.is_fraud:
                due.append(payment)
        publisher.flush()
        wait_committed(settings.bootstrap_servers, len(published), SECONDS_MAX, "deciding", every_s=0.1)
        if day % SAID_DAYS == 0 or len(published) == count:
            say(f"{len(published):,} of {count:,} decided, {labels:,} labels taken in")
    return published


def _day(each: FilePayment) -> int:
    return each.transaction.event_time_ms // DAY_MS


def _publish_labels(
    publisher: BulkPublisher, settings: Settings, wire: WireFormat, due: deque[Transaction], until_ms: int
) -> int:
    """Publish the labels that came before a moment; return how many."""
    count = 0
    while due and due[0].event_time_ms + LABELLED_AFTER_MS <= until_ms:
        t = due.popleft()
        at_ms = t.event_time_ms + LABELLED_AFTER_MS
        label = Label(
            t.transaction_id, t.account_id, t.beneficiary_account_id, t.event_time_ms, True, at_ms, "handbook"
        )
        publisher.publish(settings.topic(LABELS), t.beneficiary_account_id.encode(), wire.encode(label), at_ms)
        count += 1
    publisher.flush()
    return count


async def _wait_labels(settings: Settings, count: int) -> None:
    """Wait until the state has taken in so many labels."""
    state = RedisState(settings.redis_url)
    deadline = time.monotonic() + SECONDS_MAX
    try:
        while sum((await state.context_positions(LABELS)).values()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} labels were not taken in within {SECONDS_MAX:.0f} s")
            await asyncio.sleep(0.02)
    finally:
        await state.close()


def _judged(
    say: Callable[[str], None], bootstrap_servers: str, published: Sequence[FilePayment], learned: int
) -> dict[str, object]:
    begin_ms = published[learned].transaction.event_time_ms
    truth = {each.transaction.transaction_id: bool(each.is_fraud) for each in published[learned:]}
    in_force = regime(parse_new_policy(POLICY.read_bytes()), None, shipped_feeds())
    routes: Counter[str] = Counter()
    seen, total, weeks = set[str](), 0, Weeks(begin_ms)
    for decisions in _chunks(_decisions(bootstrap_servers)):
        total += len(decisions)
        seen.update(decision.transaction_id for decision in decisions)
        later = [decision for decision in decisions if decision.transaction_id in truth]
        routes.update(f"{decision.outcome}/{decision.route}/{decision.breaker_state}" for decision in later)
        weeks.add_all(_held_against(later, truth, in_force))
    dead = sum(1 for _ in Tail(bootstrap_servers, "transactions.dead.v1").news())
    for decider, tally in weeks.whole.items():
        say(f"{decider}: {tally.shown()}")
    return {
        "payments": len(published),
        "decisions": total,
        "distinct_decisions": len(seen),
        "dead_letters": dead,
        "outcomes_after_learning": dict(sorted(routes.items())),
        "deciders": weeks.shown(),
        "ok": len(published) == total == len(seen) and dead == 0 and routes.total() == len(truth),
    }


def _held_against(decisions: Sequence[Decision], truth: Mapping[str, bool], in_force: Regime) -> Iterator[Judged]:
    """Yield the decisions with what the others would have decided on the same snapshots."""
    if not decisions:
        return
    features = np.array([decision.snapshot.features for decision in decisions], dtype=np.int64)
    modes = [Mode(BreakerState.OPEN, ALL, False)] * len(decisions)
    soft = {rule.code for rule in in_force.rules.soft.rules}
    hard = {rule.code for rule in in_force.rules.hard.rules}
    for decision, verdict in zip(decisions, decide(features, modes, in_force), strict=True):
        codes = set(verdict.rules_triggered)
        guarded = Outcome.BLOCK if codes & hard else Outcome.ESCALATE if codes & soft else Outcome.ALLOW
        payment = decision.snapshot.transaction
        outcomes = {MODEL: decision.outcome, FALLBACK: verdict.outcome, NO_MODEL: guarded}
        yield Judged(payment.event_time_ms, payment.amount_minor, truth[decision.transaction_id], outcomes)


def _chunks(decisions: Iterator[Decision]) -> Iterator[list[Decision]]:
    while chunk := list(islice(decisions, ROWS)):
        yield chunk


def _decisions(bootstrap_servers: str) -> Iterator[Decision]:
    wire = WireFormat()
    for found in Tail(bootstrap_servers, "decisions.v1").news():
        decision = wire.decode_decision_record(found.value)
        assert isinstance(decision, Decision), "nobody reviews or reverses here"
        yield decision
