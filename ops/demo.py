"""The demonstration: the whole pipeline in a minute, from nothing but what pip installs.

Payments with fraud rings, bursts and card testing are decided by a worker of its own process. Half-way the model goes
wrong on purpose; the breaker takes it out of the loop, the fallback rules answer, and when the good model is back it is
first tried on a sample. The end accounts for every record.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.error import URLError

import psutil

from models.artefact import ModelRefused
from ops.demo_breaker import BreakerWatcher, told
from ops.demo_meter import Meter, percentile
from ops.demo_scene import BLOCKED_TOO_MUCH_PERCENT, Scene, set_scene
from ops.demo_summary import Summary, show_summary
from ops.demo_traffic import ACCOUNTS, Traffic
from ops.demo_views import Moment, View, view_for
from ops.stack.embedded import EmbeddedStack
from ops.stack.foreground import StackFailure
from ops.stack.processes import ServerFailed, ServerProcess
from ops.stack.topics import create_topics
from pipeline.adapters.avro import WireFormat
from pipeline.commands.failures import Failure
from pipeline.core.records import BreakerState
from pipeline.services.archive import RegimeArchive
from pipeline.settings import Settings

WRONG_AFTER_SHARE: Final = 0.45
"""Of the demonstration's time: before it, what is usual is learned; after it, there must be time to recover."""
BLOCK_SEEN_S: Final = 2.0
"""From the trip to the good model's return: long enough to see the fallback at work."""
OVERTIME_S: Final = 40.0
"""How much longer payments keep coming where the breaker has not closed again in time."""
FIRST_DECISION_S: Final = 60.0
DRAIN_S: Final = 20.0
TICK_S: Final = 0.1
PAGE_TIMEOUT_S: Final = 1.0


class Act(StrEnum):
    WELL = "WELL"
    WRONG = "WRONG"
    TRIPPED = "TRIPPED"
    RESTORED = "RESTORED"
    RECOVERED = "RECOVERED"


def run_demo(directory: Path, *, seconds: int, seed: int, rate: int, as_json: bool) -> bool:
    """True when the breaker tripped and closed again and every record is accounted for. Raises Failure."""
    started_s = time.monotonic() - (time.time() - psutil.Process().create_time())
    view = view_for(as_json=as_json)
    try:
        with ExitStack() as stack:
            play = _set_up(stack, directory, rate, view, started_s)
            longest_s = seconds + int(OVERTIME_S)
            traffic = Traffic(play.scene.settings, play.wire, seed=seed, rate=rate, seconds_max=longest_s)
            stack.callback(traffic.stop)
            play.begin(traffic)
            play.tell(f"payments of {ACCOUNTS:,} accounts come in, {rate} a second; days pass in seconds")
            play.run(traffic, seconds)
            traffic.stop()
            summary = play.finish(traffic)
            view.close()
            archive = RegimeArchive(play.scene.settings.policy_archive, play.scene.registry)
            show_summary(summary, play.meter.examples(), archive, as_json=as_json)
            return summary.is_good
    except (StackFailure, ServerFailed) as failure:
        raise Failure(str(failure), f"Logs are in {directory}.") from failure
    except ModelRefused as refusal:
        raise Failure(f"The shipped model can't be used: {refusal}.", "Restore models/registry.") from refusal
    finally:
        view.close()


def _set_up(stack: ExitStack, directory: Path, rate: int, view: View, started_s: float) -> Play:
    def tell(sentence: str) -> None:
        view.tell(time.monotonic() - started_s, sentence)

    tell("starting a broker and a Redis, in memory")
    embedded = stack.enter_context(EmbeddedStack(directory / "stack"))
    scene = set_scene(directory / "run", embedded.bootstrap_servers, embedded.redis_url, rate)
    create_topics(embedded.bootstrap_servers)
    wire, settings = WireFormat(), scene.settings
    meter = Meter(settings, wire)
    meter.start()
    stack.callback(meter.stop)
    worker = _worker(scene, directory)
    stack.callback(worker.stop)
    tell(f"starting a worker: policy {scene.policy.version}, model {scene.good_version}")
    window_s, sample = scene.policy.breaker.window_s, scene.policy.breaker.minimum_sample
    tell(f"it is the shipped policy, but the breaker looks at {window_s} s and {sample} payments, not 5 minutes")
    watcher = BreakerWatcher(settings)
    stack.callback(watcher.close)
    return Play(scene, wire, view, meter, worker, watcher, started_s)


def _worker(scene: Scene, directory: Path) -> ServerProcess:
    address = f"http://{scene.settings.web_host}:{scene.settings.web_port}/ready"
    return ServerProcess(
        "The worker",
        [sys.executable, "-m", "pipeline.cli", "worker"],
        is_ready=lambda: _answers(address),
        log_path=directory / "run" / "worker.log",
        environment=scene.environment(),
    )


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=PAGE_TIMEOUT_S) as answer:  # noqa: S310 - our own loopback page
            return int(answer.status) == 200
    except (URLError, OSError):
        return False


