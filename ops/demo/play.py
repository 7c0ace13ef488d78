"""One run of the demonstration: the order of what happens, and the waits in between."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from ops.demo.aftermath import Aftermath
from ops.demo.audit import verify_audit
from ops.demo.backstage import Backstage
from ops.demo.books import accounted, at_rest
from ops.demo.breaker import BreakerWatcher, told
from ops.demo.meter import Meter, percentile
from ops.demo.past import NO_PAST, Past, begin_behind
from ops.demo.review import review_one
from ops.demo.rollback import Rollback, Undone, explained_by_command
from ops.demo.scene import BLOCKED_TOO_MUCH_PERCENT, Scene
from ops.demo.summary import Summary
from ops.demo.traffic import Traffic
from ops.demo.views import Moment, View
from ops.processes.servers import ServerProcess
from pipeline.decide.decision_topics import Located
from pipeline.domain.decision import BreakerState
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection, connect
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure

WRONG_AFTER_SHARE: Final = 0.45
"""Share of the demonstration's time after which the model goes wrong. Before it the breaker learns what is usual; after
it there must be time to recover."""
BLOCK_SEEN_S: Final = 2.0
"""Time from the trip to the good model's return: long enough to see the fallback at work."""
OVERTIME_S: Final = 40.0
"""Time for which payments keep coming where the breaker has not closed again in time."""
FIRST_DECISION_S: Final = 120.0
BACKSTAGE_S: Final = 180.0
REST_S: Final = 180.0
"""Time for everything to be decided, audited and executed at the end: seconds, except on a busy machine."""
TICK_S: Final = 0.1
LOOK_S: Final = 0.3
"""Time between two looks into the database."""
PAGE_TIMEOUT_S: Final = 5.0

_OUT_OF_THE_LOOP: Final = frozenset({BreakerState.OPEN, BreakerState.FORCED_OPEN})


class Act(StrEnum):
    WELL = "WELL"
    WRONG = "WRONG"
    TRIPPED = "TRIPPED"
    RESTORED = "RESTORED"
    RECOVERED = "RECOVERED"


