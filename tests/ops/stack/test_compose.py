"""The compose files: valid, pinned, on loopback, as the stacks of ops/stack are set, and no password by default."""

import json
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ops.access.rights import Principal
from ops.access.roles import POSTGRES_OWNER, ROLES
from ops.access.secret_owners import CONSUMERS, PUBLIC, USERS
from ops.bench.production.compose_files import BASE as BASE_FILE
from ops.bench.production.compose_files import PRODUCTION as PRODUCTION_FILE
from ops.bench.production.compose_files import (
    FilesRefused,
    Replacement,
    internal_networks,
    read_file,
    services,
)
from ops.stack.kafka.security import MECHANISM, BrokerSecurity
from ops.stack.versions import (
    BROKER_SETTINGS,
    IMAGES,
    POSTGRES_DATABASE,
    POSTGRES_INITDB,
    POSTGRES_SETTINGS,
    PYTHON_IMAGE,
    REDIS_MEMORY_MAX_BYTES,
    REDIS_SETTINGS,
)
from pipeline.io.secret_settings import SECRET_NAMES
from pipeline.io.settings import Settings

ROOT = Path(__file__).parents[3]
SCHEMA_PACKAGE = "check-jsonschema"  # ships the compose specification's schema
SCHEMA_PATH = "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
SECRET_WORDS = re.compile(r"password|secret|credential|token|jaas|key", re.IGNORECASE)


BASE = read_file(ROOT / BASE_FILE)
PRODUCTION = read_file(ROOT / PRODUCTION_FILE)
VARIABLES = {
    "FRAUD_SECRETS": "/secrets",
    "FRAUD_RAIL_URL": "https://rail.bank.example",
    "FRAUD_REDIS_DIGEST": "sha256:0",
}
MERGED = services(ROOT, [BASE_FILE, PRODUCTION_FILE], VARIABLES)
SERVERS = sorted(IMAGES)
SERVICES = sorted(BASE["services"])
RUN_ONCE = ("access", "migrate", "months", "roles", "topics")
OURS = sorted(name for name, settings in BASE["services"].items() if "build" in settings)
IN_PRODUCTION = [name for name in OURS if name != "rail"]
PLAIN_SECRETS = {f"FRAUD_{name.upper()}" for name in SECRET_NAMES}


@pytest.mark.parametrize("compose", [BASE, PRODUCTION], ids=["base", "production"])
def test_file_is_valid_by_the_compose_specification(compose: dict[str, Any]) -> None:
    try:
        schema_path = distribution(SCHEMA_PACKAGE).locate_file(SCHEMA_PATH)
    except PackageNotFoundError:
        pytest.skip(f"{SCHEMA_PACKAGE}, which ships the compose specification's schema, is not installed")
    schema = json.loads(Path(str(schema_path)).read_text())
    assert [error.message for error in Draft202012Validator(schema).iter_errors(compose)] == []


@pytest.mark.parametrize("service", SERVERS)
def test_image_is_the_one_of_the_version_table(service: str) -> None:
    assert BASE["services"][service]["image"] == IMAGES[service]


def test_worker_image_is_built_from_the_pinned_python() -> None:
    stages = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert stages == [PYTHON_IMAGE, PYTHON_IMAGE]


def test_worker_image_installs_by_hash_and_runs_as_nobody_special() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes --requirement requirements.lock" in dockerfile
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == ["10001"]


@pytest.mark.parametrize(("name", "value"), BROKER_SETTINGS.items())
def test_broker_is_set_as_the_stacks_set_theirs(name: str, value: str) -> None:
    assert BASE["services"]["kafka"]["environment"]["KAFKA_" + name.upper().replace(".", "_")] == value


