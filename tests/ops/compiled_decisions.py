"""Prints a hash of what 2,000 payments and all bad records come to: decisions, read back and spoilt too, audit rows.

`python -P tests/ops/compiled_decisions.py`: on its own, so that it may run on the sources or on a compiled
tree, whichever PYTHONPATH names.
"""

import argparse
import hashlib
import random
from collections.abc import Iterator
from itertools import chain

from models.artefact.files import load_champion
from ops.bench.bad_input.bad_records import cases
from ops.bench.rig.payments import payments
from pipeline.audit.chain import Entry, Times, Tree, chained, leaf_hash
from pipeline.audit.rows import Proof, row_of
from pipeline.decide import batch as judging
from pipeline.decide.feeds.feed_files import shipped_feeds
from pipeline.decide.policy import parse_policy
from pipeline.decide.verdict import Mode, regime
from pipeline.domain.decision import BreakerState, Decision
from pipeline.domain.log import LogRecord, Record, Source, Span
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.state.windows import MemoryState

PAYMENTS = 2_000
NOW_MS = 1_767_300_000_000
MODES = [Mode(BreakerState.CLOSED, "all", True), Mode(BreakerState.OPEN, "segment:postcode_area=SW", False)]


def main() -> None:
    settings, wire = Settings(), WireFormat()
    policy, model = parse_policy(settings.policy_path.read_bytes()), load_champion(settings.model_registry)
    in_force = regime(policy, model, shipped_feeds())
    topics = judging.TopicNames("decisions.v1", "alerts.v1")
    judge = judging.Judge(in_force, wire, topics, "decide/test", lambda _key: 0)
    published = [(payment.key, payment.value, payment.timestamp_ms) for payment in payments(wire, PAYMENTS)]
    published += [(case.key, case.value, NOW_MS) for case in cases()]
    records = [Record(key, value, Source(0, place, at_ms)) for place, (key, value, at_ms) in enumerate(published)]
    reading = judge.read(records)
    observations = MemoryState().observe(judge.state_events(reading, [Span(0, 0, len(records), 0)]))
    pick = random.Random(5)
    judged = judging.Judged.whole(judge.judge(reading, observations, lambda _payment: pick.choice(MODES), NOW_MS))
    assert judged.accounted_for == len(records)
    sha256 = hashlib.sha256()
    for made in chain(judged.set_aside, judged.outgoing):
        sha256.update(repr(made).encode())
    decisions = [each.value for each in judged.outgoing if each.topic == topics.decisions]
    for read_back in chain(audit_rows(wire, decisions), spoilt(wire, decisions, pick)):
        sha256.update(read_back)
    print(judging.__file__.rpartition(".")[2], judged.outcomes.total(), sha256.hexdigest())


def audit_rows(wire: WireFormat, decisions: list[bytes]) -> Iterator[bytes]:
    log = [LogRecord(0, place, NOW_MS, b"", value, None) for place, value in enumerate(decisions)]
    times = Times(NOW_MS, NOW_MS)
    entries = [Entry(each.offset, NOW_MS * 1000, leaf_hash(0, each.offset, times, each.value)) for each in log]
    for record, entry, link in zip(log, entries, chained(Tree(), entries)[0], strict=True):
        content = wire.decode_decision_record(record.value)
        assert isinstance(content, Decision)
        yield repr(content).encode()
        yield row_of(record, content, Proof(entry, times, link))


def spoilt(wire: WireFormat, decisions: list[bytes], pick: random.Random) -> Iterator[bytes]:
    """Yield what decisions with a byte changed, and others cut short, are read as; most are refused."""
    for value in decisions:
        changed = bytearray(value)
        changed[pick.randrange(11, len(value))] = pick.randrange(256)
        yield repr(wire.decode_decision_record(bytes(changed))).encode()
        yield repr(wire.decode_decision_record(value[: pick.randrange(10, len(value))])).encode()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
