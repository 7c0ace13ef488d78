"""`fraud models disagreements`: what the two models differ in, and what people say of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pipeline.domain.features import NONE
from pipeline.domain.money import money_text
from pipeline.domain.times import utc_text
from pipeline.io.postgres import Connection
from pipeline.io.settings import Settings
from pipeline.people.key_files import Identity
from pipeline.shadow.review_store import DisagreementRefused, append_review
from pipeline.shadow.reviews import REASON_CHARACTERS, Disagreement, DisagreementVerdict, Review
from pipeline.shadow.summary_store import answer_about, digests_of, disagreements_of, proved_reviews
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import OUTCOME_COLOUR, Output, coloured

PPM_A_PERCENT: Final = 10_000


def digest_in_shadow(connection: Connection, version: str, digest: str | None) -> tuple[bytes, str]:
    """Return the digest and the kind of the challenger that is meant. Raises Failure."""
    known = digests_of(connection, version)
    if not known:
        raise Failure(
            f"No challenger {version[:60]} was ever in the shadow.", "Name one, and let `fraud shadow run` run."
        )
    if digest is not None:
        known = [each for each in known if each[0].hex() == digest.lower()]
        if not known:
            raise Failure(f"No challenger {version[:60]} of that digest was in the shadow.", "Leave --digest out.")
    if len(known) > 1:
        names = ", ".join(each.hex() for each, _ in known)
        raise Failure(f"{len(known)} challengers were called {version[:60]}: {names}.", "Say which by --digest.")
    return known[0]


def listed(
    settings: Settings, version: str, digest: str | None, limit: int, *, is_open: bool
) -> Iterator[tuple[Disagreement, Sequence[Review]]]:
    """Each disagreement, with the proved reviews of it."""
    with connected(settings) as connection:
        key, _ = digest_in_shadow(connection, version, digest)
        differing = disagreements_of(connection, key, limit, is_open=is_open)
        said, _ = proved_reviews(connection, key)
    for each in differing:
        yield each, [one for one in said if one.decision_id == each.decision_id]


def review(
    settings: Settings, version: str, digest: str | None, wanted: str, verdict: str, reason: str, by: Identity
) -> Review:
    """Store what a person says of a disagreement. Raises Failure."""
    shortest, longest = REASON_CHARACTERS
    if not shortest <= len(reason.strip()) <= longest:
        raise Failure(f"A reason has {shortest} to {longest} characters.", "Say what showed you who was right.")
    with connected(settings) as connection:
        key, _ = digest_in_shadow(connection, version, digest)
        found = answer_about(connection, key, wanted)
        if len(found) > 1:
            raise Failure("Several decisions are about that payment.", "Give the id of one of the decisions.")
        if not found or found[0].champion_outcome is found[0].challenger_outcome:
            raise Failure(
                "The two models don't disagree about that payment.", "`fraud models disagreements` lists them."
            )
        try:
            return append_review(connection, key, found[0], DisagreementVerdict(verdict), reason, by)
        except DisagreementRefused as refusal:
            raise Failure(
                f"The review is refused: {refusal}.", "`fraud people list` shows who may review."
            ) from refusal


def show_disagreement(output: Output, each: Disagreement, said: Sequence[Review]) -> None:
    amount = "amount unknown" if each.amount_gbp_minor == NONE else money_text(each.amount_gbp_minor, "GBP")
    pair = " -> ".join(
        coloured(outcome, OUTCOME_COLOUR[outcome], is_bold=True)
        for outcome in (each.champion_outcome, each.challenger_outcome)
    )
    chances = f"{each.champion_ppm / PPM_A_PERCENT:.1f} % -> {each.challenger_ppm / PPM_A_PERCENT:.1f} %"
    lines = [
        f"{each.decision_id} {utc_text(each.decided_at_ms)}  {amount}, {each.segments}: {pair} ({chances})",
        f"  champion: {each.champion_says}",
        f"  challenger: {each.challenger_says}",
        *(f"  {one.reviewed_by}: {one.verdict}, {one.reason}" for one in said),
    ]
    fields = {**each._asdict(), "reviews": [one._asdict() for one in said]}
    output.record(fields, lines[0])
    if not output.as_json:
        for line in lines[1:]:
            output.line(line)


def show_reviewed(output: Output, said: Review) -> None:
    output.record(said._asdict(), f"{said.decision_id} {said.outcomes}: {said.verdict}, says {said.reviewed_by}.")
