"""The settings that differ from one deployment to the next, from FRAUD_* environment variables or a .env file.

Secrets may come from where `secrets_from` says, too; in production they come from nowhere else
(pipeline/io/production.py).
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline.io.avro.wire import Framing
from pipeline.io.partitioner import Partitioner
from pipeline.io.secret_settings import PlainSecrets, StoredSecrets

ENV_FILE: Final = "FRAUD_ENV_FILE"
"""Environment variable that names a file of settings besides .env, whose values go before those of .env."""
ROLE_PLACEHOLDER: Final = "{role}"
_ROOT = Path(__file__).parents[2]


class EnvFileMissing(Exception):
    """FRAUD_ENV_FILE names a file that isn't there; the message is its path."""


class Profile(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"
    """The profile that refuses to start without passwords, TLS and keys, or with secrets in the environment."""


class Outcomes(StrEnum):
    """The topic that says what became of payments, for the decision worker."""

    EXECUTIONS = "executions"
    DECISIONS = "decisions"
    """For a deployment whose payments another system than our executor carries out, as they were decided."""

    @property
    def topic(self) -> str:
        return f"{self.value}.v1"


class Beginning(StrEnum):
    """The record of transactions.v1 that deciding begins with where nothing of a partition was ever decided."""

    OLDEST = "oldest"
    COMMITTED = "committed"
    """For a deployment that takes over a log whose past another system decided: the offset that the group committed."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="FRAUD_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    profile: Profile = Profile.DEVELOPMENT
    secrets_from: str | None = None
    """file:FOLDER, with a file for each secret, or vault:https://HOST:PORT/MOUNT/PATH, with a field for each; they have
    the names below."""
    vault_token_file: Path | None = None
    vault_ca_file: Path | None = None
    vault_namespace: str | None = None
    plain_secrets: frozenset[str] = frozenset()
    """Names of the secrets that stand in the environment or in .env, where others can read them; found, not given."""

    bootstrap_servers: str = "127.0.0.1:9092"
    redis_url: Annotated[str, Field(repr=False)] = "redis://127.0.0.1:6379/0"
    redis_timeout_s: Annotated[float, Field(gt=0, le=30)] = 2.0
    database_url: Annotated[str, Field(repr=False)] = "postgresql://fraud_owner@127.0.0.1:5432/fraud"
    """Address for the role that the process runs as; only migrations run as the owner. With {role} in its place, one
    address serves every process, and each puts in its own role."""
    service_patience_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Time that a service waits for PostgreSQL or the broker before it gives up its partitions and exits."""
    service_standstill_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """Longest turn of a service's loop; one that takes longer stands still, and /live says so. A statement of
    PostgreSQL may take 60 s, a delivery to the broker 20 s."""
    topic_prefix: str = ""
    state_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\-]{1,64}$")] = "fraud"
    """Before the keys of the state. A brace in it would be their hash tag, and a star the keys of other deployments."""

    consumer_group: str = "fraud-decide"
    worker_slot: Annotated[int, Field(ge=0, le=9999)] = 0
    """Number of a worker that a restart keeps. It makes its transactional id, so that a restart fences its predecessor
    at once."""
    batch_records_max: Annotated[int, Field(ge=1, le=10_000)] = 800
    """Most records in a batch. Five batches are under way when much waits. Larger ones decide a few more payments a
    second, but on a slow machine they wait for each other longer than the breaker's limit of latency."""
    session_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = 6000
    transaction_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = 5000
    state_backup_alert_minutes: Annotated[int, Field(ge=0, le=10_080)] = 60
    """Age from which the latest copy of the state raises an alert: what `fraud state backup` took, or what Redis saved
    itself. 0 for never, where somebody else watches the backups of a managed service."""
    state_never_evicts: bool = False
    """States that a Redis evicts no keys that doesn't tell its maxmemory-policy; one that does is believed."""
    state_patience_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Time that a worker holds a batch while Redis can't be reached, before it gives up its partitions and exits."""
    outcomes: Outcomes = Outcomes.EXECUTIONS
    begin_at: Beginning = Beginning.OLDEST
    """The topic from which a worker learns which payments were made. It has as many partitions as transactions.v1."""
    kafka_options: Annotated[dict[str, str], Field(repr=False)] = {}
    """Options for librdkafka, passed on as they are: SASL, TLS and the like."""
    partitioner: Partitioner = Partitioner.CRC32
    """Partitioner of whoever publishes payments, and of every producer of ours. A payment on another partition than
    its account belongs to is refused."""

    policy_path: Path = _ROOT / "pipeline" / "decide" / "policies" / "default.toml"
    policy_archive: Path = _ROOT / "pipeline" / "decide" / "policies"
    feeds_path: Path = Path("var/feeds")
    """Folder of the feeds in force, exchange_rates.toml and sanctions.toml, and of `archive`, where all that ever were
    are kept. Development puts the shipped ones there where there are none; production never does."""
    model_registry: Path = _ROOT / "models" / "registry"
    """The registry of models: a directory, or s3://BUCKET/PREFIX."""
    model_version: str | None = None
    """Version of the model; None stands for the one that the registry names its champion."""
    model_memory: Path = Path("var/models")
    """Folder where workers remember which signed record of the registry was in force, so that no older one follows."""
    models_key_file: Path | None = None
    """File of the Ed25519 key, in PEM, that signs what the registry of models says; `fraud keys create models` makes
    one. No worker has it."""
    artefacts_key_file: Path | None = None
    """File of the key of P-256, in PEM, that signs the files of models; `fraud keys create artefacts` makes one."""
    label_delay_days: Annotated[int, Field(ge=0, le=30)] = 7
    state_shards: Annotated[int, Field(ge=1, le=256)] = 1
    framing: Framing = Framing.SINGLE_OBJECT
    confluent_ids: dict[str, int | str | list[int | str]] = {}
    """By schema and release, such as transaction.v1/2, the ids and GUIDs that a registry gave it."""
    dead_letter_key: Annotated[str | None, Field(repr=False)] = None
    dead_letter_key_file: Path | None = None
    """File of a key of 32 bytes in base64; `fraud keys create dead-letter` makes one. Without it, a dead letter keeps
    only the hash of its payload."""

    seal_key: Annotated[str | None, Field(repr=False)] = None
    seal_key_file: Path | None = None
    """File of the Ed25519 key, in PEM, that proves that this process wrote its records of decisions.v1. Each kind of
    writer has its own: `fraud keys create decisions`, `reviews` or `reversals` makes it."""
    seal_keys: Annotated[str | None, Field(repr=False)] = None
    seal_keys_file: Path | None = None
    """File of the key set that says which keys seal which records; every writer and reader of decisions.v1 has it."""
    seal_directory: Path = Path("var/seals")
    """Folder of all those keys where none is named; made when it is first needed, and never in production."""

    review_expiry_hours: Annotated[int, Field(ge=1, le=24 * 90)] = 24
    """Hours after which an undecided escalation becomes BLOCK, which frees the customer's money."""
    review_four_eyes_gbp_minor: Annotated[int, Field(ge=0)] = 1_000_000
    """Amount from which two people decide an escalation: 10,000 GBP."""
    review_claim_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 30
    """Time for which a claim keeps others out; a reviewer who needs longer claims again."""
    review_reason_characters_min: Annotated[int, Field(ge=1, le=1000)] = 20
    rollback_plan_hours: Annotated[int, Field(ge=1, le=24 * 30)] = 24
    """Time for which a plan can be approved; it is limited because the records that it was made from grow old."""
    incident_lookback_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 10
    """Time from an incident's first alert back to the first decisions that are suspect: the breaker's window, two more
    evaluations that confirm it, and as much again for a fault that grows."""
    shadow_port: Annotated[int, Field(ge=0, le=65535)] = 6075
    """Port of the pages of the shadow's process."""
    shadow_version: str | None = None
    """Version of the challenger; None stands for the one that the registry names so."""
    challengers_path: Path = Path("var/challengers")
    """Folder of challengers that are no glass boxes, as `fraud models challenger` makes them, each in a folder of its
    version."""
    incident_port: Annotated[int, Field(ge=0, le=65535)] = 6074
    bias_port: Annotated[int, Field(ge=0, le=65535)] = 6077

    rail_url: Annotated[str, Field(pattern=r"^https?://[^/@?#]+$")] = "http://127.0.0.1:8090"
    """Address of the payment rail that the executor pays by. With https, executor and rail prove who they are by
    certificates, and the three files below are needed."""
    rail_authority_file: Path | None = None
    """PEM of the authority that signed the rail's certificate; no other is trusted."""
    rail_certificate_file: Path | None = None
    """PEM of the executor's own certificate, with those between it and its authority."""
    rail_key_file: Path | None = None
    rail_timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Time limit of one request; the executor asks later about one that isn't answered by then."""
    rail_keeps_keys_hours: Annotated[float, Field(gt=0, le=24 * 3650)] = 24.0
    """How long the rail keeps the keys that it was paid under. A payment in doubt whose key is older is asked about and
    never submitted again, because the rail may have forgotten that it made it."""
    rail_account: str = "FRAUD-SETTLEMENT"
    """The account of ours at the rail whose statements are taken in."""
    executor_port: Annotated[int, Field(ge=0, le=65535)] = 6068
    """Port of the execution service's pages, on FRAUD_WEB_HOST; 0, here and below, takes any that is free."""
    review_port: Annotated[int, Field(ge=0, le=65535)] = 6069
    reconcile_port: Annotated[int, Field(ge=0, le=65535)] = 6070

    reconcile_grace_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """Time that a record may be on its way to the audit log and the ledger before it is called missing."""

    audit_directory: Path = Path("var/audit")
    """Folder of the audit log's leaf files and signed heads, where no superuser of the database can write."""
    audit_key: Annotated[str | None, Field(repr=False)] = None
    audit_key_file: Path | None = None
    """File of the Ed25519 key, in PEM, that signs the heads; `fraud keys create audit` makes one."""
    audit_keys: Annotated[str | None, Field(repr=False)] = None
    audit_keys_file: Path | None = None
    """File of the key set: the public keys that heads and witness statements may be signed with, and when. None stands
    for the one beside the key file, PATH.keys."""
    audit_anchor_interval_s: Annotated[float, Field(ge=1, le=86_400)] = 240.0
    """Time between heads of a partition that grows. The witness sees them, so it is below audit_witness_age_max_s."""
    audit_witness_age_max_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    """Age of the witness's last statement from which it raises an alert; 0 where nobody witnesses the log."""
    audit_port: Annotated[int, Field(ge=0, le=65535)] = 6067
    """Port of the audit service's pages."""

    witness_key: Annotated[str | None, Field(repr=False)] = None
    witness_key_file: Path | None = None
    """File of the Ed25519 key, in PEM, that signs what the witness has seen; `fraud keys create witness` makes one."""
    witness_directory: Path | None = None
    """Folder of the witness's own copy of its statements, on a volume of its own; None: the topic must do."""
    witness_interval_s: Annotated[float, Field(ge=1, le=240)] = 120.0
    """Longest time between two statements; a new head makes one at once."""
    witness_port: Annotated[int, Field(ge=0, le=65535)] = 6071
    timestamp_url: Annotated[str | None, Field(repr=False)] = None
    """Address of a timestamp authority (RFC 3161) that stamps the witness's statements; None: none does."""
    timestamp_ca_file: Path | None = None
    """Certificates, in PEM, of the authorities whose timestamps are accepted."""

    alert_routes_path: Path = _ROOT / "pipeline" / "oncall" / "routes" / "default.toml"
    """File that says which sinks are told of which alerts."""
    alert_secrets: Annotated[dict[str, str], Field(repr=False)] = {}
    """Secrets of the sinks, by the names that the file of routes gives them."""
    alerts_port: Annotated[int, Field(ge=0, le=65535)] = 6072
    """Port of the pages of the service that delivers alerts."""

    drill_key_file: Path | None = None
    """File of the Ed25519 key, in PEM, that signs the reports of drills; `fraud keys create drills` makes one."""

    identity_file: Path | None = None
    """File of the key of the person who acts; `fraud people create-key` makes one. Without it, acts are those of the
    login session."""
    identity_passphrase_file: Path | None = None
    """File of that key's passphrase; None: it is asked for."""
    session_file: Path | None = None
    """File of the login session; None stands for .fraud/session.json in the home folder."""

    oidc_issuer: str | None = None
    """Address of the OpenID provider that `fraud login` asks, exactly as its tokens name it."""
    oidc_client_id: str | None = None
    """Name of ours there: a public client with PKCE, whose redirects go to http://127.0.0.1, on any port."""
    oidc_claim: str = "preferred_username"
    """Claim of the ID token that says under which name `fraud login` sets the session up. It proves nothing."""
    people_file: Path | None = None
    """File of the registry of people for workers, which have no database. The review service writes it anew every few
    seconds, with a stamp that says as of when it is. Without it no release of the breaker counts."""

    otlp_endpoint: Annotated[str | None, Field(pattern=r"^https?://[^/@?#\s]+(/[^@?#\s]*)?$")] = None
    """Address of the OpenTelemetry collector that takes spans by OTLP over HTTP, without /v1/traces. Without it nothing
    is traced."""
    otlp_headers: Annotated[dict[str, str], Field(repr=False)] = {}
    """Headers of each request to the collector, such as one that names a customer's token."""
    otlp_authority_file: Path | None = None
    """PEM of the authority that signed the collector's certificate; None: those that are publicly trusted."""
    otlp_timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Time for one request to the collector, with its repetitions."""
    trace_share: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Share of the payments that are traced from end to end, whatever becomes of them."""
    trace_notable_per_s: Annotated[int, Field(ge=0, le=10_000)] = 50
    """BLOCKs, ESCALATEs and errors that each process traces besides, at most, in any second."""
    trace_upstream_per_s: Annotated[int, Field(ge=0, le=10_000)] = 10
    """Payments whose publisher asks for it that a worker traces, at most, in any second."""
    trace_continued_per_s: Annotated[int, Field(ge=0, le=10_000)] = 500
    """Records that a service goes on tracing because another process of ours did, at most, in any second."""
    trace_queue_spans: Annotated[int, Field(ge=1, le=65_536)] = 2048
    """Spans that wait for the collector, at most; more are dropped, and counted."""

    web_host: str = "127.0.0.1"
    web_port: Annotated[int, Field(ge=0, le=65535)] = 6066
    """Port of the worker's pages."""
    log_level: str = "INFO"

    @property
    def has_database(self) -> bool:
        """Whether a database is named: in production one is to be, and the default is nobody's name for one."""
        is_named = self.database_url != type(self).model_fields["database_url"].default
        return self.profile is Profile.PRODUCTION or is_named

    def as_role(self, role: str) -> Settings:
        """Return the settings of a process whose role in the database is `role`, where the address leaves that open."""
        return self.model_copy(update={"database_url": self.database_url.replace(ROLE_PLACEHOLDER, role)})

    def topic(self, name: str) -> str:
        return f"{self.topic_prefix}{name}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - ours may read two files
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - ours knows Vault as well
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """List the sources; the first with a value wins. PlainSecrets stands before any that could set its value."""
        files = DotEnvSettingsSource(settings_cls, env_file=_env_files())
        plain = PlainSecrets(settings_cls, (env_settings, files))
        return init_settings, plain, env_settings, files, StoredSecrets(settings_cls)


def _env_files() -> tuple[Path, ...]:
    """List the files of settings; a later one goes before an earlier one.

    Raises EnvFileMissing, because settings that were asked for are not passed over.
    """
    named = os.environ.get(ENV_FILE)
    if not named:
        return (Path(".env"),)
    if not Path(named).is_file():
        raise EnvFileMissing(named)
    return Path(".env"), Path(named)
