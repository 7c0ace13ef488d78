"""`fraud models red-team`: a written plan is carried out again, and what is no plan is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.artefact.strict import canonical
from models.redteam.red_team_command import replayed
from models.redteam.report import plan_file
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output
from tests.commands import Fraud
from tests.models.redteam.given import SEED, carried, shipped


def test_a_written_plan_ends_as_it_says_and_a_changed_claim_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, value = tmp_path / "plan.json", plan_file(carried("warm-up", wealth=8), SEED)
    path.write_bytes(canonical(dict(value)))
    assert replayed(Settings(), shipped().version, path, Output(as_json=True))
    told = json.loads(capsys.readouterr().out)
    assert told["as_claimed"] is True
    assert told["outcomes"] == value["outcomes"]
    path.write_bytes(canonical({**value, "outcomes": ["ALLOW"] * 9}))
    assert not replayed(Settings(), shipped().version, path, Output(as_json=False))
    assert "otherwise than the plan says" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"[]", b'{"attack": "x"}', b'{"attack":"x","purchases":{},"payments":[]}'])
def test_what_is_no_plan_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(Failure, match="is no plan"):
        replayed(Settings(), shipped().version, path, Output(as_json=True))


@pytest.mark.parametrize("chosen", [("--seed", 7), ("--budget", 4), ("--trials", 1000), ("--quick",)])
def test_whoever_gives_evidence_chooses_neither_seed_nor_effort(fraud: Fraud, chosen: tuple[object, ...]) -> None:
    refused = fraud("models", "red-team", shipped().version, "--evidence", "models.key", *chosen)
    assert refused.code != 0
    assert "chooses neither the seed nor how hard it tries" in refused.err


def test_a_version_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(canonical(dict(plan_file(carried("dormant"), SEED))))
    with pytest.raises(Failure, match="nowhere"):
        replayed(Settings(), "nowhere", path, Output(as_json=True))
