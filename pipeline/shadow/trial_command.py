"""`fraud models sign` and `try`, of whatever may be a challenger: a version of the registry, or one as ONNX beside it.

Invariants
1. What is signed, and what a record of the alias names, is what loads: the same bytes, read once.
2. One name is one model.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.versions.act_command import Beside, Signed, put_on_trial, refusals, sign
from models.versions.history import HistoryRecord
from models.versions.locations import is_version
from models.versions.registry_files import BesideRegistry, registry_at, with_challenger
from pipeline.io.settings import Settings
from pipeline.shadow.challenger import Statistical
from pipeline.shadow.onnx_files import OnnxMissing, load_onnx_contents
from pipeline.terminal.failures import Failure


def sign_version(settings: Settings, version: str) -> Signed:
    """Raises Failure."""
    return sign(settings, version, _beside(settings, version))


def try_version(settings: Settings, version: str, reason: str) -> HistoryRecord:
    """Raises Failure."""
    return put_on_trial(settings, version, reason, _beside(settings, version))


def _beside(settings: Settings, version: str) -> Beside | None:
    """None where the version is the registry's, or nobody's, which is told when it is read."""
    if not is_version(version):
        return None
    with refusals():
        registry = with_challenger(registry_at(settings.model_registry), settings.challengers_path, version)
    return Beside(registry, _loaded) if isinstance(registry, BesideRegistry) else None


def _loaded(version: str, contents: Mapping[str, bytes]) -> Statistical:
    """Raises ModelRefused, Failure."""
    try:
        return load_onnx_contents(version, contents)
    except OnnxMissing as missing:
        what, _, fix = str(missing).partition(": ")
        raise Failure(f"{what[:1].upper()}{what[1:]}.", f"{fix}.") from missing
