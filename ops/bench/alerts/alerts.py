"""10,000 alerts through five sinks of which each fails one call in three, while the service is killed again and again.

Most are conflicts, which are one group; the others are breakers of many scopes, half of which recover. A sink fails in
every way that there is: it refuses, answers with errors, tears its answer, takes a message and says nothing, or closes
the connection. In the end a checker compares what the sinks took with the outbox, message by message.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from confluent_kafka import Producer

from ops.bench.alerts.check import Report, Sinks, check, pages
from ops.bench.alerts.sinks import MailManner, Manner, http_sink, mail_sink
from ops.bench.rig.services import alerts_process
from ops.migrations.migrate import migrate
from ops.processes.servers import ServerProcess
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.alerts.catalogue import AlertCode, alert, conflict_alert
from pipeline.alerts.encoding import alert_record
from pipeline.domain.alert import Alert
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, connect
from pipeline.io.settings import Settings
from pipeline.oncall.groups import Group
from pipeline.oncall.outbox import Delivery
from pipeline.oncall.store import read_deliveries_about, read_latest_groups
from pipeline.seals.seal_files import worker_sealer

MannerT = TypeVar("MannerT")

SEED: Final = 13
ALERTS: Final = 10_000
SCOPES: Final = 40
KILLS: Final = 6
SEALS: Final = "seals"
"""The folder of the keys that seal, in the bench's own."""
QUICK: Final = 10
"""The share of a quick run."""
SECONDS_MAX: Final = 1_800
DELIVERY_S: Final = 120.0
KILL_AFTER_S: Final = (2.0, 8.0)
FAILS: Final = 1 / 3
HTTP_FAILURES: Final = (
    Manner.REFUSES_429,
    Manner.FAILS_500,
    Manner.FAILS_503,
    Manner.TAKES_BUT_502,
    Manner.TAKES_BUT_TORN,
    Manner.TAKES_BUT_SILENT,
    Manner.DROPS,
)
MAIL_FAILURES: Final = (
    MailManner.TAKES_BUT_SILENT,
    MailManner.LATER_451,
    MailManner.REFUSES_RECIPIENT_LATER,
    MailManner.DROPS,
)
SECRETS: Final = {"pager": "0" * 32, "hook": "whsec_" + "A" * 32, "slack": "xoxb-bench"}


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    share = QUICK if is_quick else 1
    raised = list(_raised(ALERTS // share, SCOPES // share))
    with _sinks() as sinks, RealStack(folder / "stack", with_postgres=True) as stack:
        create_topics(stack.bootstrap_servers)
        migrate(stack.database_url)
        process = alerts_process(stack.bootstrap_servers, stack.database_url, folder, _environment(folder, sinks))
        began_s = time.monotonic()
        with connect(stack.database_url, "check") as owner:
            process.start()
            _publish(stack.bootstrap_servers, folder / SEALS, raised)
            say(f"{len(raised):,} alerts published")
            kills = _kill_often(say, process, max(2, KILLS // share), owner, len(raised))
            _wait(say, process, owner, len(raised))
            took_s = time.monotonic() - began_s
            process.stop()
            groups = read_latest_groups(owner, 10_000)
            deliveries = [each for group in groups for each in read_deliveries_about(owner, group.group_id)]
        report = check(groups, deliveries, sinks, _told(stack.bootstrap_servers))
    for violation in report.violations[:20]:
        say(violation)
    return _result(report, groups, deliveries, sinks, kills, took_s)


def _result(
    report: Report, groups: list[Group], deliveries: list[Delivery], sinks: Sinks, kills: int, took_s: float
) -> dict[str, object]:
    counted = sum(group.records for group in groups if not group.key.code.startswith("ALERT"))
    largest = max(groups, key=lambda group: group.records)
    asked = {name: len(getattr(sinks, name).asked) for name in ("pager", "alertmanager", "slack", "hook")}
    return {
        "ok": not report.violations,
        "alerts": counted,
        "groups": len(groups),
        "largest_group": largest.records,
        "pages_of_the_largest": pages([each for each in deliveries if each.message.group_id == largest.group_id]),
        "pages": pages(deliveries),
        "messages": report.messages,
        "lost": report.lost,
        "doubtful_and_told": report.doubtful,
        "asked": {**asked, "mail": sinks.mail.asked},
        "taken": report.copies,
        "repeats": report.repeats,
        "kills": kills,
        "seconds": round(took_s, 1),
        "violations": list(report.violations[:20]),
    }


@contextmanager
def _sinks() -> Iterator[Sinks]:
    """Sinks that fail one call in three, each by a generator of its own."""
    with ExitStack() as exits:
        http = [exits.enter_context(http_sink()) for _ in range(4)]
        mail = exits.enter_context(mail_sink())
        for number, sink in enumerate(http):
            sink.manner_of = _manners(random.Random(SEED + number), HTTP_FAILURES, Manner.TAKES)  # noqa: S311 - chance
        mail.manner_of = _manners(random.Random(SEED + 9), MAIL_FAILURES, MailManner.TAKES)  # noqa: S311 - chance
        yield Sinks(http[0], http[1], http[2], http[3], mail)


def _manners(chance: random.Random, failures: tuple[MannerT, ...], well: MannerT) -> Callable[[int], MannerT]:
    return lambda _number: chance.choice(failures) if chance.random() < FAILS else well


def _raised(count: int, scopes: int) -> Iterator[Alert]:
    """Conflicts with trips among them; in the end half of the scopes recover."""
    at_ms = now_ms()
    trips = [_breaker(AlertCode.BREAKER_TRIP, number % scopes, number, at_ms) for number in range(count // 5)]
    every = count // len(trips)
    for number in range(count - len(trips) - scopes // 2):
        yield conflict_alert(0, number, 1, at_ms)
        if number % (every - 1) == 0 and trips:
            yield trips.pop()
    yield from trips
    for scope in range(scopes // 2):
        yield _breaker(AlertCode.BREAKER_PROBE_GOOD, scope, 0, at_ms)


def _breaker(code: AlertCode, scope: int, number: int, at_ms: int) -> Alert:
    return alert(code, "The breaker moved.", f"segment:E{scope}", {"transition": str(number)}, at_ms)


def _environment(folder: Path, sinks: Sinks) -> dict[str, str]:
    told = '["pager", "alertmanager", "slack", "hook", "mail"]'
    server = f'server = "{sinks.mail.address}", encryption = "none"'
    mail = f'kind = "email", {server}, sender = "fraud@bank.example"'
    (folder / "routes.toml").write_text(f"""
version = 1
group_wait_s = 1.0
routes = [{{ severities = ["INFO", "WARNING", "CRITICAL"], sinks = {told} }}]
sinks = [
    {{ name = "mail", {mail}, recipients = ["oncall@bank.example"] }},
    {{ name = "pager", kind = "pagerduty", url = "{sinks.pager.url}", secret = "pager" }},
    {{ name = "alertmanager", kind = "alertmanager", url = "{sinks.alertmanager.url}" }},
    {{ name = "slack", kind = "slack", url = "{sinks.slack.url}", secret = "slack", channel = "C1" }},
    {{ name = "hook", kind = "webhook", url = "{sinks.hook.url}/hook", secret = "hook" }},
]
""")
    return {
        "FRAUD_ALERT_ROUTES_PATH": str(folder / "routes.toml"),
        "FRAUD_ALERT_SECRETS": json.dumps(SECRETS),
        "FRAUD_SEAL_DIRECTORY": str(folder / SEALS),
    }


def _publish(bootstrap_servers: str, seal_directory: Path, raised: list[Alert]) -> None:
    """Publish as a worker does, under its seal: what ends a trip counts so alone."""
    wire, settings = WireFormat(), Settings(bootstrap_servers=bootstrap_servers, seal_directory=seal_directory)
    sealed = worker_sealer(settings, name="alerts.v1").seal
    producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "linger.ms": 5})
    for record in sealed([alert_record(wire, "alerts.v1", each) for each in raised]):
        producer.produce(record.topic, record.value, record.key, record.partition, headers=list(record.headers or []))
        producer.poll(0)
    left = producer.flush(DELIVERY_S)
    assert left == 0, f"{left} alerts are not published"


def _kill_often(say: Callable[[str], None], process: ServerProcess, kills: int, owner: Connection, count: int) -> int:
    """Kill the service with SIGKILL while it reads and sends; what it does next starts anew."""
    chance = random.Random(SEED)  # noqa: S311 - moments, not secrets
    done = 0
    while done < kills and not _is_done(owner, count):
        time.sleep(chance.uniform(*KILL_AFTER_S))
        process.kill()
        process.start()
        done += 1
    say(f"killed {done} times")
    return done


def _wait(say: Callable[[str], None], process: ServerProcess, owner: Connection, count: int) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not _is_done(owner, count):
        if time.monotonic() > deadline:
            say(f"not done after {SECONDS_MAX} s")
            return
        assert process.is_running, "the service goes on"
        time.sleep(1.0)


def _is_done(owner: Connection, count: int) -> bool:
    """Whether every alert was taken in, and every message that was planned has ended."""
    read, waiting, untold = owner.execute("""
        SELECT (SELECT coalesce(sum(event.records), 0) FROM control.alert_event AS event
                JOIN control.alert_group AS about USING (group_id)
                WHERE event.kind = 'RAISED' AND about.code NOT LIKE 'ALERT%'),
            (SELECT count(*) FROM control.alert_delivery AS planned WHERE NOT EXISTS (
                SELECT FROM control.alert_attempt AS ended WHERE ended.delivery_id = planned.delivery_id
                AND ended.kind IN ('DELIVERED', 'REFUSED', 'GAVE_UP', 'DOUBTFUL'))),
            (SELECT count(*) FROM control.alert_group AS opened WHERE NOT EXISTS (
                SELECT FROM control.alert_event AS told WHERE told.group_id = opened.group_id AND told.kind = 'TOLD'))
        """).fetchone() or (0, 1, 1)
    return int(read) >= count and waiting == 0 and untold == 0


def _told(bootstrap_servers: str) -> set[str]:
    """The messages that the service itself said were not, or perhaps not, delivered."""
    wire = WireFormat()
    with LogReader(bootstrap_servers, "bench-alerts", {}) as log:
        read = [wire.decode_alert(record.value) for record in log.read_all("alerts.v1")]
    return {
        each.evidence.get("message", "")
        for each in read
        if isinstance(each, Alert) and each.code == AlertCode.ALERT_NOT_DELIVERED
    }
