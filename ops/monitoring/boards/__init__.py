"""The boards: for on-call, for Risk, and for the board of directors. Grafana's files are made from these tables.

Kept as Python and not as JSON: a test runs every query against a Prometheus that has scraped the pipeline, and runbooks
name panels by their titles. `python -m ops.monitoring` writes the files.
"""

from typing import Final

from ops.monitoring.boards.directors import DIRECTORS
from ops.monitoring.boards.on_call import ON_CALL
from ops.monitoring.boards.risk import RISK

BOARDS: Final = (ON_CALL, RISK, DIRECTORS)
