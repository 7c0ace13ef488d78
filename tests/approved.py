"""A registry of models as production wants one: its champion is signed, and approved by three people."""

from __future__ import annotations

from pathlib import Path

from ops.bench.registry.scene import make_scene
from pipeline.keys.key_files import read_key_set, replace_key_set
from pipeline.keys.key_sets import KeyUse, with_key
from pipeline.people.people_files import write_people


def approve_model(folder: Path, keys: Path) -> dict[str, str]:
    """Make the registry and the people's file in `folder`; return what names them to a worker.

    keys: a key set, which holds the keys that signed from then on.
    """
    scene = make_scene(folder)
    held = read_key_set(keys)
    for use, public in ((KeyUse.MODELS, scene.models.public), (KeyUse.ARTEFACTS, scene.artefacts.public)):
        held = with_key(held, use, public, 0)
    replace_key_set(keys, held)
    write_people(folder / "people", scene.book.acts)
    return {
        "FRAUD_MODEL_REGISTRY": str(folder / "registry"),
        "FRAUD_MODEL_MEMORY": str(folder / "memory"),
        "FRAUD_PEOPLE_FILE": str(folder / "people"),
    }
