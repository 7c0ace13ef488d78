"""docs/architecture.md is true: its paths and tests exist, and a test holds every invariant."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`((?:pipeline|models|ops|schemas|tests|docs)/[\w./*-]*)(?:::(\w+))?`", PAGE)
PAGES = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")]
HELD = dict(re.findall(r"^\| \*\*(I\d+)\*\* \| .* \| (.*) \|$", PAGE, re.MULTILINE))


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_a_named_path_exists(path: str) -> None:
    assert list(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()


@pytest.mark.parametrize(("path", "test"), sorted({(path, test) for path, test in NAMED if test}))
def test_a_named_test_exists(path: str, test: str) -> None:
    assert re.search(rf"^(?:async )?def {test}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("number", range(1, 11))
def test_an_invariant_is_held_by_a_test(number: int) -> None:
    assert "tests/" in HELD[f"I{number}"]


@pytest.mark.parametrize("path", sorted(PAGES), ids=lambda path: path.name)
def test_a_link_leads_to_a_file(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
