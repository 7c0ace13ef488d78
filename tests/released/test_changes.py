"""A change of each kind, made in a copy of the checkout: what was promised is kept there, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from tests.released.changes import (
    PHRASE_BOOKS,
    Change,
    another_certainty,
    copy_of_checkout,
    feature_that_goes,
    new_feature,
    new_fields,
    new_wording,
    retired_guardrail,
)

ROOT = Path(__file__).parents[2]
ALLOWED: dict[str, Change] = {
    "a new field in transaction and in decision": new_fields,
    "a new feature": new_feature,
    "a retired guardrail": retired_guardrail,
}
FORBIDDEN: dict[str, Change] = {
    "another certainty": another_certainty,
    "a feature that goes": feature_that_goes,
}
OTHER_NUMPY = "numpy!=" + numpy.__version__
# Each runs the whole test of the promises in its copy, which takes 73 s of one core; others may want that core, too.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_of_checkout(ROOT, tmp_path / "checkout")


def promises_kept(checkout: Path, *before: Path) -> tuple[int, str]:
    """Run the promises' test in a checkout; `before`: folders of packages that stand in for those installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (checkout, *before)))}
    command = [sys.executable, "-m", "pytest", "tests/released/test_promises.py", "-q", "-p", "no:cacheprovider", "-n0"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED)
def test_a_change_that_a_release_may_make_keeps_every_promise(checkout: Path, change: Change) -> None:
    change(checkout)
    code, said = promises_kept(checkout)
    assert 0 == code, said[-4000:]


@pytest.mark.skipif(not (ROOT / PHRASE_BOOKS).exists(), reason="wording has no versions")
def test_other_words_keep_every_promise(checkout: Path) -> None:
    new_wording(checkout)
    code, said = promises_kept(checkout)
    assert 0 == code, said[-4000:]


@pytest.mark.parametrize("change", FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_change_that_breaks_a_promise_is_found_out(checkout: Path, change: Change) -> None:
    change(checkout)
    code, said = promises_kept(checkout)
    assert 0 != code
    assert "test_the_promise_of_a_version_is_kept" in said or "error" in said.lower()


def test_the_copy_is_what_runs(checkout: Path) -> None:
    (checkout / "pipeline" / "domain" / "features.py").write_text("raise SystemExit('of the copy')\n")
    code, said = promises_kept(checkout)
    assert 0 != code
    assert "of the copy" in said


def test_another_numpy_keeps_every_promise(checkout: Path, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", packages, OTHER_NUMPY]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"no other numpy can be installed here: {installed.stderr[-200:]}")
    asked = [sys.executable, "-c", "import numpy; print(numpy.__version__)"]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    found = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    assert numpy.__version__ != found.stdout.strip()
    code, said = promises_kept(checkout, packages)
    assert 0 == code, said[-4000:]
