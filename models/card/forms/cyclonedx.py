"""A card as a CycloneDX 1.7 document with a `modelCard`, in canonical JSON.

Nothing in it is drawn from a clock or from chance: its serial number is a UUID of version 5 of the facts. The facts
themselves stand in it whole, as an attachment, so that a card can be made again with what was found later.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from models.artefact.strict import Json, ModelRefused, canonical, parsed, refuse
from models.card.content.blocks import Figure, Section
from models.card.content.failures import failure_sentences
from models.card.content.regulations import Answer, annex_iv, sr_26_2, ss1_23
from models.card.content.sections import INTENDED, NOT_INTENDED, USERS
from models.card.facts import CardFacts, FairnessVerdict, Measurement, Rate, Slice
from models.card.facts_json import facts_text, read_facts
from models.card.standing import newest_checks
from models.card.words import UNKNOWN, between, percent, pounds, share_word, slice_value

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:fraud-decision-pipeline:model-card")
MODEL_REF: Final = "model"
DATA_REF: Final = "training-data"
FACTS_REF: Final = "card-facts"
FACTS_NAME: Final = "card-facts"
_BOUNDED: Final = "fraud-decision-pipeline"


def document(facts: CardFacts, sections: Sequence[Section]) -> bytes:
    text = facts_text(facts)
    return canonical(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.7",
            "serialNumber": uuid.uuid5(NAMESPACE, hashlib.sha256(text.encode()).hexdigest()).urn,
            "version": 1,
            "metadata": {"tools": {"components": [{"type": "application", "name": _BOUNDED}]}},
            "components": [_model(facts, sections), _training_data(facts), _facts(text)],
        }
    )


def facts_of(content: bytes) -> CardFacts:
    """Read the facts of a card. Raises ModelRefused where it holds none that can be read."""
    card = parsed(content, "card.cdx.json")
    components = card.get("components") if isinstance(card, dict) else None
    for component in components if isinstance(components, list) else []:
        if isinstance(component, dict) and component.get("bom-ref") == FACTS_REF:
            return read_facts(_attached(component))
    raise ModelRefused("'card.cdx.json' holds no facts")


def _attached(component: dict[str, Json]) -> str:
    try:
        # The JSON is anybody's: what isn't there, or is of another type, raises one of the errors below.
        text = component["data"][0]["contents"]["attachment"]["content"]  # type: ignore[index,call-overload]
    except (KeyError, IndexError, TypeError) as error:
        raise ModelRefused("'card.cdx.json' holds no facts") from error
    return text if isinstance(text, str) else refuse("the facts in 'card.cdx.json' are no text")


def _model(facts: CardFacts, sections: Sequence[Section]) -> dict[str, Json]:
    properties: list[Json] = [_property("manifest-sha256", facts.digest)] if facts.digest else []
    return {
        "type": "machine-learning-model",
        "bom-ref": MODEL_REF,
        "name": "fraud-model",
        "version": facts.version,
        "description": "An additive model of integer tables that scores one payment for fraud.",
        "hashes": [{"alg": "SHA-256", "content": facts.tables_sha256}],
        "properties": [*properties, _property("hash-covers", "tables.json")],
        "modelCard": {
            "bom-ref": "card",
            "modelParameters": _parameters(facts),
            "quantitativeAnalysis": {
                "performanceMetrics": list(_metrics(facts)),
                "graphics": {"description": "Drawings of the card, as SVG.", "collection": list(_graphics(sections))},
            },
            "considerations": _considerations(facts),
            "properties": list(_properties(facts)),
        },
    }


def _parameters(facts: CardFacts) -> dict[str, Json]:
    outputs = ("score_micro", "fraud_probability_ppm", "contribution_micro of each table")
    return {
        "approach": {"type": "supervised"},
        "task": "binary classification of payments: fraud or honest",
        "architectureFamily": "generalised additive model with pairs",
        "modelArchitecture": "explainable boosting, compiled to integer tables",
        "datasets": [{"ref": DATA_REF}],
        "inputs": [{"format": name} for name in facts.features],
        "outputs": [{"format": name} for name in outputs],
    }


def _metrics(facts: CardFacts) -> Iterator[Json]:
    for name, value in sorted(facts.metrics.items()):
        yield {"type": f"manifest: {name}", "value": str(value)}
    if facts.measurement is not None:
        for part in (facts.measurement.overall, *facts.measurement.slices):
            yield from _slice_metrics(part)


def _slice_metrics(part: Slice) -> Iterator[Json]:
    named: dict[str, Json] = {"slice": f"{part.segment}={slice_value(part.value)}"} if part.segment else {}
    counts = (
        ("payments", part.payments),
        ("frauds", part.frauds),
        ("value of fraud, GBP minor units", part.fraud_minor),
        ("value of fraud blocked, GBP minor units", part.caught_minor),
        ("value of honest payments blocked, GBP minor units", part.stopped_minor),
    )
    yield from ({**named, "type": name, "value": str(count)} for name, count in counts)
    estimate = part.average_precision
    rates = (
        ("average precision", Rate(0, 0, *estimate)),
        ("frauds blocked", part.caught),
        ("honest payments blocked", part.stopped),
        ("frauds among the blocked", part.precise),
        ("payments blocked", part.blocked),
    )
    for name, rate in rates:
        if rate.ppm is None or rate.low_ppm is None or rate.high_ppm is None:
            continue  # not enough data, or none to count: a metric that isn't there, as the facts say
        yield {
            **named,
            "type": name,
            "value": _decimal(rate.ppm),
            "confidenceInterval": {"lowerBound": _decimal(rate.low_ppm), "upperBound": _decimal(rate.high_ppm)},
        }


def _graphics(sections: Sequence[Section]) -> Iterator[Json]:
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                yield {"name": block.name, "image": {"contentType": "image/svg+xml", "content": block.svg}}


def _considerations(facts: CardFacts) -> dict[str, Json]:
    found = facts.measurement
    considered: dict[str, Json] = {
        "users": list(USERS),
        "useCases": list(INTENDED),
        "technicalLimitations": [*failure_sentences(facts), facts.limits, *(f"Not for: {use}" for use in NOT_INTENDED)],
        "ethicalConsiderations": [
            {
                "name": "Honest payments are stopped.",
                "mitigationStrategy": "Reasons with every decision, people's review, reversal, and the policy.",
            },
            {
                "name": "Features may go with a segment that the model doesn't see.",
                "mitigationStrategy": "Outcomes and false-positive rates by declared segment, with an alert.",
            },
        ],
        "fairnessAssessments": list(_fairness(found)) if found else [],
    }
    if found is not None:
        considered["performanceTradeoffs"] = list(_trade_offs(found))
    return considered


def _trade_offs(found: Measurement) -> Iterator[Json]:
    for each in found.thresholds:
        yield (
            f"Blocked from {share_word(each.at_ppm)}: {pounds(each.caught_minor)} of fraud caught "
            f"({each.caught.part:,} frauds, {percent(each.caught.ppm)}), {pounds(each.stopped_minor)} of honest "
            f"payments stopped ({each.stopped.part:,}, {percent(each.stopped.ppm)})."
        )


def _fairness(found: Measurement) -> Iterator[Json]:
    for fairness in found.fairness:
        for group in fairness.groups:
            is_below = group.verdict is FairnessVerdict.BELOW
            yield {
                "groupAtRisk": f"{fairness.segment}={group.value}",
                "harms": f"{between(group.false_positive)} of honest payments blocked; {group.verdict}.",
                "mitigationStrategy": "Not to be promoted before it is understood."
                if is_below
                else "Monitored by declared segment while in use.",
            }


def _properties(facts: CardFacts) -> Iterator[Json]:
    newest = newest_checks(facts)
    yield _property("made", facts.occasion)
    yield _property("signature", facts.signature or UNKNOWN)
    if facts.checks is None:
        yield _property("checks", "not known to this card")
    for kind, check in sorted(newest.items()):
        yield _property(f"check:{kind}", "passed" if check.passed else "failed")
    if facts.approvals is None:
        yield _property("approvals", "not known to this card")
    for approval in facts.approvals or ():
        yield _property(f"approval:{approval.role}", f"{approval.name}, {approval.on}")
    documents = (("eu-ai-act-annex-iv", annex_iv(facts)), ("uk-ss1-23", ss1_23(facts)), ("us-sr-26-2", sr_26_2(facts)))
    for name, answers in documents:
        yield from (_property(f"{name}:{each.reference}", _said(each)) for each in answers)


def _said(answer: Answer) -> str:
    where = f" See: {', '.join(answer.where)}." if answer.where else ""
    return f"{answer.subject} Answered: {answer.by}. {answer.words}{where}"


def _training_data(facts: CardFacts) -> dict[str, Json]:
    digest = facts.training.get("sha256")
    return {
        "type": "data",
        "bom-ref": DATA_REF,
        "name": "training data",
        "data": [{"type": "dataset", "name": "training data", "description": facts.source}],
        "properties": [_property("features-and-labels-sha256", digest)] if isinstance(digest, str) else [],
    }


def _facts(text: str) -> dict[str, Json]:
    attachment: Json = {"contentType": "application/json", "content": text}
    return {
        "type": "data",
        "bom-ref": FACTS_REF,
        "name": FACTS_NAME,
        "data": [{"type": "other", "name": FACTS_NAME, "contents": {"attachment": attachment}}],
    }


def _property(name: str, value: str | None) -> Json:
    assert value is not None
    return {"name": f"{_BOUNDED}:{name}", "value": value}


def _decimal(ppm: int) -> str:
    return f"{ppm // 1_000_000}.{ppm % 1_000_000:06d}"
