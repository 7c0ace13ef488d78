"""The service of alerts in this process, on the shared broker, a database of its own, and sinks that misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka import Producer

from ops.bench.alerts.sinks import HttpSink, MailSink, http_sink, mail_sink
from pipeline.alerts.encoding import alert_record
from pipeline.domain.alert import Alert
from pipeline.domain.log import Outgoing
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeyUse
from pipeline.oncall.service import AlertService
from pipeline.oncall.service_command import alert_service
from pipeline.seals.seal_files import sealer_of
from tests.oncall.given import SECRETS, routes_text
from tests.servers import SOON_FREE, unused_prefix, url_as

WIRE = WireFormat()
WAIT_S = 120.0


class Stand:
    def __init__(self, bootstrap_servers: str, database_url: str, folder: Path) -> None:
        self.servers, self.database_url, self.folder = bootstrap_servers, database_url, folder
        self.prefix = unused_prefix()
        self.topic = f"{self.prefix}alerts.v1"
        self._exits = ExitStack()
        self.pager, self.manager, self.slack, self.hook = (self._exits.enter_context(http_sink()) for _ in range(4))
        self.mail: MailSink = self._exits.enter_context(mail_sink())
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "log_level": 2})
        self._producer.list_topics(self.topic, timeout=WAIT_S)  # the mock broker makes it
        self.stopping = threading.Event()
        self.routes()

    def close(self) -> None:
        self._exits.close()

    def routes(self, **options: object) -> None:
        """Write the file of routes anew, for services that begin afterwards."""
        addresses = (self.pager.url, self.manager.url, self.slack.url, f"{self.hook.url}/hook", self.mail.address)
        (self.folder / "routes.toml").write_text(routes_text(*addresses, **options))  # type: ignore[arg-type]

    @property
    def http(self) -> dict[str, HttpSink]:
        return {"pager": self.pager, "alertmanager": self.manager, "slack": self.slack, "hook": self.hook}

    def settings(self, role: str = "fraud_alerts") -> Settings:
        return Settings(
            bootstrap_servers=self.servers,
            database_url=url_as(self.database_url, role),
            topic_prefix=self.prefix,
            kafka_options=dict(SOON_FREE),
            alert_routes_path=self.folder / "routes.toml",
            alert_secrets=SECRETS,
            seal_directory=self.folder / "seals",
        )

    def environment(self) -> dict[str, str]:
        """For the service as a process."""
        return {
            "FRAUD_TOPIC_PREFIX": self.prefix,
            "FRAUD_KAFKA_OPTIONS": json.dumps(dict(SOON_FREE)),
            "FRAUD_ALERT_ROUTES_PATH": str(self.folder / "routes.toml"),
            "FRAUD_ALERT_SECRETS": json.dumps(SECRETS),
            "FRAUD_SEAL_DIRECTORY": str(self.folder / "seals"),
        }

    def publish(self, *raised: Alert) -> None:
        """Publish as a worker does, who seals."""
        sealer = sealer_of(self.settings(), KeyUse.DECISIONS, name="alerts.v1")
        self.append(sealer.seal([alert_record(WIRE, self.topic, each) for each in raised]))

    def forge(self, *raised: Alert) -> None:
        """Publish as whoever has another process' credential can."""
        self.append([alert_record(WIRE, self.topic, each) for each in raised])

    def append(self, records: Iterable[Outgoing]) -> None:
        for each in records:
            self._producer.produce(each.topic, each.value, each.key, each.partition, headers=list(each.headers or []))
        assert 0 == self._producer.flush(WAIT_S)

    def publish_raw(self, value: bytes) -> None:
        self._producer.produce(self.topic, value, b"key")
        assert 0 == self._producer.flush(WAIT_S)

    @contextmanager
    def service(self) -> Iterator[AlertService]:
        service = alert_service(self.settings(), WIRE)
        try:
            yield service
        finally:
            service.close()

    def run(self, service: AlertService, until: Callable[[], object], what: str = "what was waited for") -> None:
        """Take turns until something is so."""
        deadline = time.monotonic() + WAIT_S
        while not until():
            assert time.monotonic() < deadline, f"{what}: {self.told()}"
            service.step(self.stopping)

    def turns(self, service: AlertService, count: int) -> None:
        for _ in range(count):
            service.step(self.stopping)

    def told(self) -> dict[str, Counter[str]]:
        """What each sink has taken, by kind."""
        return {
            "pager": Counter(each.json.get("event_action", "change") for each in self.pager.taken),
            "slack": Counter(
                each.json["blocks"][0]["text"]["text"].split(":")[0].split(",")[0] for each in self.slack.taken
            ),
            "hook": Counter(each.json["type"] for each in self.hook.taken),
            "mail": Counter({"mails": len(self.mail.taken)}),
            "alertmanager": Counter({"posts": len(self.manager.taken)}),
        }
