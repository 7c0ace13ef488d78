"""The checks of the production profile before a process starts; each fault is a sentence, with its fix.

Secrets come from files or Vault, never from the environment, which every child process and crash report shows. Every
connection has TLS and a password. Dead letters are sealed, and audit heads are signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pipeline.io.addresses import database_options
from pipeline.io.settings import Profile, Settings

_OWNER: Final = "fraud_owner"
_LAID_OUT_BY: Final = frozenset({_OWNER, "postgres"})
"""Roles that may do everything, and as which no process runs that only uses the database."""
_TRUE: Final = frozenset({"true", "yes", "1"})
_REDIS_TLS_OPTIONS: Final = frozenset(
    {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password", "ssl_cert_reqs", "ssl_check_hostname"}
)
"""Options of redis-py about TLS that can't weaken it, or that are checked one by one."""


class Need(StrEnum):
    """The things that a process may use; the checks ask only for those that it does use."""

    KAFKA = "Kafka"
    REDIS = "Redis"
    DATABASE = "PostgreSQL"
    DATABASE_OWNER = "PostgreSQL, as its owner"
    DEAD_LETTER_KEY = "the key of dead letters"
    AUDIT_KEY = "the audit log's key"
    RAIL = "the payment rail"
    WITNESS_KEY = "the witness's key"
    KEY_SET = "the key set"
    SEAL_KEY = "the key that seals its records"
    SEAL_KEYS = "the key set of seals"
    ALERT_SECRETS = "the secrets of alert sinks"
    MODEL = "the model's signatures"


NEEDS: Final[Mapping[str, frozenset[Need]]] = MappingProxyType(
    {
        "worker": frozenset({Need.KAFKA, Need.REDIS, Need.DEAD_LETTER_KEY, Need.SEAL_KEY, Need.SEAL_KEYS, Need.MODEL}),
        "audit": frozenset({Need.KAFKA, Need.DATABASE, Need.AUDIT_KEY, Need.KEY_SET, Need.SEAL_KEYS}),
        "witness": frozenset({Need.KAFKA, Need.WITNESS_KEY, Need.KEY_SET}),
        "executor": frozenset({Need.KAFKA, Need.DATABASE, Need.RAIL, Need.SEAL_KEY, Need.SEAL_KEYS}),
        "review": frozenset({Need.KAFKA, Need.DATABASE, Need.SEAL_KEY, Need.SEAL_KEYS}),
        "rollback": frozenset({Need.KAFKA, Need.DATABASE}),
        "apply": frozenset({Need.KAFKA, Need.DATABASE, Need.SEAL_KEY, Need.SEAL_KEYS}),
        "redrive": frozenset({Need.KAFKA, Need.REDIS, Need.DATABASE}),
        "reconcile": frozenset({Need.KAFKA, Need.DATABASE, Need.SEAL_KEYS}),
        "shadow": frozenset({Need.KAFKA, Need.DATABASE, Need.SEAL_KEYS}),
        "incident": frozenset({Need.KAFKA, Need.DATABASE, Need.SEAL_KEYS}),
        "bias": frozenset({Need.KAFKA, Need.DATABASE, Need.SEAL_KEYS}),
        "incident-desk": frozenset({Need.DATABASE}),
        "promotion": frozenset({Need.KAFKA, Need.DATABASE}),  # a person who moves the champion, and tells of it
        "evidence": frozenset({Need.DATABASE}),  # a person who files what a check found
        "alerts": frozenset({Need.KAFKA, Need.DATABASE, Need.ALERT_SECRETS, Need.SEAL_KEYS}),
        "oncall": frozenset({Need.DATABASE}),
        "breaker": frozenset({Need.KAFKA}),  # its kill switch must work while Redis is away, or not set up
        "desk": frozenset({Need.DATABASE}),
        "bookkeeper": frozenset({Need.DATABASE}),
        "migrate": frozenset({Need.DATABASE_OWNER}),
        "drill": frozenset({Need.KAFKA, Need.REDIS, Need.DATABASE_OWNER}),  # it makes topics, and a record of its own
        "partitions": frozenset({Need.DATABASE}),
        "topics": frozenset({Need.KAFKA}),
        "command": frozenset(),  # any other command; whatever it uses refuses it, if need be
    }
)
"""Needs by process. `fraud access` has those of topics, because it speaks to the broker as the administrator. A plan is
made as `rollback`, and carried out as `apply`, which alone seals. A person acts on cases at the desk, on
incidents at theirs, on alerts on call, and opens and funds accounts as the bookkeeper."""

READER: Final = "fraud_reader"
DATABASE_ROLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "worker": "fraud_worker",  # a role that may not even connect
        "audit": "fraud_audit",
        "executor": "fraud_executor",
        "review": "fraud_review",
        "rollback": "fraud_rollback",
        "apply": "fraud_rollback",
        "redrive": "fraud_rollback",
        "reconcile": "fraud_reconcile",
        "shadow": "fraud_shadow",
        "incident": "fraud_incident",
        "bias": "fraud_bias",
        "incident-desk": "fraud_incident",
        "promotion": "fraud_incident",
        "evidence": "fraud_incident",
        "desk": "fraud_review",
        "bookkeeper": "fraud_treasurer",  # opens and funds accounts, and executes nothing
        "alerts": "fraud_alerts",
        "oncall": "fraud_oncall",  # people who answer alerts and silence them
        "migrate": _OWNER,
        "drill": _OWNER,  # nobody else writes that a drill was carried out
        "partitions": "fraud_partitions",  # makes the months' partitions, and can do nothing else
    }
)
"""Roles by process, where the address of the database leaves the role open; READER is for a process that only looks."""


