"""What a version tells beside its explanations: the customer of each decision, and what a person's record says.

A customer's text follows from the decision, its policy and its phrase book, and also from what people made of the
decision and whether the money may be out. A promise holds it for each of these, by a key such as "BLOCK, paid".
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.plain import plain_record
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.replay.customer import Money, customer_text
from pipeline.replay.regimes import Missing, RegimeOf

TOLD: Final = "told.jsonl.gz"
_STANDS: Final = (None, *Outcome)


def told_of(value: bytes, regime_of: RegimeOf) -> dict[str, object]:
    """What is told of a record of decisions.v1, as JSON has it; empty where the record can't be read."""
    record = WireFormat().decode_decision_record(value)
    if isinstance(record, Refusal):
        return {}
    if isinstance(record, Decision):
        return {"customer": dict(_customers(record, regime_of))}
    return {"record": json.loads(json.dumps(plain_record(record), ensure_ascii=False))}


def told_lines(records: Sequence[Mapping[str, object]], regime_of: RegimeOf) -> Iterator[dict[str, object]]:
    """A line for each line of a promise's records, in their order."""
    for line in records:
        place = {name: line[name] for name in ("partition", "offset")}
        yield {**place, **told_of(bytes.fromhex(str(line["value"])), regime_of)}


def told_bytes(lines: Iterator[Mapping[str, object]]) -> bytes:
    """With no time in it, so that equal content has equal bytes."""
    text = "".join(f"{json.dumps(line, ensure_ascii=False, sort_keys=True)}\n" for line in lines)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def read_told(folder: Path) -> dict[tuple[object, object], dict[str, object]] | None:
    """What a promise says was told, by partition and offset; None where it holds nothing of it."""
    path = folder / TOLD
    if not path.exists():
        return None
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return {(line.pop("partition"), line.pop("offset")): line for line in lines}


def _customers(decision: Decision, regime_of: RegimeOf) -> Iterator[tuple[str, str]]:
    for stands in _STANDS:
        for may_be_paid in (False, True):
            money = Money.MAY_BE_OUT if may_be_paid else Money.AS_DECIDED
            text = customer_text(decision, regime_of, stands, money)
            key = f"{'as decided' if stands is None else stands.value}{', paid' if may_be_paid else ''}"
            yield key, f"missing: {text.why}" if isinstance(text, Missing) else text
