"""The loop that every service runs in: audit, executor, review and reconciliation.

Signals, logs, pages, patience, shutdown and exit codes are decided here, once.

- SIGTERM and SIGINT end a service after its current turn: first its loop, then its pages, then what it holds (its
  membership of the group, its connection). It exits with 0.
- A failure that may pass, above all the absence of PostgreSQL or the broker, is waited out: the service holds, says so
  on /ready, and begins again from what is stored, for as long as its patience lasts.
- A turn that goes well proves little: one that found nothing to do goes well while the next one fails again. Patience
  is whole again only after RECOVERED_S without a failure, so that nothing is held for ever.
- A failure that outlasts the patience, or that must not be passed over, ends the service with one line in its log,
  `NAME_ended`, and exit 1. Started again, it continues where it stood. A bug ends it with a traceback.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

import structlog
from prometheus_client import Counter

from pipeline.domain.log import RecordUndecodable
from pipeline.io import logs
from pipeline.io.health import Health, health_pages
from pipeline.io.kafka.client import BrokerAway, BrokerFailed
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable, PositionMoved
from pipeline.io.settings import Settings

Failures = tuple[type[Exception], ...]

HOLD_WAIT_S: Final = 0.5
RECOVERED_S: Final = 5.0
"""More than it takes to read again what failed: a batch that can never be stored comes back within a second or two,
after turns that found nothing because its partition was only just assigned anew."""
ENDED: Final = 1
"""Exit code of a service that ended of its own accord."""
PASSING: Final[Failures] = (BrokerAway, DatabaseUnavailable)
ENDING: Final[Failures] = (BrokerFailed, DatabaseRefused, DatabaseUnavailable, PositionMoved, RecordUndecodable)

HOLDS: Final = Counter("fraud_service_holds_total", "Times a service held and began again", ["service", "why"])


class Service(Protocol):
    def step(self, stopping: threading.Event) -> str | None:
        """Take one turn, which handles what has arrived and what is due; return why the service isn't ready, or None.

        It may wait a second or so for something to come, on `stopping` where that is possible.
        """

    def begin_again(self) -> None:
        """Prepare for the turn after a failure: take new connections, and go on from what is stored."""

    def close(self) -> None:
        """Give back what the service holds."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms on which a service runs.

    `passing` and `ending` are failures of its own, besides PASSING and ENDING; `on_signal` holds what further signals
    make it do.
    """

    name: str
    port: int
    port_setting: str
    passing: Failures = ()
    ending: Failures = ()
    on_signal: Mapping[signal.Signals, Callable[[], None]] = field(default_factory=dict)


def run_service(service: Service, settings: Settings, terms: Terms) -> NoReturn:
    """Run the service until it is told to stop or ends of its own accord.

    Raises SystemExit in the end, and PortUnavailable where it can't start.
    """
    logs.configure(settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    for number, act in terms.on_signal.items():
        signal.signal(number, _handler(act))
    health = Health(settings.service_standstill_s)
    with closing(service), health_pages(settings.web_host, terms.port, terms.port_setting, health):
        try:
            keep_stepping(service, terms, health, settings.service_patience_s, stopping)
        except ENDING + terms.ending as error:
            log = structlog.get_logger(terms.name)
            log.critical(f"{terms.name}_ended", error=type(error).__name__, why=str(error))
            raise SystemExit(ENDED) from error
    raise SystemExit(0)


def keep_stepping(service: Service, terms: Terms, health: Health, patience_s: float, stopping: threading.Event) -> None:
    """Take turn after turn; raise a failure that can't be waited out, or that outlasted the patience."""
    log = structlog.get_logger(terms.name)
    log.info(f"{terms.name}_started")
    for failure in PASSING + terms.passing:
        HOLDS.labels(terms.name, failure.__name__)  # from 0 on: Prometheus sees no rise in a series that begins above
    failing_since_s: float | None = None
    went_well_since_s: float | None = None
    is_held = False
    while not stopping.is_set():
        health.turn()
        try:
            if is_held:
                service.begin_again()
            health.tell(service.step(stopping))
            is_held, now_s = False, time.monotonic()
            went_well_since_s = now_s if went_well_since_s is None else went_well_since_s
            if now_s - went_well_since_s > RECOVERED_S:
                failing_since_s = None
        except PASSING + terms.passing as error:
            is_held, went_well_since_s = True, None
            failing_since_s = time.monotonic() if failing_since_s is None else failing_since_s
            if time.monotonic() - failing_since_s > patience_s:
                raise
            kind = type(error).__name__
            health.tell(f"it holds: {kind}, {error}")
            HOLDS.labels(terms.name, kind).inc()
            log.warning(f"{terms.name}_holds", error=kind, why=str(error))
            stopping.wait(HOLD_WAIT_S)
    log.info(f"{terms.name}_stopped")


def _handler(act: Callable[[], None]) -> Callable[..., None]:
    return lambda *_: act()
