"""The Fraud Detection Handbook's 1,754,155 payments through the real stack: as many distinct decisions, and the rate.

`fraud payments publish` publishes the file while the worker decides. The time counts from the first record published to
the last decision committed. The decisions are counted by reading the topic, not by trusting a counter. The worker's
hot path is compiled, as the image has it, where a C compiler is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ops.bench.rig.services import worker_process
from ops.bench.rig.stored import Tail
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import prepare_topics
from ops.bench.rig.waiting import wait_committed
from ops.compiled import compiled_tree_or_none, python_path
from ops.stack.real import RealStack
from pipeline.domain.decision import Decision
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.publish.file_command import check_file, publish_payments, require_sound
from pipeline.publish.payment_files import open_payments

PATH: Final = Path("../shared/data/handbook.parquet")
PAYMENTS: Final = 1_754_155
QUICK_PAYMENTS: Final = 20_000
SECONDS_MAX: Final = 1_800


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    tree = compiled_tree_or_none(say)
    with RealStack(folder / "stack") as stack:
        prepare_topics(stack.bootstrap_servers, "")
        servers = stack.bootstrap_servers, stack.redis_url
        with running(worker_process(folder, *servers, environment=python_path(tree))):
            return {"compiled": tree is not None, **_measure(say, stack, is_quick=is_quick)}


def _measure(say: Callable[[str], None], stack: RealStack, *, is_quick: bool) -> dict[str, object]:
    settings = Settings(bootstrap_servers=stack.bootstrap_servers, redis_url=stack.redis_url)
    limit = QUICK_PAYMENTS if is_quick else None
    source = open_payments(PATH, with_labels=False)
    require_sound(source, check_file(source, limit))
    started = time.monotonic()
    published = publish_payments(settings, WireFormat(), source, limit=limit).transactions
    say(f"{published:,} published after {time.monotonic() - started:.0f} s")

    wait_committed(stack.bootstrap_servers, published, SECONDS_MAX, "deciding", every_s=1.0)
    seconds = time.monotonic() - started
    say(f"all committed after {seconds:.0f} s; counting")
    outcomes, distinct, total = _count(stack.bootstrap_servers)
    dead = sum(1 for _ in Tail(stack.bootstrap_servers, "transactions.dead.v1").news())
    expected = QUICK_PAYMENTS if is_quick else PAYMENTS
    return {
        "payments": published,
        "decisions": total,
        "distinct_decisions": distinct,
        "dead_letters": dead,
        "outcomes": outcomes,
        "seconds": round(seconds, 1),
        "decisions_per_s": round(total / seconds),
        "ok": published == total == distinct == expected and dead == 0,
    }


def _count(bootstrap_servers: str) -> tuple[dict[str, int], int, int]:
    """Count decisions by outcome and route, distinct transaction ids, and all decisions."""
    wire = WireFormat()
    outcomes: dict[str, int] = {}
    seen: set[str] = set()
    total = 0
    for found in Tail(bootstrap_servers, "decisions.v1").news():
        decision = wire.decode_decision_record(found.value)
        assert isinstance(decision, Decision)
        total += 1
        seen.add(decision.transaction_id)
        name = f"{decision.outcome}/{decision.route}"
        outcomes[name] = outcomes.get(name, 0) + 1
    return dict(sorted(outcomes.items())), len(seen), total
