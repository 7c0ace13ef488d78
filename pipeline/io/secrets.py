"""Sources of secrets: files that only this process can read, or HashiCorp Vault's key-value store, version 2.

`source("file:/run/secrets")` or `source("vault:https://vault.bank:8200/MOUNT/PATH", ...)` gives one. A secret is text
that is found by its name; white space at its end is not part of it. No message of this module holds a secret or a
token.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import stat
import time
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

SECRET_BYTES_MAX: Final = 64 * 1024
VAULT_TIMEOUT_S: Final = 5.0
VAULT_ATTEMPTS_MAX: Final = 4
VAULT_WAIT_S: Final = 0.25
"""Wait before the second attempt; it doubles before each further one. A sealed or failing-over Vault is soon back."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
PUBLIC: Final = frozenset({"audit_keys", "seal_keys"})
"""What holds no secret, and stands among them because nobody else may write it."""


class SecretsUnavailable(Exception):
    """A secret could not be read from its source. The message says its name, where it was looked for, and why."""


class SecretSource(Protocol):
    def read(self, name: str) -> str | None:
        """Return the secret, or None where there is no such secret. Raises SecretsUnavailable."""


class VaultAccess(NamedTuple):
    """The access to Vault.

    token_file: the token, as Vault's agent keeps it; each request reads it again. ca_file: None stands for the system's
    authorities.
    """

    token_file: Path
    ca_file: Path | None
    namespace: str | None


def source(address: str, vault: VaultAccess | None = None) -> SecretSource:
    """Return the source at an address. Raises SecretsUnavailable where the address can't be used."""
    kind, _, where = address.partition(":")
    if kind == "file" and where:
        return SecretFiles(Path(where))
    if kind == "vault" and where:
        if vault is None:
            raise SecretsUnavailable("Vault is asked for secrets, but no file with its token is named")
        return VaultStore(where, vault)
    raise SecretsUnavailable("secrets come from file:FOLDER or vault:https://HOST:PORT/MOUNT/PATH")


class SecretFiles:
    """A folder that holds one file for each secret, of the secret's name."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SecretsUnavailable(f"there is no folder {folder} of secrets")
        self._folder = folder

    def read(self, name: str) -> str | None:
        path = self._folder / name
        try:
            with path.open("rb") as file:
                (require_unaltered if name in PUBLIC else require_private)(path, os.fstat(file.fileno()))
                content = file.read(SECRET_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SecretsUnavailable(f"{path} can't be read ({error.strerror})") from error
        return _text(content, str(path))


class VaultStore:
    """The fields of one secret of a KV store, version 2: GET /v1/MOUNT/data/PATH. It reads them once and keeps them."""

    def __init__(self, address: str, access: VaultAccess) -> None:
        parts = urlsplit(address)
        mount, _, path = parts.path.strip("/").partition("/")
        if parts.scheme not in ("http", "https") or not parts.hostname or not mount or not path:
            raise SecretsUnavailable("Vault's address is not written https://HOST:PORT/MOUNT/PATH")
        if parts.username is not None or parts.query or parts.fragment:
            raise SecretsUnavailable("Vault's address holds more than https://HOST:PORT/MOUNT/PATH")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise SecretsUnavailable("Vault's address is http, which anybody on the way can read")
        self._is_tls, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._target = f"/v1/{quote(mount)}/data/{quote(path)}"
        self._where, self._access = f"{mount}/{path} of Vault at {parts.hostname}", access
        self._fields: dict[str, str] | None = None

    def read(self, name: str) -> str | None:
        if self._fields is None:
            self._fields = self._fetch()
        return self._fields.get(name)

    def _fetch(self) -> dict[str, str]:
        wait_s, why = VAULT_WAIT_S, ""
        for attempt in range(VAULT_ATTEMPTS_MAX):
            if attempt:
                time.sleep(wait_s)
                wait_s *= 2
            try:
                status, body = self._get()
            except (OSError, http.client.HTTPException) as error:
                why = f"no answer ({type(error).__name__})"
                continue
            if status == http.client.OK:
                return self._parsed(body)
            if status == http.client.NOT_FOUND:
                return {}
            why = f"it answers {status}"
            if status < http.client.INTERNAL_SERVER_ERROR:
                break  # it is forbidden, or the request is wrong; asking again changes nothing
        raise SecretsUnavailable(f"the secrets in {self._where} can't be read: {why}")

    def _get(self) -> tuple[int, bytes]:
        headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true"}
        if self._access.namespace is not None:
            headers["X-Vault-Namespace"] = self._access.namespace
        connection = self._connection()
        try:
            connection.request("GET", self._target, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(SECRET_BYTES_MAX + 1)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self._is_tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=VAULT_TIMEOUT_S)
        try:
            trusted = ssl.create_default_context(cafile=self._access.ca_file)
        except OSError as error:
            raise SecretsUnavailable(f"Vault's authority {self._access.ca_file} can't be read") from error
        return http.client.HTTPSConnection(self._host, self._port, timeout=VAULT_TIMEOUT_S, context=trusted)

    def _token(self) -> str:
        try:
            token = self._access.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretsUnavailable(f"Vault's token file {self._access.token_file} can't be read") from error
        if not token.isprintable() or not token:
            raise SecretsUnavailable(f"Vault's token file {self._access.token_file} holds no token")
        return token

    def _parsed(self, body: bytes) -> dict[str, str]:
        """Return the fields that are text; a field of another type can't be a setting, so nobody asks for it."""
        try:
            fields = json.loads(_text(body, self._where))["data"]["data"]
            return {name: value.rstrip() for name, value in fields.items() if isinstance(value, str)}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SecretsUnavailable(f"what {self._where} answers is no secret of a KV store, version 2") from None


def require_private(path: Path, found: os.stat_result) -> None:
    """Raise SecretsUnavailable where anybody but this process's user and root may read or write a secret.

    Kubernetes gives a secret to root and lets one group read it that this process is a member of, and nobody else.
    """
    mode = stat.S_IMODE(found.st_mode)
    is_own = os.geteuid() in (0, found.st_uid) and not mode & (stat.S_IRWXG | stat.S_IRWXO)
    groups = {os.getegid(), *os.getgroups()}
    is_mounted = found.st_uid == 0 and not mode & (stat.S_IRWXO | stat.S_IWGRP) and found.st_gid in groups
    if not (is_own or is_mounted):
        raise SecretsUnavailable(
            f"others than its user may read or write {path}: it has the mode {mode:03o} and belongs to "
            f"{found.st_uid}:{found.st_gid}, not to {os.geteuid()} alone"
        )


def require_unaltered(path: Path, found: os.stat_result) -> None:
    """Raise SecretsUnavailable where anybody but this process's user and root may write a file that all may read."""
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()) or mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SecretsUnavailable(
            f"others than its user may write {path}: it has the mode {mode:03o} and belongs to {found.st_uid}"
        )


def _text(content: bytes, where: str) -> str:
    if len(content) > SECRET_BYTES_MAX:
        raise SecretsUnavailable(f"{where} is longer than {SECRET_BYTES_MAX} bytes")
    try:
        return content.decode().rstrip()
    except UnicodeDecodeError:
        raise SecretsUnavailable(f"{where} is no text") from None
