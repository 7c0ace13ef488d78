"""A model's card in its three forms, from one set of facts. The same facts give the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from models.artefact.files import tables_json
from models.artefact.scoring import Model, Scores
from models.artefact.strict import Json
from models.card.content.sections import sections
from models.card.facts import CardFacts
from models.card.forms import cyclonedx
from models.card.forms.hypertext import page
from models.card.forms.markdown import markdown
from models.card.measuring.measured import Attributes, Measured
from models.card.measuring.measurement import measurement
from models.card.measuring.shapes import shapes
from models.card.words import UNKNOWN
from pipeline.domain.features import Matrix

BLOCK_AT_PPM: Final = 800_000
"""The probability from which the shipped policy blocks, and the manifest's `blocked_ppm` counts."""
ALERTED_PER_MILLE: Final = 5

__all__ = ["Attributes", "CardFacts", "Cards", "Measured", "cards", "facts_at_training"]


HTML: Final = "card.html"
CYCLONEDX: Final = "card.cdx.json"
"""Names of the card's other forms in an artefact."""


class Cards(NamedTuple):
    markdown: bytes
    html: bytes
    cyclonedx: bytes


def cards(facts: CardFacts) -> Cards:
    title, parts = f"Model {facts.version}", sections(facts)
    return Cards(markdown(title, parts).encode(), page(title, parts).encode(), cyclonedx.document(facts, parts))


def facts_at_training(
    model: Model,
    manifest: Mapping[str, Json],
    monotone: tuple[str, ...],
    limits: str,
    matrix: Matrix,
    scores: Scores,
    measured: Measured,
) -> CardFacts:
    """Gather what is known when a version is made; `matrix` and `scores` are those of the measured payments."""
    training, metrics, features = recorded(manifest)
    seed, source = training.get("seed"), training.get("source")
    return CardFacts(
        version=model.version,
        tables_sha256=hashlib.sha256(tables_json(model)).hexdigest(),
        digest=None,
        source=source if isinstance(source, str) else UNKNOWN,
        limits=limits,
        training=training,
        metrics=metrics,
        features=features,
        monotone=monotone,
        shapes=shapes(model, matrix, scores),
        measurement=measurement(measured, BLOCK_AT_PPM, ALERTED_PER_MILLE, seed if isinstance(seed, int) else 0),
        checks=None,
        approvals=None,
    )


def facts_of_artefact(model: Model, manifest: Mapping[str, Json]) -> CardFacts:
    """Gather what an artefact without facts still says: one that was made before cards had them."""
    training, metrics, features = recorded(manifest)
    source = training.get("source")
    return CardFacts(
        version=model.version,
        tables_sha256=hashlib.sha256(tables_json(model)).hexdigest(),
        digest=model.hash.hex(),
        source=source if isinstance(source, str) else UNKNOWN,
        limits="Its facts weren't kept with it, so its limits aren't known to this card. Read its card.md.",
        training=training,
        metrics=metrics,
        features=features,
        monotone=None,
        shapes=shapes(model),
        measurement=None,
        checks=None,
        approvals=None,
    )


def recorded(manifest: Mapping[str, Json]) -> tuple[Mapping[str, Json], Mapping[str, int], tuple[str, ...]]:
    """Return training, metrics and features of a manifest, each as far as it has the form that it should."""
    training, metrics, features = (manifest.get(name) for name in ("training", "metrics", "features"))
    return (
        training if isinstance(training, dict) else {},
        {name: value for name, value in metrics.items() if type(value) is int} if isinstance(metrics, dict) else {},
        tuple(str(name) for name in features) if isinstance(features, list) else (),
    )
