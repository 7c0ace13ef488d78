"""The docs are true: paths, tests and links exist, and docs/architecture.md names a test for each invariant."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`((?:pipeline|models|ops|schemas|tests|docs)/[\w./*-]*)(?:::(\w+))?`", PAGE)
PAGES = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")]
READ = [*PAGES, ROOT / "schemas" / "README.md", ROOT / "tests" / "README.md"]
FOLDERS = ("ops", "pipeline", "models", "schemas", "tests", "docs")
OURS = [
    *ROOT.glob("*"),
    *(path for name in FOLDERS for path in (ROOT / name).rglob("*") if "__pycache__" not in path.parts),
]
PATH = re.compile(r"`([\w.*-]+(?:/[\w.*-]+)*(?:/|\.(?:py|sql|lua|avsc|toml|md|yml|lock)))(?:::\w+)?`")
"""What is in backticks and ends like a file of ours or with a slash; what ends otherwise may be anything."""
MADE = re.compile(r"[A-Z]{3,}|^(?:var|leaves|heads)/")
"""A placeholder, or what a run makes."""
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


@pytest.mark.parametrize("path", sorted(READ), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_path_that_a_page_names_exists(path: Path) -> None:
    named = PATH.findall(path.read_text(encoding="utf-8"))
    assert [] == [name for name in named if not MADE.search(name) and not _is_there(name)]


def test_a_path_that_is_not_there_is_found() -> None:
    assert ["pipeline/gone.py", "ops/"] == PATH.findall("`pipeline/gone.py::test_x`, `ops/`, `fraud.v1`, `a/b`")
    names = ["rules.py", "decide/rules.py", "pipeline/", "*.avsc", "state/rules.py", "gone/"]
    assert [True, True, True, True, False, False] == list(map(_is_there, names))


def _is_there(name: str) -> bool:
    """Whether a file or folder of ours has the path, from whatever folder the sentence has in mind."""
    return any(path.match(name.rstrip("/")) for path in OURS)
