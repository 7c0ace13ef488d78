"""What a challenger's time in the shadow shows, for the gate that promotes it and for people.

Invariants
1. It is of one digest: other bytes under the same version have a summary of their own.
2. A day is covered where payments were compared, and most of them within TIMELY_MS of their decision: a shadow that was
   down, and caught up days later, did not run then. The first day is never covered, since it began on it.
3. A review counts only where what was signed is proved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from pipeline.domain.decision import Outcome
from pipeline.domain.trials.shadow_answer import Band, ShadowStanding
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.people.act_store import proved, read_registry
from pipeline.people.registry import Registry
from pipeline.shadow.reviews import (
    BAND_NAMES,
    BANDS_GBP_MINOR,
    Disagreement,
    DisagreementVerdict,
    Review,
    is_above,
    reviewed,
    stratum_of,
)

TIMELY_MS: Final = 24 * 3_600_000
"""Longest delay of an answer that still shows that the shadow ran: a night's outage is caught up, a weekend's isn't."""
ABOVE_GBP_MINOR: Final = 100_000
"""Value from which every disagreement is looked at, where nobody says another: 1,000 GBP."""
DISAGREEMENTS_MAX: Final = 200_000
"""Most disagreements that a summary reads, some 200 MB; a challenger with more of them agrees too seldom anyway."""
PROVED_AT_ONCE: Final = 1000

_SQL: Final = statements("pipeline.shadow", "summary")


class Agreement(NamedTuple):
    compared: int
    agreed: int


class Stratum(NamedTuple):
    """Disagreements of one kind: both outcomes and a band of value."""

    name: str
    disagreements: int
    reviewed: int
    challenger_right: int


class ShadowSummary(NamedTuple):
    """`sample` are payments that both models answered, first_ms and last_ms the broker's times of the first and the
    last of them, 0 where there is none.

    stopped: of those that the champion doesn't ALLOW. unanswered, stopped_unanswered: payments beside them that the
    champion's model answered and the challenger could not. standings: of all decisions that the challenger looked at.
    above, above_reviewed, above_right: disagreements of above_gbp_minor and more, or of unknown value, those that were
    reviewed, and those in which the challenger is right by the review. verdicts: of proved reviews.
    is_whole: False where there were more disagreements than were read; then fewer are known to be reviewed.
    """

    version: str
    digest: str
    sample: int
    first_ms: int
    last_ms: int
    days_covered: int
    overall: Agreement
    stopped: Agreement
    unanswered: int
    stopped_unanswered: int
    standings: Mapping[str, int]
    disagreements: int
    reviewed: int
    above_gbp_minor: int
    above: int
    above_reviewed: int
    above_right: int
    strata: tuple[Stratum, ...]
    verdicts: Mapping[str, int]
    reviews_unproved: int
    is_whole: bool


class Counted(NamedTuple):
    """Compared payments with the same outcomes, in one band of value and one segment."""

    champion: Outcome
    challenger: Outcome
    band: str
    segment: str
    payments: int


def digests_of(connection: Connection, version: str) -> list[tuple[bytes, str]]:
    """Return the challengers that were in the shadow under a version, each with its kind, the latest first."""
    with failures_named():
        rows = connection.execute(_SQL["digests_of"], {"version": version}).fetchall()
    return [(bytes(digest), str(kind)) for digest, kind in rows]


def summary(
    connection: Connection,
    version: str,
    digest: str,
    above_gbp_minor: int = ABOVE_GBP_MINOR,
    champion: str | None = None,
) -> ShadowSummary:
    """`digest`: in hexadecimal. champion: whose decisions alone count; None: those of all champions.

    Standings and reviews are of all of them. Raises DatabaseUnavailable, DatabaseRefused.
    """
    key = {"digest": bytes.fromhex(digest)}
    with failures_named(), connection.transaction():
        standings: dict[str, int] = dict(connection.execute(_SQL["standings"], key).fetchall())
        beside = {**key, "champion": champion, "timely_ms": TIMELY_MS}
        days = connection.execute(_SQL["days"], beside).fetchall()
        [(unanswered, stopped_unanswered)] = connection.execute(_SQL["unanswered"], beside).fetchall()
        counts = counted_by_value(connection, key["digest"], champion)
        differing = disagreements_of(connection, key["digest"], DISAGREEMENTS_MAX, champion=champion)
        said, unproved = proved_reviews(connection, key["digest"])
    overall, stopped = _agreement(counts), _agreement(each for each in counts if each.champion is not Outcome.ALLOW)
    known = _judged(said)
    dear = [each for each in differing if is_above(each.amount_gbp_minor, above_gbp_minor)]
    return ShadowSummary(
        version,
        digest,
        overall.compared,
        min((row[3] for row in days), default=0),
        max((row[4] for row in days), default=0),
        sum(2 * timely > compared for _, compared, timely, *_ in days[1:]),
        overall,
        stopped,
        int(unanswered),
        int(stopped_unanswered),
        {str(standing): standings.get(str(standing), 0) for standing in ShadowStanding},
        overall.compared - overall.agreed,
        sum(each.decision_id in known for each in differing),
        above_gbp_minor,
        len(dear),
        sum(each.decision_id in known for each in dear),
        sum(known.get(each.decision_id, False) for each in dear),
        _strata(differing, known),
        dict(Counter(each.verdict for each in said)),
        unproved,
        len(differing) == overall.compared - overall.agreed,
    )


