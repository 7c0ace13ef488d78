"""The demonstration: the whole pipeline in a minute and a half, from nothing but what pip installs.

A worker in a process of its own decides payments with fraud rings, bursts and card testing; they are audited and
executed. Half-way the model goes wrong on purpose. The breaker takes it out of the loop, the fallback rules answer, and
when the good model is back it is first tried on a sample. Then two people take back what the wrong model decided. The
end accounts for every record and every penny.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil

from models.artefact.files import ModelRefused
from ops.demo.backstage import Backstage, answers, service_process
from ops.demo.breaker import BreakerWatcher
from ops.demo.meter import Meter
from ops.demo.play import OVERTIME_S, Play
from ops.demo.scene import set_scene
from ops.demo.summary import show_summary
from ops.demo.traffic import Traffic
from ops.demo.views import View, view_for
from ops.processes.servers import ServerFailed
from ops.stack.embedded import EmbeddedStack
from ops.stack.stack import StackFailure
from ops.stack.topics import create_topics
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable
from pipeline.replay.archive_files import RegimeArchive
from pipeline.terminal.failures import Failure


class Asked(NamedTuple):
    seconds: int
    seed: int
    rate: int
    as_json: bool


def run_demo(directory: Path, *, seconds: int, seed: int, rate: int, as_json: bool) -> bool:
    """Run the demonstration; return True when all went well. Raises Failure.

    All went well when the breaker tripped and closed again, what the wrong model decided is taken back, and every
    record and all money is accounted for.
    """
    started_s = time.monotonic() - (time.time() - psutil.Process().create_time())
    view = view_for(as_json=as_json)
    try:
        with ExitStack() as stack:
            play = _set_up(stack, directory.resolve(), view, started_s, Asked(seconds, seed, rate, as_json))
            summary = play.perform(seconds)
            view.close()
            archive = RegimeArchive.of(play.scene.settings)
            show_summary(summary, play.examples, archive, as_json=as_json)
            return summary.is_good
    except (StackFailure, ServerFailed) as failure:
        raise Failure(str(failure), f"Logs are in {directory}.") from failure
    except (DatabaseUnavailable, DatabaseRefused) as failure:
        raise Failure(f"PostgreSQL failed: {failure}.", f"Logs are in {directory}.") from failure
    except ModelRefused as refusal:
        raise Failure(f"The shipped model can't be used: {refusal}.", "Restore models/registry.") from refusal
    except PermissionError as error:
        what = f"{error.filename} can't be written ({error.strerror})."
        raise Failure(what, "Remove it as whoever made it, or give another --directory.") from error
    finally:
        view.close()


def _set_up(stack: ExitStack, directory: Path, view: View, started_s: float, asked: Asked) -> Play:
    def tell(sentence: str) -> None:
        view.tell(time.monotonic() - started_s, sentence)

    seconds, seed, rate, as_json = asked
    run = directory / "run"
    tell("starting a broker and a Redis, in memory")
    embedded = stack.enter_context(EmbeddedStack(directory / "stack"))
    scene = set_scene(run, embedded.bootstrap_servers, embedded.redis_url, rate)
    create_topics(embedded.bootstrap_servers)
    wire, settings = WireFormat(), scene.settings
    meter = Meter(settings, wire)
    meter.start()
    stack.callback(meter.stop)
    page = f"http://{settings.web_host}:{settings.web_port}/ready"
    worker = service_process(scene, run, "The worker", ("worker", "run"), {}, lambda: answers(page))
    stack.callback(worker.stop)
    tell(f"starting a worker: policy {scene.policy.version}, model {scene.good_version}")
    window_s, sample = scene.policy.breaker.window_s, scene.policy.breaker.minimum_sample
    tell(
        f"it is the shipped policy, but the breaker looks at {window_s} s and {sample} payments, not 5 minutes, takes"
        " the waves of days that pass in seconds for usual, and its unusual hours lie elsewhere than now"
    )
    watcher = BreakerWatcher(settings)
    stack.callback(watcher.close)
    traffic = Traffic(settings, wire, scene.policy, seed=seed, rate=rate, seconds_max=seconds + int(OVERTIME_S))
    stack.callback(traffic.stop)
    backstage = Backstage(scene, run, traffic.plan)
    stack.callback(backstage.stop)
    return Play(scene, wire, view, meter, worker, watcher, traffic, backstage, run, started_s, as_json)
