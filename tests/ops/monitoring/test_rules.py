"""The rules of Prometheus by its own tools, and the settings beside them: `pytest -m real`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ops.monitoring.server import FOLDER

pytestmark = pytest.mark.real

RULES = sorted((FOLDER / "rules").glob("*.yml"))
CASES = sorted((FOLDER / "rules" / "tests").glob("*.yml"))


def run(program: str, *arguments: str | Path) -> tuple[int, str]:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: apt-get install prometheus prometheus-alertmanager")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rules_are_sound(path: Path) -> None:
    code, said = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", path)
    assert 0 == code, said


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_rules_do_what_their_cases_say(path: Path) -> None:
    code, said = run("promtool", "test", "rules", path)
    assert 0 == code, said


def test_a_case_that_does_not_hold_is_found(tmp_path: Path) -> None:
    content = (FOLDER / "rules" / "tests" / "processes.yml").read_text(encoding="utf-8")
    wrong = content.replace("../processes.yml", str(FOLDER / "rules" / "processes.yml")).replace("0x20", "1x20")
    (tmp_path / "wrong.yml").write_text(wrong, encoding="utf-8")
    code, said = run("promtool", "test", "rules", tmp_path / "wrong.yml")
    assert 1 == code, said


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    content = (FOLDER / "prometheus.yml").read_text(encoding="utf-8").replace("/etc/prometheus", str(FOLDER))
    (tmp_path / "prometheus.yml").write_text(content, encoding="utf-8")
    code, said = run("promtool", "check", "config", tmp_path / "prometheus.yml")
    assert 0 == code, said
    assert f"{len(RULES)} rule files found" in said


def test_alertmanager_takes_its_configuration() -> None:
    code, said = run("amtool", "check-config", FOLDER / "alertmanager.yml")
    assert 0 == code, said