@dataclass(slots=True)
class Play:
    """One run, once everything stands."""

    scene: Scene
    wire: WireFormat
    view: View
    meter: Meter
    worker: ServerProcess
    watcher: BreakerWatcher
    started_s: float
    act: Act = Act.WELL
    tripped_s: float = 0.0
    champion: str = ""

    @property
    def second(self) -> float:
        return time.monotonic() - self.started_s

    def tell(self, sentence: str) -> None:
        self.view.tell(self.second, sentence)

    def begin(self, traffic: Traffic) -> None:
        """Returns when the first decision can be read; Failure when none comes."""
        traffic.start()
        self.worker.start()
        deadline_s = time.monotonic() + FIRST_DECISION_S
        while self.meter.first_decision_s is None:
            self._require_all(traffic)
            if time.monotonic() > deadline_s:
                raise Failure("The worker decides nothing.", f"Its log is {self.worker.log_path}.")
            time.sleep(TICK_S / 10)
        first_s = self.meter.first_decision_s - self.started_s
        self.tell(f"the first explained decision could be read after {first_s:.1f} s")
        self.meter.measure_from_now()
        traffic.go()

    def run(self, traffic: Traffic, seconds: int) -> None:
        """Returns when the time is over and the breaker has recovered, or when it won't any more."""
        self.champion = self.scene.good_version
        began_s = self.second
        while (passed_s := self.second - began_s) < seconds or (
            self.act is not Act.RECOVERED and passed_s < seconds + OVERTIME_S
        ):
            self._require_all(traffic)
            self._watch()
            self._act(passed_s, seconds)
            self.view.show(Moment(self.second, self.watcher.shown(self.champion), self.meter.snapshot()))
            time.sleep(TICK_S)

    def finish(self, traffic: Traffic) -> Summary:
        """Waits until all that was published is accounted for, ends the worker, and counts."""
        deadline_s = time.monotonic() + DRAIN_S
        while self.meter.accounted_for() < traffic.published and time.monotonic() < deadline_s:
            time.sleep(TICK_S)
        offsets_in = _committed_records(self.scene.settings)
        self.worker.stop()
        latencies_ms = self.meter.latencies_ms()
        first_s = self.meter.first_decision_s
        return Summary(
            snapshot=self.meter.snapshot(),
            published=traffic.published,
            offsets_in=offsets_in,
            distinct_decisions=self.meter.distinct_decisions(),
            dead_letters=self.meter.dead_letter_codes(),
            latency_ms_p50=percentile(latencies_ms, 50),
            latency_ms_p99=percentile(latencies_ms, 99),
            first_decision_s=0.0 if first_s is None else first_s - self.started_s,
            changes=tuple(self.watcher.changes),
            has_tripped=self.act not in {Act.WELL, Act.WRONG},
            has_recovered=self.act is Act.RECOVERED,
        )

    def _watch(self) -> None:
        for sentence in told(self.watcher.poll(self.second)):
            self.tell(sentence)

    def _act(self, passed_s: float, seconds: int) -> None:
        state = self.watcher.strictest(self.champion)
        is_open = state in {BreakerState.OPEN, BreakerState.FORCED_OPEN}
        match self.act:
            case Act.WELL if passed_s >= seconds * WRONG_AFTER_SHARE and state is BreakerState.CLOSED:
                self._go_wrong()
            case Act.WRONG if is_open:
                self.act, self.tripped_s = Act.TRIPPED, self.second
                self.tell("the model is out of the loop: the fallback rules decide, the model is only watched")
            case Act.TRIPPED if self.second >= self.tripped_s + BLOCK_SEEN_S:
                self._restore()
            case Act.RESTORED if state is BreakerState.CLOSED:
                self.act = Act.RECOVERED
                self.tell("the breaker has closed: the model decides again")

    def _go_wrong(self) -> None:
        version = self.scene.add_wrong_model(self.meter.scores_micro())
        self._name_champion(version)
        self.act = Act.WRONG
        self.tell(
            f"THE MODEL GOES WRONG, on purpose: {version} becomes champion, and blocks {BLOCKED_TOO_MUCH_PERCENT} %"
        )

    def _restore(self) -> None:
        self._name_champion(self.scene.good_version)
        self.act = Act.RESTORED
        self.tell(f"rolled back to {self.scene.good_version}; the breaker stays open until its time is over")

    def _name_champion(self, version: str) -> None:
        self.scene.name_champion(version)
        self.champion = version

    def _require_all(self, traffic: Traffic) -> None:
        if traffic.failure is not None:
            raise traffic.failure
        if not self.worker.is_running:
            raise Failure("The worker ended.", f"Its log is {self.worker.log_path}.")


def _committed_records(settings: Settings) -> int:
    """Records of transactions.v1 whose offsets the worker has committed, by its own count.

    The mock broker can't be asked: it forgets offsets that were committed in a transaction.
    """
    address = f"http://{settings.web_host}:{settings.web_port}/metrics"
    with urllib.request.urlopen(address, timeout=PAGE_TIMEOUT_S * 5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[1])) for line in lines if line.startswith("fraud_records_total "))
