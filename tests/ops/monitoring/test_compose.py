"""docker-compose.override.yml: what stands beside the development stack, as confined as that, not in production."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from ops.bench.production.compose_files import BASE, services
from ops.monitoring.boards import BOARDS
from ops.monitoring.server import FOLDER
from ops.stack.versions import MONITORING_IMAGES
from tests.ops.monitoring.scene import PORTS

ROOT = Path(__file__).parents[3]
NAME = "docker-compose.override.yml"
OVERRIDE: dict[str, Any] = yaml.safe_load((ROOT / NAME).read_text(encoding="utf-8"))
BASE_FILE: dict[str, Any] = yaml.safe_load((ROOT / BASE).read_text(encoding="utf-8"))
MERGED = services(ROOT, [BASE, NAME], {})
ADDED = sorted(OVERRIDE["services"].keys() - BASE_FILE["services"].keys())


def test_file_is_valid_by_the_compose_specification() -> None:
    try:
        place = distribution("check-jsonschema").locate_file(
            "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
        )
    except PackageNotFoundError:
        pytest.skip("check-jsonschema, which ships the compose specification's schema, is not installed")
    schema = json.loads(Path(str(place)).read_text(encoding="utf-8"))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(OVERRIDE)] == []


def test_what_is_added_is_named_by_version_and_digest() -> None:
    assert {name: OVERRIDE["services"][name]["image"] for name in ADDED} == dict(MONITORING_IMAGES)
    assert all(re.search(r":v?[0-9.]+@sha256:[0-9a-f]{64}$", image) for image in MONITORING_IMAGES.values())


@pytest.mark.parametrize("name", ADDED)
def test_what_is_added_has_no_rights_to_spare(name: str) -> None:
    settings = OVERRIDE["services"][name]
    assert (True, ["ALL"], ["no-new-privileges:true"]) == tuple(
        settings[each] for each in ("read_only", "cap_drop", "security_opt")
    )
    assert settings["user"].partition(":")[0] != "0"
    assert {"cpus", "memory", "pids"} == settings["deploy"]["resources"]["limits"].keys()
    assert all(port.startswith("127.0.0.1:") for port in settings["ports"])
    assert all(mount.partition(":")[0] in OVERRIDE["volumes"] for mount in settings.get("volumes", []))
    assert name == "collector" or "healthcheck" in settings, "the collector's image holds nothing that could ask"


def test_what_is_added_reaches_the_pages_and_nothing_else() -> None:
    reached = {name for name, service in MERGED.items() if "metrics" in service.networks}
    assert set(PORTS) | set(ADDED) == reached
    assert all(("metrics",) == MERGED[name].networks for name in ADDED)


@pytest.mark.parametrize("name", sorted(PORTS))
def test_service_is_scraped_where_its_page_is(name: str) -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    [job] = [each for each in config["scrape_configs"] if each["job_name"] == name]
    port = MERGED[name].environment[PORTS[name]]
    assert [{"targets": [f"{name}:{port}"]}] == job["static_configs"]
    assert MERGED[name].environment["FRAUD_WEB_HOST"] == "0.0.0.0"
    assert set(MERGED[name].networks) > {"metrics"}, "it keeps its own networks"


def test_files_are_mounted_where_they_are_looked_for() -> None:
    mounted = {
        (name, each["target"]): OVERRIDE["configs"][each["source"]]["file"]
        for name in ADDED
        for each in OVERRIDE["services"][name]["configs"]
    }
    assert all((ROOT / path).is_file() for path in mounted.values())
    rules = {path for (_, target), path in mounted.items() if target.startswith("/etc/prometheus/rules/")}
    assert {f"./ops/monitoring/rules/{path.name}" for path in (FOLDER / "rules").glob("*.yml")} == rules
    boards = {target for name, target in mounted if target.startswith("/etc/grafana/boards/")}
    assert {f"/etc/grafana/boards/{board.name}.json" for board in BOARDS} == boards
    [source] = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert ("prometheus", "http://prometheus:9090") == (source["uid"], source["url"])
    [provider] = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/boards.yml").read_text())["providers"]
    assert "/etc/grafana/boards" == provider["options"]["path"]


def test_series_are_kept_for_longer_than_a_board_looks_back() -> None:
    [kept] = [each for each in OVERRIDE["services"]["prometheus"]["command"] if "retention.time" in each]
    days = [
        int(each)
        for board in BOARDS
        for panel in board.panels
        for line in panel.lines
        for each in re.findall(r"\[(\d+)d\]", line.query)
    ]
    assert int(kept.partition("=")[2].removesuffix("d")) > max(days)
