from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.io.settings import Settings


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., Settings]:
    """Settings whose folders are this test's own."""

    def made(**changed: object) -> Settings:
        own = {"model_registry": tmp_path / "registry", "challengers_path": tmp_path / "challengers"}
        return Settings(**{**own, **changed})  # type: ignore[arg-type]

    return made
