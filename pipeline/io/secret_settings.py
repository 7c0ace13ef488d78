"""The settings that are secret: where they were found, and their reading from files or Vault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from pipeline.io.secrets import SecretsUnavailable, VaultAccess, source

SECRET_NAMES: Final = (
    "kafka_options",
    "redis_url",
    "database_url",
    "dead_letter_key",
    "audit_key",
    "audit_keys",
    "witness_key",
    "seal_key",
    "seal_keys",
    "alert_secrets",
    "otlp_headers",
)
"""audit_keys and seal_keys are public; they stand among them because they must come from where an attacker can't
replace them."""
_STRUCTURED: Final = frozenset({"kafka_options", "alert_secrets", "otlp_headers"})
"""Secrets that are written as a JSON object."""


class PlainSecrets(PydanticBaseSettingsSource):
    """The source of the setting `plain_secrets`: the names of the secrets that the environment or .env holds."""

    def __init__(self, settings_cls: type[BaseSettings], plain: Sequence[PydanticBaseSettingsSource]) -> None:
        super().__init__(settings_cls)
        self._plain = plain

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # only sources that read field by field call it

    def __call__(self) -> dict[str, Any]:
        held = {name for plain in self._plain for name in plain()}
        return {"plain_secrets": held.intersection(SECRET_NAMES)}


class StoredSecrets(PydanticBaseSettingsSource):
    """The source of the secrets that `secrets_from` holds. Raises SecretsUnavailable."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        so_far = self.current_state
        address = so_far.get("secrets_from")
        if not address:
            return {}
        store = source(str(address), _vault(so_far))
        found = {name: store.read(name) for name in SECRET_NAMES}
        return {name: _value(name, text) for name, text in found.items() if text is not None}


def _vault(so_far: dict[str, Any]) -> VaultAccess | None:
    token_file, ca_file = so_far.get("vault_token_file"), so_far.get("vault_ca_file")
    if token_file is None:
        return None
    return VaultAccess(Path(token_file), None if ca_file is None else Path(ca_file), so_far.get("vault_namespace"))


def _value(name: str, text: str) -> object:
    if name not in _STRUCTURED:
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise SecretsUnavailable(f"the secret {name} is no JSON object") from None