@pytest.mark.parametrize("compose", [BASE, PRODUCTION], ids=["base", "production"])
def test_redis_is_set_as_the_stacks_set_theirs(compose: dict[str, Any]) -> None:
    command = compose["services"]["redis"]["command"]
    settings = dict(zip(command[1::2], command[2::2], strict=True))
    assert settings["--maxmemory"] == str(REDIS_MEMORY_MAX_BYTES)
    assert {name: settings[f"--{name}"] for name in REDIS_SETTINGS} == REDIS_SETTINGS
    assert (settings["--appendonly"], settings["--appendfsync"]) == ("yes", "everysec")


def test_postgres_is_set_as_the_stacks_set_theirs() -> None:
    service = BASE["services"]["postgres"]
    assert service["command"] == ["postgres", *(f for n, v in POSTGRES_SETTINGS.items() for f in ("-c", f"{n}={v}"))]
    assert service["environment"]["POSTGRES_INITDB_ARGS"].split() == list(POSTGRES_INITDB)
    assert service["environment"]["POSTGRES_USER"] == POSTGRES_OWNER
    assert service["environment"]["POSTGRES_DB"] == POSTGRES_DATABASE


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_published_on_loopback_only(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in BASE["services"][service].get("ports", []))


def test_the_shadow_alone_stands_back_for_the_other_containers() -> None:
    services = BASE["services"].items()
    assert {"shadow": 2} == {name: each["cpu_shares"] for name, each in services if "cpu_shares" in each}


@pytest.mark.parametrize("service", SERVICES)
def test_service_has_limits_and_a_health_check(service: str) -> None:
    settings = BASE["services"][service]
    assert {"cpus", "memory", "pids"} == settings["deploy"]["resources"]["limits"].keys()
    assert service in RUN_ONCE or "healthcheck" in settings


@pytest.mark.parametrize(
    ("service", "setting"),
    {
        "worker": "web_port",
        "audit": "audit_port",
        "executor": "executor_port",
        "review": "review_port",
        "reconcile": "reconcile_port",
        "incident": "incident_port",
        "shadow": "shadow_port",
        "bias": "bias_port",
        "alerts": "alerts_port",
    }.items(),
)
def test_process_of_ours_is_probed_for_readiness_at_its_port(service: str, setting: str) -> None:
    settings = BASE["services"][service]
    port = settings["environment"][f"FRAUD_{setting.upper()}"]
    assert Settings.model_fields[setting].default == int(port)
    probe = settings["healthcheck"]["test"][-1]
    assert f"'http://127.0.0.1:{port}/' + p" in probe
    assert "for p in ('live', 'ready')" in probe
    assert "healthcheck" not in PRODUCTION["services"][service], "production changes nothing about it"


@pytest.mark.parametrize("service", SERVICES)
def test_service_waits_for_conditions_not_for_time(service: str) -> None:
    needs = BASE["services"][service].get("depends_on", {})
    assert all(need["condition"] != "service_started" for need in needs.values())
    assert needs.keys() <= BASE["services"].keys()


@pytest.mark.parametrize("compose", [BASE, PRODUCTION], ids=["base", "production"])
@pytest.mark.parametrize("service", SERVICES)
def test_service_has_no_rights_to_spare(compose: dict[str, Any], service: str) -> None:
    settings, confined = compose["services"].get(service, {}), BASE["services"][service]
    for name, wanted in (("read_only", True), ("cap_drop", ["ALL"]), ("security_opt", ["no-new-privileges:true"])):
        assert confined[name] == wanted
        assert settings.get(name, wanted) == wanted, "production loosens nothing"
    forbidden = {"privileged", "cap_add", "network_mode", "pid", "ipc", "userns_mode", "devices", "volumes_from"}
    assert forbidden.isdisjoint(settings)


@pytest.mark.parametrize("compose", [BASE, PRODUCTION], ids=["base", "production"])
@pytest.mark.parametrize("service", SERVICES)
def test_service_fills_no_disk_by_its_log(compose: dict[str, Any], service: str) -> None:
    """Docker keeps all of it by default, and any client of PostgreSQL says what is in its log."""
    bounded = {"driver": "local", "options": {"max-size": "50m", "max-file": "10"}}
    assert BASE["services"][service]["logging"] == bounded
    assert compose["services"].get(service, {}).get("logging", bounded) == bounded


