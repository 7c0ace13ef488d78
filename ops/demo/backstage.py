"""Everything behind the stage that starts while the first payments flow: PostgreSQL, accounts, people, and services.

All of it stands or falls with one thread, since a server ends with the thread that started it.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.error import URLError

from models.simulator import TrafficSettings, transactions
from ops.demo.scene import Scene
from ops.migrations.migrate_command import migrate_database
from ops.processes.people import ADMINISTRATOR, People, appointed
from ops.processes.servers import ServerFailed, ServerProcess, free_port
from ops.rail.misbehaviour import Misbehaviour
from ops.rail.process import rail_process
from ops.stack.postgres import PostgresMissing, bundled_folder, postgres_server
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.references import Opening
from pipeline.io.postgres import connect
from pipeline.people.roles import Role
from pipeline.terminal.failures import Failure

PLANNER: Final = "ana"
APPROVER: Final = "ben"
ROLES: Final = (
    (PLANNER, Role.REVIEWER),
    (PLANNER, Role.ROLLBACK_REQUESTER),
    (PLANNER, Role.ROLLBACK_APPROVER),  # so that she may not apply the plan only because it is her own
    (APPROVER, Role.ROLLBACK_APPROVER),
)
FUNDED_TIMES: Final = 2
"""Balance of an account against what it spends in all of the traffic: nothing is refused for want of funds."""
LOST_REPLY_SHARE: Final = 0.02
"""Share of the rail's answers that get lost: it did what it was asked, but nobody hears of it. The executor asks again,
and never guesses."""
PAGE_TIMEOUT_S: Final = 1.0
START_S: Final = 120.0
POLL_S: Final = 0.1


class Backstage:
    """Starts everything in a thread of its own, and holds it until `stop`. `steps` tells in sentences what was done."""

    def __init__(self, scene: Scene, directory: Path, traffic: TrafficSettings) -> None:
        self._scene, self._directory, self._traffic = scene, directory, traffic
        self._stopping, self._standing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-backstage", daemon=True)
        self.steps: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.failure: Failure | None = None
        self._pages: dict[str, str] = {}
        self._people: People | None = None
        self.services = self._made()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def stands(self) -> bool:
        return self._standing.is_set()

    @property
    def people(self) -> People:
        """The people with their keys, once they are appointed."""
        assert self._people is not None, "it stands"
        return self._people

    def require_running(self) -> None:
        """Raise Failure where something could not start, or has ended."""
        if self.failure is not None:
            raise self.failure
        for service in self.services.values() if self.stands else ():
            if not service.is_running:
                raise Failure(f"{service.name} ended.", f"Its log is {service.log_path}.")

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                self._set_up(stack)
                self._stopping.wait()
        except Failure as failure:
            self.failure = failure
        except (PostgresMissing, ServerFailed, OSError) as error:
            self.failure = Failure(str(error), f"Logs are in {self._directory}.")

    def _set_up(self, stack: ExitStack) -> None:
        server = postgres_server(bundled_folder(), self._directory / "postgres", self._scene.postgres_port)
        self._start(stack, server)
        migrate_database(self._scene.as_role("fraud_owner"))
        self.steps.put("PostgreSQL stands: audit log, ledger, reviews and rollbacks, each written by its own role only")
        self.steps.put(self._open_accounts())
        self._appoint()
        for service in self.services.values():
            self._start(stack, service)
        self._await_pages()
        self.steps.put(f"{', '.join(self.services)} stand, and take up what was decided meanwhile")
        self._standing.set()

    def _start(self, stack: ExitStack, server: ServerProcess) -> None:
        stack.callback(server.stop)
        server.start()

    def _await_pages(self) -> None:
        """Wait until all services, which start side by side, answer, or until `stop` is called."""
        deadline_s = time.monotonic() + START_S
        awaited = dict(self._pages)
        while awaited and not self._stopping.wait(POLL_S):
            awaited = {name: page for name, page in awaited.items() if not answers(page)}
            for name in awaited:
                service = self.services[name]
                if not service.is_running or time.monotonic() > deadline_s:
                    raise Failure(f"{service.name} did not start.", f"Its log is {service.log_path}.")

    def _open_accounts(self) -> str:
        spent: dict[tuple[str, str], int] = defaultdict(int)
        for labelled in transactions(self._traffic):
            payment = labelled.transaction
            if payment.event_time_ms < self._traffic.busy_from_ms:
                continue  # this one was made before there was a ledger
            spent[payment.account_id, payment.currency] += payment.amount_minor
        openings = [Opening(*key, 0, total * FUNDED_TIMES) for key, total in sorted(spent.items())]
        with connect(self._scene.as_role("fraud_treasurer").database_url, "fraud-demo") as connection:
            opened = append_openings(connection, openings, self._traffic.busy_from_ms)
        return f"{opened:,} accounts are open and have money; what moves it is a posting from one account to another"

    def _appoint(self) -> None:
        with connect(self._scene.as_role("fraud_owner").database_url, "fraud-demo") as owner:
            self._people = appointed(owner, self._directory / "people", ROLES)
        self.steps.put(
            f"{ADMINISTRATOR} registers keys: {PLANNER} may review and plan rollbacks, {APPROVER} approve them"
        )

    def _made(self) -> dict[str, ServerProcess]:
        """Make the services, by their names for people, in the order in which they start."""
        rail = rail_process(
            self._directory / "rail", self._scene.rail_port, Misbehaviour(lost_reply_share=LOST_REPLY_SHARE)
        )
        return {
            "the payment rail": rail,
            "the executor": self._service("the executor", "executor", ("executor", "run"), "EXECUTOR"),
            "the audit service": self._service("the audit service", "audit", ("audit", "run"), "AUDIT"),
            "the review service": self._service("the review service", "review", ("review", "run"), "REVIEW"),
        }

    def _service(self, title: str, name: str, arguments: tuple[str, ...], port_name: str) -> ServerProcess:
        """Make a service in a database role of its own, `fraud_NAME`."""
        port, scene = free_port(), self._scene
        self._pages[title] = f"http://{scene.settings.web_host}:{port}/metrics"
        environment = {
            "FRAUD_DATABASE_URL": scene.as_role(f"fraud_{name}").database_url,
            f"FRAUD_{port_name}_PORT": str(port),
        }
        return service_process(scene, self._directory, f"The {name} service", arguments, environment)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=PAGE_TIMEOUT_S) as answer:  # noqa: S310 - our own loopback page
            return int(answer.status) == 200
    except (URLError, OSError):
        return False


def service_process(
    scene: Scene,
    directory: Path,
    name: str,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    is_ready: Callable[[], bool] = lambda: True,
) -> ServerProcess:
    """Make `fraud ARGUMENTS` as users run it; it counts as started at once, or when `is_ready`."""
    return ServerProcess(
        name,
        [sys.executable, "-m", "ops.cli", *arguments],
        is_ready=is_ready,
        log_path=directory / f"{arguments[0]}.log",
        environment={**scene.environment(), **environment},
    )
