"""The archive: every policy file and model artefact that a stored decision may name, found by hash."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

from models.artefact.files import ModelRefused, load_version
from models.artefact.plain_files import read_plain
from models.artefact.scoring import Model
from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide.policy import Policy, PolicyRefused, parse_policy
from pipeline.decide.verdict import Regime, regime
from pipeline.replay.regimes import NO_MODEL, Missing, RegimeKey

REGIMES_KEPT: Final = 64


class RegimeArchive:
    """Policies are files `*.toml` of one folder, models are versions of one registry. Nothing is looked at twice."""

    def __init__(self, policy_folder: Path, registry: Path) -> None:
        self._policy_folder, self._registry = policy_folder, registry
        self.regime_of = lru_cache(maxsize=REGIMES_KEPT)(self._regime_of)

    def _regime_of(self, key: RegimeKey) -> Regime | Missing:
        """The regime that a decision was made under, byte for byte, or what of it is missing."""
        policy = self._policy(key.policy_hash)
        if isinstance(policy, Missing):
            return policy
        if key.model_version == NO_MODEL:
            return regime(policy, None)
        model = self._model(key.model_version, key.model_hash)
        return model if isinstance(model, Missing) else regime(policy, model)

    def _policy(self, sha256: bytes) -> Policy | Missing:
        for path in sorted(self._policy_folder.glob("*.toml")):
            content = read_plain(path, POLICY_BYTES_MAX)
            if hashlib.sha256(content).digest() == sha256:
                try:
                    return parse_policy(content)
                except PolicyRefused as refusal:
                    return Missing(f"the policy {path.name} is no longer accepted: {refusal}")
        return Missing(f"no policy in {self._policy_folder} has the hash {sha256.hex()}")

    def _model(self, version: str, sha256: bytes) -> Model | Missing:
        try:
            model = load_version(self._registry, version)
        except ModelRefused as refusal:
            return Missing(str(refusal))
        if model.hash != sha256:
            return Missing(f"model {version} in {self._registry} has another hash than the decision names")
        return model
