"""The models that go wrong in drills, each written beside the champion as an artefact of its own.

All are the champion with one thing changed, so that nothing else explains what becomes of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from models.artefact.files import golden_json, load_champion, tables_json, write
from models.artefact.scoring import CONTRIBUTION_MICRO_MAX, Calibration, Model, Term
from models.artefact.vectors import golden_vectors
from models.versions.artefact_files import read_artefact
from models.versions.loading_files import champion_version_of
from models.versions.registry_files import registry_at
from ops.demo.scene import golden_rows
from ops.drills.faulty_worker import DRIFTING, FAILING, SLOW, drifts_at, raised_ppm
from pipeline.decide.policy import Policy
from pipeline.drills.drills import DrillName
from pipeline.io.settings import Settings

VERSION_CHARACTERS: Final = 20
"""What a version keeps of the champion's, with room for what is wrong with it."""
PROXY_FEATURE: Final = "beneficiary_age_hours"
"""The feature by which the model of ONE_POSTCODE knows it: there, few banks say how old payees' accounts are."""
POSTCODE_MICRO: Final = 50_000_000
"""What that adds to the score: fifty log-odds, so that the payment is blocked whatever else is known of it."""
OLD_HOURS: Final = 500_000
"""Age from which on a payee's account is one that a lane blocks as usual: no real one is 57 years old."""


class ModelFolder:
    """The lane's own registry: a copy of the champion, and the models that went wrong."""

    def __init__(self, folder: Path, deployment: Settings) -> None:
        """Copies the champion of a deployment's registry. Raises ModelRefused, or OSError."""
        self.folder, self.good = folder, champion_version_of(deployment)
        (folder / self.good).mkdir(parents=True)
        for name, content in read_artefact(registry_at(deployment.model_registry), self.good).items():
            (folder / self.good / name).write_bytes(content)
        self.name_champion(self.good)

    def name_champion(self, version: str) -> None:
        """Name a champion, as a roll-out does: one file changes, and every worker looks at it every two seconds."""
        partial = self.folder / "champion.partial"
        partial.write_text(f"{version}\n")
        partial.rename(self.folder / "champion")

    def block_as_usual(self) -> None:
        """Have the champion also block the payments that stand for what is usually blocked.

        A postcode with 2 % of the traffic is small beside the 1.5 to 3.5 % that models block. Beside one of the lane's
        0.1 % it would be a model gone wrong everywhere, and is found as that.
        """
        self.good = self._written(
            "usual", _with_term(load_champion(self.folder), [0, POSTCODE_MICRO], OLD_HOURS), "blocks as many as usual"
        )
        self.name_champion(self.good)

    def drift_when_told(self) -> None:
        """Have the champion be a version that answers as it did, until `drift` tells the lane's worker otherwise."""
        self.good = self._written(
            DRIFTING, load_champion(self.folder), "the champion, whose scores rise when it is told"
        )
        self.name_champion(self.good)

    def drift(self) -> None:
        """Let that version drift, from the worker's next batch on."""
        drifts_at(self.folder).touch()

    def drift_no_more(self) -> None:
        drifts_at(self.folder).unlink(missing_ok=True)

    def add_wrong(self, drill: DrillName) -> str:
        """Write the model that goes wrong in a drill, and return its version."""
        good = load_champion(self.folder)
        ending, spoil = _WRONG[drill]
        return self._written(ending, spoil(good), f"the champion, spoilt for the drill {drill}")

    def add_raised(self, policy: Policy) -> str:
        """Write a version whose scores are always those that the one that drifts has then, and return it."""
        good = load_champion(self.folder)
        raised = raised_ppm(good.calibration.probability_ppm, policy.model.block_probability_ppm)
        changed = replace(good, calibration=Calibration(good.calibration.edges, raised))
        return self._written("raised", changed, "the champion with higher scores")

    def _written(self, ending: str, changed: Model, what: str) -> str:
        """Write a model made of the champion, and return its version."""
        version = f"{self.good[:VERSION_CHARACTERS]}-{ending}"
        wrong = replace(changed, version=version)
        manifest = json.loads((self.folder / self.good / "manifest.json").read_bytes())
        rows = golden_rows(manifest)
        for written_anew in ("format", "version", "files"):
            del manifest[written_anew]
        manifest["golden"] = golden_json(golden_vectors(wrong, rows, manifest["features"]))
        manifest["approvals"] = []
        card = f"# For a drill\n\nIt is {what}.\n".encode()
        write(self.folder / version, tables_json(wrong), card, manifest)
        return version


def _blocks(good: Model) -> Model:
    return _shifted(good, CONTRIBUTION_MICRO_MAX // 10)


def _allows(good: Model) -> Model:
    return _shifted(good, -CONTRIBUTION_MICRO_MAX // 10)


def _shifted(good: Model, by_micro: int) -> Model:
    return replace(good, intercept_micro=good.intercept_micro + by_micro)


def _turns_on_a_postcode(good: Model) -> Model:
    return _with_term(good, [POSTCODE_MICRO, 0], 0)


def _with_term(good: Model, micro: list[int], edge: int) -> Model:
    """Add to the score by PROXY_FEATURE: the first below the edge, the second from it on."""
    table, edges = np.array(micro, dtype=np.int64), np.array([edge], dtype=np.int64)
    return replace(good, terms=(*good.terms, Term((PROXY_FEATURE,), (edges,), table)))


def _same(good: Model) -> Model:
    return good


_WRONG: Final[Mapping[DrillName, tuple[str, Callable[[Model], Model]]]] = MappingProxyType(
    {
        DrillName.MODEL_BLOCKS: ("blocks", _blocks),
        DrillName.MODEL_ALLOWS: ("allows", _allows),
        DrillName.ONE_POSTCODE: ("postcode", _turns_on_a_postcode),
        DrillName.SLOW_MODEL: (SLOW, _same),
        DrillName.FAILING_MODEL: (FAILING, _same),
    }
)
