"""An artefact loads whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artefact import files as artefact
from models.artefact.files import ModelRefused, load, load_champion, load_version
from models.artefact.scoring import Calibration, Model, Term, score
from models.artefact.strict import canonical
from models.artefact.vectors import golden_vectors
from pipeline.domain.features import COLUMN, FEATURES, Matrix

NAMES = ("amount_gbp_minor", "ip_fraud_reports")


def integers(*values: int) -> Matrix:
    return np.array(values, dtype=np.int64)


MODEL = Model(
    version="v1",
    hash=bytes(32),
    intercept_micro=-4_000_000,
    terms=(
        Term(("ip_fraud_reports",), (integers(0, 1, 3),), integers(0, -500_000, 900_000, 2_500_000)),
        Term(
            NAMES, (integers(10_000), integers(0, 2)), np.array([[0, -7, 8], [9, 400_000, 1_300_000]], dtype=np.int64)
        ),
    ),
    calibration=Calibration(integers(-4_000_000, -2_000_000), integers(1_000, 50_000, 900_000)),
    typical={"amount_gbp_minor": 2_500, "ip_fraud_reports": 0},
)


def rows(count: int = 60) -> Matrix:
    matrix = np.zeros((count, len(FEATURES)), dtype=np.int64)
    matrix[:, COLUMN["amount_gbp_minor"]] = np.arange(count) * 500
    matrix[:, COLUMN["ip_fraud_reports"]] = np.arange(count) % 6 - 1
    return matrix


def write(directory: Path, model: Model = MODEL, **changes: Any) -> Path:
    manifest: dict[str, Any] = {
        "features": list(NAMES),
        "typical": dict(model.typical),
        "training": {"payments": 1},
        "metrics": {"auc_ppm": 1},
        "golden": artefact.golden_json(golden_vectors(model, rows(), NAMES)),
        "approvals": [{"role": "model owner", "name": "A. Person", "at": "2026-11-01"}],
    }
    artefact.write(directory, artefact.tables_json(model), b"# card\n", manifest | changes)
    return directory


def test_loaded_model_scores_like_the_one_written(tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "v1"))
    for written, read in zip(score(MODEL, rows()), score(loaded, rows()), strict=True):
        assert written.tolist() == read.tolist()
    assert loaded.typical == MODEL.typical
    assert loaded.version == "v1"


def test_hash_is_the_sha256_of_the_manifest(tmp_path: Path) -> None:
    directory = write(tmp_path / "v1")
    assert load(directory).hash == hashlib.sha256((directory / "manifest.json").read_bytes()).digest()


def test_champion_is_the_version_that_the_registry_names(tmp_path: Path) -> None:
    write(tmp_path / "v1")
    (tmp_path / "champion").write_text("v1\n")
    assert load_champion(tmp_path).version == "v1"
    assert load_version(tmp_path, "v1").version == "v1"


@pytest.mark.parametrize("content", ["", "../v1", "v1\nv2", "v" * 33])
def test_champion_that_names_no_version_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "champion").write_text(content)
    with pytest.raises(ModelRefused, match="does not hold a version"):
        load_champion(tmp_path)


def test_missing_champion_and_version_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="no readable file 'champion'"):
        load_champion(tmp_path)
    with pytest.raises(ModelRefused, match="can't be read"):
        load_version(tmp_path, "v9")
    with pytest.raises(ModelRefused, match="a model version is"):
        load_version(tmp_path, "../v1")


def test_a_version_is_never_written_twice(tmp_path: Path) -> None:
    write(tmp_path / "v1")
    with pytest.raises(FileExistsError):
        write(tmp_path / "v1")


def _edit_tables(edit: Callable[[Any], object]) -> Callable[[Path], None]:
    """Change the tables and correct the manifest's hash, so that only the content is wrong."""

    def apply(directory: Path) -> None:
        tables = json.loads((directory / "tables.json").read_bytes())
        edit(tables)
        content = canonical(tables)
        (directory / "tables.json").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        _edit_manifest(lambda manifest: manifest["files"].update({"tables.json": digest}))(directory)

    return apply


