"""What a rollout costs a decision: CPU to judge and encode a batch by one model and by two, and the look at each batch.

The batches are judged in turns, so that a busy machine is the same for all. `is_ok`: the look before a batch costs no
more than LOOK_PERCENT_MAX of the batch. Nothing else runs in the process, and no server is needed.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from models.artefact.files import champion_version, load
from pipeline.breaker.states import BreakerRecord, Cause
from pipeline.decide import batch
from pipeline.decide.batch import Judge, Judged, Reading, TopicNames
from pipeline.decide.feeds.feed import NO_FEEDS, FeedKind, parse_new_feed
from pipeline.decide.feeds.feed_files import shipped_as_of
from pipeline.decide.policy import parse_policy
from pipeline.decide.rollout.modes import modes_under, shared_modes
from pipeline.decide.rollout.moves_files import Moves
from pipeline.decide.rollout.sharing import Rollout, Sharing, salt_key
from pipeline.decide.verdict import Regime, regime
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.payment import Channel, Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.state.windows import MemoryState, PartitionObservation

BATCH_RECORDS: Final = 500
ROUNDS: Final = 40
LOOKS: Final = 2_000
LOOK_PERCENT_MAX: Final = 2.0
SHARES_PPM: Final = (0, 10_000, 100_000, 500_000)
"""0: no candidate at all, as nearly always."""
NOON_MS: Final = 1_793_620_800_000
DAY_MS: Final = 86_400_000
CLOSED: Final = {"all": BreakerRecord("all", BreakerState.CLOSED, 1, 0, 0, Cause("a bench", "bench"))}


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    rounds, wire = ROUNDS // 10 if is_quick else ROUNDS, WireFormat()
    champion, candidate = _regimes()
    judges = {share_ppm: _judge(wire, champion, candidate, share_ppm) for share_ppm in SHARES_PPM}
    records = [_record(wire, number) for number in range(BATCH_RECORDS)]
    taken: dict[int, list[float]] = {share_ppm: [] for share_ppm in SHARES_PPM}
    reading = judges[0].read(records)
    observed = MemoryState().observe(judges[0].state_events(reading, [Span(0, 0, len(records), 0)]))
    for _ in range(rounds):
        for share_ppm, judge in judges.items():
            taken[share_ppm].append(_judged_us(judge, reading, observed))
    look_us = _look_us(folder)
    costs = {share_ppm: round(statistics.median(found), 2) for share_ppm, found in taken.items()}
    for share_ppm, cost_us in costs.items():
        say(f"{share_ppm / 10_000:g} %: {cost_us} µs a payment, {cost_us / costs[0]:.2f} of that without a candidate")
    look_percent = 100 * look_us / (costs[0] * BATCH_RECORDS)
    say(f"the look before a batch: {look_us:.1f} µs, {look_percent:.2f} % of a batch of {BATCH_RECORDS}")
    return {
        "is_compiled": not batch.__file__.endswith(".py"),
        "judge_us": {f"{share_ppm / 10_000:g} %": cost for share_ppm, cost in costs.items()},
        "look_us": round(look_us, 1),
        "look_percent_of_a_batch": round(look_percent, 2),
        "is_ok": look_percent <= LOOK_PERCENT_MAX,
    }


def _regimes() -> tuple[Regime, Regime]:
    settings = Settings()
    policy, feeds = parse_policy(settings.policy_path.read_bytes()), NO_FEEDS
    for kind in FeedKind:
        feeds = feeds.with_feed(parse_new_feed(shipped_as_of(kind, NOON_MS), kind))
    model = load(settings.model_registry / champion_version(settings.model_registry))
    other = dataclasses.replace(model, version="candidate", hash=bytes(32))
    return regime(policy, model, feeds), regime(policy, other, feeds)


def _judge(wire: WireFormat, champion: Regime, candidate: Regime, share_ppm: int) -> Judge:
    rollout = Rollout(candidate, Sharing(share_ppm, salt_key("a bench's"))) if share_ppm else None
    topics = TopicNames("decisions.v1", "alerts.v1")
    return Judge(champion, wire, topics, "decide/bench", lambda _key: 0, rollout=rollout)


def _judged_us(judge: Judge, reading: Reading, observed: Sequence[PartitionObservation]) -> float:
    began = time.process_time()
    modes = modes_under(CLOSED, judge.in_force, 0)
    if judge.rollout is not None:
        modes = shared_modes(modes, modes_under(CLOSED, judge.rollout.candidate, 0), judge.rollout.sharing)
    judged = Judged.whole(judge.judge(reading, observed, modes, NOON_MS))
    taken_s = time.process_time() - began
    assert judged.outcomes.total() == BATCH_RECORDS, "every payment is decided"
    return taken_s * 1e6 / BATCH_RECORDS


def _look_us(folder: Path) -> float:
    (folder / "aliases" / "champion").mkdir(parents=True)
    moves = Moves(folder)
    began = time.process_time()
    for _ in range(LOOKS):
        assert not moves.is_moved, "nobody moves it"
    return (time.process_time() - began) * 1e6 / LOOKS


def _record(wire: WireFormat, number: int) -> Record:
    payment = Transaction(
        transaction_id=f"shares-{number}",
        account_id=f"GB29-{number % 97:04d}",
        amount_minor=900 + 37 * number,
        currency="GBP",
        event_time_ms=NOON_MS,
        beneficiary_account_id=f"GB30-{number % 53:04d}",
        beneficiary_name="a payee",
        beneficiary_country="GB",
        beneficiary_opened_at_ms=NOON_MS - 1_000 * DAY_MS,
        reference="rent",
        channel=Channel.FASTER_PAYMENT,
        ip_address="192.0.2.1",
        device_id="device-1",
        account_opened_epoch_day=NOON_MS // DAY_MS - 1_000,
        account_time_zone="UTC",
        segments={"age_band": "25-34"},
    )
    return Record(payment.account_id.encode(), wire.encode_transaction(payment), Source(0, number, NOON_MS))
