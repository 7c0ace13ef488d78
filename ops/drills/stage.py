"""Everything that a drill needs, in a lane of its own: files, servers behind proxies, processes, traffic, observers."""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from models.simulator import LabelledTransaction, TrafficEvent, transactions
from ops.bench.alerts.sinks import HttpSink, http_sink
from ops.bench.rig.database import open_payers
from ops.bench.rig.services import status
from ops.demo.breaker import BreakerWatcher
from ops.demo.past import begin_behind
from ops.demo.scene import short_windows, with_short_windows
from ops.demo.traffic import Traffic
from ops.drills.decided import DecidedReader
from ops.drills.lane import (
    LaneNames,
    LaneNotSeparate,
    Places,
    environment,
    lane_settings,
    remove,
    require_separate,
    require_unused,
)
from ops.drills.models import ModelFolder
from ops.drills.pager import SHORT, Rhythm, rhythm_in_force, write_routes
from ops.drills.patience import START_S, longest_s
from ops.drills.proxies.kafka_addresses import Endpoint
from ops.drills.proxies.lane_proxies import LaneProxies, options_behind_proxies, single_redis
from ops.migrations.migrate import migrate
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from ops.rail.process import rail_process, rail_url
from ops.stack.postgres import PostgresServer, bundled_folder, postgres_server, postgres_url
from ops.stack.topics import create_topics
from pipeline.breaker.settings import BreakerSettings
from pipeline.decide.policy import Policy, parse_policy
from pipeline.domain.payment import Channel
from pipeline.drills.drills import DrillName
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import admin_client
from pipeline.io.kafka.topic_settings import is_embedded
from pipeline.io.sealing import create_key_file
from pipeline.io.settings import ROLE_PLACEHOLDER, Settings
from pipeline.keys.key_files import create_signing_key

PARTITIONS: Final = 4
RAIL_S: Final = 5.0
TARGET_SEGMENT: Final = "postcode_area"
TARGET_EVERY: Final = 50
"""One account in so many is of the postcode that a drill picks on: 2 % of the traffic."""
PICKED_PERCENT: Final = 40
"""Share of that postcode's payments that the wrong model turns on: too few to be seen in all of the traffic."""
BLOCKING_AS_USUAL: Final = frozenset({DrillName.ONE_POSTCODE, DrillName.MODEL_ALLOWS})
"""The drills whose fault is seen beside what is blocked as usual, which is next to nothing of the made traffic."""
USUAL_PER_MILLE: Final = 25
"""Share of all payments that the lanes of those drills block as usual."""
LONG_AGO_MS: Final = -1_893_456_000_000
"""1910: when the payees' accounts of those were opened."""
EXECUTING: Final = frozenset({DrillName.RAIL_LOST, DrillName.POSTGRES_LOST})
"""The drills in which the lane's own executor pays, by a stand-in of the rail."""
AMPLE_MINOR: Final = 10**13
UNWITNESSED: Final = {"FRAUD_AUDIT_WITNESS_AGE_MAX_S": "0"}
"""Nobody witnesses the lane's audit log, so nobody is to be told that."""


class Asked(NamedTuple):
    """rate: payments a second. seconds_max: they last so long, or as long as the drill may take, if that is more.

    is_full: the breaker's windows are those of the policy in force.
    """

    drill: DrillName
    rate: int
    seed: int
    seconds_max: int
    is_full: bool


