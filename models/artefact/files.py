"""A model as a directory of text: its format, and the only way to load one.

    <version>/tables.json     the model: integers and feature names, nothing else
    <version>/card.md         what it is for, how good it is, where it fails; for people
    <version>/card.html       the same as a page, where there is one
    <version>/card.cdx.json   the same for machines, as CycloneDX, where there is one
    <version>/manifest.json   SHA-256 of these, features, training, metrics, golden vectors, approvals
    <version>/model.sig       a signature over all of these, which models/versions verifies; it may be missing here

Invariants
1. Loading verifies everything and returns a Model, or raises ModelRefused with one sentence, whatever the files hold
   and whatever kind of file they are; there is no third way.
2. Nothing in an artefact is executable. The JSON is canonical (sorted keys, no spaces, integers only), so equal content
   has equal bytes and no key can stand twice.
3. The model's hash is the SHA-256 of manifest.json, which holds the hashes of the other files but of the signature
   over them. A file that the manifest doesn't name is refused.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from models.artefact.plain_files import read_plain
from models.artefact.scoring import (
    CONTRIBUTION_MICRO_MAX,
    PROBABILITY_PPM_MAX,
    TERMS_MAX,
    Calibration,
    Model,
    Term,
    score,
)
from models.artefact.strict import (
    FEATURE_VALUE_MAX,
    Json,
    ModelRefused,
    array,
    canonical,
    feature_value,
    increasing,
    integer,
    integers,
    mapping,
    parsed,
    refuse,
)
from models.artefact.vectors import GoldenVector, golden_matrix
from pipeline.domain.features import COLUMN, Matrix

__all__ = [
    "ModelRefused",
    "champion_version",
    "golden_json",
    "load",
    "load_champion",
    "load_contents",
    "load_version",
    "tables_json",
    "write",
]

FORMAT: Final = 1
TABLES: Final = "tables.json"
CARD: Final = "card.md"
CARDS: Final = frozenset({"card.html", "card.cdx.json"})
"""Other forms of the card, which a version may have."""
SIGNATURE: Final = "model.sig"
MANIFEST: Final = "manifest.json"
CHAMPION: Final = "champion"
"""The file of a registry that names the version in force."""
POINTER_BYTES_MAX: Final = 256
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Largest file of an artefact; the shipped tables take about 200 KB."""
GOLDEN_VECTORS_MIN: Final = 50
FORBIDDEN_FEATURES: Final = frozenset(
    {"is_beneficiary_country_sanctioned", "is_reference_missing", "is_beneficiary_name_missing"}
)
"""Features that only hard guardrails may use; the model is never asked where they apply."""

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,31}", re.ASCII)
_MANIFEST_KEYS: Final = {
    "format", "version", "files", "features", "typical", "training", "metrics", "golden", "approvals",
}  # fmt: skip


def load(directory: Path) -> Model:
    """Load and verify a model. Raises ModelRefused."""
    version = directory.name
    try:
        if not _VERSION.fullmatch(version):
            refuse("the directory's name is not a version (letters, digits, dots, hyphens)")
        contents = _contents(directory)
    except ModelRefused as refusal:
        raise ModelRefused(f"model '{version}' is refused: {refusal}") from refusal
    return load_contents(version, contents)


def load_contents(version: str, contents: Mapping[str, bytes]) -> Model:
    """Verify the files of a model, which may come from anywhere, and return it. Raises ModelRefused."""
    try:
        if not _VERSION.fullmatch(version):
            refuse("its name is not a version (letters, digits, dots, hyphens)")
        _require_files(contents)
        manifest = mapping(parsed(contents[MANIFEST], MANIFEST), MANIFEST, _MANIFEST_KEYS)
        _verify_identity(manifest, version, contents)
        features = _feature_names(manifest["features"])
        model = _model(contents, version, features, manifest)
        _verify_golden(model, features, manifest["golden"])
    except ModelRefused as refusal:
        raise ModelRefused(f"model '{version}' is refused: {refusal}") from refusal
    except Exception as error:  # nesting, numbers and shapes that no model has, and that nobody thought of
        raise ModelRefused(f"model '{version}' is refused: it can't be read ({type(error).__name__})") from error
    return model


def golden_of(contents: Mapping[str, bytes], model: Model) -> tuple[list[GoldenVector], Matrix]:
    """Return the golden vectors of files that `load_contents` took, and their rows as a matrix."""
    manifest = mapping(parsed(contents[MANIFEST], MANIFEST), MANIFEST, _MANIFEST_KEYS)
    features = _feature_names(manifest["features"])
    vectors = list(_golden_vectors(manifest["golden"], len(features), len(model.terms)))
    return vectors, golden_matrix(vectors, features)


