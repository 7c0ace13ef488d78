"""Where a challenger is: a version of the registry, which is a glass box, or a folder of `challengers_path`.

Invariants
1. By its alias a challenger is what the registry's signed records name, to the byte, wherever the key set holds a key
   of use `models`, and always in production.
2. One name is one model: where a glass box and another share it, neither answers.
"""

from __future__ import annotations

from typing import Final

from models.artefact.files import MANIFEST as ARTEFACT_MANIFEST
from models.artefact.strict import ModelRefused, refuse
from models.versions.alias_files import alias_records
from models.versions.aliases import require_chain
from models.versions.loading_files import load_registered
from models.versions.locations import Alias
from models.versions.registry_files import Registry, registry_at
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_sets import KeyUse
from pipeline.seals.seal_files import seal_keys
from pipeline.shadow.challenger import Challenger, GlassBox
from pipeline.shadow.onnx_files import MANIFEST, VERSION, load_onnx

POINTER: Final = "challenger"
"""The file of an unsigned registry that names the version on trial, in development."""
POINTER_BYTES_MAX: Final = 256


class NoChallenger(Exception):
    """No challenger is named, or there are two of that name; the message is a sentence."""


def load_challenger(settings: Settings, version: str | None = None) -> Challenger:
    """`version`: None stands for the one that the settings or the registry name. Raises NoChallenger, ModelRefused and
    OnnxMissing."""
    wanted, digest = (version, None) if version else _named(settings)
    if VERSION.fullmatch(wanted) is None:
        raise NoChallenger("a model version is 1 to 32 letters, digits, dots and hyphens")
    folder = settings.challengers_path / wanted
    is_other = (folder / MANIFEST).exists()
    if is_other and ARTEFACT_MANIFEST in registry_at(settings.model_registry).names(wanted):
        raise NoChallenger(f"two models have the version {wanted}, one of them no glass box")
    found: Challenger = load_onnx(folder) if is_other else GlassBox(load_registered(settings.model_registry, wanted))
    if digest is not None and found.digest.hex() != digest:
        refuse(f"challenger '{wanted}' is not the model that the alias was moved to")
    return found


def _named(settings: Settings) -> tuple[str, str | None]:
    """The version, and the digest where a signed record says it. Raises NoChallenger, ModelRefused."""
    if settings.shadow_version is not None:
        return settings.shadow_version, None
    keys, registry = seal_keys(settings), registry_at(settings.model_registry)
    if not keys.of_use(KeyUse.MODELS):
        if settings.profile is Profile.PRODUCTION:
            refuse("the key set of FRAUD_SEAL_KEYS_FILE holds no key of use models, so that no challenger is proved")
        return _pointed_at(registry), None
    records = alias_records(registry, keys, Alias.CHALLENGER)
    if not records:
        raise NoChallenger("no signed record names a challenger")
    record = require_chain(Alias.CHALLENGER, records)
    return record.version, record.digest


def _pointed_at(registry: Registry) -> str:
    named = (registry.read(POINTER, POINTER_BYTES_MAX) or b"").decode("ascii", "replace").strip()
    if not named:
        raise NoChallenger("no challenger is named")
    return named


__all__ = ["ModelRefused", "NoChallenger", "load_challenger"]
