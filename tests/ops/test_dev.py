"""dev.py: which Python it runs on, and what becomes of a .venv that another one made."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from ops.wheels import PYTHONS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dev(tmp_path: Path) -> ModuleType:
    """dev.py in a folder of its own, so that its .venv is none of ours."""
    shutil.copy(ROOT / "dev.py", tmp_path)
    spec = importlib.util.spec_from_file_location("dev_of_a_test", tmp_path / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _left_behind(dev: ModuleType, version: str) -> Path:
    """A file of a .venv that `version` made; its `python` is there and would run."""
    (dev.VENV / "bin").mkdir(parents=True)
    (dev.VENV / "bin" / "python").symlink_to(sys.executable)
    (dev.VENV / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}\n")
    left = dev.VENV / "left"
    left.touch()
    return left


def test_venv_of_another_python_is_made_anew(dev: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    left = _left_behind(dev, "3.9.18")
    dev.make_venv()
    assert not left.exists()
    assert dev.venv_python() == dev.dotted(sys.version_info)
    assert "making .venv anew: Python 3.9 made it" in capsys.readouterr().err


def test_venv_of_this_python_is_kept(dev: ModuleType) -> None:
    left = _left_behind(dev, ".".join(map(str, sys.version_info[:3])))
    dev.make_venv()
    assert left.exists()


def test_pythons_are_the_same_everywhere(dev: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    classified = [c.rpartition(" ")[2] for c in project["project"]["classifiers"] if "Python ::" in c]
    assert tuple(classified) == PYTHONS
    assert tuple(map(dev.dotted, dev.PYTHONS)) == PYTHONS
    assert project["project"]["requires-python"] == ">=3.11,<3.15"
    assert (PYTHONS[0], PYTHONS[-1]) == ("3.11", "3.14")
    assert project["tool"]["ruff"]["target-version"] == "py311"


def test_other_python_is_told_which_one_to_take(dev: ModuleType) -> None:
    assert dev.other_python_needed("demo").startswith("Python 3.11 to 3.14 is needed, and this is ")
