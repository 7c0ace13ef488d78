"""The first version that was ever shipped scores and decides to the same bytes with other releases of every library.

`pytest -m nightly`: it makes an environment of its own from the package index, which takes half a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
OTHERS: Final = {
    "numpy": "2.2.6",
    "fastavro": "1.11.1",
    "orjson": "3.11.0",
    "pydantic": "2.11.7",
    "pydantic-settings": "2.10.1",
    "structlog": "25.4.0",
    "confluent-kafka": "2.11.0",
    "cryptography": "46.0.3",
    "cramjam": "2.9.1",
    "rich": "14.0.0",
    "typer": "0.16.0",
    "fsspec": "2025.9.0",
}
"""Releases of a year or more before those of the lock, of all that loading, scoring and deciding import."""
WITHOUT_OTHERS: Final = (
    "librt",
    "mypy-extensions",
    "faust-streaming",
    "psycopg[binary]",
    "redis",
    "prometheus-client",
    "tzdata",
    "psutil",
)
SCRIPT: Final = """
import hashlib, importlib.metadata, json, sys
from pathlib import Path
import numpy as np
from models.artefact.files import load_version
from models.artefact.scoring import score
from pipeline.domain.features import FEATURES
model = load_version(Path("models/registry"), "glass-2026-11-02")  # verifies every golden vector
draw = np.random.Generator(np.random.PCG64(7))
rows = draw.integers(-1, 2**40, size=(4_000, len(FEATURES)), dtype=np.int64) >> draw.integers(0, 40, (4_000, 1))
scores, digest = score(model, np.maximum(rows, -1)), hashlib.sha256(model.hash)
for part in (scores.contribution_micro, scores.score_micro, scores.fraud_probability_ppm):
    digest.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
from tests.decide.test_decision_bytes import test_decisions_are_the_bytes_that_they_were as decided
decided()
names = json.loads(sys.argv[1])
print(json.dumps({"scores": digest.hexdigest(), "with": {name: importlib.metadata.version(name) for name in names}}))
"""


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_the_first_version_gives_the_same_bytes_with_other_libraries(tmp_path: Path) -> None:
    other, uv = tmp_path / "venv", Path(sys.executable).with_name("uv")
    _done([str(uv), "venv", "--quiet", "--python", sys.executable, str(other)])
    python = str(other / "bin" / "python")
    wanted = [f"{name}=={release}" for name, release in OTHERS.items()]
    _done([str(uv), "pip", "install", "--quiet", "--python", python, *wanted, *WITHOUT_OTHERS])
    here, there = _scored(sys.executable), _scored(python)
    assert OTHERS == there["with"]
    assert all(installed(name) != release for name, release in OTHERS.items()), "every library is another one"
    assert here["scores"] == there["scores"]


def _scored(python: str) -> dict[str, object]:
    done = _done([python, "-c", SCRIPT, json.dumps(list(OTHERS))], {"PYTHONPATH": str(ROOT)})
    found = json.loads(done.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def _done(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=800, cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout
