"""Kafka nodes in KRaft mode, each broker and controller in one process, on the loopback interface."""

import base64
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.access.rights import ADMINISTRATOR
from ops.processes.servers import LOOPBACK, ServerProcess
from ops.stack.kafka.jars import java_executable, kafka_jars
from ops.stack.kafka.security import PROTOCOL, BrokerSecurity
from ops.stack.versions import BROKER_SETTINGS

NODE_ID = 1
FORMAT_TIMEOUT_S = 300
PROBE_TIMEOUT_S = 1.0
SECURE_PROBE_TIMEOUT_S = 5.0  # TLS and SCRAM take a few round trips and some work; a second or two on a loaded machine
JVM_OPTIONS = ("-XX:+UseSerialGC", "-Xms256m", "-Djava.awt.headless=true")
_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")


_REPLICATED = {
    # A cluster of three goes on with these through the loss of any one of them.
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}


class Node(NamedTuple):
    """One node of a cluster."""

    number: int
    port: int
    controller_port: int


class BrokerFormatFailed(Exception):
    """The broker's storage could not be laid out. The message holds the tool's own words."""


def kafka_broker(
    directory: Path, port: int, controller_port: int, security: BrokerSecurity | None = None
) -> ServerProcess:
    """Make the broker, not started yet; its storage is laid out on first use. security: None for a plain one.

    Raises KafkaUnavailable and BrokerFormatFailed.
    """
    node = Node(NODE_ID, port, controller_port)
    return _broker(directory, node, [node], _cluster_id(), security)


def kafka_cluster(directory: Path, nodes: Sequence[Node], *, heap: str = "384m") -> list[ServerProcess]:
    """Make the brokers of a cluster of three, not started yet; they answer once two of them run.

    Raises KafkaUnavailable and BrokerFormatFailed.
    """
    cluster_id = _cluster_id()
    return [_broker(directory / f"node-{node.number}", node, nodes, cluster_id, None, heap) for node in nodes]


def _broker(
    directory: Path,
    node: Node,
    nodes: Sequence[Node],
    cluster_id: str,
    security: BrokerSecurity | None,
    heap: str = "1g",
) -> ServerProcess:
    settings_path = directory / "server.properties"
    directory.mkdir(parents=True, exist_ok=True)
    settings_path.touch(mode=0o600)
    settings_path.write_text(_settings(directory / "logs", node, nodes, security))
    command = _java_command(heap)
    if not (directory / "logs" / "meta.properties").exists():
        users = [] if security is None else security.format_arguments()
        _format_storage(command, settings_path, cluster_id, users)
    options = {} if security is None else security.client_options(ADMINISTRATOR)
    return ServerProcess(
        "Kafka" if len(nodes) == 1 else f"Kafka {node.number}",
        [*command, "kafka.Kafka", str(settings_path)],
        is_ready=lambda: answers(bootstrap_servers(node.port), options, node.number),
        log_path=directory / "broker.log",
    )


def bootstrap_servers(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def answers(servers: str, client_options: Mapping[str, str] | None = None, node: int = NODE_ID) -> bool:
    """Return whether the cluster's own metadata lists the broker, which then is registered and serves."""
    # Connections that are refused meanwhile are only waited out, so nothing below "emergency" is logged.
    probe: dict[str, str | int | float | bool] = {
        "bootstrap.servers": servers,
        "reconnect.backoff.max.ms": 200,
        "log_level": 0,
    }
    admin = AdminClient({**(client_options or {}), **probe})
    try:
        timeout_s = SECURE_PROBE_TIMEOUT_S if client_options else PROBE_TIMEOUT_S
        return node in admin.list_topics(timeout=timeout_s).brokers
    except KafkaException:
        return False


def _settings(log_directory: Path, node: Node, nodes: Sequence[Node], security: BrokerSecurity | None) -> str:
    protocol = "PLAINTEXT" if security is None else PROTOCOL
    lines = {
        "process.roles": "broker,controller",
        "node.id": str(node.number),
        "listeners": f"{protocol}://{LOOPBACK}:{node.port},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": f"{protocol}://{LOOPBACK}:{node.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{n.number}@{LOOPBACK}:{n.controller_port}" for n in nodes),
        "log.dirs": str(log_directory),
        # The session with the controller has Kafka's default of 9 s, which a node that is started after kill -9 waits
        # out. With 3 s a busy disk was enough for the controller to fence its own broker: no partition had a leader.
        **BROKER_SETTINGS,
        **(_REPLICATED if len(nodes) > 1 else {}),
        **({} if security is None else security.settings()),
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _java_command(heap: str) -> list[str]:
    jars = kafka_jars()
    return [
        java_executable(),
        *JVM_OPTIONS,
        f"-Xmx{heap}",
        f"-Dlog4j2.configurationFile={_LOG_SETTINGS}",
        "-cp",
        f"{jars}/*",
    ]


def _format_storage(command: list[str], settings_path: Path, cluster_id: str, users: list[str]) -> None:
    done = subprocess.run(  # noqa: S603 - the command is ours
        # "=" because an identifier may begin with a dash
        [
            *(*command, "kafka.tools.StorageTool", "format"),
            *(f"--cluster-id={cluster_id}", "--config", str(settings_path), *users),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=FORMAT_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise BrokerFormatFailed(f"Kafka's storage could not be laid out:\n{done.stdout}{done.stderr}")
