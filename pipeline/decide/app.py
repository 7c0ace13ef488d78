"""The composition root: a Faust app whose decision agent reads a channel that librdkafka fills (ADR 0001)."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import faust
import structlog
from aiohttp import web as http
from faust.app.base import BootStrategy as FaustBootStrategy
from mode import Service

from pipeline import __version__
from pipeline.alerts.catalogue import AlertCode, held_alert, moved_alert
from pipeline.alerts.floods import Flood
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.breaker.hour_topics import HourTopic
from pipeline.breaker.store import BreakerStore
from pipeline.breaker.switch_topics import SwitchFollower, SwitchTopic
from pipeline.decide import metrics
from pipeline.decide.agent import DecisionAgent
from pipeline.decide.batch import Judge, SetAside, TopicNames
from pipeline.decide.breaker_agent import BreakerWatch
from pipeline.decide.feeds.age_agent import AGE_INTERVAL_S, AgeWatch
from pipeline.decide.feeds.feed import feed_versions
from pipeline.decide.isolating import probe_agent
from pipeline.decide.outcomes.due import OutcomesDue
from pipeline.decide.outcomes.following_agent import Following
from pipeline.decide.outcomes.intake_service import CATCH_UP_S
from pipeline.decide.outcomes.topics import OutcomesTopic
from pipeline.decide.rebuild_agent import Rebuild, require_shape
from pipeline.decide.rebuilding.backup_agent import BACKUP_INTERVAL_S, BackupWatch
from pipeline.decide.rebuilding.eviction_agent import EVICTION_INTERVAL_S, EvictionWatch
from pipeline.decide.rebuilding.partition_agent import Topics
from pipeline.decide.rebuilding.regime_agent import RegimeWatch
from pipeline.decide.regime_files import RegimeSource
from pipeline.decide.rollout.changes_agent import Changes
from pipeline.decide.tracing.worker_agent import WorkerTraces
from pipeline.decide.verdict import Regime
from pipeline.domain.log import Outgoing, Record
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.clock import now_ms
from pipeline.io.dead_letters import DeadLetters
from pipeline.io.earlier_schemas import wire_of
from pipeline.io.health import state_page
from pipeline.io.kafka.appender import DELIVERY_S, Appender, AsyncAppender
from pipeline.io.kafka.batch_channel import BatchChannel
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.context_transport import presented_of, read_committed, record_of_event
from pipeline.io.kafka.faust_credentials import faust_credentials
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.topic_settings import partitioning_of
from pipeline.io.kafka.transaction_log import BATCHES_AHEAD_MAX, BROKER_TIMEOUT_S, Batch, TransactionLog
from pipeline.io.metrics.exposition import exposition
from pipeline.io.sealing import DeadLetterKey
from pipeline.io.settings import Beginning, Settings
from pipeline.io.watchdog import Pulse, Watch, end_process
from pipeline.resume.decided_topics import DecidedLog, DecidedTopics
from pipeline.seals.label_files import label_proves
from pipeline.seals.seal_files import DEAD_LETTERS, execution_proves, worker_proves, worker_seal, worker_sealer
from pipeline.state.context.context_agent import CONTEXT_TOPICS, Context
from pipeline.state.context.context_store import LABELS
from pipeline.state.context.labels_agent import WaitingLabels
from pipeline.state.evictions import StateEvicted
from pipeline.state.store import RedisState, StateUnavailable

AGENT_ID = f"decide/{__version__}"
RELOAD_INTERVAL_S = 2.0
BREAKER_INTERVAL_S = 1.0
CONTEXT_INTERVAL_S = 1.0
START_LIMIT_S = 60.0
"""Until the predecessor is fenced; twice librdkafka's own timeout for that."""
STATE_PATIENCE_S_MAX = 45.0
"""Wait for a state store that is away at the start, within START_LIMIT_S."""
STATE_PAUSE_S = 0.25
OUTCOMES_S = 2 * CATCH_UP_S
"""Wait for outcomes while the group waits for this worker; a read that has begun by CATCH_UP_S may end after it."""
STOP_LIMIT_S = 25.0
"""For a graceful stop, all of Faust's included; under the 30 s after which an orchestrator kills."""
FAUST_BUFFER_RECORDS = 131_072  # measured: with the default of 4096 the fetcher sleeps a second whenever buffers fill
FAUST_DIRECTORY = Path(tempfile.gettempdir()) / "fraud-faust"
"""Faust wants a directory for tables; there are none."""