def calibration_bands(
    connection: Connection, digest: bytes, bounds_ppm: Sequence[int], frauds: Sequence[str], before_ms: int
) -> list[Band]:
    """Return the bands that hold payments. bounds_ppm: rising from 0. frauds: ids of payments that were fraud.

    Only what the champion allowed counts, and was decided before `before_ms`: what was stopped seldom gets a label.
    """
    wanted = {"digest": digest, "bands": list(bounds_ppm), "frauds": list(frauds), "before_ms": before_ms}
    with failures_named():
        rows = connection.execute(_SQL["calibration"], wanted).fetchall()
    return [Band(bounds_ppm[number - 1], payments, total, known) for number, payments, total, known in rows]


def counted(connection: Connection, digest: bytes, limit: int) -> list[Counted]:
    """Return the compared payments by outcomes, value and segment, the largest groups first."""
    wanted = {"digest": digest, "bands": list(BANDS_GBP_MINOR), "limit": limit}
    with failures_named():
        rows = connection.execute(_SQL["agreement"], wanted).fetchall()
    return [
        Counted(Outcome(one), Outcome(other), BAND_NAMES[band], segment, payments)
        for one, other, band, segment, payments in rows
    ]


def counted_by_value(connection: Connection, digest: bytes, champion: str | None = None) -> list[Counted]:
    """Return all compared payments by outcomes and value; the segment is empty. champion: as `summary` takes it."""
    wanted = {"digest": digest, "champion": champion, "bands": list(BANDS_GBP_MINOR)}
    with failures_named():
        rows = connection.execute(_SQL["counted_agreement"], wanted).fetchall()
    return [
        Counted(Outcome(one), Outcome(other), BAND_NAMES[band], "", payments) for one, other, band, payments in rows
    ]


def disagreements_of(
    connection: Connection, digest: bytes, limit: int, *, is_open: bool = False, champion: str | None = None
) -> list[Disagreement]:
    """Return disagreements, the most valuable first; with is_open those only that nobody has reviewed.

    champion: as `summary` takes it.
    """
    wanted = {"digest": digest, "champion": champion, "limit": limit, "is_open": is_open}
    with failures_named():
        return [_disagreement(row) for row in connection.execute(_SQL["disagreements"], wanted).fetchall()]


def answer_about(connection: Connection, digest: bytes, wanted: str) -> list[Disagreement]:
    """Return what the two said of a payment, by its id or its decision's; two of them where several are meant."""
    with failures_named():
        rows = connection.execute(_SQL["one_answer"], {"digest": digest, "wanted": wanted}).fetchall()
    return [_disagreement(row) for row in rows]


def proved_reviews(connection: Connection, digest: bytes) -> tuple[list[Review], int]:
    """Return the reviews whose acts are proved, and how many others there are."""
    with failures_named():
        rows = [Review(*row) for row in connection.execute(_SQL["reviews"], {"digest": digest}).fetchall()]
        if not rows:
            return [], 0
        registry = read_registry(connection)
        found = list(_proved(connection, registry, digest, rows))
    return found, len(rows) - len(found)


def _proved(connection: Connection, registry: Registry, digest: bytes, rows: Sequence[Review]) -> Iterator[Review]:
    waiting = iter(rows)
    while part := list(islice(waiting, PROVED_AT_ONCE)):
        count = proved(connection, registry, {each.act: reviewed(digest, each) for each in part})
        yield from (each for each in part if each.act in count)


def _agreement(groups: Iterable[Counted]) -> Agreement:
    listed = list(groups)
    return Agreement(
        sum(each.payments for each in listed),
        sum(each.payments for each in listed if each.champion is each.challenger),
    )


def _judged(said: Iterable[Review]) -> dict[str, bool]:
    """Return, of each disagreement that was reviewed, whether everybody who reviewed it finds the challenger right."""
    found: dict[str, bool] = {}
    for each in said:
        is_right = each.verdict == DisagreementVerdict.CHALLENGER_RIGHT
        found[each.decision_id] = is_right and found.get(each.decision_id, True)
    return found


def _strata(differing: Sequence[Disagreement], known: Mapping[str, bool]) -> tuple[Stratum, ...]:
    """known: whether the challenger is right in each disagreement that was reviewed."""
    there, looked_at, right = Counter[str](), Counter[str](), Counter[str]()
    for each in differing:
        name = stratum_of(each.outcomes, each.amount_gbp_minor)
        there[name] += 1
        looked_at[name] += each.decision_id in known
        right[name] += known.get(each.decision_id, False)
    return tuple(Stratum(name, there[name], looked_at[name], right[name]) for name in sorted(there))


def _disagreement(row: Sequence[Any]) -> Disagreement:
    decision_id, transaction_id, segments, amount, one, other, *rest = row
    return Disagreement(decision_id, transaction_id, segments, amount, Outcome(one), Outcome(other), *rest)
