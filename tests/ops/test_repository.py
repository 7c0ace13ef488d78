"""The files that people expect of a repository are there, are valid, and are true."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
DEPENDABOT = ROOT / ".github" / "dependabot.yml"
APACHE_2_0_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of the licence's text as the Apache Software Foundation publishes it."""
MANIFESTS = {"pip": "pyproject.toml", "docker": "Dockerfile", "maven": "pom.xml", "github-actions": ".github/workflows"}


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_licence_is_apaches_text_but_for_who_holds_it() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    holder = "Copyright 2026 The fraud-decision-pipeline authors"
    published = text.replace(holder, "Copyright [yyyy] [name of copyright owner]")
    assert 1 == text.count(holder)
    assert APACHE_2_0_SHA256 == hashlib.sha256(published.encode()).hexdigest()


def test_the_project_names_its_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ("Apache-2.0", ["LICENSE"]) == (project["license"], project["license-files"])


@pytest.mark.parametrize(("path", "schema"), [(WORKFLOW, "github-workflows"), (DEPENDABOT, "dependabot")])
def test_what_github_reads_is_valid(path: Path, schema: str) -> None:
    place = distribution("check-jsonschema").locate_file(f"check_jsonschema/builtin_schemas/vendor/{schema}.json")
    document = loaded(path)
    document = {("on" if key is True else key): value for key, value in document.items()}  # YAML 1.1 reads "on" as true
    jsonschema.validate(document, json.loads(Path(str(place)).read_text(encoding="utf-8")))


def test_the_workflow_runs_what_must_hold_and_needs_no_secret() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    steps = loaded(WORKFLOW)["jobs"]["ci"]["steps"]
    assert "bash .ci/run" in [step.get("run") for step in steps]
    assert "secrets." not in text
    assert {"contents": "read"} == loaded(WORKFLOW)["permissions"]


def test_every_action_is_pinned() -> None:
    used = re.findall(r"uses: (\S+)", WORKFLOW.read_text(encoding="utf-8"))
    assert used
    assert [] == [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", each)]


def test_dependabot_looks_at_every_kind_of_dependency() -> None:
    looked_at = {each["package-ecosystem"]: each["directory"] for each in loaded(DEPENDABOT)["updates"]}
    assert MANIFESTS.keys() == looked_at.keys()
    for kind, directory in looked_at.items():
        assert (ROOT / directory.lstrip("/") / MANIFESTS[kind]).exists()


@pytest.mark.parametrize("name", ["SECURITY.md", "README.md"])
def test_every_link_in_the_root_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    linked = [target for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)]
    assert linked
    assert [] == [target for target in linked if not (ROOT / target).exists()]


def test_no_file_is_called_as_an_option() -> None:
    """A command that takes an option for the name of the file that it writes leaves one behind."""
    kept = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.decode()
    names = {part for path in kept.split("\0") for part in path.split("/")} | {path.name for path in ROOT.iterdir()}
    assert [] == [name for name in names if name.startswith("-")]