def _edit_manifest(edit: Callable[[Any], object]) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        manifest = json.loads((directory / "manifest.json").read_bytes())
        edit(manifest)
        (directory / "manifest.json").write_bytes(canonical(manifest))

    return apply


def _append(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda directory: _write(directory / name, (directory / name).read_bytes() + content)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _link(directory: Path) -> None:
    (directory / "card.md").rename(directory.parent / "card.md")
    (directory / "card.md").symlink_to(directory.parent / "card.md")


def _write_tables(directory: Path, content: bytes) -> None:
    (directory / "tables.json").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    _edit_manifest(lambda manifest: manifest["files"].update({"tables.json": digest}))(directory)


def _replace(path: Path, put: Callable[[Path], object]) -> None:
    path.unlink()
    put(path)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "card changed": (_append("card.md", b"x"), "SHA-256 of 'card.md'"),
    "tables changed": (_append("tables.json", b" "), "SHA-256 of 'tables.json'"),
    "manifest not canonical": (_append("manifest.json", b" "), "not canonical"),
    "manifest no JSON": (lambda d: _write(d / "manifest.json", b"{"), "is not JSON"),
    "manifest deep": (lambda d: _write(d / "manifest.json", b"[" * 100_000), "is not JSON"),
    "manifest no object": (lambda d: _write(d / "manifest.json", b"[]\n"), "is not an object"),
    "manifest with a float": (_edit_manifest(lambda m: m["metrics"].update(auc_ppm=0.5)), "not an integer"),
    "manifest too large": (_append("manifest.json", b" " * 9_000_000), "larger than"),
    "tables of 5,000 digits": (
        lambda d: _write_tables(d, b'{"intercept_micro":' + b"1" * 5_000 + b"}\n"),
        "is not JSON",
    ),
    "tables deep": (lambda d: _write_tables(d, b"[" * 5_000 + b"]" * 5_000 + b"\n"), "is not JSON"),
    "manifest a FIFO": (lambda d: _replace(d / "manifest.json", os.mkfifo), "not a plain file"),
    "manifest a directory": (lambda d: _replace(d / "manifest.json", Path.mkdir), "not a plain file"),
    "extra file": (lambda d: _write(d / "model.pkl", b""), "unexpected file 'model.pkl'"),
    "signature that nobody verifies": (lambda d: _write(d / "manifest.sig", b""), "unexpected file"),
    "missing file": (lambda d: (d / "card.md").unlink(), "'card.md' is missing"),
    "link": (_link, "not a plain file"),
    "unknown key": (_edit_manifest(lambda m: m.update(x=1)), "'x'"),
    "missing key": (_edit_manifest(lambda m: m.pop("golden")), "'golden'"),
    "other format": (_edit_manifest(lambda m: m.update(format=2)), "format"),
    "format true": (_edit_manifest(lambda m: m.update(format=True)), "format"),
    "other version": (_edit_manifest(lambda m: m.update(version="v2")), "another version"),
    "approval without a name": (_edit_manifest(lambda m: m["approvals"][0].pop("name")), "'name'"),
    "approval by a number": (_edit_manifest(lambda m: m["approvals"][0].update(name=1)), "must be texts"),
    "metrics no object": (_edit_manifest(lambda m: m.update(metrics=[])), "'metrics'"),
    "no features": (_edit_manifest(lambda m: m.update(features=[])), "empty"),
    "feature twice": (_edit_manifest(lambda m: m["features"].append(NAMES[0])), "twice"),
    "unknown feature": (_edit_manifest(lambda m: m["features"].append("shoe_size")), "unknown feature"),
    "forbidden feature": (_edit_manifest(lambda m: m["features"].append("is_reference_missing")), "only guardrails"),
    "typical missing": (_edit_manifest(lambda m: m["typical"].popitem()), "typical"),
    "typical below unknown": (_edit_manifest(lambda m: m["typical"].update({NAMES[0]: -2})), "below -1"),
    "few golden vectors": (_edit_manifest(lambda m: m.update(golden=m["golden"][:49])), "49 golden vectors"),
    "golden score": (_edit_manifest(lambda m: m["golden"][7].update(score_micro=0)), "golden vector 7"),
    "golden row short": (_edit_manifest(lambda m: m["golden"][0]["features"].pop()), "one value for each"),
    "golden true": (_edit_manifest(lambda m: m["golden"][0].update(score_micro=True)), "not an integer"),
    "no terms": (_edit_tables(lambda t: t["terms"].clear()), "0 terms"),
    "term over three": (_edit_tables(lambda t: t["terms"][1]["features"].append(NAMES[0])), "one or two"),
    "term over a stranger": (_edit_tables(lambda t: t["terms"][0].update(features=["account_age_days"])), "one or two"),
    "edges fall": (_edit_tables(lambda t: t["terms"][0]["edges"][0].reverse()), "above the edge before"),
    "edges equal": (_edit_tables(lambda t: t["terms"][0].update(edges=[[0, 0, 3]])), "above the edge before"),
    "edges too few": (_edit_tables(lambda t: t["terms"][0]["edges"][0].pop()), "shape"),
    "edge lists too few": (_edit_tables(lambda t: t["terms"][1]["edges"].pop()), "one list of edges"),
    "ragged table": (_edit_tables(lambda t: t["terms"][1]["table"][0].pop()), "shape"),
    "short table": (_edit_tables(lambda t: t["terms"][1]["table"].pop()), "shape"),
    "entry too large": (
        _edit_tables(lambda t: t["terms"][0].update(table=[0, 0, 0, 10**10])),
        "not an integer between",
    ),
    "entry changed": (_edit_tables(lambda t: t["terms"][0].update(table=[0, 0, 0, 5])), "golden vector"),
    "intercept text": (_edit_tables(lambda t: t.update(intercept_micro="0")), "not an integer"),
    "calibration falls": (
        _edit_tables(lambda t: t["calibration"].update(probability_ppm=[5, 4, 6])),
        "not monotone",
    ),
    "calibration over 1": (
        _edit_tables(lambda t: t["calibration"].update(probability_ppm=[5, 6, 1_000_001])),
        "not an integer between",
    ),
    "calibration negative": (
        _edit_tables(lambda t: t["calibration"].update(probability_ppm=[-5, 6, 7])),
        "at least 0",
    ),
    "calibration short": (_edit_tables(lambda t: t["calibration"]["edges"].pop()), "for each step"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused_with_its_reason(tmp_path: Path, case: str) -> None:
    directory = write(tmp_path / "v1")
    spoil, reason = REFUSED[case]
    spoil(directory)
    with pytest.raises(ModelRefused, match=reason) as refused:
        load(directory)
    assert str(refused.value).startswith("model 'v1' is refused: ")


def test_renamed_directory_is_refused(tmp_path: Path) -> None:
    directory = write(tmp_path / "v1").rename(tmp_path / "v2")
    with pytest.raises(ModelRefused, match="another version"):
        load(directory)
    with pytest.raises(ModelRefused, match="not a version"):
        load(directory.rename(tmp_path / "v 3"))


def test_what_nobody_thought_of_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may change its kind between two looks at it, and numpy has errors of its own."""
    directory = write(tmp_path / "v1")
    monkeypatch.setattr(artefact, "_model", lambda *_: np.array([2**70], dtype=np.int64))
    with pytest.raises(ModelRefused, match="can't be read \\(OverflowError\\)"):
        load(directory)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_single_changed_byte_loads(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = write(tmp_path_factory.mktemp("registry") / "v1")
    path = directory / data.draw(st.sampled_from(["tables.json", "card.md"]))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(ModelRefused):
        load(directory)
