"""The answers to regulators' questions: in this card, by the project, or by the deployer, who alone can.

The headings are named in our words and by their numbers; the texts themselves are the regulators'.
- EU: Regulation (EU) 2024/1689, Annex IV. Its Annex III, 5(b), leaves the detection of financial fraud out of high
  risk: a card meets the Annex by choice, and claims no duty.
- UK: the Prudential Regulation Authority's SS1/23, principles and their parts.
- US: SR 26-2 (also OCC Bulletin 2026-13) of 17 April 2026, in place of SR 11-7. The mapping follows the headings that
  the bulletin names; the guidance sets no numbered questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from models.card.content.blocks import Block, Inline, Link, Paragraph, Section, Table
from models.card.facts import CardFacts
from models.card.standing import CHECK_KINDS, ROLES, newest_checks, roles_signed

HERE: Final = "here"
IN_PART: Final = "in part; the rest is the deployer's"
DEPLOYER: Final = "the deployer's"
OPEN: Final = "not known yet"

_TITLES: Final = {
    "what": "What it does",
    "use": "What it is for",
    "data": "What it learned from",
    "quality": "How good it is",
    "segments": "By segment",
    "failures": "Where it fails",
    "thresholds": "Thresholds",
    "calibration": "Calibration",
    "fairness": "Fairness",
    "shapes": "What each feature does",
    "checks": "Checks",
    "approvals": "Approvals",
    "lineage": "Lineage",
}


class Answer(NamedTuple):
    reference: str
    subject: str
    by: str
    where: tuple[str, ...]  # anchors of this card
    words: str


def eu(facts: CardFacts) -> Section:
    return Section(
        "eu-ai-act",
        "EU AI Act, Annex IV",
        list(
            _answered(
                "Annex III, 5(b), of Regulation (EU) 2024/1689 leaves AI that detects financial fraud out of high "
                "risk. So this documentation is given by choice and claims no duty; another use may change that, and "
                "judging it is the deployer's.",
                annex_iv(facts),
            )
        ),
    )


def uk(facts: CardFacts) -> Section:
    return Section(
        "uk-ss1-23",
        "UK PRA SS1/23",
        list(
            _answered(
                "The principles of the Prudential Regulation Authority's supervisory statement on model risk "
                "management, with their parts. What concerns the institution and not the model is the institution's.",
                ss1_23(facts),
            )
        ),
    )


def us(facts: CardFacts) -> Section:
    return Section(
        "us-sr-26-2",
        "US SR 26-2",
        list(
            _answered(
                "The document is SR 26-2 of the Federal Reserve (OCC Bulletin 2026-13), issued on 17 April 2026 in "
                "place of SR 11-7. It numbers no questions: these are the headings that OCC's bulletin names, and the "
                "practices that they are known for. Compare them with the full text before you rely on them.",
                sr_26_2(facts),
            )
        ),
    )


def annex_iv(facts: CardFacts) -> tuple[Answer, ...]:
    monitored = _checks(facts, "bias", "drift", "shadow")
    return (
        Answer("1", "General description of the system", IN_PART, ("what", "use", "lineage"),
               "Purpose, version, inputs and libraries are here. The provider's name, the forms in which it is put "
               "into service, hardware and the users' interface are the deployer's."),
        Answer("2", "Its elements and how it was developed", HERE if facts.measurement else OPEN,
               ("what", "data", "shapes", "quality", "segments", "thresholds", "calibration", "lineage"),
               "Design, data, every table, how it was measured, and how to make the same bytes again. "
               "For security: the artefact is data without code, and every file of it is hashed."),
        Answer("3", "Monitoring, functioning and control", IN_PART, ("failures", "segments", "fairness", "checks"),
               f"Accuracy by segment and known failures are here; {monitored} Who oversees it, and their training, is "
               "the deployer's. The pipeline gives them escalations, reasons, breaker and rollback."),
        Answer("4", "Why its measures are the right ones", HERE, ("quality",), "Reasons stand with the measures."),
        Answer("5", "Risk management (Article 9)", DEPLOYER, ("failures", "checks"),
               "The card brings known failures and what attacks found; the process that weighs them isn't here."),
        Answer("6", "Changes through its life", IN_PART, ("lineage", "approvals"),
               "A version never changes: a change is another version with its own card, and the registry keeps every "
               "promotion, rollback and retirement. Changes planned in advance are the deployer's."),
        Answer("7", "Harmonised standards applied", DEPLOYER, (),
               "The project claims conformity with none. Which ones the deployer applies is not known here."),
        Answer("8", "EU declaration of conformity", DEPLOYER, (),
               "There is none: detection of financial fraud needs none. Another use is the deployer's to judge."),
        Answer("9", "Watching it in use (Article 72)", IN_PART, ("checks", "fairness"),
               f"The pipeline watches outcomes, bias and drift, and alerts; {monitored} The plan is the deployer's."),
    )  # fmt: skip


def ss1_23(facts: CardFacts) -> tuple[Answer, ...]:
    signed, challenged = _signed(facts), _checks(facts, "red-team", "shadow", "golden")
    measured = HERE if facts.measurement else OPEN
    return (
        Answer("1.1", "Definition of a model", HERE, ("what",), "It is a model: its tables are learned from data."),
        Answer("1.2", "Inventory", IN_PART, ("lineage",), "The registry lists versions; the firm's is the deployer's."),
        Answer("1.3", "Tiering", DEPLOYER, ("use", "thresholds"), "Materiality is the firm's; the money is shown."),
        Answer("2.1", "The board's responsibilities", DEPLOYER, (), "Not a fact of a model."),
        Answer("2.2", "A senior manager's accountability", DEPLOYER, (), "Not a fact of a model."),
        Answer("2.3", "Policies and procedures", DEPLOYER, (), "Promotion holds every version to the policy's gate."),
        Answer("2.4", "Roles and responsibilities", IN_PART, ("approvals",), signed),
        Answer("2.5", "Internal audit", DEPLOYER, ("lineage",), "Registry and audit log can be verified."),
        Answer("2.6", "Models of third parties", DEPLOYER, ("lineage",), "The learner is a library, named by version."),
        Answer("3.1", "Purpose and design", HERE, ("use", "what", "shapes"), "Every table is shown."),
        Answer("3.2", "Use of data", IN_PART, ("data", "fairness"), "Whether it stands for the firm isn't known here."),
        Answer("3.3", "Testing in development", measured, ("quality", "segments", "calibration", "failures"),
               "Measured on later payments, with intervals."),
        Answer("3.4", "Adjustments and expert judgement", HERE, ("what", "shapes"),
               "Monotone features are declared. A table changed by hand makes another artefact, with another hash."),
        Answer("3.5", "Documentation of development", HERE, ("data", "lineage"), "This card, and the bytes again."),
        Answer("3.6", "Supporting systems", IN_PART, ("lineage",), "The pipeline's pages; its running is the firm's."),
        Answer("4.1", "An independent validation function", DEPLOYER, ("approvals",), signed),
        Answer("4.2", "Independent review", DEPLOYER, ("approvals", "checks"), challenged),
        Answer("4.3", "Process verification", IN_PART, ("checks", "lineage"),
               f"Each load answers golden vectors; {challenged}"),
        Answer("4.4", "Monitoring of performance", IN_PART, ("checks",),
               _checks(facts, "calibration", "bias", "drift")),
        Answer("4.5", "Periodic revalidation", DEPLOYER, (), "When it is due is the firm's to say."),
        Answer("5.1", "Post-model adjustments", IN_PART, ("use",), "Guardrails are the policy's own rules."),
        Answer("5.2", "Restrictions of use", HERE, ("use", "failures"), "What it isn't for, and where it fails."),
        Answer("5.3", "Exceptions and escalation", IN_PART, ("use",),
               "Breaker, fallback, rollback and incidents are the pipeline's; who is told is the deployer's."),
    )  # fmt: skip


def sr_26_2(facts: CardFacts) -> tuple[Answer, ...]:
    signed, measured = _signed(facts), HERE if facts.measurement else OPEN
    return (
        Answer("Overview", "Is it a model, and how material is it by exposure and purpose?", IN_PART,
               ("what", "use", "thresholds"), "It is a model. Its exposure in the firm is the deployer's to judge."),
        Answer("Development", "Are purpose, design and data sound, and documented?", HERE,
               ("use", "what", "data", "shapes"), "Purpose, design, data and every table."),
        Answer("Development", "Was it tested, also where it does badly?", measured,
               ("quality", "segments", "failures"), "On later payments, by segment and kind of fraud."),
        Answer("Use", "Is it used as intended, and do users know its limits?", IN_PART, ("use", "failures"),
               "Limits are here; that people heed them is the deployer's."),
        Answer("Validation", "Is it conceptually sound?", IN_PART, ("shapes", "what"),
               "Each table can be read and challenged; the judgement is an independent validator's."),
        Answer("Validation", "Do outcomes bear it out?", measured, ("quality", "calibration", "thresholds"),
               _checks(facts, "calibration", "shadow")),
        Answer("Monitoring", "Is it watched in use, and when is it looked at again?", IN_PART, ("checks", "fairness"),
               _checks(facts, "bias", "drift", "red-team")),
        Answer("Challenge", "Has somebody competent and independent challenged it?", DEPLOYER, ("approvals",), signed),
        Answer("Governance", "Roles, policies, and internal audit", DEPLOYER, ("approvals",), signed),
        Answer("Governance", "Inventory and documentation", IN_PART, ("lineage",),
               "The registry and this card; the firm's inventory is the deployer's."),
        Answer("Third parties", "What comes from others, and can it be checked?", HERE, ("lineage", "what"),
               "The learner's libraries by version; the tables are open, so nothing is taken on trust."),
    )  # fmt: skip


def _answered(words: str, answers: Sequence[Answer]) -> Iterator[Block]:
    yield Paragraph([words])
    rows: list[list[Sequence[Inline]]] = [
        [[each.reference], [each.subject], [each.by], _links(each.where), [each.words]] for each in answers
    ]
    yield Table(("", "question", "answered", "where", "how"), rows)


def _links(anchors: Sequence[str]) -> list[Inline]:
    parts: list[Inline] = []
    for anchor in anchors:
        parts += [", ", Link(anchor, _TITLES[anchor])] if parts else [Link(anchor, _TITLES[anchor])]
    return parts or ["not in this card"]


def _checks(facts: CardFacts, *kinds: str) -> str:
    """Say of each check whether it passed, failed or is missing."""
    assert set(kinds) <= set(CHECK_KINDS)
    if facts.checks is None:
        return f"Checks: {', '.join(kinds)} can't be known from this card."
    newest = newest_checks(facts)
    states = [
        f"{kind} {'is missing' if kind not in newest else 'passed' if newest[kind].passed else 'failed'}"
        for kind in kinds
    ]
    return f"Checks: {', '.join(states)}."


def _signed(facts: CardFacts) -> str:
    if facts.approvals is None:
        return "Approvals can't be known from this card."
    signed = roles_signed(facts)
    missing = ", ".join(sorted(set(ROLES) - signed)) or "nobody"
    return f"Signed: {', '.join(sorted(signed)) or 'nobody'}; missing: {missing}."
