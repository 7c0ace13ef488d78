"""The sections of a card, made of its facts: nothing is said that they don't hold, but what any such model is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from models.card.content import check_sections, measured_sections, shape_section
from models.card.content.blocks import Block, Code, Inline, Link, Listing, Paragraph, Section, Subheading, Table, Tiles
from models.card.content.failures import failure_sentences, failures
from models.card.content.feature_choice import feature_choice
from models.card.content.regulations import eu, uk, us
from models.card.content.texts import flattened, named, share
from models.card.facts import CardFacts
from models.card.standing import CHECK_KINDS, ROLES, newest_checks, roles_signed
from models.card.words import UNKNOWN, moment, percent, pounds, share_word

INTENDED: Final = (
    "To answer ALLOW or BLOCK for one payment, with a probability of fraud, between the hard guardrails, which decide "
    "before it and which it never sees, and the soft guardrails, which can turn its ALLOW into ESCALATE.",
    "To rank payments for the people who review escalations.",
    "Under the circuit breaker, with the fallback rules behind it, where outcomes are monitored and people can take "
    "decisions back.",
)
NOT_INTENDED: Final = (
    "Credit, insurance, hiring, or any other judgement of a person: it scores a payment in its context.",
    "Deciding alone: without guardrails, breaker and people's review its errors have nobody to stop them.",
    "Findings of law, such as reporting a customer to an authority, without a person who looks into the case.",
    "Payments of a kind that its history doesn't hold: another channel, country or product needs a measurement first.",
)
USERS: Final = (
    "The institution that runs the pipeline, as its deployer",
    "Reviewers of escalated payments, who read its reasons",
    "Model risk, compliance and audit, who read this card",
)
_TRAINING_WORDS: Final = {
    "payments": "payments that it learned from",
    "frauds": "frauds among these",
    "calibration_payments": "payments that it was calibrated on",
    "sha256": "SHA-256 of features and labels",
}
_REFERENCE: Final = "reference"
_FEATURE_CHOICE: Final = "choosing.features."  # it has a table of its own
_HIDDEN_TRAINING: Final = frozenset({"libraries", "source", "from_ms", "until_ms", _REFERENCE})
RECORDED_MAX: Final = 80
"""Rows of the training's record on a card: settings that were tried may be hundreds."""


def sections(facts: CardFacts) -> list[Section]:
    parts = [
        Section("brief", "In brief", list(_brief(facts))),
        Section("what", "What it does", list(_what(facts))),
        Section("use", "What it is for, and what not", [*_use()]),
        Section("data", "What it learned from", list(_data(facts))),
        Section("quality", "How good it is", list(measured_sections.quality(facts))),
        Section("segments", "How good it is by segment", list(measured_sections.segments(facts.measurement))),
        Section("failures", "Where it fails", list(failures(facts))),
        Section("thresholds", "What another threshold would do", list(measured_sections.thresholds(facts.measurement))),
        Section(
            "calibration",
            "Whether its probability can be believed",
            list(measured_sections.calibration(facts.measurement)),
        ),
        Section("fairness", "Fairness", list(measured_sections.fairness(facts.measurement))),
        Section("shapes", "What each feature does", list(shape_section.shapes(facts))),
        Section("checks", "Red team and other checks", list(check_sections.checks(facts))),
        Section("approvals", "Approvals", list(check_sections.approvals(facts))),
        Section("lineage", "Lineage, and how to check it", list(_lineage(facts))),
    ]
    return [*parts, eu(facts), uk(facts), us(facts)]


def _brief(facts: CardFacts) -> Iterator[Block]:
    found = facts.measurement
    newest = newest_checks(facts)
    passed = sum(newest[kind].passed for kind in CHECK_KINDS if kind in newest)
    tiles: list[tuple[str, str]] = []
    if found is not None:
        at = share_word(found.block_at_ppm)
        tiles += [
            ("average precision", percent(found.overall.average_precision.ppm)),
            (f"of the value of fraud blocked at {at}", share(found.overall.caught_minor, found.overall.fraud_minor)),
            ("of honest payments blocked", percent(found.overall.stopped.ppm)),
        ]
    known = UNKNOWN if facts.checks is None else f"{passed} of {len(CHECK_KINDS)}"
    signed = UNKNOWN if facts.approvals is None else f"{len(roles_signed(facts))} of {len(ROLES)}"
    yield Tiles([*tiles, ("checks passed", known), ("approvals", signed)])
    if found is None:
        yield Paragraph(["Nothing was measured for this card, so how good the model is isn't known from it."])
    yield from (Paragraph([sentence]) for sentence in failure_sentences(facts)[:3])
    yield Paragraph(["All of it: ", Link("failures", "Where it fails"), "."])