@dataclass(slots=True)
class Play:
    """One run of the demonstration, once broker, Redis and the files are there."""

    scene: Scene
    wire: WireFormat
    view: View
    meter: Meter
    worker: ServerProcess
    watcher: BreakerWatcher
    traffic: Traffic
    backstage: Backstage
    directory: Path
    started_s: float
    as_json: bool
    act: Act = Act.WELL
    tripped_s: float = 0.0
    champion: str = ""
    past: Past = NO_PAST
    examples: list[Located] = field(default_factory=list)
    wrong: str = ""

    @property
    def second(self) -> float:
        return time.monotonic() - self.started_s

    def tell(self, sentence: str) -> None:
        self.view.tell(self.second, sentence)

    def perform(self, seconds: int) -> Summary:
        """Perform everything in order. Raises Failure where something does not happen in time."""
        self.champion = self.scene.good_version
        self._begin()
        self._stand()
        self._run(seconds)
        self.traffic.stop()
        with connect(self.scene.as_role("fraud_reader").database_url, "fraud-demo") as connection:
            self._rest(connection, 0, 0)
            self._review(connection)
            self.examples = self.meter.examples()
            undone = self._undo(connection)
            return self._finish(connection, undone)

    def _begin(self) -> None:
        """Begin, and wait until the first decision can be read."""
        self.traffic.publish_past()
        self.past = begin_behind(self.scene.settings, self.traffic.plan)
        self.watcher.begin(self.scene.policy.breaker)
        self.tell(
            f"the log holds {self.past.payments:,} payments of {self.past.days} days and every account's normal month; "
            "the worker counts them, and decides what comes after them"
        )
        self.traffic.start()
        self.worker.start()
        self._wait(lambda: self.meter.first_decision_s is not None, FIRST_DECISION_S, "The worker decides nothing.")
        self.tell(f"the first explained decision could be read after {self._first_decision_s():.1f} s")
        self.meter.measure_from_now()
        self.traffic.go()
        self.tell(f"payments of {self.traffic.plan.accounts:,} accounts come in; hours pass in seconds")

    def _stand(self) -> None:
        """Wait until decisions are audited and executed, too."""
        self.backstage.start()
        self._wait(lambda: self.backstage.stands, BACKSTAGE_S, "Not everything would start.")
        self._tick()
        self.traffic.go_on()
        self.tell(f"from here on {self.traffic.rate:,} payments a second")

    def _run(self, seconds: int) -> None:
        """Run until the time is over and the breaker has recovered, or won't any more."""
        began_s = self.second
        while (passed_s := self.second - began_s) < seconds or (
            self.act is not Act.RECOVERED and passed_s < seconds + OVERTIME_S
        ):
            self._act(passed_s, seconds)
            self._tick()

    def _rest(self, connection: Connection, reversals: int, released: int) -> None:
        """Wait until everything is decided, audited and executed, including the reversals and released payments."""
        settings, wanted = self.scene.settings, self.traffic.published + released

        def has_come() -> bool:
            if self.meter.accounted_for() < wanted or self.meter.reversals() < reversals:
                return False
            time.sleep(LOOK_S)
            return at_rest(connection, settings, self.meter)

        self._wait(has_come, REST_S, "Not everything was decided, audited and executed.")

    def _review(self, connection: Connection) -> None:
        """Have a person decide a case, and wait until the outcome is audited and executed."""
        sentence = review_one(self.scene, self.backstage.people)
        if sentence is not None:
            self.tell(sentence)
            self._wait(lambda: self.meter.reviews() > 0, REST_S, "A review's outcome was not published.")
            self._rest(connection, 0, 0)

    def _undo(self, connection: Connection) -> Undone | None:
        """Take back the wrong decisions; None where the model never went wrong, as the breaker did not close before."""
        if not self.wrong:
            return None
        rest = partial(self._rest, connection)
        return Rollback(self.scene, self.backstage.people, self.wire, connection, self.tell, rest).carry_out(self.wrong)

    def _finish(self, connection: Connection, undone: Undone | None) -> Summary:
        """End the worker, and count."""
        offsets_in = _committed_records(self.scene.settings)
        self.worker.stop()
        released = 0 if undone is None else undone.released
        latencies_ms = self.meter.latencies_ms()
        return Summary(
            snapshot=self.meter.snapshot(),
            past=self.past,
            first_months_percent=self.meter.first_months_percent(),
            first_paid_percent=self.meter.first_paid_percent(),
            published=self.traffic.published + released,
            offsets_in=offsets_in,
            distinct_decisions=self.meter.distinct_decisions(),
            dead_letters=self.meter.dead_letter_codes(),
            latency_ms_p50=percentile(latencies_ms, 50),
            latency_ms_p99=percentile(latencies_ms, 99),
            first_decision_s=self._first_decision_s(),
            changes=tuple(self.watcher.changes),
            has_tripped=self.act not in {Act.WELL, Act.WRONG},
            has_recovered=self.act is Act.RECOVERED,
            aftermath=self._aftermath(connection, undone),
        )

    def _aftermath(self, connection: Connection, undone: Undone | None) -> Aftermath:
        self.tell("the audit log is signed, exported, and verified from the export alone")
        verified = verify_audit(
            self.scene, self.wire, self.backstage.services["the audit service"], self.directory / "export"
        )
        explained = None if undone is None else explained_by_command(self.scene, undone.shown, as_json=self.as_json)
        seen = accounted(connection, self.scene.settings)
        return Aftermath(seen, verified, undone, self.meter.reversals(), self.meter.reviews(), explained)

    def _wait(self, is_done: Callable[[], bool], patience_s: float, what: str) -> None:
        deadline_s = time.monotonic() + patience_s
        while not is_done():
            if time.monotonic() > deadline_s:
                raise Failure(what, f"Logs are in {self.directory}.")
            self._tick()

    def _tick(self) -> None:
        self._require_all()
        self._watch()
        while not self.backstage.steps.empty():
            self.tell(self.backstage.steps.get())
        self.view.show(Moment(self.second, self.watcher.shown(self.champion), self.meter.snapshot()))
        time.sleep(TICK_S)

    def _watch(self) -> None:
        for sentence in told(self.watcher.poll(self.second)):
            self.tell(sentence)

    def _act(self, passed_s: float, seconds: int) -> None:
        state = self.watcher.strictest(self.champion)
        match self.act:
            case Act.WELL if passed_s >= seconds * WRONG_AFTER_SHARE and state is BreakerState.CLOSED:
                self._go_wrong()
            case Act.WRONG if state in _OUT_OF_THE_LOOP:
                self.act, self.tripped_s = Act.TRIPPED, self.second
                self.tell(
                    "the model is out of the loop for these customers: fallback rules decide, the model is watched"
                )
            case Act.TRIPPED if self.second >= self.tripped_s + BLOCK_SEEN_S:
                self._restore()
            case Act.RESTORED if state is BreakerState.CLOSED:
                self.act = Act.RECOVERED
                self.tell("the breaker is closed: the model decides again")

    def _go_wrong(self) -> None:
        version = self.scene.add_wrong_model(self.meter.scores_micro())
        self._name_champion(version)
        self.act, self.wrong = Act.WRONG, version
        self.tell(
            f"THE MODEL GOES WRONG, on purpose: {version} becomes champion, takes fraud for honest and honest for "
            f"fraud, and blocks {BLOCKED_TOO_MUCH_PERCENT} %"
        )

    def _restore(self) -> None:
        """Name the good model again. A trip of the wrong version alone ends with it: its scope governs nothing now."""
        self._name_champion(self.scene.good_version)
        self.act = Act.RESTORED
        stays_open = self.watcher.strictest(self.champion) in _OUT_OF_THE_LOOP
        breaker = (
            "the breaker stays open until its time is over" if stays_open else "only the wrong version had tripped"
        )
        self.tell(f"rolled back to {self.champion}; {breaker}")

    def _name_champion(self, version: str) -> None:
        self.scene.name_champion(version)
        self.champion = version

    def _first_decision_s(self) -> float:
        """Return the time of the first decision, since the demonstration began."""
        first_s = self.meter.first_decision_s
        return 0.0 if first_s is None else first_s - self.started_s

    def _require_all(self) -> None:
        self.backstage.require_running()
        if self.traffic.failure is not None:
            raise self.traffic.failure
        if not self.worker.is_running:
            raise Failure("The worker ended.", f"Its log is {self.worker.log_path}.")


def _committed_records(settings: Settings) -> int:
    """Return the number of records of transactions.v1 whose offsets the worker has committed, by its own count.

    The mock broker can't be asked, because it forgets offsets that were committed in a transaction.
    """
    address = f"http://{settings.web_host}:{settings.web_port}/metrics"
    with urllib.request.urlopen(address, timeout=PAGE_TIMEOUT_S) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[1])) for line in lines if line.startswith("fraud_records_total "))
