"""A worker with its own credential decides on a broker that denies all else, context agents included."""

import contextlib
import json
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ops.access.rights import Principal
from ops.bench.rig.services import status
from ops.processes.servers import ServerFailed, ServerProcess, free_port
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.decide.decision_topics import Located, located
from pipeline.domain.dead_letter import DeadLetter
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.sealing import create_key_file
from pipeline.io.settings import Settings
from pipeline.seals.seal_files import KEYS_FILE, make_seal_keys
from tests.archive import WIRE
from tests.in_production import approve_model, publish_feeds
from tests.records import PAYMENT

pytestmark = pytest.mark.real

STARTS_MAX = 5


def test_worker_in_production_decides_with_its_own_credential(tmp_path: Path) -> None:
    with RealStack(tmp_path / "stack", secure=True) as stack:
        create_topics(stack.bootstrap_servers, partitions=1, client_settings=stack.admin_options)
        _publish(stack)
        secrets = _secret_folder(tmp_path / "secrets", stack)
        worker = _production_worker(tmp_path, stack, secrets)
        _start_as_a_supervisor_does(worker)
        try:
            reading = _settings(stack, Principal.READER)
            assert _first_decision(reading) == PAYMENT.transaction_id
            assert _first_context_letter(reading) == "accounts.v1"
            environment = Path(f"/proc/{worker.pid}/environ").read_text()
        finally:
            worker.stop()
        shown = environment + worker.log_path.read_text()
        passwords = (stack.client_options(Principal.WORKER)["sasl.password"], urlsplit(stack.redis_url).password)
        assert [] == [password for password in passwords if password in shown]


def _secret_folder(folder: Path, stack: RealStack) -> Path:
    folder.mkdir(mode=0o700)
    (folder / "kafka_options").write_text(json.dumps(stack.client_options(Principal.WORKER)))
    (folder / "redis_url").write_text(stack.redis_url)
    make_seal_keys(folder.with_name("seals"))
    shutil.copy(folder.with_name("seals") / "decisions.key", folder / "seal_key")
    publish_feeds(folder.with_name("feeds"), folder.with_name("seals") / KEYS_FILE)
    approve_model(folder.with_name("bank"), folder.with_name("seals") / KEYS_FILE)
    shutil.copy(folder.with_name("seals") / KEYS_FILE, folder / "seal_keys")
    for path in folder.iterdir():
        path.chmod(0o400)
    create_key_file(folder / "dead_letter_key")
    return folder


def _production_worker(directory: Path, stack: RealStack, secrets: Path) -> ServerProcess:
    port = free_port()
    return ServerProcess(
        "worker in production",
        [sys.executable, "-m", "ops.cli", "worker", "run"],
        is_ready=lambda: status(port, "/ready") == 200,
        log_path=directory / "worker.log",
        environment={
            "FRAUD_PROFILE": "production",
            "FRAUD_SECRETS_FROM": f"file:{secrets}",
            "FRAUD_FEEDS_PATH": str(secrets.with_name("feeds")),
            "FRAUD_MODEL_REGISTRY": str(secrets.with_name("bank") / "registry"),
            "FRAUD_MODEL_MEMORY": str(secrets.with_name("bank") / "memory"),
            "FRAUD_PEOPLE_FILE": str(secrets.with_name("bank") / "people"),
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_WEB_PORT": str(port),
        },
    )


def _start_as_a_supervisor_does(worker: ServerProcess) -> None:
    """A worker that meets a group without a coordinator, as on a broker's first day, ends and is started again."""
    for _ in range(STARTS_MAX):
        with contextlib.suppress(ServerFailed):
            return worker.start()
    raise AssertionError(worker.log_path.read_text())


def _publish(stack: RealStack) -> None:
    """Publish one payment that can be decided, and one account that can't be read."""
    publisher = BulkPublisher(_settings(stack, Principal.PUBLISHER))
    publisher.publish("transactions.v1", PAYMENT.account_id.encode(), WIRE.encode_transaction(PAYMENT), 0)
    publisher.publish("accounts.v1", b"acc", b"\xc3\x01 is no account", 0)
    publisher.flush()


def _first_decision(settings: Settings) -> str:
    with LogReader.of(settings) as log:
        decision = located(WIRE, next(log.read("decisions.v1", {0: 0}, is_followed=True)))
    assert isinstance(decision, Located)
    return decision.stored.decision.transaction_id


def _first_context_letter(settings: Settings) -> str:
    """Follow the topic until the record comes; pytest's time-out ends a wait in vain."""
    with LogReader.of(settings) as log:
        found = next(log.read("transactions.dead.v1", {0: 0}, is_followed=True))
    letter = WIRE.decode_dead_letter(found.value)
    assert isinstance(letter, DeadLetter)
    return letter.source_topic


def _settings(stack: RealStack, principal: Principal) -> Settings:
    return Settings(bootstrap_servers=stack.bootstrap_servers, kafka_options=stack.client_options(principal))