log = structlog.get_logger("worker")


class Worker:
    """Everything one worker process is made of."""

    def __init__(self, settings: Settings) -> None:
        """Raises PolicyRefused, ModelRefused, FeedRefused, KeyRefused or BrokerFailed where it can't start as set."""
        self.settings, self.traces = settings, WorkerTraces.of(settings)
        self.wire = wire_of(settings)
        self.state = self._state_under(settings.state_prefix)
        self.dead_letters = DeadLetters(self.wire, settings.topic("transactions.dead.v1"), _dead_letter_key(settings))
        appender = Appender.of(settings, f"{settings.consumer_group}-{settings.worker_slot}")
        self.appender = AsyncAppender(appender, worker_sealer(settings, name=DEAD_LETTERS).seal)
        alerts = worker_sealer(settings, name="alerts.v1")  # what ends a page is believed by its seal
        self.alerts = AlertPublisher(self.appender.append, self.wire, alerts.topic, alerts.seal)
        self._floods: dict[RefusalCode, Flood] = {}
        self.switches = SwitchFollower(SwitchTopic.of(settings, self.wire, self._open_reader))
        store = BreakerStore(settings.redis_url, settings.state_prefix)
        hours = HourTopic.of(settings, self.wire, self._open_reader, self.appender.append)
        self.breaker = BreakerWatch(store, lambda: self.switches.known, hours)
        self.context = Context(self.state, self.wire, self._open_reader, settings.topic, label_proves(settings))
        self.context.tell_of_label = self._refuse_label
        self.evictions = EvictionWatch(
            self.state, self.alerts.publish, settings.state_prefix, never_evicts=settings.state_never_evicts
        )
        self.partitioning = partitioning_of(settings)
        self.waiting_labels = WaitingLabels(
            self.state, self.context, self._open_reader, settings.topic, self.partitioning.of
        )
        self.transactions = TransactionLog.of(settings, self._starts_of)
        self.decided = DecidedLog(
            self._open_reader,
            self.wire,
            DecidedTopics(*map(settings.topic, ("transactions.v1", "decisions.v1", "transactions.dead.v1"))),
            begins_at_committed=settings.begin_at is Beginning.COMMITTED,
        )
        outcomes_topic = OutcomesTopic(settings, self.wire, self._open_reader, self.dead_letters, self.appender.append)
        outcomes_due = OutcomesDue()
        self.outcomes_intake = outcomes_topic.intake(self.state, outcomes_due)
        self.outcomes = outcomes_topic.follower(self.outcomes_intake)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.source, outcomes = RegimeSource(settings), settings.outcomes.topic
        self.rebuild = Rebuild(
            self.state,
            self._open_reader,
            self.wire,
            self.context,
            Topics(*map(settings.topic, ("transactions.v1", "decisions.v1", outcomes, "transactions.dead.v1"))),
            partitioner=settings.partitioner,
            assigned=lambda: self.transactions.assigned_partitions,
            decided=lambda committed: {each.partition: each.offset for each in self.decided.starts(committed)},
            patience_s=settings.state_patience_s,
        )
        self._telling: set[asyncio.Task[None]] = set()
        probed = self._state_under(f"{settings.state_prefix}:{probe_agent.PREFIX}:{settings.worker_slot}")
        self.probe = probe_agent.Probe(probed, self.wire, self.partitioning.of, now_ms)
        self.agent = DecisionAgent(
            self.transactions,
            self.state,
            self.breaker,
            self.rebuild,
            self.judge_of(self.source.current),
            outcomes_due,
            letter_of=self._letter_of,
            probe=self.probe.decide,
            seal=worker_seal(settings, self.partitioning.of),
            traces=self.traces,
            tell_held=self._tell_held,
            state_patience_s=settings.state_patience_s,
            clock_ms=now_ms,
        )
        self.changes = Changes(self.source, self.agent, self.judge_of)

    def _state_under(self, prefix: str) -> RedisState:
        settings = self.settings
        return RedisState(
            settings.redis_url,
            label_delay_days=settings.label_delay_days,
            shards=settings.state_shards,
            prefix=prefix,
            timeout_s=settings.redis_timeout_s,
        )

    def judge_of(self, in_force: Regime) -> Judge:
        topics = TopicNames(self.settings.topic("decisions.v1"), self.settings.topic("alerts.v1"))
        return Judge(in_force, self.wire, topics, AGENT_ID, self.partitioning.of, self._floods, self.source.rollout)

    def _letter_of(self, each: SetAside) -> Outgoing:
        topic, keep_payload = self.settings.topic("transactions.v1"), each.keep_payload
        return self.dead_letters.letter(topic, each.record, each.code, each.detail, keep_payload=keep_payload)

    async def _refuse_label(self, record: Record, refusal: Refusal) -> None:
        await self.refuse_context(LABELS, record, refusal)

    async def refuse_context(self, topic_name: str, record: Record, refusal: Refusal) -> None:
        """Write the dead letter of a context record; `topic_name` is without its prefix."""
        log.warning("context_refused", topic=topic_name, code=refusal.code, detail=refusal.detail)
        await self.appender.append([self.dead_letters.letter(topic_name, record, *refusal)])

    async def look_at_context(self) -> None:
        """Compare context with the log where some may be lost, and look for the payments of labels that wait."""
        try:
            await self.context.look()
            await self.waiting_labels.look()
        except (StateUnavailable, BrokerFailed) as error:  # whoever decides holds, or gives up, by itself
            log.warning("context_not_looked_at", error=type(error).__name__, why=str(error))

    def _tell_held(self, why: str) -> None:
        """Raise an alert beside the batch, which waits for nobody but what holds it."""

        async def tell() -> None:
            try:
                await self.alerts.publish([held_alert(self.settings.worker_slot, why, now_ms())])
            except BrokerFailed as error:
                log.error("alert_not_raised", code=AlertCode.PAYMENTS_HELD, why=str(error))

        task = asyncio.get_running_loop().create_task(tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def prepare(self) -> None:
        """Make sure that the state fits the topics, and let a deployment that has never decided begin with the model.

        Raises ShapeChanged or StateEvicted, or StateUnavailable where the state store stays away for the patience of a
        worker.
        """
        self._loop = asyncio.get_running_loop()
        await self._require_state()
        await self.switches.look()  # without it the fallback decides until the topic can be read
        self.switches.start()
        await self.breaker.restore()
        if await asyncio.to_thread(self._has_never_decided):
            await self.breaker.initialise(self.agent.judge.in_force.policy)

    async def _require_state(self) -> None:
        deadline_s = time.monotonic() + min(self.settings.state_patience_s, STATE_PATIENCE_S_MAX)
        while True:
            try:
                await require_shape(self.state, self.settings.topic("transactions.v1"), self.partitioning)
                return await self.evictions.require_none()
            except StateUnavailable:
                if time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(STATE_PAUSE_S)

    def _has_never_decided(self) -> bool:
        """Whether the group has committed nothing, and nothing was ever decided: committed offsets alone can expire."""
        with self._open_reader() as reader:
            if reader.committed(self.settings.topic("transactions.v1")):
                return False
            return not any(extent.high for extent in reader.extents(self.settings.topic("decisions.v1")).values())

    def _starts_of(self, committed: Mapping[int, int | None]) -> dict[int, int]:
        """Where assigned partitions are read from; told loudly where that isn't where the group's offsets stand."""
        starts = self.decided.starts(committed)
        moved = [start for start in starts if start.is_moved]
        for start in moved:
            log.error("offsets_moved", partition=start.partition, committed=start.committed, goes_on_at=start.offset)
        if moved:
            assert self._loop is not None, "partitions are assigned after the start"
            raised = [moved_alert(start.partition, start.committed, start.offset, now_ms()) for start in moved]
            asyncio.run_coroutine_threadsafe(self.alerts.publish(raised), self._loop).result(DELIVERY_S)
        self._begin_outcomes({start.partition: start.outcomes_position for start in starts})
        return {start.partition: start.offset for start in starts}

    def _begin_outcomes(self, seen: Mapping[int, int]) -> None:
        """Have what is known of these partitions' payments taken in before any of them is decided, or be UNKNOWN."""
        assert self._loop is not None, "partitions are assigned after the start"
        beginning = asyncio.run_coroutine_threadsafe(self.outcomes_intake.begin(seen), self._loop)
        try:
            beginning.result(OUTCOMES_S)
        except TimeoutError:
            log.error("outcomes_not_caught_up", partitions=sorted(seen), error="TimeoutError", why="it takes too long")

    def readiness(self) -> dict[str, object]:
        model, rollout = self.agent.judge.in_force.model, self.agent.judge.rollout
        return {
            **state_page("ready", self.not_ready()).body,
            "partitions": list(self.transactions.assigned_partitions),
            "holding": self.agent.is_holding,
            "set_aside": list(self.transactions.set_aside_partitions),
            "rebuild": self.rebuild.summary(),
            "outcomes": self.outcomes.summary,
            "policy": self.agent.judge.in_force.policy.version,
            "feeds": feed_versions(self.agent.judge.in_force.feeds),
            "model": None if model is None else model.version,
            "rollout": None if rollout is None else rollout.summary,
            "breaker": self.breaker.summary(),
            "switches": self.switches.summary,
        }

    def not_ready(self) -> str | None:
        """Return why this worker decides nothing just now, or None."""
        if self.agent.is_holding:
            return "it holds a batch: Redis is away, refuses or has lost its state, or every payment fails"
        return None if self.transactions.assigned_partitions else "no partition of transactions.v1 is its own"

    def _open_reader(self) -> LogReader:
        proves = {**worker_proves(self.settings), **label_proves(self.settings), **execution_proves(self.settings)}
        group = self.settings.consumer_group
        return LogReader.of_service(self.settings, group, timeout_s=BROKER_TIMEOUT_S, proves=proves)


def _dead_letter_key(settings: Settings) -> DeadLetterKey | None:
    if settings.dead_letter_key is not None:
        return DeadLetterKey.from_text(settings.dead_letter_key)
    key_file = settings.dead_letter_key_file
    return None if key_file is None else DeadLetterKey.from_file(key_file)


def build(settings: Settings) -> faust.App:
    """The app of one worker; `faust.Worker(build(settings))` runs it. Raises CredentialsRefused too."""
    worker = Worker(settings)
    app = WorkerApp(
        f"{settings.consumer_group}-context",
        broker=";".join(f"kafka://{server}" for server in settings.bootstrap_servers.split(",")),
        broker_credentials=faust_credentials(settings.kafka_options),
        store="memory://",
        value_serializer="raw",
        key_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        # The same holds for decisions: a worker that restarts in this slot waits for no dead member's session.
        consumer_group_instance_id=f"{settings.consumer_group}-context-{settings.worker_slot}",
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.session_timeout_ms / 6000,
        stream_buffer_maxsize=FAUST_BUFFER_RECORDS,
        web_bind=settings.web_host,
        web_port=settings.web_port,
        autodiscover=False,
        datadir=FAUST_DIRECTORY,
    )
    read_committed(app)
    _add_decisions(app, worker)
    _add_timers(app, worker)
    _add_context(app, worker)
    _add_pages(app, worker)
    return app


def _add_decisions(app: WorkerApp, worker: Worker) -> None:
    batches = BatchChannel(app, maxsize=BATCHES_AHEAD_MAX)

    @app.agent(batches, name="decide")
    async def decide(stream: AsyncIterable[Batch]) -> None:
        async for batch in stream:
            try:
                await worker.changes.heed_moves()
                await worker.agent.decide(batch)
            except Exception as error:  # the outermost loop: this worker's place is over, another takes it
                app.give_up(error)

    app.decision_transport = Transport(app, worker, batches)
    app.outcomes_following = Following(worker.outcomes)


class WorkerApp(faust.App):
    """Starts the transport right after the agents: decisions don't wait until the context topics are joined."""

    decision_transport: Transport
    outcomes_following: Following

    async def start(self) -> None:
        self.decision_transport.watch_start()
        await super().start()

    async def stop(self) -> None:
        self.decision_transport.stopping.begin()
        await super().stop()

    def give_up(self, error: BaseException) -> None:
        """Ends the process at once, so that its slot is filled anew in seconds; a stop under way goes on.

        There is nothing to save: an open transaction is aborted by the successor. A graceful stop could wait for ever
        for a thread of aiokafka's that died with its broker.
        """
        if self.decision_transport.stopping.is_under_way:
            log.warning("failed_while_stopping", error=type(error).__name__, why=str(error))
            return
        end_process(f"{type(error).__name__}: {error}", error)

    class BootStrategy(FaustBootStrategy):
        def agents(self) -> Iterable[Any]:
            app = cast(WorkerApp, self.app)
            return [*super().agents(), app.decision_transport, app.outcomes_following]


class Transport(Service):
    """Fills the channel with batches for as long as the app runs."""

    def __init__(self, app: WorkerApp, worker: Worker, batches: BatchChannel) -> None:
        super().__init__()
        self._app, self._worker, self._batches = app, worker, batches
        self._starting, self.stopping = Pulse("starting", START_LIMIT_S), Pulse("stopping", STOP_LIMIT_S)
        self._watch = Watch([self._starting, self.stopping, *worker.transactions.pulses])

    def watch_start(self) -> None:
        """From the start of the app: Faust's own clients, too, may wait for a broker that has just gone."""
        self._starting.begin()
        self._watch.start()

    async def on_start(self) -> None:
        try:
            self._worker.transactions.join()
            fenced = self._worker.transactions.fence()
            await self._worker.prepare()
            self._worker.agent.on_failure = self._app.give_up
            self._worker.transactions.start(self._batches.put_batch, self._app.give_up)
            await fenced
        except Exception as error:  # no place yet; whoever starts this process tries again
            self._app.give_up(error)
        self._starting.end()

    async def on_stop(self) -> None:
        try:
            await self._worker.agent.settle()
        finally:
            await self._worker.transactions.stop()
            await self._worker.waiting_labels.close()
            await self._worker.state.close()
            await self._worker.switches.stop()
            await self._worker.probe.close()
            await self._worker.breaker.close()
            await asyncio.to_thread(self._worker.traces.close)


def _add_timers(app: WorkerApp, worker: Worker) -> None:
    regimes = RegimeWatch(worker.state)

    @app.timer(RELOAD_INTERVAL_S)
    async def reload() -> None:
        await worker.changes.take_up()
        await regimes.look(worker.agent.judge.in_force, now_ms(), worker.alerts.publish)

    ages = AgeWatch()

    @app.timer(AGE_INTERVAL_S)
    async def watch_feeds() -> None:
        await worker.alerts.publish(ages.look(worker.agent.judge.in_force, now_ms()))

    if worker.settings.state_backup_alert_minutes:
        watch = BackupWatch(worker.state, worker.settings.state_backup_alert_minutes)

        @app.timer(BACKUP_INTERVAL_S)
        async def watch_backups() -> None:
            if (raised := await watch.look(now_ms())) is not None:
                await worker.alerts.publish([raised])

    @app.timer(EVICTION_INTERVAL_S)
    async def watch_evictions() -> None:
        try:
            await worker.evictions.require_none()
        except StateEvicted as error:
            app.give_up(error)
        except StateUnavailable as error:  # whoever decides says so loudly
            log.info("evictions_unknown", why=str(error))

    @app.timer(BREAKER_INTERVAL_S)
    async def watch_breaker() -> None:
        await worker.breaker.watch(worker.agent.judge.in_force, worker.alerts.publish)


def _add_context(app: faust.App, worker: Worker) -> None:
    @app.on_partitions_assigned.connect
    async def assigned(*_: Any, **__: Any) -> None:
        worker.context.reading_anew()

    @app.timer(CONTEXT_INTERVAL_S)
    async def look() -> None:
        await worker.look_at_context()

    for topic_name in CONTEXT_TOPICS:
        app.agent(app.topic(worker.settings.topic(topic_name)), name=topic_name)(_context_agent(worker, topic_name))


def _context_agent(worker: Worker, topic_name: str) -> Any:
    async def take_in(stream: Any) -> None:
        async for event in stream.events():
            record, presented = record_of_event(event), presented_of(event)
            tell = partial(worker.refuse_context, topic_name, record)
            try:
                await worker.context.take_in(topic_name, record, worker.settings.state_patience_s, tell, presented)
            except Exception as error:  # the outermost loop
                # Faust acknowledges a record whose handler raised (ADR 0001). A process that ends here has not
                # acknowledged it, so it is delivered again; decisions under way are aborted by their transaction.
                log.critical("context_failed", topic=topic_name, error=type(error).__name__, why=str(error))
                os._exit(os.EX_TEMPFAIL)

    return take_in


def _add_pages(app: faust.App, worker: Worker) -> None:
    metrics.tell_worker(worker.partitioning.partitions, worker.transactions, worker.not_ready)

    @app.page("/live")
    async def live(view: Any, _request: Any) -> Any:
        return view.json(state_page("live", None).body)  # answered by the loop that it is about

    @app.page("/ready")
    async def ready(view: Any, _request: Any) -> Any:
        readiness = worker.readiness()
        return view.json(readiness, status=200 if readiness["ready"] else 503)

    @app.page("/metrics")
    async def expose(_view: Any, request: Any) -> Any:
        page = exposition(request.headers.get("Accept"))
        return http.Response(body=page.body, headers={"Content-Type": page.content_type})
