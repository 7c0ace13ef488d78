"""The lines of a rollback plan, as audit log, ledger and reviews lead to them: for whoever makes a plan, and for
whoever is to approve one.

Invariants
1. A signature proves who made a plan, and not that it is true. Nobody approves or applies a line that this module does
   not lead to by itself: one function derives it for its maker and for its approver.
2. Payment, amounts, places and the good version's answer follow from the audited record for ever. Where the payment's
   money is, and what is in force, may move after a plan was made; it has to be the same when a plan is approved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple

from pipeline.decide.feeds.feed import FeedKind, FeedName
from pipeline.domain.decision import Decision, StoredDecision
from pipeline.domain.features import COLUMN
from pipeline.domain.times import utc_text
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection
from pipeline.replay.redecide import AS_RECORDED, Basis, Good, Redecided, Version, redecide
from pipeline.replay.regimes import RegimeOf
from pipeline.rollback.plan_content_store import PlanContent, PlanRefused
from pipeline.rollback.plan_store import ROWS_A_FETCH, Selected, select_decisions, standings
from pipeline.rollback.reversal import (
    CHANGING,
    Disposition,
    Place,
    PlanHeader,
    PlanLine,
    Standing,
    disposition,
    line_bytes,
    outcome_before,
)

_MOVING: Final = ("before", "disposition", "is_held", "is_in_review", "state", "replaces_kind", "replaces_id")
"""Fields of a line that follow from where the payment stands; `why` and `payment_hex` follow from its disposition."""


class Criteria(NamedTuple):
    """Which decisions; None lets everything pass. `ids`: of decisions."""

    model_version: str | None = None
    policy_version: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    segment: tuple[str, str] | None = None
    rule: str | None = None
    route: str | None = None
    outcome: str | None = None
    ids: tuple[str, ...] | None = None

    @property
    def is_empty(self) -> bool:
        return all(value is None for value in self)

    def columns(self) -> dict[str, object]:
        """The criteria as the statement takes them."""
        name, value = self.segment or (None, None)
        rest = {key: wanted for key, wanted in self._asdict().items() if key not in ("segment", "ids")}
        ids = None if self.ids is None else list(self.ids)
        return {**rest, "segment_name": name, "segment_value": value, "ids": ids}


class Differing(NamedTuple):
    """A line that is not what the records lead to. `position`: from 0. `fields`: those that are otherwise; none where
    no such decision is as the plan's criteria say."""

    position: int
    decision_id: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        where = f"line {self.position + 1} of the plan, on decision {self.decision_id}"
        if not self.fields:
            return f"{where}, is about no decision that the plan's criteria select, or is out of order"
        return f"{where}, is not what the records lead to by now: {', '.join(self.fields)} differ"


class Derivation:
    """Raises PlanRefused, RegimeMissing, DatabaseUnavailable, DatabaseRefused."""

    def __init__(self, connection: Connection, wire: WireFormat, regime_of: RegimeOf) -> None:
        self._connection, self.wire, self._regime_of = connection, wire, regime_of

    def selected(self, criteria: Criteria, good: Good) -> Iterator[list[PlanLine]]:
        """The lines of all selected decisions in the topic's order, within the caller's transaction."""
        return self._lines(criteria, good, {})

    def first_differing(self, content: PlanContent, *, is_pending: bool) -> Differing | None:
        """The first line of a plan that is not what the records lead to, within the caller's transaction.

        `is_pending`: nothing of the plan was applied yet, so where the payments stand counts too.
        """
        criteria, good = criteria_of(content.header.criteria), good_of(content.header)
        position, last = 0, (-1, -1)
        for lines in _portions(content.lines()):
            derived = self._derived(lines, criteria, good, is_pending=is_pending)
            for line in lines:
                found, place = derived.get(line.decision_id), (line.topic_partition, line.topic_offset)
                if found is None or place <= last:
                    return Differing(position, line.decision_id, ())
                if line_bytes(line) != line_bytes(found):  # which tell 1 from true
                    return Differing(position, line.decision_id, _otherwise(line, found))
                position, last = position + 1, place
        return None

    def _derived(
        self, lines: Sequence[PlanLine], criteria: Criteria, good: Good, *, is_pending: bool
    ) -> dict[str, PlanLine]:
        """By decision. A line that changes nothing says where a payment stood once, and so does one that is applied."""
        kept: dict[str, PlanLine] = {
            line.decision_id: line for line in lines if not (is_pending and line.disposition in CHANGING)
        }
        wanted = criteria._replace(ids=tuple(line.decision_id for line in lines))
        return {found.decision_id: found for chunk in self._lines(wanted, good, kept) for found in chunk}

    def _lines(self, criteria: Criteria, good: Good, kept: Mapping[str, PlanLine]) -> Iterator[list[PlanLine]]:
        for chunk in select_decisions(self._connection, criteria.columns()):
            decisions = [self._decision(selected) for selected in chunk]
            redecided = redecide(decisions, good, self._regime_of)
            stands = standings(self._connection, [each.decision_id for each in chunk])
            yield [
                self._line(each, stored.decision, again, stands[each.decision_id], kept.get(each.decision_id))
                for each, stored, again in zip(chunk, decisions, redecided, strict=True)
            ]

    def _line(
        self, selected: Selected, decision: Decision, again: Redecided, stands: Standing, kept: PlanLine | None
    ) -> PlanLine:
        """`kept`: the line whose word holds about where the payment stood."""
        payment, features, _ = decision.snapshot
        line = PlanLine(
            selected.decision_id,
            payment.transaction_id,
            payment.account_id,
            selected.topic_partition,
            selected.topic_offset,
            payment.currency,
            payment.amount_minor,
            features[COLUMN["amount_gbp_minor"]],
            outcome_before(stands),
            again.outcome,
            disposition(stands, again.outcome),
            stands.place is Place.HELD,
            stands.is_in_review,
            "",
            "",
            stands.state,
            *stands.replaces,
        )
        if kept is not None:
            line = line._replace(**{name: getattr(kept, name) for name in _MOVING})
        what = line.disposition
        return line._replace(
            why=again.why if what in CHANGING or what is Disposition.UNDECIDABLE else "",
            payment_hex=self.wire.encode_transaction(payment).hex() if what is Disposition.RELEASE else "",
        )

    def _decision(self, selected: Selected) -> StoredDecision:
        stored = self.wire.decode_stored_decision(selected.record)
        if not isinstance(stored, StoredDecision):
            raise PlanRefused(f"The audit log's record of decision {selected.decision_id} can't be read")
        return stored