@pytest.mark.parametrize("service", SERVICES)
def test_service_writes_to_volumes_of_its_own_and_memory_only(service: str) -> None:
    mounts = [entry for entry in BASE["services"][service].get("volumes", [])]
    assert all(entry.partition(":")[0] in BASE["volumes"] for entry in mounts), "no folder of the machine's"
    readers = {"worker", "review", "executor", "audit", "reconcile", "shadow", "bias", "incident", "alerts"}
    keys = {"audit", "witness"}, readers
    shared = *keys, {"review", "worker"}, {"worker", "reconcile", "shadow"}
    for mount in mounts:
        users = {name for name in SERVICES if mount in BASE["services"][name].get("volumes", [])}
        assert users == {service} or users in shared, "in development the keys of one kind are together"


def test_audit_and_witness_share_nothing_in_production() -> None:
    audit, witness = (PRODUCTION["services"][name] for name in ("audit", "witness"))
    assert ["audit-production:/var/lib/fraud-audit"] == list(audit["volumes"])
    assert ["witness-production:/var/lib/fraud-witness"] == list(witness["volumes"])
    user, group = USERS["witness"]
    assert witness["user"] == f"{user}:{group}"


@pytest.mark.parametrize("service", SERVICES)
def test_service_runs_under_a_user_of_its_own(service: str) -> None:
    user, group = USERS[service]
    in_production = PRODUCTION["services"].get(service, {})
    assert in_production.get("user", BASE["services"][service]["user"]) == f"{user}:{group}"
    assert "user" not in in_production or service == "witness"
    same = {name for name, other in USERS.items() if other[0] == user}
    assert same in ({service}, {"access", "topics"}, {"migrate", "roles"}), "who administers, and who owns the database"


# Written down apart: who may reach whom.
NETWORKS = {
    "broker": {
        "kafka",
        "topics",
        "access",
        "worker",
        "audit",
        "witness",
        "executor",
        "review",
        "reconcile",
        "incident",
        "bias",
        "alerts",
        "shadow",
    },
    "state": {"redis", "worker"},
    "database": {
        "postgres",
        "migrate",
        "roles",
        "months",
        "audit",
        "executor",
        "review",
        "reconcile",
        "incident",
        "bias",
        "alerts",
        "shadow",
    },
    "rail": {"executor", "rail"},
    "pages": {"worker"},
    "oncall": {"alerts"},
    "authority": {"witness"},
}


@pytest.mark.parametrize("network", NETWORKS)
def test_network_holds_those_who_need_each_other(network: str) -> None:
    assert NETWORKS[network] == {name for name in SERVICES if network in BASE["services"][name]["networks"]}
    assert not any("networks" in settings for settings in PRODUCTION["services"].values())


def test_only_rail_pages_sinks_and_timestamp_authority_are_reached_from_the_world_in_production() -> None:
    internal = internal_networks(ROOT, [BASE_FILE, PRODUCTION_FILE])
    assert {"rail", "pages", "oncall", "authority"} == {
        name for name, is_internal in internal.items() if not is_internal
    }


@pytest.mark.parametrize("service", SERVERS)
def test_image_is_named_by_its_digest(service: str) -> None:
    image = PRODUCTION["services"][service].get("image", BASE["services"][service]["image"])
    assert re.search(r"@sha256:[0-9a-f]{64}$|@\$\{FRAUD_REDIS_DIGEST:\?[^}]+\}$", image)


@pytest.mark.parametrize("variable", VARIABLES)
def test_production_refuses_to_start_without_a_variable(variable: str) -> None:
    with pytest.raises(FilesRefused, match=variable):
        services(ROOT, [BASE_FILE, PRODUCTION_FILE], VARIABLES | {variable: ""})


