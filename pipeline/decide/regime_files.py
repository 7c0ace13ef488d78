"""The policy and the model in force, from the files that people change while workers run.

Invariant
1. What can't be used changes nothing, whatever stands in the files and whatever kind of file they are.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from models.artefact.files import CHAMPION, POINTER_BYTES_MAX, ModelRefused, load_champion, load_version
from models.artefact.plain_files import read_plain
from models.artefact.scoring import Model
from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide import metrics
from pipeline.decide.policy import PolicyRefused, parse_new_policy
from pipeline.decide.verdict import Regime, regime
from pipeline.io.settings import Settings

log = structlog.get_logger("worker")


class RegimeSource:
    """The policy file and the model registry, looked at again every few seconds."""

    def __init__(self, settings: Settings) -> None:
        """Raises OSError, PolicyRefused or ModelRefused."""
        self._settings = settings
        self._policy_bytes = read_plain(settings.policy_path, POLICY_BYTES_MAX)
        self._champion_bytes = self._read_champion()
        self.current = regime(parse_new_policy(self._policy_bytes), self._load_model())
        self._report()

    def changed(self) -> Regime | None:
        """A new regime when the policy or the champion changed and can be used; what can't be used changes nothing."""
        policy_bytes, champion_bytes = _read(self._settings.policy_path, POLICY_BYTES_MAX), self._read_champion()
        if policy_bytes == self._policy_bytes and champion_bytes == self._champion_bytes:
            return None
        self._policy_bytes, self._champion_bytes = policy_bytes, champion_bytes
        try:
            self.current = regime(parse_new_policy(policy_bytes), self._load_model())
        except Exception as error:  # a refusal, or whatever else a person's file makes our code raise
            metrics.POLICY_REFUSED.inc()
            is_refusal = isinstance(error, (PolicyRefused, ModelRefused))
            why = str(error) if is_refusal else type(error).__name__
            log.error("change_refused", why=why, kept=self.current.policy.version, exc_info=not is_refusal)
            return None
        self._report()
        return self.current

    def _load_model(self) -> Model:
        version = self._settings.model_version
        registry = self._settings.model_registry
        return load_champion(registry) if version is None else load_version(registry, version)

    def _read_champion(self) -> bytes:
        return _read(self._settings.model_registry / CHAMPION, POINTER_BYTES_MAX)

    def _report(self) -> None:
        model = "none" if self.current.model is None else self.current.model.version
        metrics.IN_FORCE.clear()
        metrics.IN_FORCE.labels(self.current.policy.version, model).set(1)
        metrics.tell_review_capacity(self.current.policy)
        metrics.begin_currencies(self.current.policy)
        log.info("regime", policy=self.current.policy.version, model=model)


def _read(path: Path, bytes_max: int) -> bytes:
    """Empty where no such file can be read: parsed, that is refused with a sentence."""
    try:
        return read_plain(path, bytes_max)
    except OSError:
        return b""