@dataclass(slots=True)
class Stage:
    """A lane that stands. `direct` reaches the servers past the proxies, and only the drill's own observers have it."""

    asked: Asked
    folder: Path
    deployment: Settings
    names: LaneNames
    lane: Settings
    direct: Settings
    policy: Policy
    rhythm: Rhythm
    models: ModelFolder
    proxies: LaneProxies
    pager: HttpSink
    switch: HttpSink
    worker: ServerProcess
    services: Mapping[str, ServerProcess]
    rail: ServerProcess
    rail_port: int
    traffic: Traffic
    decided: DecidedReader
    breaker: BreakerWatcher
    target: str
    wire: WireFormat
    database_url: str  # of the lane, as its owner, past the proxy
    pages: Mapping[str, int]
    changed: Mapping[str, Any]
    """The settings of the breaker that a rehearsal has in place of the policy's own; none in full."""

    def is_ready(self) -> bool:
        """Whether the worker says that it decides."""
        return status(self.lane.web_port, "/ready") == 200

    def are_ready(self) -> bool:
        """Whether every service of the lane says that it does its work."""
        return all(status(port, "/ready") == 200 for port in self.pages.values())

    def books_of_rail(self) -> tuple[int, dict[str, int]] | None:
        """Return the payments that the lane's rail has made, and what they move by currency; None: it doesn't say."""
        try:
            with urllib.request.urlopen(f"{rail_url(self.rail_port)}/v1/books", timeout=RAIL_S) as answer:  # noqa: S310
                books = json.loads(answer.read())
                return int(books["counts"].get("ACCEPTED", 0)), dict(books["paid_minor"])
        except (OSError, ValueError, KeyError):
            return None

    def require_running(self, *, but: Sequence[str] = ()) -> None:
        """Raise DrillNotCarriedOut where something ended that the drill needs."""
        try:
            self.decided.check()
        except RuntimeError as error:
            raise DrillNotCarriedOut("what was decided can't be read, so nothing can be said of it") from error
        if self.traffic.failure is not None:
            raise DrillNotCarriedOut(f"payments could not be published: {self.traffic.failure.what}")
        for name, process in self.services.items():
            if name not in but and not process.is_running:
                raise DrillNotCarriedOut(f"{name} ended; its log is {process.log_path.name}")


class DrillNotCarriedOut(Exception):
    """The drill shows nothing, either way. One sentence, without a full stop."""


@contextmanager
def set_stage(asked: Asked, names: LaneNames, folder: Path, deployment: Settings) -> Iterator[Stage]:
    """Set everything up, without traffic and without a worker, and take it all away in the end.

    Raises LaneNotSeparate, NotProxied, DrillNotCarriedOut, and the servers' own errors.
    """
    single_redis(deployment.redis_url)
    require_unused(names, deployment)
    folder.mkdir(parents=True)
    rhythm = SHORT if not asked.is_full else rhythm_in_force(deployment)
    if rhythm is None:
        raise DrillNotCarriedOut("the deployment's routes of alerts can't be read, or have no heartbeat")
    with ExitStack() as ending:
        policy, target, changed = _write_policy(asked, folder, deployment)
        models = ModelFolder(folder / "registry", deployment)
        if asked.drill in BLOCKING_AS_USUAL:
            models.block_as_usual()
        if asked.drill is DrillName.DRIFT:
            models.drift_when_told()
        postgres = _postgres(ending, folder)
        rail_port = free_port()
        proxies = ending.enter_context(
            LaneProxies(deployment, Endpoint(LOOPBACK, postgres.port), Endpoint(LOOPBACK, rail_port))
        )
        lane = lane_settings(names, folder, _places(deployment, proxies))
        require_separate(lane, names, folder, deployment)
        _create_topics(ending, names, deployment)
        create_key_file(folder / "dead-letters.key")
        create_signing_key(folder / "audit.key")
        pager, switch = ending.enter_context(http_sink()), ending.enter_context(http_sink())
        secrets = write_routes(lane.alert_routes_path, pager, switch, rhythm)
        direct = lane.model_copy(
            update={
                "bootstrap_servers": deployment.bootstrap_servers,
                "kafka_options": deployment.kafka_options,
                "redis_url": deployment.redis_url,
            }
        )
        wire = WireFormat()
        decided = DecidedReader(direct, wire)
        decided.start()
        ending.callback(decided.stop)
        breaker = BreakerWatcher(direct)
        ending.callback(breaker.close)
        traffic = lane_traffic(asked, direct, wire, policy, target, rhythm)
        ending.callback(traffic.stop)
        services, pages = _services(asked, lane, folder, secrets)
        rail = rail_process(folder / "rail", rail_port)
        worker = _process("worker", lane, folder, ("ops.drills.faulty_worker",), {}, lane.web_port, page="/ready")
        for process in (worker, rail, *services.values()):
            ending.callback(process.stop)
        yield Stage(
            asked, folder, deployment, names, lane, direct, policy, rhythm, models, proxies, pager, switch, worker,
            services, rail, rail_port, traffic, decided, breaker, target, wire, postgres.url, pages, changed,
        )  # fmt: skip


