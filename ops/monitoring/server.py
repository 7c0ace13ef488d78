"""Prometheus as a child process, with the shipped rules, for tests and benches: Debian's package `prometheus`."""

from __future__ import annotations

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from ops.processes.servers import LOOPBACK, ServerProcess, free_port

FOLDER: Final = Path(__file__).parent
ANSWER_S: Final = 30.0


class Sample(NamedTuple):
    labels: dict[str, str]
    value: float


class Prometheus:
    """A Prometheus that scrapes `targets` (a port by job) every second, and evaluates the shipped rules as often."""

    def __init__(self, directory: Path, targets: Mapping[str, int]) -> None:
        """Raises FileNotFoundError where Prometheus isn't installed."""
        program = shutil.which("prometheus")
        if program is None:
            raise FileNotFoundError("prometheus is not installed: apt-get install prometheus")
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "prometheus.yml"
        config.write_text(yaml.safe_dump(_config(targets)), encoding="utf-8")
        self._address = f"{LOOPBACK}:{free_port()}"
        self.process = ServerProcess(
            "Prometheus",
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'series'}",
                f"--web.listen-address={self._address}",
                "--enable-feature=exemplar-storage",
            ],
            is_ready=self._is_ready,
            log_path=directory / "prometheus.log",
        )

    def query(self, query: str) -> list[Sample]:
        """Return what an instant query yields now."""
        found = self._ask("query", query=query)
        return [Sample(each["metric"], float(each["value"][1])) for each in found["result"]]

    def exemplars(self, query: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
        """Return the exemplars of the series of a query, between two times since 1970."""
        found = self._ask("query_exemplars", query=query, start=str(start_s), end=str(end_s))
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def _ask(self, what: str, **parameters: str) -> Any:
        address = f"http://{self._address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=ANSWER_S) as answer:
            return json.load(answer)["data"]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=1) as answer:
                return int(answer.status) == 200
        except OSError:
            return False


def _config(targets: Mapping[str, int]) -> dict[str, Any]:
    """Return the shipped configuration with other targets, at a pace at which a test need not wait."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / "rules" / "*.yml")]
    del config["alerting"]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"{LOOPBACK}:{targets[job['job_name']]}"]}]
    return config
