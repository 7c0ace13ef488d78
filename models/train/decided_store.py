"""The history that the audit log holds: each decision's own snapshot, which is what was known when it was made.

Invariants
1. The features are those of the snapshot, exactly; nothing is computed again that a later release may see otherwise.
2. A payment that a hard guardrail blocked teaches nothing, because the model is never asked about such; nor does one of
   which something was UNKNOWN, or whose writer did not know a feature of the plan.
3. Of decisions about one payment the first teaches. Payments of several systems under one id teach nothing, since
   labels don't say by it whose they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from operator import not_
from typing import Final

import numpy as np

from models.artefact.strict import Json
from models.card.measuring.measured import Attributes
from models.train.history import Examples, HistoryRefused
from models.train.settled import History, settled
from models.train.topics import Fate, Labels, fates_of, known_until_ms, shared_ids, truth_of
from pipeline.decide.reasons.asking import LASTING
from pipeline.domain.decision import Decision, Route, StoredDecision
from pipeline.domain.features import COLUMN, UNKNOWN
from pipeline.io.avro.wire import WireFormat
from pipeline.io.avro.writers import features_known
from pipeline.io.postgres import Connection, failures_named, statements

ROWS_A_READ: Final = 2_000

Advance = Callable[[int], None]

_SQL: Final = statements("models.train", "decided")


def history_of_decisions(
    connection: Connection,
    wire: WireFormat,
    features: Sequence[str],
    labels: Labels,
    delay_ms: int,
    advance: Advance,
) -> History:
    """Read the audit log; `features` are the plan's. Raises HistoryRefused, DatabaseUnavailable, DatabaseRefused."""
    with failures_named(), connection.transaction():
        connection.execute(_SQL["one_moment"])
        said = [wire.decode_decision_record(bytes(record)) for (record,) in connection.execute(_SQL["by_people"])]
        with connection.cursor(name="decided") as cursor:
            cursor.itersize = ROWS_A_READ
            records = (bytes(record) for (record,) in cursor.execute(_SQL["decided"]))
            return history_of(_stored(records, wire, advance), fates_by(said), features, labels, delay_ms)


def fates_by(said: Iterable[object]) -> Callable[[Iterable[Decision]], Mapping[str, Fate]]:
    """Return what tells the fates of decisions by what people said of them."""
    words = list(said)
    return lambda decisions: fates_of([*decisions, *words])  # type: ignore[list-item]


def history_of(
    stored: Iterable[StoredDecision],
    fates: Callable[[Iterable[Decision]], Mapping[str, Fate]],
    features: Sequence[str],
    labels: Labels,
    delay_ms: int,
) -> History:
    """Make a history of decisions in any order. Raises HistoryRefused."""
    seen = set[tuple[str, str | None]]()
    rows: list[tuple[int, ...]] = []
    heads: list[Decision] = []
    guarded = unknown = unheld = again = 0
    for decision, _, _, release, _ in stored:
        name = decision.transaction_id, decision.snapshot.transaction.source_system
        if name in seen:
            again += 1
            continue
        seen.add(name)
        if decision.route is Route.GUARDRAIL:
            guarded += 1
        elif not _holds(release, tuple(features)):
            unheld += 1
        elif any(decision.snapshot.features[column] == UNKNOWN for column in _held(release, tuple(features))):
            unknown += 1
        else:
            rows.append(decision.snapshot.features)
            heads.append(decision._replace(snapshot=decision.snapshot._replace(features=())))
    shared = shared_ids(seen)
    sharing = [head.transaction_id in shared for head in heads]
    rows, heads = list(compress(rows, map(not_, sharing))), list(compress(heads, map(not_, sharing)))
    if not rows:
        raise HistoryRefused(
            f"the audit log holds no decision that a model could learn from: {guarded} were a guardrail's, {unheld} "
            f"lack a feature of the plan, of {unknown} something was not known, and {sum(sharing)} share their id with "
            "another system's"
        )
    examples, ids = _in_order(rows, heads)
    truth = truth_of(ids, labels, fates(heads))
    left_out: dict[str, Json] = {
        "left_out_as_guardrail": guarded,
        "left_out_as_unknown": unknown,
        "left_out_as_of_an_earlier_feature_list": unheld,
        "left_out_as_decided_again": again,
        "left_out_as_sharing_an_id": sum(sharing),
    }
    until_ms, source = known_until_ms(labels), "The audit log's decisions, and labels"
    history = settled(examples, truth, until_ms, delay_ms, source, frozenset(features))
    return history._replace(labels={**history.labels, **left_out})


def _in_order(rows: list[tuple[int, ...]], heads: list[Decision]) -> tuple[Examples, list[str]]:
    """Put the examples in the order of the payments' times, of equal ones of their places in the log."""
    matrix = np.array(rows, dtype=np.int64)
    times_ms = np.array([head.snapshot.transaction.event_time_ms for head in heads], dtype=np.int64)
    places = [(head.source_partition, head.source_offset) for head in heads]
    partition, offset = np.array(places, dtype=np.int64).T
    order = np.lexsort((offset, partition, times_ms))
    nobody, said = np.zeros(len(rows), dtype=np.bool_), map(_attributes_of, heads)
    number = np.arange(len(rows), dtype=np.int64)
    examples = Examples(matrix, nobody, times_ms, number, np.fromiter(said, np.object_, len(rows))).chosen(order)
    return examples, [heads[row].transaction_id for row in order.tolist()]


def _stored(records: Iterable[bytes], wire: WireFormat, advance: Advance) -> Iterator[StoredDecision]:
    for count, record in enumerate(records, start=1):
        if count % ROWS_A_READ == 0:
            advance(count)
        found = wire.decode_stored_decision(record)
        if isinstance(found, StoredDecision):
            yield found
        else:
            raise HistoryRefused("the audit log holds a decision that can't be read; `fraud audit verify` says which")


def _attributes_of(head: Decision) -> Attributes:
    payment = head.snapshot.transaction
    return Attributes(payment.channel.value, "", tuple(sorted(payment.segments.items())))


@lru_cache
def _held(release: int, features: tuple[str, ...]) -> tuple[int, ...]:
    """The columns that writers of a release knew, and without which no model of these features is asked."""
    known = features_known(release)
    return tuple(COLUMN[name] for name in known if name in features or name not in LASTING)


@lru_cache
def _holds(release: int, features: tuple[str, ...]) -> bool:
    return {name for name in features if name in COLUMN} <= set(features_known(release))
