"""A broker with security: TLS, SCRAM-SHA-512, and rights that are denied by default.

The users of the administrator and of the broker itself are made when the storage is laid out, from salted passwords
(RFC 5802), so that no password stands in a command line. ops/access/rights.py makes all the others.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.access.rights import ADMINISTRATOR, BROKER, SCRAM_ITERATIONS, SUPER_USERS, Principal
from ops.stack.certificates import Certificates, certificates

MECHANISM: Final = "SCRAM-SHA-512"
PASSWORD_BYTES: Final = 24
PROTOCOL: Final = "SASL_SSL"
_SCRAM_LOGIN: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN_LOGIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass(frozen=True, slots=True)
class BrokerSecurity:
    """The secret files of one broker's directory, which are made on first use."""

    directory: Path

    @property
    def certificates(self) -> Certificates:
        return certificates(self.directory)

    def password(self, user: str) -> str:
        """Return the password of a user of the broker."""
        return self.secret(f"kafka_password_{user}")

    def secret(self, name: str) -> str:
        path = self.directory / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(PASSWORD_BYTES))
        return path.read_text()

    def passwords(self) -> dict[Principal, str]:
        return {principal: self.password(principal) for principal in Principal}

    def client_options(self, user: str) -> dict[str, str]:
        """Return librdkafka's options for one user."""
        return {
            "security.protocol": PROTOCOL,
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": self.password(user),
            "ssl.ca.location": str(self.certificates.authority_path),
        }

    def settings(self) -> dict[str, str]:
        """Return the broker's settings of security, which go over those of a broker without security."""
        return {
            "sasl.enabled.mechanisms": MECHANISM,
            "security.inter.broker.protocol": PROTOCOL,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            "listener.security.protocol.map": f"{PROTOCOL}:{PROTOCOL},CONTROLLER:SASL_PLAINTEXT",
            # The controller answers before it can read SCRAM credentials, because these stand in its own log.
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": self._login(_PLAIN_LOGIN, is_server=True),
            f"listener.name.{PROTOCOL.lower()}.{MECHANISM.lower()}.sasl.jaas.config": self._login(_SCRAM_LOGIN),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.keystore_path),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.authority_path),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": ";".join(f"User:{user}" for user in SUPER_USERS),
        }

    def format_arguments(self) -> list[str]:
        """Return the storage tool's arguments for the two users that must exist before anybody can make others."""
        return [part for user in (ADMINISTRATOR, BROKER) for part in ("--add-scram", self._salted(user))]

    def _login(self, module: str, *, is_server: bool = False) -> str:
        password = self.password(BROKER)
        users = f' user_{BROKER}="{password}"' if is_server else ""
        return f'{module} required username="{BROKER}" password="{password}"{users};'

    def _salted(self, user: str) -> str:
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac("sha512", self.password(user).encode(), salt, SCRAM_ITERATIONS)
        encoded, encoded_salt = (base64.b64encode(part).decode() for part in (salted, salt))
        named = f'name="{user}",iterations={SCRAM_ITERATIONS}'
        return f'{MECHANISM}=[{named},salt="{encoded_salt}",saltedpassword="{encoded}"]'
