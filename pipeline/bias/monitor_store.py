"""The monitor's states, spans and gaps as rows, and the decisions that labels and reviews are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from psycopg.types.json import Jsonb

from pipeline.bias.counting import COLUMNS, Counted
from pipeline.bias.drift.counting import InputCounts, inputs_from, inputs_json
from pipeline.bias.gathering import Known
from pipeline.bias.watching import Gap, Measure
from pipeline.domain.decision import Outcome
from pipeline.io.postgres import Connection, failures_named, statements

_SQL: Final = statements("pipeline.bias", "bias")


class Stored(NamedTuple):
    """The newest state: its number, and its values as JSON has them."""

    sequence: int
    state: Mapping[str, object]


class Span(NamedTuple):
    """Counts of a model version, by scope; a scope that the policy no longer declares may be among them."""

    version: str
    until_ms: int
    counts: Mapping[str, tuple[int, ...]]
    inputs: InputCounts


class OpenGap(NamedTuple):
    scope: str
    measure: Measure
    opened_minute: int
    counts: Mapping[str, float]


def newest_state(connection: Connection) -> Stored | None:
    with failures_named():
        found = connection.execute(_SQL["newest_state"]).fetchone()
    return None if found is None else Stored(*found)


def append_state(connection: Connection, sequence: int, minute: int, state: Mapping[str, object]) -> None:
    connection.execute(_SQL["append_state"], {"sequence": sequence, "minute": minute, "state": Jsonb(state)})


def append_spans(
    connection: Connection,
    sequence: int,
    until_ms: int,
    scopes: Sequence[str],
    counts: Mapping[str, Counted],
    inputs: Mapping[str, InputCounts],
) -> None:
    """Append what was counted; rows of zeros are left out."""
    for version, counted in sorted(counts.items()):
        rows = zip(("all", *scopes), counted.tolist(), strict=True)
        row = {
            "sequence": sequence,
            "version": version[:64],
            "until_ms": until_ms,
            "counts": Jsonb({scope: each for scope, each in rows if any(each)}),
            "inputs": Jsonb(inputs_json(inputs[version])),
        }
        connection.execute(_SQL["append_span"], row)


def append_known(connection: Connection, sequence: int, known: Sequence[Known]) -> list[Known]:
    """Append the first word on each decision, and return those that there was none on before."""
    by_id: dict[str, Known] = {}
    for each in known:
        by_id.setdefault(each.decision_id, each)
    row = {
        "sequence": sequence,
        "decision_ids": list(by_id),
        "frauds": [each.is_fraud for each in by_id.values()],
        "by_review": [each.is_by_review for each in by_id.values()],
    }
    return [by_id[decision_id] for (decision_id,) in connection.execute(_SQL["append_known"], row).fetchall()]


def append_gap(connection: Connection, sequence: int, gap: Gap, kind: str) -> None:
    counts = {"own": gap.own, "own_events": gap.own_events, "rest": gap.rest, "rest_events": gap.rest_events}
    row = {
        "scope": gap.scope,
        "measure": gap.measure.name,
        "opened_minute": gap.opened_minute,
        "kind": kind,
        "sequence": sequence,
        "minute": gap.minute,
        "counts": Jsonb({**counts, "allowed_ratio": gap.allowed_ratio}),
    }
    connection.execute(_SQL["append_gap"], row)


class Told(NamedTuple):
    """A word on a payment: by a label, or by a review."""

    transaction_id: str
    account_id: str
    is_fraud: bool
    is_by_review: bool


def known_of(connection: Connection, told: Sequence[Told]) -> tuple[list[Known], list[Told]]:
    """Return what is known of decided payments, and what is told of payments that no decision is known of."""
    if not told:
        return [], []
    wanted = [each.transaction_id for each in told], [each.account_id for each in told]
    with failures_named():
        rows = connection.execute(_SQL["decisions_of_payments"], wanted).fetchall()
    decided = {(transaction_id, account_id): rest for transaction_id, account_id, *rest in rows}
    found: list[Known] = []
    unmatched: list[Told] = []
    for each in told:
        rest = decided.get((each.transaction_id, each.account_id))
        if rest is None:
            unmatched.append(each)
            continue
        decision_id, version, outcome, segments, channel = rest
        is_stopped = Outcome(outcome) is not Outcome.ALLOW
        named = dict(segments or {})
        fraud, review = each.is_fraud, each.is_by_review
        found.append(Known(decision_id, each.account_id, version, named, str(channel), is_stopped, fraud, review))
    return found, unmatched


def spans_since(connection: Connection, version: str | None, since_ms: int, until_ms: int) -> list[Span]:
    with failures_named():
        wanted = {"version": version, "since_ms": since_ms, "until_ms": until_ms}
        rows = connection.execute(_SQL["spans_since"], wanted).fetchall()
    return [Span(named, until, _counts_of(counts), inputs_from(inputs)) for named, until, counts, inputs in rows]


class Beside(NamedTuple):
    """Counts by scope of what both answered to the same payments."""

    champion: Mapping[str, tuple[int, ...]]
    challenger: Mapping[str, tuple[int, ...]]


def answered_beside(connection: Connection, digest: bytes, champion: str) -> Beside:
    """Return what a challenger answered beside one champion, ever; nothing where it was in no shadow of that one."""
    with failures_named():
        rows = connection.execute(_SQL["answered_beside"], {"digest": digest, "champion": champion}).fetchall()
    deciding, challenger = {}, {}
    for scope, payments, blocked, escalated, false_stops, *its, honest, frauds in rows:
        deciding[scope] = (payments, blocked, escalated, false_stops, honest, frauds)
        challenger[scope] = (payments, *its, honest, frauds)
    return Beside(deciding, challenger)


def open_gaps(connection: Connection) -> list[OpenGap]:
    with failures_named():
        rows = connection.execute(_SQL["open_gaps"]).fetchall()
    return [OpenGap(scope, Measure[measure], minute, counts) for scope, measure, minute, counts in rows]


def _counts_of(stored: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    counts = {scope: tuple(each) for scope, each in stored.items()}
    assert all(len(each) == COLUMNS for each in counts.values()), "a row of counts has its columns"
    return counts