def begin(stage: Stage) -> None:
    """Start everything, and return once payments are decided at their full rate. Raises DrillNotCarriedOut."""
    if stage.asked.drill in EXECUTING:
        payers = (labelled.transaction for labelled in transactions(stage.traffic.plan))
        open_payers(stage.database_url, payers, AMPLE_MINOR)
        stage.rail.start()
    for process in stage.services.values():
        process.launch()
    stage.traffic.publish_past()
    begin_behind(stage.direct, stage.traffic.plan)
    stage.breaker.begin(stage.policy.breaker)
    stage.traffic.start()
    stage.worker.start()
    wait_for(stage, lambda: bool(stage.decided.since()), START_S, "the worker decides nothing")
    for process in stage.services.values():
        process.wait_ready()
    stage.traffic.go()
    stage.traffic.go_on()


def wait_for(
    stage: Stage, is_done: Callable[[], bool], patience_s: float, otherwise: str, *, every_s: float = 0.05
) -> None:
    """Wait until `is_done`; raises DrillNotCarriedOut with `otherwise` where that takes too long."""
    deadline_s = time.monotonic() + patience_s
    while not is_done():
        stage.require_running()
        if time.monotonic() > deadline_s:
            raise DrillNotCarriedOut(otherwise)
        time.sleep(every_s)


class LanePostgres(NamedTuple):
    port: int
    url: str


def _postgres(ending: ExitStack, folder: Path) -> LanePostgres:
    """Start a PostgreSQL of the lane's own: roles and their limits of connections belong to a whole server."""
    port = free_port()
    ending.callback(shutil.rmtree, folder / "postgres", ignore_errors=True)
    server: PostgresServer = postgres_server(bundled_folder(), folder / "postgres", port)
    ending.callback(server.stop)
    server.start()
    migrate(postgres_url(port))
    return LanePostgres(port, postgres_url(port))


def _places(deployment: Settings, proxies: LaneProxies) -> Places:
    return Places(
        bootstrap_servers=proxies.bootstrap_servers,
        redis_url=proxies.redis_url,
        database_url=postgres_url(proxies.postgres.endpoint.port, user=ROLE_PLACEHOLDER),
        rail_url=rail_url(proxies.rail.endpoint.port),
        kafka_options=options_behind_proxies(deployment.kafka_options),
        worker_port=free_port(),
    )


def _create_topics(ending: ExitStack, names: LaneNames, deployment: Settings) -> None:
    """Create the lane's topics, which go again in the end.

    They keep records of years ago, because the lane's traffic has a past.
    """
    admin: AdminClient = admin_client(deployment.bootstrap_servers, deployment.kafka_options)
    ending.callback(remove, names, deployment, has_topics=not is_embedded(admin))
    listed = admin.list_topics(timeout=10).topics.get(deployment.topic("transactions.v1"))
    copies = 1 if listed is None else len(listed.partitions[0].replicas)
    try:
        create_topics(
            deployment.bootstrap_servers,
            partitions=PARTITIONS,
            prefix=names.topic_prefix,
            replication_factor=copies,
            is_history=True,
            client_settings=deployment.kafka_options,
        )
    except KafkaException as error:
        raise DrillNotCarriedOut(f"the lane's topics can't be created ({error.args[0].name()})") from error


def _write_policy(asked: Asked, folder: Path, deployment: Settings) -> tuple[Policy, str, dict[str, Any]]:
    """Write the lane's policy; return it, the postcode that ONE_POSTCODE picks on, and the breaker's other settings."""
    text = deployment.policy_path.read_text(encoding="utf-8")
    in_force = parse_policy(text.encode()).breaker
    if not asked.is_full:
        windows = {**short_windows(asked.rate), **SHORT_CHANGES.get(asked.drill, {})}
        text = with_short_windows(text, windows, "drill")
    policy = parse_policy(text.encode())
    (folder / "policies").mkdir()
    (folder / "policies" / "drill.toml").write_text(text, encoding="utf-8")
    declared = policy.breaker.segments.get(TARGET_SEGMENT, ())
    if asked.drill is DrillName.ONE_POSTCODE and not declared:
        raise DrillNotCarriedOut(f"the policy watches no segment {TARGET_SEGMENT}")
    return policy, next(iter(declared), ""), changed_settings(in_force, policy.breaker)


def changed_settings(in_force: BreakerSettings, of_lane: BreakerSettings) -> dict[str, Any]:
    """Return the settings that a lane's breaker has in place of those in force."""
    both = {each.name: (getattr(in_force, each.name), getattr(of_lane, each.name)) for each in fields(in_force)}
    return {name: here for name, (there, here) in both.items() if here != there}