def production_faults(settings: Settings, process: str) -> list[str]:
    """List the faults: secrets in the environment first, then in the order of the enum.

    There are none outside the production profile.
    """
    if settings.profile is not Profile.PRODUCTION:
        return []
    faults = [_plain(name) for name in sorted(settings.plain_secrets)]
    for need in sorted(NEEDS[process], key=list(Need).index):
        faults += _CHECKS[need](settings)
    return faults + _collector(settings)


def _plain(name: str) -> str:
    fix = f"put it where FRAUD_SECRETS_FROM says, as {name}, and unset the variable"
    return f"FRAUD_{name.upper()} stands in the environment, in .env or in a settings file: {fix}"


def _collector(settings: Settings) -> list[str]:
    if settings.otlp_endpoint is None or urlsplit(settings.otlp_endpoint).scheme == "https":
        return []
    return ["The collector of traces is spoken to without TLS: write FRAUD_OTLP_ENDPOINT as https://HOST:PORT"]


def _kafka(settings: Settings) -> Iterator[str]:
    options = {name: value.strip().upper() for name, value in settings.kafka_options.items()}
    protocol = options.get("security.protocol", "PLAINTEXT")
    if protocol not in ("SASL_SSL", "SSL"):
        yield "Kafka is spoken to without TLS: set security.protocol to SASL_SSL in the secret kafka_options"
    if protocol == "SASL_SSL" and not (options.get("sasl.username") and options.get("sasl.password")):
        yield "Kafka gets no password: set sasl.username and sasl.password in the secret kafka_options"
    if protocol == "SSL" and not options.get("ssl.certificate.location"):
        yield "Kafka isn't told who asks: set ssl.certificate.location in the secret kafka_options, or use SASL_SSL"
    if options.get("enable.ssl.certificate.verification", "TRUE") != "TRUE":
        yield "Kafka's certificate is not verified: take enable.ssl.certificate.verification out of kafka_options"
    if options.get("ssl.endpoint.identification.algorithm", "HTTPS") != "HTTPS":
        yield "Kafka's host name is not verified: take ssl.endpoint.identification.algorithm out of kafka_options"
    if options.get("client.dns.lookup", "USE_ALL_DNS_IPS") != "USE_ALL_DNS_IPS":
        yield "Kafka's host name would be what the name server says: take client.dns.lookup out of kafka_options"
    if named := {"bootstrap.servers", "metadata.broker.list", "ssl.engine.location", "plugin.library.paths"} & set(
        options
    ):
        yield f"Kafka is set otherwise than it is checked: take {', '.join(sorted(named))} out of kafka_options"


def _redis(settings: Settings) -> Iterator[str]:
    parts = urlsplit(settings.redis_url)
    if parts.scheme.partition("+")[0] != "rediss":
        yield "Redis is spoken to without TLS: write the secret redis_url as rediss://USER:PASSWORD@HOST:PORT/0"
    options = parse_qsl(parts.query, keep_blank_values=True)
    found = dict(options)
    if not (parts.password or found.get("password")):
        yield "Redis gets no password: write the secret redis_url as rediss://USER:PASSWORD@HOST:PORT/0"
    if parts.scheme.endswith("+sentinel") and not found.get("sentinel_password"):
        yield "The Sentinels get no password: add ?sentinel_password=... to the secret redis_url"
    if any(value != "required" for name, value in options if name == "ssl_cert_reqs"):
        yield "Redis's certificate is not verified: take ssl_cert_reqs out of the secret redis_url"
    if any(value.lower() not in _TRUE for name, value in options if name == "ssl_check_hostname"):
        yield "Redis's host name is not verified: take ssl_check_hostname out of the secret redis_url"
    if other := {name for name, _ in options if name.startswith("ssl")} - _REDIS_TLS_OPTIONS:
        yield f"Redis's TLS is set otherwise than it is checked: take {', '.join(sorted(other))} out of redis_url"


def _database(settings: Settings) -> Iterator[str]:
    yield from _database_transport(settings)
    if (role := (database_options(settings.database_url) or {}).get("user")) in _LAID_OUT_BY:
        yield f"The process would run as {role}: give it its own role in the secret database_url"