def test_each_secret_is_its_consumer_s_alone() -> None:
    for name, settings in PRODUCTION["services"].items():
        for secret in settings.get("secrets", []):
            source = secret if isinstance(secret, str) else secret["source"]
            assert source in PUBLIC or USERS[CONSUMERS[source]] == USERS[name], source
    assert PRODUCTION["secrets"].keys() - PUBLIC <= CONSUMERS.keys()


def test_production_uses_no_volume_of_development() -> None:
    volumes = {mount.source for service in MERGED.values() for mount in service.mounts if mount.is_volume}
    assert volumes == PRODUCTION["volumes"].keys()
    assert volumes.isdisjoint(BASE["volumes"])


def test_postgres_lets_nobody_in_but_over_tls_with_a_password() -> None:
    assert "hba_file=/etc/postgresql/pg_hba.conf" in PRODUCTION["services"]["postgres"]["command"]
    lines = (ROOT / PRODUCTION["configs"]["pg_hba.conf"]["file"]).read_text().splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert {("local", "scram-sha-256"), ("hostssl", "scram-sha-256")} == {(rule[0], rule[-1]) for rule in rules}


def test_no_role_but_the_owner_comes_to_another_database_of_postgres() -> None:
    """There it could keep files and locks of its own, which are the whole server's."""
    lines = (ROOT / PRODUCTION["configs"]["pg_hba.conf"]["file"]).read_text().splitlines()
    elsewhere = [line.split() for line in lines if line.startswith("host") and line.split()[1] != "fraud"]
    assert ["fraud_owner"] == [rule[2] for rule in elsewhere]


@pytest.mark.parametrize("service", [name for name, settings in BASE["services"].items() if "healthcheck" in settings])
def test_health_check_asks_for_what_a_user_needs_not_for_numbers(service: str) -> None:
    for compose in (BASE, PRODUCTION):
        check = compose["services"].get(service, {}).get("healthcheck", {}).get("test", [])
        assert not any("/metrics" in word or "pg_isready" in word or "|| true" in word for word in check)


def test_production_changes_only_services_that_there_are() -> None:
    assert PRODUCTION["services"].keys() <= BASE["services"].keys()


@pytest.mark.parametrize("service", SERVERS)
def test_production_publishes_no_server(service: str) -> None:
    ports = PRODUCTION["services"][service]["ports"]
    assert ports == []
    assert isinstance(ports, Replacement)


@pytest.mark.parametrize("secret", sorted(PRODUCTION["secrets"]))
def test_production_refuses_to_start_without_its_secrets(secret: str) -> None:
    assert re.fullmatch(r"\$\{FRAUD_SECRETS:\?[^}]+\}/" + re.escape(secret), PRODUCTION["secrets"][secret]["file"])


def test_production_uses_every_secret_and_names_no_other() -> None:
    used = {
        secret if isinstance(secret, str) else secret["source"]
        for settings in PRODUCTION["services"].values()
        for secret in settings.get("secrets", [])
    }
    assert used == PRODUCTION["secrets"].keys()


def test_no_file_holds_a_secret() -> None:
    named = [*_environment(BASE), *_environment(PRODUCTION)]
    secret = {name: value for name, value in named if SECRET_WORDS.search(name)}
    permitted = re.compile(r"(file:)?/run/secrets\S*|PKCS12|PEM|kafka_keystore\S*|/etc/kafka/secrets/\S+|None")
    made_by_itself = {
        "FRAUD_AUDIT_KEY_FILE": "/var/lib/fraud-audit/head.key",
        "FRAUD_AUDIT_KEYS_FILE": "/var/lib/fraud-witness/keys",
        "FRAUD_WITNESS_KEY_FILE": "/var/lib/fraud-witness/key",
        "FRAUD_SEAL_KEYS_FILE": "/var/lib/fraud-seals/keys",
        "FRAUD_SEAL_KEY_FILE": "/var/lib/fraud-seals/review.key",  # and worker.key, which it replaces in this dict
    }
    refused = {name: value for name, value in secret.items() if not permitted.fullmatch(value)}
    assert refused.items() <= made_by_itself.items()


