"""`fraud shadow run`: the shadow in the foreground, logging JSON to stderr, at a lower priority than what decides."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import structlog

from models.artefact.strict import ModelRefused
from pipeline.domain.decision import StoredDecision
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import service_connection
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.postgres import Held
from pipeline.io.runner import Terms, run_service
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySetRefused
from pipeline.quarantine.put_aside_store import is_put_aside
from pipeline.replay.archive_files import archived_or_in_force
from pipeline.seals.passed_over_store import PassedOver
from pipeline.seals.proving import SealCheck
from pipeline.seals.seal_files import seal_check
from pipeline.shadow.answer_store import CONSUMER, AnswerStore
from pipeline.shadow.challenger import Challenger
from pipeline.shadow.challenger_files import NoChallenger, load_challenger
from pipeline.shadow.metrics import SHADOW_REFUSED
from pipeline.shadow.onnx_files import OnnxMissing
from pipeline.shadow.service import ShadowService

GROUP: Final = "fraud-shadow"
NICENESS: Final = 19
"""How far the process stands back where a processor is wanted by others; it catches up when they rest."""
AUTOGROUP: Final = Path("/proc/self/autogroup")
"""The niceness of a session, where Linux weighs sessions against each other before it looks at their processes."""
LOOK_S: Final = 30.0
"""Between looks whether another challenger is named, or the same one has other bytes."""
IDLE_S: Final = 1.0

log = structlog.get_logger("shadow")


class Shadowing:
    """The shadow of whatever challenger is named: none, this one, then another."""

    def __init__(self, load: Callable[[], Challenger], make: Callable[[Challenger], ShadowService]) -> None:
        """load: raises NoChallenger, ModelRefused, OnnxMissing."""
        self._load, self._make = load, make
        self._inner: ShadowService | None = None
        self._digest: bytes | None = None
        self._why: str | None = None
        self._due_s = 0.0

    def step(self, stopping: threading.Event) -> str | None:
        """Ready too where no challenger is named, since then there is nothing to do; not where it can't be loaded."""
        if time.monotonic() >= self._due_s:
            self._look()
            self._due_s = time.monotonic() + LOOK_S
        if self._inner is None:
            stopping.wait(IDLE_S)
            return self._why
        return self._inner.step(stopping)

    def begin_again(self) -> None:
        if self._inner is not None:
            self._inner.begin_again()

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()
            self._inner = None

    def _look(self) -> None:
        try:
            challenger: Challenger | None = self._load()
            self._why = None
        except NoChallenger as none:
            challenger, self._why = None, None
            log.info("shadow_idle", why=str(none))
        except (ModelRefused, OnnxMissing) as refusal:
            challenger, self._why = None, f"the challenger can't be loaded: {refusal}"
            log.error("challenger_refused", why=str(refusal))
        SHADOW_REFUSED.set(self._why is not None)
        digest = None if challenger is None else challenger.digest
        if digest == self._digest:
            return
        self.close()
        self._digest = digest
        if challenger is not None:
            log.info("challenger_answers", version=challenger.version, digest=challenger.digest.hex())
            self._inner = self._make(challenger)


def stand_back() -> None:
    """Give way to every other process of the machine; a session too, where it is this process' own."""
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        # A kernel may know no niceness of sessions, and the file may be one that nobody may write.
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(str(NICENESS))


def run_shadow(settings: Settings, wire: WireFormat) -> NoReturn:
    """Run as a service (pipeline.io.runner)."""
    stand_back()
    check, appender = seal_check(settings), Appender.of(settings, f"{GROUP}-{settings.worker_slot}")
    shadowing = Shadowing(
        partial(load_challenger, settings), lambda challenger: shadow_of(settings, wire, challenger, check, appender)
    )
    run_service(shadowing, settings, Terms("shadow", settings.shadow_port, "FRAUD_SHADOW_PORT", (), (KeySetRefused,)))


def shadow_of(
    settings: Settings, wire: WireFormat, challenger: Challenger, check: SealCheck, appender: Appender
) -> ShadowService:
    """Make the shadow of one challenger."""
    topic = settings.topic("decisions.v1")
    held = Held(partial(service_connection, settings.database_url, GROUP))
    store = AnswerStore(challenger, topic)

    def positions(partitions: Iterable[int]) -> Mapping[int, int]:
        wanted, connection = list(partitions), held.connection()
        ends: Mapping[int, int] = {}
        if not store.is_begun(connection, wanted):
            with LogReader(settings.bootstrap_servers, GROUP, settings.kafka_options) as reader:
                ends = {partition: extent.high for partition, extent in reader.extents(topic, wanted).items()}
        return store.next_offsets(connection, wanted, ends)

    source: PositionedLog[StoredDecision | None] = PositionedLog(
        settings.bootstrap_servers,
        topic,
        wire.decode_stored_decision,
        GROUP,
        slot=settings.worker_slot,
        positions=positions,
        options=settings.kafka_options,
        is_aside=lambda *where: is_put_aside(held.connection(), topic, *where),
        prove=check.unproved,
    )
    return ShadowService(
        source,
        held,
        store,
        challenger,
        archived_or_in_force(settings),
        appender.append,
        wire,
        settings.topic("shadow.v1"),
        PassedOver(CONSUMER, topic),  # the executor tells
    )
