"""The production profile refuses to start with each of these faults, and names it with its fix."""

from pathlib import Path

import pytest

from pipeline.io.production import NEEDS, production_faults
from pipeline.io.settings import Profile, Settings
from tests.commands import Fraud

KAFKA = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "fraud-worker",
    "sasl.password": "correct-horse",
    "ssl.ca.location": "/run/secrets/ca.pem",
}
REDIS = "rediss://worker:correct-horse@redis:6379/0"
VERIFIED = "sslmode=verify-full&sslrootcert=/run/secrets/ca.pem"
SOUND = {
    "profile": Profile.PRODUCTION,
    "kafka_options": KAFKA,
    "redis_url": "rediss://worker:correct-horse@redis:6379/0?ssl_ca_certs=/run/secrets/ca.pem",
    "database_url": f"postgresql://fraud_audit:correct-horse@postgres/fraud?{VERIFIED}",
    "dead_letter_key": "base64",
    "audit_key": "pem",
    "rail_url": "https://rail:8443",
    "rail_authority_file": Path("/run/secrets/rail_ca.pem"),
    "rail_certificate_file": Path("/run/secrets/executor.pem"),
    "rail_key_file": Path("/run/secrets/executor.key"),
    "audit_keys": "set",
    "witness_key": "pem",
    "seal_key": "pem",
    "seal_keys": "set",
    "alert_secrets": {"pager": "correct-horse"},
    "people_file": Path("/var/lib/fraud-people/people"),
}


def _database(options: str) -> str:
    return f"postgresql://fraud_executor:correct-horse@postgres/fraud?{options}"


FAULTS = {
    "nobody who may approve a model": ("worker", {"people_file": None}, "Nothing says who may approve a model"),
    "a model beside the signed one": ("worker", {"model_version": "v1"}, "unset FRAUD_MODEL_VERSION"),
    "a worker that may sign models": ("worker", {"models_key_file": Path("/keys/models.key")}, "could sign what it"),
    "a worker that may sign artefacts": ("worker", {"artefacts_key_file": Path("/keys/a.key")}, "could sign what it"),
    "no secrets of alerts": ("alerts", {"alert_secrets": {}}, "No sink of alerts has a secret"),
    "broker without TLS": ("worker", {"kafka_options": KAFKA | {"security.protocol": "SASL_PLAINTEXT"}}, "without TLS"),
    "broker without anything": ("audit", {"kafka_options": {}}, "without TLS"),
    "broker without a password": ("worker", {"kafka_options": KAFKA | {"sasl.password": ""}}, "gets no password"),
    "broker that isn't told who asks": ("worker", {"kafka_options": {"security.protocol": "ssl"}}, "told who asks"),
    "broker's certificate unverified": (
        "executor",
        {"kafka_options": KAFKA | {"enable.ssl.certificate.verification": "false"}},
        "certificate is not verified",
    ),
    "broker's name unverified": (
        "executor",
        {"kafka_options": KAFKA | {"ssl.endpoint.identification.algorithm": "none"}},
        "host name is not verified",
    ),
    "Redis without TLS": ("worker", {"redis_url": "redis://worker:correct-horse@redis:6379/0"}, "without TLS"),
    "Redis without a password": ("worker", {"redis_url": "rediss://redis:6379/0"}, "gets no password"),
    "Redis's certificate unverified": (
        "worker",
        {"redis_url": "rediss://worker:correct-horse@redis:6379/0?ssl_cert_reqs=none"},
        "certificate is not verified",
    ),
    "Redis's name unverified": (
        "worker",
        {"redis_url": "rediss://worker:correct-horse@redis:6379/0?ssl_check_hostname=false"},
        "host name is not verified",
    ),
    "Redis's name unverified, with a blank": (
        "worker",
        {"redis_url": REDIS + "?ssl_check_hostname="},
        "host name is not",
    ),
    "Redis's certificate unverified at last": (
        "worker",
        {"redis_url": REDIS + "?ssl_cert_reqs=required&ssl_cert_reqs=optional"},
        "certificate is not verified",
    ),
    "Redis in an old TLS": (
        "worker",
        {"redis_url": REDIS + "?ssl_min_version=768"},
        "set otherwise than it is checked",
    ),
    "broker's name from the name server": (
        "audit",
        {"kafka_options": KAFKA | {"client.dns.lookup": "resolve_canonical_bootstrap_servers_only"}},
        "name server",
    ),
    "another broker": (
        "audit",
        {"kafka_options": KAFKA | {"bootstrap.servers": "elsewhere:9092"}},
        "bootstrap.servers",
    ),
    **{
        f"database with {name}": ("executor", {"database_url": url}, named)
        for name, url, named in [
            ("sslmode=require", _database("sslmode=require"), "not verified"),
            ("sslmode=verify-ca", _database("sslmode=verify-ca&sslrootcert=/ca.pem"), "not verified"),
            ("sslmode=prefer", _database("sslmode=prefer"), "not verified"),
            ("what libpq defaults to", _database(""), "not verified"),
            ("a later sslmode", _database(f"{VERIFIED}&sslmode=disable"), "not verified"),
            (
                "sslmode in words",
                "host=postgres user=fraud_executor password=correct-horse sslmode=verify-ca",
                "not verified",
            ),
            ("no authority", _database("sslmode=verify-full"), "authority isn't named"),
            ("a socket", _database(f"{VERIFIED}&host=/run/postgresql"), "over a socket"),
            ("a socket among hosts", _database(f"{VERIFIED}&host=postgres,@abstract"), "over a socket"),
            ("no host", f"postgresql://fraud_executor:correct-horse@/fraud?{VERIFIED}", "over a socket"),
            ("an old TLS", _database(f"{VERIFIED}&ssl_min_protocol_version=TLSv1"), "old TLS"),
            ("no password", f"postgresql://fraud_executor@postgres/fraud?{VERIFIED}", "gets no password"),
            ("no role", f"postgresql://postgres/fraud?{VERIFIED}&password=correct-horse", "isn't told who asks"),
            ("the owner", f"postgresql://fraud_owner:correct-horse@postgres/fraud?{VERIFIED}", "its own role"),
            ("the owner as an option", _database(f"{VERIFIED}&user=fraud_owner"), "its own role"),
            ("no sense", "postgresqlx://fraud_executor:correct-horse@postgres/fraud", "can't be read"),
        ]
    },
    "dead letters without a key": ("worker", {"dead_letter_key": None}, "Dead letters have no key"),
    "audit log without a key": ("audit", {"audit_key": None}, "audit log has no key"),
    "payment rail without TLS": ("executor", {"rail_url": "http://rail:8090"}, "payment rail is spoken to without TLS"),
    "payment rail that isn't told who pays": ("executor", {"rail_key_file": None}, "don't prove who they are"),
    "payment rail that nobody vouches for": ("executor", {"rail_authority_file": None}, "don't prove who they are"),
    "collector without TLS": ("worker", {"otlp_endpoint": "http://collector:4318"}, "collector of traces is spoken to"),
    "a reviewer's collector without TLS": ("desk", {"otlp_endpoint": "http://127.0.0.1:4318"}, "without TLS"),
    "audit log without a key set": ("audit", {"audit_keys": None}, "No key set is named"),
    "witness without a key set": ("witness", {"audit_keys": None}, "No key set is named"),
    "witness without a key": ("witness", {"witness_key": None}, "witness has no key"),
    **{
        f"{process} that can't prove what it writes": (
            process,
            {"seal_key": None},
            "could not be told from forged ones",
        )
        for process in ("worker", "review", "apply", "executor")
    },
    **{
        f"{process} that believes whoever writes": (process, {"seal_keys": None}, "which keys seal decisions")
        for process in ("worker", "review", "apply", "executor", "audit", "reconcile")
    },
    "audit log that may go unwitnessed": ("audit", {"audit_witness_age_max_s": 0}, "goes unwitnessed"),
    "secret in the environment": ("command", {"plain_secrets": frozenset({"redis_url"})}, "FRAUD_REDIS_URL stands in"),
}