SHORT_CHANGES: Final[Mapping[DrillName, Mapping[str, int]]] = {
    DrillName.ONE_POSTCODE: {
        "window_s": 12,
        "open_period_s": 12,
        "minimum_sample": 30,  # of a baseline, too: the postcode has two payments a second
        "segment_minimum_sample": 20,
    },
    DrillName.SLOW_MODEL: {"latency_p99_ms": 1_000},
}
"""What the short windows of a drill have besides: a postcode has few payments, and the others wait for shared cores."""


def lane_traffic(
    asked: Asked, direct: Settings, wire: WireFormat, policy: Policy, target: str, rhythm: Rhythm
) -> Traffic:
    """Return traffic without a time of day, because a day of it passes in minutes.

    What a night or a morning brings would come within a window of the breaker, which has no earlier days to know it by:
    a good model tripped for the frauds of one night.
    """
    return Traffic(
        direct,
        wire,
        policy,
        seed=asked.seed,
        rate=asked.rate,
        seconds_max=max(asked.seconds_max, longest_s(asked.drill, policy.breaker, rhythm, is_full=asked.is_full)),
        changed=lambda event: _changed(asked.drill, event, target),
        is_around_the_clock=True,
    )


def _changed(drill: DrillName, event: TrafficEvent, target: str) -> TrafficEvent:
    """Return what the lane's traffic makes of an event.

    Bills and payrolls go the way of other payments: a channel of so few that tripped would find nothing to be judged by
    on probation.
    """
    if isinstance(event, LabelledTransaction) and event.transaction.channel is Channel.BACS:
        event = event._replace(transaction=event.transaction._replace(channel=Channel.FASTER_PAYMENT))
    if drill not in BLOCKING_AS_USUAL:
        return event
    return with_postcode(event, target) if drill is DrillName.ONE_POSTCODE else with_usual(event)


def with_usual(event: TrafficEvent) -> TrafficEvent:
    """Give some payees everywhere a very old account, which the lane's models block: so many are blocked as usual."""
    if not isinstance(event, LabelledTransaction):
        return event
    payment = event.transaction
    if crc32(f"usual {payment.transaction_id}".encode()) % 1000 >= USUAL_PER_MILLE:
        return event
    return event._replace(transaction=payment._replace(beneficiary_opened_at_ms=LONG_AGO_MS))


def with_postcode(event: TrafficEvent, target: str) -> TrafficEvent:
    """Return a payment of the drill on one postcode: some accounts are of it, and their payees' banks say little."""
    if not isinstance(event, LabelledTransaction):
        return event
    payment = event.transaction
    is_target = crc32(payment.account_id.encode()) % TARGET_EVERY == 0
    kept = payment.segments.get(TARGET_SEGMENT)
    place = target if is_target else ("" if kept == target else kept)
    segments = {**payment.segments, TARGET_SEGMENT: place} if place else _without(payment.segments)
    placed = event._replace(transaction=payment._replace(segments=segments))
    if not is_target or crc32(payment.transaction_id.encode()) % 100 >= PICKED_PERCENT:
        return with_usual(placed)
    return placed._replace(transaction=placed.transaction._replace(beneficiary_opened_at_ms=None))


def _without(segments: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in segments.items() if name != TARGET_SEGMENT}


def _services(
    asked: Asked, lane: Settings, folder: Path, secrets: Mapping[str, str]
) -> tuple[dict[str, ServerProcess], dict[str, int]]:
    """Make the lane's services, by name, and the ports of their pages."""
    wanted = ("alerts", "audit", "executor") if asked.drill in EXECUTING else ("alerts",)
    services, pages = {}, {}
    for name in wanted:
        port = pages[name] = free_port()
        extra = {
            "FRAUD_DATABASE_URL": lane.as_role(f"fraud_{name}").database_url,
            f"FRAUD_{name.upper()}_PORT": str(port),
            **{"alerts": secrets, "audit": UNWITNESSED}.get(name, {}),
        }
        services[name] = _process(name, lane, folder, ("ops.cli", name, "run"), extra, port, page="/live")
    return services, pages


def _process(
    name: str, lane: Settings, folder: Path, module: Sequence[str], extra: Mapping[str, str], port: int, *, page: str
) -> ServerProcess:
    return ServerProcess(
        f"the {name} of the drill",
        [sys.executable, "-P", "-m", *module],
        is_ready=lambda: status(port, page) == 200,
        log_path=folder / f"{name}.log",
        environment={**environment(lane), **extra},
    )


__all__ = ["Asked", "DrillNotCarriedOut", "LaneNotSeparate", "Stage", "begin", "set_stage", "wait_for"]
