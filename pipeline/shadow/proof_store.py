"""Whether what the shadow's process wrote is true: held against the audit log, and answered again by the version.

Whoever has the credential of the shadow can write any answer. So its rows are a claim, and no more.

Invariants
1. Every answer that counts stands beside a decision of the audit log that the champion's model made, with that outcome
   and at that time, and beside one of its own: none is made up, none counts twice, and no day is invented.
2. Of the decisions that the champion's model made in the time of the shadow some are drawn, by a chance that nobody
   knows beforehand. About each the answer stands, and is the one that the version gives again: to leave disagreements
   out, or to write them down as agreement or as of less value, shows.
3. What can't be answered again, such as without its policy, is not proved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from models.artefact.scoring import Model
from pipeline.domain.decision import StoredDecision
from pipeline.domain.trials.shadow_answer import ShadowAnswer, ShadowStanding
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.replay.regimes import RegimeOf
from pipeline.shadow.answer_store import ID_CHARACTERS_MAX, VERSION_CHARACTERS_MAX, stored_text
from pipeline.shadow.challenger import GlassBox
from pipeline.shadow.comparing import Placed, compare
from pipeline.shadow.summary_store import ShadowSummary

DRAWN_MAX: Final = 2_000
"""Decisions that are answered again, in about a second. Where 1 answer in 500 is false, one is drawn 49 times of 50."""
DRAWN_TWICE: Final = 2
"""More are drawn than are looked at, so that chance seldom leaves fewer."""
ABSENT_PERCENT_MAX: Final = 1
"""Answers that may be lacking: the last ones, of which one of the two readers hasn't told yet, and a few minutes in
which the shadow lacked a policy."""

_SQL: Final = statements("pipeline.shadow", "proof")


class Champion(NamedTuple):
    """`digest`: of the artefact that decides all that no candidate does."""

    version: str
    digest: bytes


class Proof(StrEnum):
    SAME = "SAME"
    FALSE = "FALSE"
    ABSENT = "ABSENT"
    UNPROVED = "UNPROVED"


class _Said(NamedTuple):
    """What counts of an answer, as the database holds it."""

    standing: str
    transaction_id: str
    champion_version: str
    champion_outcome: str
    challenger_outcome: str | None
    challenger_ppm: int
    amount_gbp_minor: int


def shadow_doubt(
    connection: Connection, model: Model, champion: Champion, whole: ShadowSummary, regime_of: RegimeOf
) -> str | None:
    """Return why the answers of a version in the shadow can't be relied upon; None where nothing speaks against them.

    whole: what they come to beside that champion. Raises DatabaseRefused, DatabaseUnavailable.
    """
    keys = {"digest": model.hash, "champion": champion.version, "champion_digest": champion.digest}
    with failures_named():
        [(unfounded, ahead)] = connection.execute(_SQL["unfounded_answers"], keys).fetchall()
        [(doubled,)] = connection.execute(_SQL["doubled_answers"], keys).fetchall()
    if unfounded:
        return f"{unfounded:,} of {whole.sample:,} answers stand beside no decision of the audit log"
    if doubled:
        return f"about {doubled:,} decisions it has more than one answer"
    if ahead * 100 > ABSENT_PERCENT_MAX * whole.sample:
        return f"{ahead:,} of {whole.sample:,} answers are about what the audit log doesn't have yet"
    drawn = _drawn(connection, champion, whole)
    found = Counter(_proofs(connection, model, drawn, regime_of))
    if found[Proof.FALSE]:
        return f"of {len(drawn):,} answers that were drawn {found[Proof.FALSE]:,} are not what it answers"
    if found[Proof.ABSENT] * 100 > ABSENT_PERCENT_MAX * len(drawn):
        return f"of {len(drawn):,} decisions that were drawn it has not answered {found[Proof.ABSENT]:,}"
    if found[Proof.UNPROVED] * 100 > ABSENT_PERCENT_MAX * len(drawn):
        unproved = f"{found[Proof.UNPROVED]:,} can't be answered again here, for want of a policy or a feed"
        return f"of {len(drawn):,} decisions that were drawn {unproved}"
    return None


def _drawn(connection: Connection, champion: Champion, whole: ShadowSummary) -> list[Placed | None]:
    """Return decisions by chance, None for one that can't be read."""
    span = {"since_ms": whole.first_ms, "until_ms": whole.last_ms, "champion_digest": champion.digest}
    with failures_named():
        [(there,)] = connection.execute(_SQL["decided_in"], span).fetchall()
        chance = min(1.0, DRAWN_TWICE * DRAWN_MAX / max(there, 1))
        wanted = {**span, "chance": chance, "limit": DRAWN_MAX}
        rows = connection.execute(_SQL["decisions_by_chance"], wanted).fetchall()
    wire, found = WireFormat(), list[Placed | None]()
    for record, partition, offset, at_ms in rows:
        stored = wire.decode_stored_decision(bytes(record))
        found.append(Placed(stored, partition, offset, at_ms) if isinstance(stored, StoredDecision) else None)
    return found


def _proofs(connection: Connection, model: Model, drawn: Sequence[Placed | None], regime_of: RegimeOf) -> list[Proof]:
    placed = [each for each in drawn if each is not None]
    answers = compare(placed, GlassBox(model), regime_of)
    said = _said(connection, model.hash, [each.decision_id for each in answers])
    return [
        *([Proof.UNPROVED] * (len(drawn) - len(placed))),
        *(_proof(each, said.get(each.decision_id, ())) for each in answers),
    ]


def _proof(answer: ShadowAnswer, said: Sequence[_Said]) -> Proof:
    if answer.standing is ShadowStanding.REGIME_MISSING:
        return Proof.UNPROVED
    if all(each.standing == ShadowStanding.REGIME_MISSING for each in said):
        return Proof.ABSENT
    return Proof.SAME if set(said) == {_as_stored(answer)} else Proof.FALSE


def _as_stored(answer: ShadowAnswer) -> _Said:
    return _Said(
        str(answer.standing),
        stored_text(answer.transaction_id, ID_CHARACTERS_MAX),
        stored_text(answer.champion_version, VERSION_CHARACTERS_MAX),
        str(answer.champion_outcome),
        None if answer.challenger_outcome is None else str(answer.challenger_outcome),
        answer.challenger_probability_ppm,
        answer.amount_gbp_minor,
    )


def _said(connection: Connection, digest: bytes, decision_ids: Sequence[str]) -> Mapping[str, Sequence[_Said]]:
    wanted = {"digest": digest, "decision_ids": list(decision_ids)}
    found: dict[str, list[_Said]] = {}
    with failures_named():
        for decision_id, *said in connection.execute(_SQL["answers_about"], wanted).fetchall():
            found.setdefault(decision_id, []).append(_Said(*said))
    return found