def _database_transport(settings: Settings) -> Iterator[str]:
    """Check what libpq would do, which takes everything that an address leaves open from elsewhere.

    Without sslmode it tries TLS, verifies nothing, and goes on without; without a host it takes a socket, which has no
    TLS; without a role it takes PGUSER or the account's name.
    """
    options = database_options(settings.database_url)
    if options is None:
        yield "PostgreSQL's address can't be read: write the secret database_url as postgresql://ROLE:PASSWORD@HOST/fraud"
        return
    if not options.get("user"):
        yield "PostgreSQL isn't told who asks: write the secret database_url as postgresql://ROLE:PASSWORD@HOST/fraud"
    if any(not host or host[0] in "/@" for host in options.get("host", "").split(",")):
        yield "PostgreSQL is asked over a socket, which has no TLS: name its host in the secret database_url"
    if options.get("sslmode") != "verify-full":
        yield "PostgreSQL's certificate and name are not verified: put sslmode=verify-full into the secret database_url"
    elif not options.get("sslrootcert"):
        yield "PostgreSQL's authority isn't named: put sslrootcert=/run/secrets/ca.pem into the secret database_url"
    if options.get("ssl_min_protocol_version", "TLSv1.2") not in ("TLSv1.2", "TLSv1.3"):
        yield "PostgreSQL may be spoken to in an old TLS: take ssl_min_protocol_version out of the secret database_url"
    if not (options.get("password") or options.get("passfile") or options.get("sslcert")):
        yield "PostgreSQL gets no password: write the secret database_url as postgresql://ROLE:PASSWORD@HOST/fraud"


def _dead_letter_key(settings: Settings) -> Iterator[str]:
    if settings.dead_letter_key is None and settings.dead_letter_key_file is None:
        yield "Dead letters have no key: `fraud keys create dead-letter` makes one, for the secret dead_letter_key"


def _audit_key(settings: Settings) -> Iterator[str]:
    if settings.audit_key is None and settings.audit_key_file is None:
        yield "The audit log has no key: `fraud keys create audit` makes one, for the secret audit_key"


def _rail(settings: Settings) -> Iterator[str]:
    if urlsplit(settings.rail_url).scheme != "https":
        yield "The payment rail is spoken to without TLS: write FRAUD_RAIL_URL as https://HOST:PORT"
    files = settings.rail_authority_file, settings.rail_certificate_file, settings.rail_key_file
    if None in files:
        yield (
            "The payment rail and the executor don't prove who they are: set FRAUD_RAIL_AUTHORITY_FILE,"
            " FRAUD_RAIL_CERTIFICATE_FILE and FRAUD_RAIL_KEY_FILE"
        )


def _witness_key(settings: Settings) -> Iterator[str]:
    if settings.witness_key is None and settings.witness_key_file is None:
        yield "The witness has no key: `fraud keys create witness` makes one, for the secret witness_key"


def _key_set(settings: Settings) -> Iterator[str]:
    if settings.audit_keys is None and settings.audit_keys_file is None:
        yield "No key set is named: `fraud keys create audit` makes one, for the secret audit_keys"
    if settings.audit_witness_age_max_s == 0:
        yield "Nobody is told when the audit log goes unwitnessed: unset FRAUD_AUDIT_WITNESS_AGE_MAX_S"


def _seal_key(settings: Settings) -> Iterator[str]:
    if settings.seal_key is None and settings.seal_key_file is None:
        yield (
            "Its records could not be told from forged ones: `fraud keys create` with `decisions`, `reviews`,"
            " `reversals` or `executions` makes the key that seals them, for the secret seal_key"
        )


def _seal_keys(settings: Settings) -> Iterator[str]:
    if settings.seal_keys is None and settings.seal_keys_file is None:
        yield "Nothing says which keys seal decisions: `fraud keys create decisions` makes it, for the secret seal_keys"


def _alert_secrets(settings: Settings) -> Iterator[str]:
    if not settings.alert_secrets:
        yield (
            "No sink of alerts has a secret, so nobody could be told: write the secret alert_secrets, a JSON object by"
            " the names that the file of FRAUD_ALERT_ROUTES_PATH gives them"
        )


def _model(settings: Settings) -> Iterator[str]:
    """Whether the registry is signed is seen when it is loaded, where the key set is read (models/versions)."""
    if settings.people_file is None:
        yield "Nothing says who may approve a model: set FRAUD_PEOPLE_FILE to the file that the review service writes"
    if settings.model_version is not None:
        yield "The model would be another than the one that signed records name: unset FRAUD_MODEL_VERSION"
    if settings.models_key_file is not None or settings.artefacts_key_file is not None:
        yield (
            "The worker could sign what it decides by: unset FRAUD_MODELS_KEY_FILE and FRAUD_ARTEFACTS_KEY_FILE,"
            " whose keys belong where models are approved"
        )


_CHECKS: Final[dict[Need, Callable[[Settings], Iterator[str]]]] = {
    Need.KAFKA: _kafka,
    Need.REDIS: _redis,
    Need.DATABASE: _database,
    Need.DATABASE_OWNER: _database_transport,
    Need.DEAD_LETTER_KEY: _dead_letter_key,
    Need.AUDIT_KEY: _audit_key,
    Need.RAIL: _rail,
    Need.WITNESS_KEY: _witness_key,
    Need.KEY_SET: _key_set,
    Need.SEAL_KEY: _seal_key,
    Need.SEAL_KEYS: _seal_keys,
    Need.ALERT_SECRETS: _alert_secrets,
    Need.MODEL: _model,
}
