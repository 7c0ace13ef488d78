"""Where a challenger is: a version of the registry, which is a glass box, or a folder of `challengers_path`."""

from __future__ import annotations

from typing import Final

from models.artefact.files import load_version
from models.artefact.plain_files import read_plain
from models.artefact.strict import ModelRefused
from pipeline.io.settings import Settings
from pipeline.shadow.challenger import Challenger, GlassBox
from pipeline.shadow.onnx_files import MANIFEST, VERSION, load_onnx

CHALLENGER: Final = "challenger"
"""The registry's file that names the version on trial."""
POINTER_BYTES_MAX: Final = 256


class NoChallenger(Exception):
    """No challenger is named, or there are two of that name; the message is a sentence."""


def load_challenger(settings: Settings, version: str | None = None) -> Challenger:
    """`version`: None stands for the one that the settings or the registry name. Raises NoChallenger, ModelRefused and
    OnnxMissing."""
    wanted = version or challenger_version(settings)
    if VERSION.fullmatch(wanted) is None:
        raise NoChallenger("a model version is 1 to 32 letters, digits, dots and hyphens")
    other = settings.challengers_path / wanted
    is_glass = (settings.model_registry / wanted).is_dir()
    if (other / MANIFEST).exists():
        if is_glass:
            raise NoChallenger(f"two models have the version {wanted[:60]}, one of them no glass box")
        return load_onnx(other)
    return GlassBox(load_version(settings.model_registry, wanted))


def challenger_version(settings: Settings) -> str:
    """Raises NoChallenger."""
    if settings.shadow_version is not None:
        return settings.shadow_version
    try:
        named = read_plain(settings.model_registry / CHALLENGER, POINTER_BYTES_MAX).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        named = ""
    if not named:
        raise NoChallenger("no challenger is named")
    return named


__all__ = ["ModelRefused", "NoChallenger", "challenger_version", "load_challenger"]