def good_of(header: PlanHeader) -> Good:
    """The versions that a plan's header names. Raises PlanRefused where they can't be read."""
    try:
        model = _version(header.good_model_version, header.good_model_hash)
        policy = _version(header.good_policy_version, header.good_policy_hash)
        rates, sanctions = (_feed(header.good_feeds, kind) for kind in _FEEDS)
        if header.good_feeds.keys() - set(_FEEDS):
            raise PlanRefused("The plan names a feed of a kind that nobody knows")
        return Good(model, policy, Basis(header.breaker), rates, sanctions)
    except (ValueError, AttributeError, TypeError) as error:
        raise PlanRefused("The plan names versions that can't be read") from error


def feeds_text(good: Good) -> dict[str, str]:
    """The feeds of a plan as its header has them, and as `good_of` reads them."""
    feeds = zip(_FEEDS, (good.exchange_rates, good.sanctions), strict=True)
    return {kind: f"{name.sha256.hex()} {name.version}" for kind, name in feeds if name is not None}


def criteria_text(criteria: Criteria, list_name: str | None, incident: str | None = None) -> dict[str, str]:
    """Criteria as people read them, and as `criteria_of` does.

    list_name: of the file that named the ids. incident: the one that time and scope were taken from.
    """
    said: Mapping[str, str | None] = {
        "model": criteria.model_version,
        "policy": criteria.policy_version,
        "since": None if criteria.since_ms is None else utc_text(criteria.since_ms),
        "until": None if criteria.until_ms is None else utc_text(criteria.until_ms),
        "segment": None if criteria.segment is None else "=".join(criteria.segment),
        "rule": criteria.rule,
        "route": criteria.route,
        "outcome": criteria.outcome,
        "list": list_name,
        "incident": incident,
    }
    return {name: str(value) for name, value in said.items() if value is not None}


def criteria_of(text: Mapping[str, str]) -> Criteria:
    """What a plan's header says was selected, but for the ids of a list. An incident only says why. Raises PlanRefused
    where it can't be read."""
    is_known = isinstance(text, Mapping) and not text.keys() - _CRITERIA
    if not is_known or not all(isinstance(value, str) for value in text.values()):
        raise PlanRefused("The plan selects by what nobody knows")
    try:
        segment = text["segment"].partition("=") if "segment" in text else None
        return Criteria(
            text.get("model"),
            text.get("policy"),
            _ms(text.get("since")),
            _ms(text.get("until")),
            None if segment is None else (segment[0], segment[2]),
            text.get("rule"),
            text.get("route"),
            text.get("outcome"),
        )
    except ValueError as error:
        raise PlanRefused("The plan selects by a time that can't be read") from error


_FEEDS: Final = (str(FeedKind.EXCHANGE_RATES), str(FeedKind.SANCTIONS))
_CRITERIA: Final = frozenset(
    {"model", "policy", "since", "until", "segment", "rule", "route", "outcome", "list", "incident"}
)


def _ms(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)


def _version(version: str, sha256_hex: str) -> Version | None:
    return None if version == AS_RECORDED else Version(version, bytes.fromhex(sha256_hex))


def _feed(feeds: Mapping[str, str], kind: str) -> FeedName | None:
    if kind not in feeds:
        return None
    sha256_hex, _, version = feeds[kind].partition(" ")
    return FeedName(version, bytes.fromhex(sha256_hex))


def _otherwise(line: PlanLine, found: PlanLine) -> tuple[str, ...]:
    return tuple(name for name, said, is_so in zip(PlanLine._fields, line, found, strict=True) if said != is_so)


def _portions(lines: Iterator[PlanLine]) -> Iterator[list[PlanLine]]:
    while portion := list(islice(lines, ROWS_A_FETCH)):
        yield portion