def _what(facts: CardFacts) -> Iterator[Block]:
    pairs = sum(len(shape.features) == 2 for shape in facts.shapes)
    yield Paragraph(
        [
            f"A sum of {len(facts.shapes)} tables over one or two features each ({pairs} of them pairs), learned by an "
            "additive booster and compiled to integers. The contributions of the tables add up exactly to the score; "
            "they are the reasons that a decision gives. One more table turns the score into a probability of fraud. "
            "Nothing in the artefact is executable."
        ]
    )
    yield Paragraph(["It sees these features of a payment, and nothing else of it: ", *named(facts.features), "."])
    yield from feature_choice(facts.training)
    yield Paragraph(
        [
            "More of these can only raise the score, or for an age only lower it: ",
            *([UNKNOWN] if facts.monotone is None else named(facts.monotone)),
            ". It doesn't see names, references, countries, or any segment. Its features can still go with these, so "
            "outcomes by segment are measured, and not assumed to be fair.",
        ]
    )


def _use() -> Iterator[Block]:
    yield Subheading("Intended")
    yield Listing([[entry] for entry in INTENDED])
    yield Subheading("Not intended")
    yield Listing([[entry] for entry in NOT_INTENDED])
    yield Subheading("Who uses it")
    yield Listing([[entry] for entry in USERS])


def _data(facts: CardFacts) -> Iterator[Block]:
    rows: list[list[Sequence[Inline]]] = [[["source"], [facts.source]]]
    for name, words in (("from_ms", "first payment"), ("until_ms", "last payment")):
        value = facts.training.get(name)
        rows.append([[words], [moment(value) if isinstance(value, int) else UNKNOWN]])
    recorded = [
        (path, words)
        for name, value in sorted(facts.training.items())
        if name not in _HIDDEN_TRAINING
        for path, words in flattened(value, name)
        if not path.startswith(_FEATURE_CHOICE)
    ]
    rows += [[_name(path), [words]] for path, words in recorded[:RECORDED_MAX]]
    if len(recorded) > RECORDED_MAX:
        rows.append([["further facts of the training"], [f"{len(recorded) - RECORDED_MAX:,}, in the manifest"]])
    if _REFERENCE in facts.training:
        rows.append([["histograms that drift is held against"], ["in the manifest"]])
    if found := facts.measurement:
        rows += [
            [["measured from"], [moment(found.from_ms)]],
            [["measured until"], [moment(found.until_ms)]],
            [["measured payments"], [f"{found.overall.payments:,}"]],
            [["frauds among them"], [f"{found.overall.frauds:,}, worth {pounds(found.overall.fraud_minor)}"]],
            [["of these payments, worth in pounds not known"], [f"{found.without_amount:,}"]],
        ]
    yield Table(("fact", "value"), rows)
    yield Paragraph(
        [
            "Training replays the history in order of time through the feature code that serves, so that an example "
            "holds what was known when the payment was made. The model learns from the first part, is calibrated on "
            "the next, and is measured on the last. Payments that a static guardrail blocks are in none of them, "
            "because the model is never asked about them. What was blocked in the past has no outcome of its own: "
            "unless the facts above name a remedy, such frauds are missing or labelled as somebody believed them."
        ]
    )


def _name(path: str) -> list[Inline]:
    return [_TRAINING_WORDS[path]] if path in _TRAINING_WORDS else [Code(path)]


def _lineage(facts: CardFacts) -> Iterator[Block]:
    digest = facts.digest or "not known to a card that the manifest itself names by its hash"
    rows: list[list[Sequence[Inline]]] = [
        [["version"], [facts.version]],
        [["SHA-256 of the manifest"], [Code(facts.digest) if facts.digest else digest]],
        [["SHA-256 of the tables"], [Code(facts.tables_sha256)]],
    ]
    rows += [[["signature"], [facts.signature or UNKNOWN]], [["this card was made"], [facts.occasion]]]
    rows += [[[Code(path)], [words]] for path, words in flattened(facts.training.get("libraries"), "libraries")]
    yield Table(("fact", "value"), rows)
    yield Paragraph(
        [
            "Loading a model verifies every file of it by these hashes and answers its golden vectors again. The same "
            "history, settings, seed and libraries give the same bytes."
        ]
    )
