"""Where a challenger is: a version of the registry, which is a glass box, or a folder of `challengers_path`.

Invariants
1. By its alias a challenger is what the registry's signed records name, to the byte, wherever the key set holds a key
   of use `models`, and always in production. There one that a setting names answers only where its files are signed.
2. One name is one model: where a glass box and another share it, neither answers.
3. What is verified is what answers: its files are read once.
"""

from __future__ import annotations

from typing import Final

from models.artefact.files import MANIFEST as ARTEFACT_MANIFEST
from models.artefact.files import load_contents
from models.artefact.strict import ModelRefused, refuse
from models.versions.alias_files import alias_records
from models.versions.aliases import require_chain
from models.versions.artefact_files import read_artefact
from models.versions.locations import Alias
from models.versions.registry_files import Registry, registry_at
from models.versions.signature_files import require_signed
from pipeline.io.clock import now_ms
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_sets import KeySet, KeyUse
from pipeline.seals.seal_files import seal_keys
from pipeline.shadow.challenger import Challenger, GlassBox
from pipeline.shadow.onnx_files import MANIFEST, VERSION, load_onnx_contents, read_onnx

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
    folder, registry = settings.challengers_path / wanted, registry_at(settings.model_registry)
    is_other = (folder / MANIFEST).exists()
    if is_other and ARTEFACT_MANIFEST in registry.names(wanted):
        raise NoChallenger(f"two models have the version {wanted}, one of them no glass box")
    contents = read_onnx(folder) if is_other else read_artefact(registry, wanted)
    if digest is None and (keys := _signing_keys(settings)) is not None:
        require_signed(wanted, contents, keys, now_ms(), None)
    found: Challenger = load_onnx_contents(wanted, contents) if is_other else GlassBox(load_contents(wanted, contents))
    if digest is not None and found.digest.hex() != digest:
        refuse(f"challenger '{wanted}' is not the model that the alias was moved to")
    return found


def _named(settings: Settings) -> tuple[str, str | None]:
    """The version, and the digest where a signed record says it. Raises NoChallenger, ModelRefused."""
    if settings.shadow_version is not None:
        return settings.shadow_version, None
    keys, registry = _signing_keys(settings), registry_at(settings.model_registry)
    if keys is None:
        return _pointed_at(registry), None
    records = alias_records(registry, keys, Alias.CHALLENGER)
    if not records:
        raise NoChallenger("no signed record names a challenger")
    record = require_chain(Alias.CHALLENGER, records)
    return record.version, record.digest


def _signing_keys(settings: Settings) -> KeySet | None:
    """Return the keys by which versions and records are proved; None in development without. Raises ModelRefused."""
    keys = seal_keys(settings)
    if keys.of_use(KeyUse.MODELS):
        return keys
    if settings.profile is Profile.PRODUCTION:
        refuse("the key set of FRAUD_SEAL_KEYS_FILE holds no key of use models, so that no challenger is proved")
    return None


def _pointed_at(registry: Registry) -> str:
    named = (registry.read(POINTER, POINTER_BYTES_MAX) or b"").decode("ascii", "replace").strip()
    if not named:
        raise NoChallenger("no challenger is named")
    return named


__all__ = ["ModelRefused", "NoChallenger", "load_challenger"]
