"""The layout of the code keeps within the limits that docs/architecture.md states."""

import re
from collections import Counter
from pathlib import Path

import pytest

from ops.structure.figures import Figures, figures_of, package_of
from ops.structure.modules import imports_of, modules_of

ROOT = Path(__file__).parents[3]
MODULES_A_FOLDER_MAX = 20
LINES_A_MODULE_MAX = 500
PACKAGE_PERCENT_MAX = 20
INSIDE_PERCENT_MIN = 70


@pytest.fixture(scope="module")
def figures() -> Figures:
    return figures_of(ROOT)


def test_no_import_points_upward(figures: Figures) -> None:
    assert () == figures.upward_imports


def test_no_packages_import_each_other(figures: Figures) -> None:
    assert () == figures.cycles


def test_concerns_keep_their_imports_to_themselves(figures: Figures) -> None:
    assert figures.concern_imports_inside_percent >= INSIDE_PERCENT_MIN


def test_no_package_outgrows_the_others(figures: Figures) -> None:
    assert figures.largest_package_percent <= PACKAGE_PERCENT_MAX


@pytest.mark.parametrize("top", ["pipeline", "models", "ops", "schemas", "tests"])
def test_no_folder_holds_more_than_twenty_modules(top: str) -> None:
    modules = [path for path in (ROOT / top).rglob("*.py") if path.name != "__init__.py"]
    folders = Counter(path.parent.relative_to(ROOT) for path in modules)
    assert {} == {str(folder): count for folder, count in folders.items() if count > MODULES_A_FOLDER_MAX}


def test_no_module_is_longer_than_the_fence() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in modules_of(ROOT).items()}
    assert {} == {module: length for module, length in lengths.items() if length > LINES_A_MODULE_MAX}


def test_every_module_that_is_compiled_exists() -> None:
    """setup.py names them by path, and a module that has moved would fail only where an image is built."""
    compiled = re.findall(r'"((?:pipeline|models)/[\w/]+\.py)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert compiled
    assert [] == [path for path in compiled if not (ROOT / path).exists()]


def planted(root: Path, name: str, source: str) -> None:
    path = root / f"{name.replace('.', '/')}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


def test_an_upward_import_and_a_cycle_are_found(tmp_path: Path) -> None:
    planted(tmp_path, "pipeline.domain.low", "import pipeline.explain.high\n")
    planted(tmp_path, "pipeline.explain.high", "from pipeline.domain import low\n")
    figures = figures_of(tmp_path)
    assert ("pipeline.domain.low → pipeline.explain.high",) == figures.upward_imports
    assert ("pipeline.domain ↔ pipeline.explain",) == figures.cycles


def test_imports_are_followed_to_the_module(tmp_path: Path) -> None:
    planted(tmp_path, "ops.verifier.rows", "from .leaves import read\nfrom . import heads\n")
    planted(tmp_path, "ops.verifier.leaves", "")
    planted(tmp_path, "ops.verifier.heads", "")
    modules = modules_of(tmp_path)
    found = imports_of("ops.verifier.rows", modules["ops.verifier.rows"], modules)
    assert {"ops.verifier.heads", "ops.verifier.leaves"} == found


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("pipeline.io.kafka.log_reader", "pipeline.io"),
        ("ops.bench.loss.faults", "ops.bench.loss"),
        ("models.artefact.files", "models.artefact"),
    ],
)
def test_a_module_belongs_to_its_concern(module: str, package: str) -> None:
    assert package == package_of(module)