def test_production_asks_for_a_password_everywhere() -> None:
    kafka, postgres = (PRODUCTION["services"][name]["environment"] for name in ("kafka", "postgres"))
    assert not re.search(r"(?<!SASL_)PLAINTEXT", json.dumps(kafka))
    assert kafka["KAFKA_LISTENERS"] == "SASL_SSL://:19092,CONTROLLER://127.0.0.1:29093"
    assert postgres["POSTGRES_HOST_AUTH_METHOD"] == "scram-sha-256"
    assert "--aclfile" in PRODUCTION["services"]["redis"]["command"]


def test_production_runs_the_broker_as_the_secure_stack_does(tmp_path: Path) -> None:
    kafka = PRODUCTION["services"]["kafka"]["environment"]
    secure = BrokerSecurity(tmp_path).settings()
    for name in ("authorizer.class.name", "allow.everyone.if.no.acl.found", "sasl.mechanism.controller.protocol"):
        assert kafka["KAFKA_" + name.upper().replace(".", "_")] == secure[name]
    assert set(kafka["KAFKA_SUPER_USERS"].split(";")) == set(secure["super.users"].split(";"))
    assert MECHANISM in kafka["KAFKA_SASL_ENABLED_MECHANISMS"].split(",")


@pytest.mark.parametrize("service", IN_PRODUCTION)
def test_production_takes_secrets_from_files_only(service: str) -> None:
    settings = PRODUCTION["services"][service]["environment"]
    assert ("production", "file:/run/secrets") == (settings["FRAUD_PROFILE"], settings["FRAUD_SECRETS_FROM"])
    plain = PLAIN_SECRETS.intersection(BASE["services"][service]["environment"])
    assert {name: None for name in plain} == {name: settings.get(name, "left as it was") for name in plain}


@pytest.mark.parametrize("service", [name for name in IN_PRODUCTION if name not in RUN_ONCE])
def test_production_gives_each_process_its_own_credentials(service: str) -> None:
    named = [secret for secret in PRODUCTION["services"][service]["secrets"] if isinstance(secret, dict)]
    assert [f"{service}_{secret['target']}" for secret in named] == [secret["source"] for secret in named]


def test_production_sets_the_password_of_every_principal_and_role() -> None:
    users = {f"kafka_password_{principal}" for principal in Principal}
    roles = {f"postgres_password_{role}" for role in ROLES}
    assert users <= set(map(str, PRODUCTION["services"]["access"]["secrets"]))
    assert roles <= set(map(str, PRODUCTION["services"]["roles"]["secrets"]))


def test_production_runs_no_stand_in_for_the_rail() -> None:
    assert ["development"] == PRODUCTION["services"]["rail"]["profiles"]


def _environment(compose: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for settings in compose["services"].values():
        yield from ((name, str(value)) for name, value in settings.get("environment", {}).items())


def test_the_incident_service_alone_can_take_a_version_of_the_model_back() -> None:
    """It writes to the registry that workers read, by a key that no other service has."""
    incident, worker = PRODUCTION["services"]["incident"], PRODUCTION["services"]["worker"]
    [registry] = incident["volumes"]
    assert registry in worker["volumes"]
    assert incident["environment"]["FRAUD_MODEL_REGISTRY"] == worker["environment"]["FRAUD_MODEL_REGISTRY"]
    assert incident["environment"]["FRAUD_MODELS_KEY_FILE"] == "/run/secrets/models_key"
    holders = [name for name, each in PRODUCTION["services"].items() if "models_key" in each.get("secrets", [])]
    assert holders == ["incident"] == [CONSUMERS["models_key"]]
    assert "seal_keys" in incident["secrets"]
    made = re.search(r"--owner (\d+) --group (\d+) /var/lib/fraud-registry", (ROOT / "Dockerfile").read_text())
    assert made is not None
    assert tuple(map(int, made.groups())) == USERS["incident"]