@pytest.mark.parametrize("process", NEEDS)
def test_sound_settings_have_no_fault(process: str) -> None:
    assert [] == production_faults(_settings(), process)


@pytest.mark.parametrize(("process", "changes", "named"), FAULTS.values(), ids=FAULTS.keys())
def test_fault_is_named_and_no_secret_with_it(process: str, changes: dict[str, object], named: str) -> None:
    faults = production_faults(_settings(**changes), process)
    assert len(faults) == 1
    assert named in faults[0]
    assert "correct-horse" not in faults[0]


@pytest.mark.parametrize(("process", "changes", "named"), FAULTS.values(), ids=FAULTS.keys())
def test_development_minds_none_of_it(process: str, changes: dict[str, object], named: str) -> None:
    assert [] == production_faults(_settings(**changes, profile=Profile.DEVELOPMENT), process)


def test_what_a_process_does_not_use_is_not_asked_for() -> None:
    assert [] == production_faults(_settings(redis_url="redis://127.0.0.1:6379/0", dead_letter_key=None), "executor")


@pytest.mark.parametrize(
    "service", ["worker", "audit", "executor", "review", "reconcile", "incident", "bias", "alerts"]
)
def test_process_does_not_start_and_says_why(fraud: Fraud, service: str) -> None:
    answer = fraud(service, "run", profile="production", redis_url="redis://:correct-horse@127.0.0.1/0")
    assert answer.code == 2
    assert "FRAUD_REDIS_URL stands in the environment" in answer.err
    assert "Kafka is spoken to without TLS" in answer.err
    assert "correct-horse" not in answer.err


def _settings(**changes: object) -> Settings:
    return Settings(**{**SOUND, **changes})


def test_config_check_names_what_would_keep_a_worker_from_starting(
    fraud: Fraud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.io.kafka.client.ANSWER_S", 0.3)
    answer = fraud("config", "check", profile="production", bootstrap_servers="127.0.0.1:1")
    assert answer.code == 1
    assert "Dead letters have no key" in answer.out
