"""`fraud worker run`: one decision worker in the foreground, logging JSON to stderr."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import NoReturn

import faust

from models.artefact.files import ModelRefused
from pipeline.decide.app import build
from pipeline.decide.feeds.feed import FeedRefused
from pipeline.decide.policy import PolicyRefused
from pipeline.io import logs
from pipeline.io.garbage import calm_garbage_collector
from pipeline.io.health import PortUnavailable
from pipeline.io.kafka.client import require_broker
from pipeline.io.kafka.faust_credentials import CredentialsRefused
from pipeline.io.kafka.topic_settings import require_kept_context, require_kept_switches, require_log_clock
from pipeline.io.sealing import KeyRefused
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure


def run_worker(settings: Settings) -> NoReturn:
    """Until SIGTERM or SIGINT (exit 0), or until it must give up its place (exit 75). Failure where it can't start."""
    logs.configure(settings.log_level)
    _require_port(settings)
    require_broker(settings.bootstrap_servers, settings.kafka_options)  # once; later, one that goes away is waited for
    require_log_clock(settings)
    require_kept_switches(settings)
    require_kept_context(settings)
    try:
        app = build(settings)
    except OSError as error:
        raise Failure(f"{error.filename} can't be read.", "`fraud config check` looks at every file.") from error
    except (PolicyRefused, ModelRefused, FeedRefused, KeyRefused, CredentialsRefused) as refusal:
        raise Failure(f"{refusal}.", "`fraud config check` says more.") from refusal
    # Our own JSON logs stand already; Faust's set-up would replace them and capture stdout.
    worker = _Worker(app, override_logging=False, redirect_stdouts=False, quiet=True)
    worker.spinner = None  # it writes to the terminal even when told to be quiet
    calm_garbage_collector()
    worker.execute_from_commandline()


class _Worker(faust.Worker):
    def _on_sigusr1(self) -> None:
        """Faust would log every thread's local variables, payments among them (I10)."""


def _require_port(settings: Settings) -> None:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.web_host, settings.web_port))
        except OSError as error:
            port = settings.web_port
            raise PortUnavailable(settings.web_host, port, "FRAUD_WEB_PORT", error.strerror) from error
