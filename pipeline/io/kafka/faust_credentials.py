"""librdkafka's security options in Faust's terms, so that context agents log in as the decisions' transport does."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from faust.auth import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

MECHANISMS: Final = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})
_TRANSLATED: Final = frozenset(
    {
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
    }
)


class CredentialsRefused(Exception):
    """Faust's client can't do what the options ask for. The message holds names of options, never values."""


def faust_credentials(options: Mapping[str, str]) -> CredentialsT | None:
    """Translate the options; return None where they ask for no security.

    An option of SASL or TLS that Faust would silently ignore is refused.
    """
    unknown = sorted(name for name in options if name.startswith(("sasl.", "ssl.")) and name not in _TRANSLATED)
    if unknown:
        raise CredentialsRefused(f"Faust's client doesn't know {', '.join(unknown)}")
    match options.get("security.protocol", "plaintext").upper():
        case "PLAINTEXT":
            return None
        case "SSL":
            return SSLCredentials(_tls(options))
        case "SASL_PLAINTEXT":
            return _sasl(options, None)
        case "SASL_SSL":
            return _sasl(options, _tls(options))
    raise CredentialsRefused("security.protocol is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL")


def _sasl(options: Mapping[str, str], tls: ssl.SSLContext | None) -> SASLCredentials:
    mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", ""))
    if mechanism not in MECHANISMS:
        raise CredentialsRefused(f"sasl.mechanism is none of {', '.join(sorted(MECHANISMS))}")
    username, password = options.get("sasl.username"), options.get("sasl.password")
    return SASLCredentials(username=username, password=password, ssl_context=tls, mechanism=mechanism)


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    """Make a context that verifies the broker's certificate and name, as librdkafka does."""
    try:
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"), cadata=options.get("ssl.ca.pem"))
        if certificate := options.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, options.get("ssl.key.location"), options.get("ssl.key.password"))
    except (OSError, ValueError) as error:  # ssl's own errors are OSErrors
        raise CredentialsRefused("the files of ssl.ca.location or ssl.certificate.location can't be used") from error
    return context
