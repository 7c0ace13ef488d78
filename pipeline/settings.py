"""What differs from one deployment to the next, from FRAUD_* environment variables or a .env file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.adapters.avro import Framing

_HERE = Path(__file__).parent


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="FRAUD_", env_file=".env", extra="ignore", frozen=True)

    bootstrap_servers: str = "127.0.0.1:9092"
    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_timeout_s: Annotated[float, Field(gt=0, le=30)] = 2.0
    database_url: str = "postgresql://fraud_owner@127.0.0.1:5432/fraud"
    """Of the role that the process runs as; only migrations run as the owner."""
    database_patience_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long a service waits for PostgreSQL before it gives up its place and exits."""
    topic_prefix: str = ""
    state_prefix: str = "fraud"

    consumer_group: str = "fraud-decide"
    worker_slot: Annotated[int, Field(ge=0, le=9999)] = 0
    """Stable for one worker's place: its transactional id, so that a restart fences its predecessor at once."""
    batch_records_max: Annotated[int, Field(ge=1, le=10_000)] = 1000
    session_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = 6000
    transaction_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = 5000
    state_patience_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long a worker holds a batch while Redis can't be reached, before it gives up its place and exits."""
    kafka_options: dict[str, str] = {}
    """Passed to librdkafka as they are: SASL, TLS and the like."""

    policy_path: Path = _HERE / "policies" / "default.toml"
    policy_archive: Path = _HERE / "policies"
    model_registry: Path = _HERE.parent / "models" / "registry"
    model_version: str | None = None
    """None: the one that the registry names its champion."""
    label_delay_days: Annotated[int, Field(ge=0, le=30)] = 7
    state_shards: Annotated[int, Field(ge=1, le=256)] = 1
    framing: Framing = Framing.SINGLE_OBJECT
    confluent_ids: dict[str, int] = {}
    dead_letter_key_file: Path | None = None
    """32 bytes, base64; `fraud keys create` makes one. Without it dead letters carry no payload, only its hash."""

    review_expiry_hours: Annotated[int, Field(ge=1, le=24 * 90)] = 24
    """An escalation that nobody decided by then becomes BLOCK, which frees the customer's money."""
    review_four_eyes_gbp_minor: Annotated[int, Field(ge=0)] = 1_000_000
    """From this worth on (10,000 GBP), two people decide an escalation."""
    review_claim_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 30
    """How long a claim keeps others out; whoever needs longer claims again."""
    review_reason_characters_min: Annotated[int, Field(ge=1, le=1000)] = 20
    rollback_plan_hours: Annotated[int, Field(ge=1, le=24 * 30)] = 24
    """How long a plan can be approved: what it was made from gets old."""

    rail_url: str = "http://127.0.0.1:8090"
    """Of the payment rail that the executor pays by."""
    rail_timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    """For one request; what isn't answered by then is asked about."""
    executor_port: Annotated[int, Field(ge=0, le=65535)] = 6068
    """Of the execution service's metrics, on FRAUD_WEB_HOST; 0: none."""

    audit_directory: Path = Path("var/audit")
    """Leaf files and signed heads of the audit log: where no superuser of the database can write."""
    audit_key_file: Path | None = None
    """Ed25519, PEM; `fraud audit keygen` makes one. Heads are signed with it."""
    audit_anchor_interval_s: Annotated[float, Field(ge=1, le=86_400)] = 3600.0
    audit_port: Annotated[int, Field(ge=0, le=65535)] = 6067
    """Of the audit service's metrics, on FRAUD_WEB_HOST; 0: none."""

    web_host: str = "127.0.0.1"
    web_port: Annotated[int, Field(ge=0, le=65535)] = 6066
    log_level: str = "INFO"

    def topic(self, name: str) -> str:
        return f"{self.topic_prefix}{name}"
