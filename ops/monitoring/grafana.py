"""Grafana's JSON for the boards: the same bytes each time, so that a test can hold the files to the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ops.monitoring.boards.panel import USUAL_DIGITS, Board, Kind, Panel, Unit, unusual_digits

FOLDER: Final = Path(__file__).parent / "grafana" / "boards"
DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
COLUMNS: Final = 24
WIDTH: Final = 8
HEIGHT: Final = 8
OBJECTIVE_DECIMALS: Final = 3
"""A percentage has so many decimals: with fewer, 99.998 % is shown as 100 %, and an objective of 99.999 % as kept."""


def board_json(board: Board) -> str:
    """Return the file of a board."""
    content = {
        "uid": f"fraud-{board.name}",
        "title": board.title,
        "tags": ["fraud"],
        "timezone": "utc",
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": [_panel(panel, number) for number, panel in enumerate(board.panels)],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    is_instant = panel.kind is not Kind.TIME_SERIES
    place = number * WIDTH
    return {
        "id": number + 1,
        "title": panel.title,
        "description": panel.says,
        "type": str(panel.kind),
        "datasource": DATASOURCE,
        "gridPos": {"x": place % COLUMNS, "y": place // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel.kind),
        "targets": [
            {
                "refId": chr(ord("A") + place_of_line),
                "datasource": DATASOURCE,
                "expr": line.query,
                "legendFormat": line.legend,
                "instant": is_instant,
                "range": not is_instant,
                "exemplar": not is_instant and "histogram_quantile" in line.query,
                **({"format": "table"} if panel.kind is Kind.TABLE else {}),
            }
            for place_of_line, line in enumerate(panel.lines)
        ],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    """A number without a value is said to be not known. One with an objective is red where it is missed, and no other
    is red or green: where a file names no thresholds, Grafana calls all below 80 good and all from there on bad.
    """
    defaults: dict[str, Any] = {"unit": str(panel.unit)}
    if panel.unit is Unit.MONEY:
        defaults["decimals"] = USUAL_DIGITS
    if panel.kind not in (Kind.NUMBER, Kind.BARS):
        return defaults
    steps: list[dict[str, Any]] = [{"color": "blue", "value": None}]
    if panel.objective is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.objective}]
    defaults |= {"noValue": "not known", "thresholds": {"mode": "absolute", "steps": steps}}
    return defaults | ({"decimals": OBJECTIVE_DECIMALS} if panel.unit is Unit.SHARE and panel.objective else {})


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    """An amount has the decimals of its currency, whose code each of its legends ends with."""
    if panel.unit is not Unit.MONEY:
        return []
    return [
        {
            "matcher": {"id": "byRegexp", "options": f"/({'|'.join(named)})$/"},
            "properties": [{"id": "decimals", "value": digits}],
        }
        for digits, named in unusual_digits().items()
    ]


def _options(kind: Kind) -> dict[str, Any]:
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match kind:
        case Kind.TIME_SERIES:
            return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
        case Kind.NUMBER:
            return {"reduceOptions": reduced, "colorMode": "value", "graphMode": "area"}
        case Kind.BARS:
            return {"reduceOptions": reduced, "orientation": "horizontal", "displayMode": "basic"}
        case Kind.TABLE:
            return {"showHeader": True}