def load_champion(registry: Path) -> Model:
    """Load the model that the registry's `champion` file names. Raises ModelRefused."""
    return load(registry / champion_version(registry))


def load_version(registry: Path, version: str) -> Model:
    if not _VERSION.fullmatch(version):
        raise ModelRefused("a model version is 1 to 32 letters, digits, dots and hyphens")
    return load(registry / version)


def champion_version(registry: Path) -> str:
    try:
        version = read_plain(registry / CHAMPION, POINTER_BYTES_MAX).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelRefused("the registry has no readable file 'champion' that names a version") from error
    if not _VERSION.fullmatch(version):
        raise ModelRefused("the registry's file 'champion' does not hold a version on one line")
    return version


def tables_json(model: Model) -> bytes:
    terms: list[Json] = [
        {
            "features": list(term.features),
            "edges": [edges.tolist() for edges in term.edges],
            "table": term.table.tolist(),
        }
        for term in model.terms
    ]
    calibration: Json = {
        "edges": model.calibration.edges.tolist(),
        "probability_ppm": model.calibration.probability_ppm.tolist(),
    }
    return canonical({"intercept_micro": model.intercept_micro, "terms": terms, "calibration": calibration})


def golden_json(vectors: Sequence[GoldenVector]) -> Json:
    return [
        {
            "features": list(vector.features),
            "contribution_micro": list(vector.contribution_micro),
            "score_micro": vector.score_micro,
            "fraud_probability_ppm": vector.fraud_probability_ppm,
        }
        for vector in vectors
    ]


