"""The sections of what others found and said after training: checks and approvals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from models.artefact.strict import Json
from models.card.content.blocks import Block, Code, Inline, Paragraph, Subheading, Table
from models.card.content.texts import flattened
from models.card.facts import CardFacts, Check, Estimate, Occasion
from models.card.standing import CHECK_KINDS, ROLES, failed_before, newest_checks, roles_signed
from models.card.words import UNKNOWN, estimated, moment, pounds
from pipeline.domain.money import count_text

ATTACKS: Final = "attacks"
"""The field in which a red team's evidence has its figures by attack."""
ALONE: Final = (
    "No database was asked what was ever filed, so evidence that was taken away from the registry is missing here "
    "without a word. To ask it, name it by "
)
FAILED_MAX: Final = 100
"""Rows of runs that failed, the latest of them; the gate refuses far fewer."""
FIGURES_MAX: Final = 200
"""Rows of a check's figures on a card; its evidence in the registry has all of them."""


def checks(facts: CardFacts) -> Iterator[Block]:
    if facts.checks is None:
        yield Paragraph(_unknown(facts, "any check ran"))
        return
    if facts.occasion is Occasion.REGISTRY_ALONE:
        yield Paragraph([ALONE, Code("FRAUD_DATABASE_URL"), "."])
    newest, failed = newest_checks(facts), failed_before(facts)
    rows = []
    for kind in [*CHECK_KINDS, *sorted(newest.keys() - set(CHECK_KINDS))]:
        check = newest.get(kind)
        result = "missing: nothing is known of it" if check is None else "passed" if check.passed else "failed"
        if earlier := sum(each.kind == kind for each in failed):
            result += f", and {count_text(earlier, 'run')} before it failed"
        rows.append(
            [
                [kind],
                [result],
                [moment(check.made_at_ms) if check else ""],
                ["; ".join(check.findings) if check else ""],
            ]
        )
    yield Table(("check", "result", "when", "what it found"), rows)
    yield from _failed_runs(failed)
    for kind, check in sorted(newest.items()):
        attacks = _attacks(check.figures.get(ATTACKS))
        if attacks:
            yield Subheading("Attacks")
            yield Table(
                ("attack", "gets through", "through the champion", "its cheapest plan costs", "and takes"), attacks
            )
        told = {name: value for name, value in check.figures.items() if name != ATTACKS or not attacks}
        figures = [row for name, value in sorted(told.items()) for row in flattened(value, name)]
        if figures:
            yield Subheading(f"Figures of {kind}")
            yield Table(("figure", "value"), [[[Code(path)], [words]] for path, words in figures[:FIGURES_MAX]], (1,))
        if len(figures) > FIGURES_MAX:
            yield Paragraph([f"And {len(figures) - FIGURES_MAX:,} more in the evidence."])


def _failed_runs(failed: Sequence[Check]) -> Iterator[Block]:
    """Tell of every run that failed, whatever passed after it: three people answer for them when they approve."""
    if not failed:
        return
    yield Subheading("Runs that failed before")
    rows = [[[each.kind], [moment(each.made_at_ms)], ["; ".join(each.findings)]] for each in failed[-FAILED_MAX:]]
    yield Table(("check", "when", "what it found"), rows)
    if len(failed) > FAILED_MAX:
        yield Paragraph([f"And {len(failed) - FAILED_MAX:,} earlier ones in the evidence."])


def _attacks(value: Json) -> list[list[Sequence[Inline]]]:
    """Return a row for each attack of a red team's evidence; none where its figures have another form."""
    if not isinstance(value, dict):
        return []
    rows: list[list[Sequence[Inline]]] = []
    for name, each in sorted(value.items()):
        after, before = _part(each, "after"), _part(each, "before")
        cheapest = _part(after, "cheapest")
        costs = [[_pounds(cheapest, figure)] for figure in ("cost_minor", "through_minor")]
        if not after:
            return []
        rows.append([[name], [_evaded(after)], [_evaded(before)], *costs])
    return rows


def _part(value: Json, name: str) -> dict[str, Json]:
    part = value.get(name) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else {}


def _evaded(side: dict[str, Json]) -> str:
    shares = [side.get(f"evaded{end}_ppm") for end in ("", "_low", "_high")]
    known = [share if type(share) is int else None for share in shares]
    return UNKNOWN if None in known else estimated(Estimate(*known))


def _pounds(plan: dict[str, Json], name: str) -> str:
    value = plan.get(name)
    return pounds(value) if type(value) is int else "none succeeded" if not plan else UNKNOWN


def approvals(facts: CardFacts) -> Iterator[Block]:
    if facts.approvals is None:
        yield Paragraph(_unknown(facts, "anybody approved"))
        return
    rows = [[[each.role], [each.name], [each.at], [each.on]] for each in facts.approvals]
    rows += [[[role], ["nobody yet"], [""], [""]] for role in ROLES if role not in roles_signed(facts)]
    yield Table(("role", "who", "when", "on what"), rows)
    yield from (Paragraph([f"{fault[:1].upper()}{fault[1:]}."]) for fault in facts.approval_faults)
    yield Paragraph(
        [
            "An approval is a person's signature over the artefact's digest, and over the evidence and the policy that "
            "it was given on. Promotion checks that three different people signed, on the evidence and the policy of "
            "the day; this table repeats what the registry holds."
        ]
    )


def _unknown(facts: CardFacts, what: str) -> list[Inline]:
    """Say why something isn't known, and how to know it."""
    if facts.occasion is Occasion.TRAINING:
        why = f"Not known: this card was made at training, before {what}. "
    else:
        why = "Not known: no key set, or no file of people, says whose signatures count. "
    return [why, Code("fraud models card"), " with them makes the card of today, with what the registry says since."]