def write(
    directory: Path,
    tables: bytes,
    card: bytes,
    manifest: Mapping[str, Json],
    other_cards: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Write an artefact; `manifest` comes without `format`, `version` and `files`.

    other_cards: the card's other forms, by the names of CARDS. The manifest is written last, so a half-written
    directory can't be loaded. Raises FileExistsError where the version exists, because versions are never changed.
    """
    directory.mkdir(parents=True)
    assert other_cards.keys() <= CARDS, "a card has these forms"
    contents = {TABLES: tables, CARD: card, **other_cards}
    files: Json = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    whole: Json = {**manifest, "format": FORMAT, "version": directory.name, "files": files}
    (directory / MANIFEST).write_bytes(canonical(whole))


def _contents(directory: Path) -> dict[str, bytes]:
    try:
        entries = {entry.name: entry for entry in directory.iterdir()}
        _require_names(entries.keys())
        for name, entry in entries.items():
            if entry.is_symlink() or not entry.is_file():
                refuse(f"'{name}' is not a plain file")
        contents = {name: read_plain(entry, FILE_BYTES_MAX) for name, entry in entries.items()}
    except OSError as error:
        raise ModelRefused(f"its files can't be read ({error.strerror})") from error
    return contents


def _require_names(names: Collection[str]) -> None:
    expected = {TABLES, CARD, MANIFEST}
    if strangers := sorted(set(names) - expected - CARDS - {SIGNATURE}):
        refuse(f"it holds the unexpected file '{strangers[0]}'")
    if missing := sorted(expected - set(names)):
        refuse(f"the file '{missing[0]}' is missing")


def _require_files(contents: Mapping[str, bytes]) -> None:
    _require_names(contents.keys())
    if long := [name for name, content in sorted(contents.items()) if len(content) > FILE_BYTES_MAX]:
        refuse(f"'{long[0]}' is larger than {FILE_BYTES_MAX} bytes")


def _verify_identity(manifest: dict[str, Json], version: str, contents: Mapping[str, bytes]) -> None:
    if type(manifest["format"]) is not int or manifest["format"] != FORMAT:  # true equals 1
        refuse(f"its format is not {FORMAT}")
    if manifest["version"] != version:
        refuse("the manifest names another version than the directory")
    files = mapping(manifest["files"], "files", contents.keys() - {MANIFEST, SIGNATURE})
    for name, expected in files.items():
        if hashlib.sha256(contents[name]).hexdigest() != expected:
            refuse(f"the SHA-256 of '{name}' is not the manifest's")
    for approval in array(manifest["approvals"], "approvals"):
        if any(not isinstance(text, str) for text in mapping(approval, "an approval", {"role", "name", "at"}).values()):
            refuse("an approval's role, name and at must be texts")
    for name in ("training", "metrics"):
        if not isinstance(manifest[name], dict):
            refuse(f"'{name}' is not an object")


def _feature_names(value: Json) -> tuple[str, ...]:
    names = tuple(str(name) for name in array(value, "features"))
    if not names or len(set(names)) < len(names):
        refuse("its feature list is empty or names a feature twice")
    for name in names:
        if name not in COLUMN:
            refuse(f"it wants the unknown feature '{name}'")
        if name in FORBIDDEN_FEATURES:
            refuse(f"it wants '{name}', which only guardrails may use")
    return names


def _model(contents: Mapping[str, bytes], version: str, features: tuple[str, ...], manifest: dict[str, Json]) -> Model:
    tables = mapping(parsed(contents[TABLES], TABLES), TABLES, {"intercept_micro", "terms", "calibration"})
    terms = array(tables["terms"], "terms")
    if not 1 <= len(terms) <= TERMS_MAX:
        refuse(f"it has {len(terms)} terms, not 1 to {TERMS_MAX}")
    typical = mapping(manifest["typical"], "typical", set(features))
    return Model(
        version=version,
        hash=hashlib.sha256(contents[MANIFEST]).digest(),
        intercept_micro=integer(tables["intercept_micro"], "intercept_micro", CONTRIBUTION_MICRO_MAX),
        terms=tuple(_term(term, f"term {index}", features) for index, term in enumerate(terms)),
        calibration=_calibration(tables["calibration"]),
        typical={name: feature_value(value, f"typical {name}") for name, value in typical.items()},
    )


def _term(value: Json, place: str, known: tuple[str, ...]) -> Term:
    parts = mapping(value, place, {"features", "edges", "table"})
    names = tuple(str(name) for name in array(parts["features"], place))
    if not 1 <= len(names) <= 2 or len(set(names)) < len(names) or not set(names) <= set(known):
        refuse(f"{place} is not over one or two different features of the feature list")
    edge_lists = array(parts["edges"], place)
    if len(edge_lists) != len(names):
        refuse(f"{place} does not have one list of edges for each feature")
    edges = tuple(increasing(edge_list, f"an edge of {place}", FEATURE_VALUE_MAX) for edge_list in edge_lists)
    shape = tuple(len(axis) + 1 for axis in edges)
    rows = array(parts["table"], place) if len(names) == 2 else [parts["table"]]
    table = [integers(row, f"an entry of {place}", CONTRIBUTION_MICRO_MAX) for row in rows]
    if len(rows) != (shape[0] if len(names) == 2 else 1) or any(len(row) != shape[-1] for row in table):
        refuse(f"the table of {place} does not have the shape of its edges")
    return Term(names, edges, np.array(table, dtype=np.int64).reshape(shape))


def _calibration(value: Json) -> Calibration:
    parts = mapping(value, "calibration", {"edges", "probability_ppm"})
    edges = increasing(parts["edges"], "an edge of the calibration", CONTRIBUTION_MICRO_MAX * (TERMS_MAX + 1))
    steps = integers(parts["probability_ppm"], "a probability of the calibration", PROBABILITY_PPM_MAX)
    if len(steps) != len(edges) + 1 or any(step < 0 for step in steps):
        refuse("the calibration does not have one probability of at least 0 for each step")
    if any(later < earlier for earlier, later in itertools.pairwise(steps)):
        refuse("the calibration is not monotone")
    return Calibration(edges, np.array(steps, dtype=np.int64))


def _verify_golden(model: Model, features: tuple[str, ...], value: Json) -> None:
    vectors = list(_golden_vectors(value, len(features), len(model.terms)))
    if len(vectors) < GOLDEN_VECTORS_MIN:
        refuse(f"it has {len(vectors)} golden vectors, not at least {GOLDEN_VECTORS_MIN}")
    scores = score(model, golden_matrix(vectors, features))
    for row, vector in enumerate(vectors):
        computed = (
            tuple(scores.contribution_micro[row].tolist()),
            int(scores.score_micro[row]),
            int(scores.fraud_probability_ppm[row]),
        )
        if computed != (vector.contribution_micro, vector.score_micro, vector.fraud_probability_ppm):
            refuse(f"golden vector {row} scores otherwise than recorded")


def _golden_vectors(value: Json, feature_count: int, term_count: int) -> Iterator[GoldenVector]:
    for index, each in enumerate(array(value, "golden")):
        place = f"golden vector {index}"
        parts = mapping(each, place, set(GoldenVector._fields))
        row = tuple(feature_value(number, place) for number in array(parts["features"], place))
        contributions = tuple(integers(parts["contribution_micro"], place, CONTRIBUTION_MICRO_MAX))
        if len(row) != feature_count or len(contributions) != term_count:
            refuse(f"{place} does not have one value for each feature and term")
        yield GoldenVector(
            row,
            contributions,
            integer(parts["score_micro"], place, CONTRIBUTION_MICRO_MAX * (TERMS_MAX + 1)),
            integer(parts["fraud_probability_ppm"], place, PROBABILITY_PPM_MAX),
        )
