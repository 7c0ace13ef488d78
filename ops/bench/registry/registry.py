"""10,000 changes of one byte in a signed registry, and every whole forgery: nothing of it loads.

A registry as a bank has it (ops/bench/registry/scene.py) is loaded as a worker does, with the people's acts. Then a
seed picks, again and again, a file of the artefact, its manifest, signature, one of its approvals or an alias record,
and a byte of it, which becomes another. The worker's loading must refuse it. The change is also shown to the one layer
whose work it is, without the hashes that the alias's record pins: the artefact's own loading, the signature's
verification, the approvals', the chain's. What such a layer lets through is a fault as well, since the others may not
be there to catch it. Then come the forgeries (forgeries.py), each done to a registry of its own.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from models.artefact.files import load_contents
from models.artefact.strict import ModelRefused, refuse
from models.versions.alias_files import champion_record
from models.versions.approval_files import standing_approvals
from models.versions.artefact_files import read_artefact
from models.versions.loading_files import load_by_alias
from models.versions.signature_files import require_signed
from ops.bench.registry.forgeries import FORGERIES, copy_of, refused_with
from ops.bench.registry.scene import AT_MS, FIRST, HOUR_MS, Scene, make_scene
from ops.bench.rig.evidence import Say

SEED: Final = 20_261_130
CHANGES: Final = 10_000
QUICK_CHANGES: Final = 300
KINDS: Final = ("artefact", "manifest", "signature", "approval", "alias")
TOLD_EVERY: Final = 500
_QUOTED: Final = re.compile(r"'[\w./-]+'")


class Place(NamedTuple):
    kind: str
    path: Path


def run(
    say: Say, folder: Path, *, is_quick: bool, sizes: Mapping[str, int] = MappingProxyType({})
) -> dict[str, object]:
    began_s = time.monotonic()
    changes = sizes.get("changes", QUICK_CHANGES if is_quick else CHANGES)
    scene = make_scene(folder / "bank")
    load_by_alias(scene.registry, scene.trust)
    changed = _change_bytes(say, scene, changes)
    load_by_alias(scene.registry, scene.trust)  # all is as it was
    forged = {
        name: refused_with(forgery, copy_of(scene, folder / f"forged-{at}"))
        for at, (name, forgery) in enumerate(FORGERIES.items())
    }
    for name, sentence in forged.items():
        say(f"{name}: {sentence or 'IT GOT THROUGH'}")
    let_in = [name for name, sentence in forged.items() if sentence is None]
    faults = [*changed.loaded, *changed.passed_a_layer, *let_in, *changed.crashes]
    return {
        "ok": not faults,
        "seed": SEED,
        "changes": changes,
        "changes_by_kind": dict(changed.kinds),
        "changes_loaded": changed.loaded,
        "changes_let_through_by_their_own_layer": changed.passed_a_layer,
        "crashes": changed.crashes,
        "distinct_sentences": len(changed.sentences),
        "forgeries": len(forged),
        "forgeries_let_in": let_in,
        "distinct_sentences_of_forgeries": len(set(forged.values())),
        "seconds": round(time.monotonic() - began_s, 1),
    }


class _Changed(NamedTuple):
    kinds: Counter[str]
    sentences: Counter[str]
    loaded: list[str]
    passed_a_layer: list[str]
    crashes: list[str]


def _change_bytes(say: Say, scene: Scene, changes: int) -> _Changed:
    draw = random.Random(SEED)  # noqa: S311 - a seed that tells all, no secret
    places = _places(scene)
    found = _Changed(Counter(), Counter(), [], [], [])
    for at in range(changes):
        kind = KINDS[at % len(KINDS)]
        place = draw.choice([each for each in places if each.kind == kind])
        content = place.path.read_bytes()
        offset, put = draw.randrange(len(content)), draw.randrange(1, 256)
        altered = bytearray(content)
        altered[offset] ^= put
        what = f"change {at} of {place.path.name} at {offset} by {put}"
        place.path.write_bytes(bytes(altered))
        try:
            _look(scene, kind, what, found)
        finally:
            place.path.write_bytes(content)
        found.kinds[kind] += 1
        if (at + 1) % TOLD_EVERY == 0:
            say(f"{at + 1} changes, {len(found.loaded)} loaded")
    for sentence, count in found.sentences.most_common():
        say(f"{count:>6} {sentence}")
    return found


def _look(scene: Scene, kind: str, what: str, found: _Changed) -> None:
    whole = _sentence(lambda: load_by_alias(scene.registry, scene.trust), what, found)
    if whole is None:
        found.loaded.append(what)
    else:
        found.sentences[_shape(whole)] += 1
    alone = _sentence(lambda: _LAYERS[kind](scene), what, found)
    if alone is None:
        found.passed_a_layer.append(what)
    else:
        found.sentences[_shape(alone)] += 1


def _sentence(look: Callable[[], object], what: str, found: _Changed) -> str | None:
    try:
        look()
    except ModelRefused as refusal:
        return str(refusal)
    except Exception as error:  # a crash is no sentence
        found.crashes.append(f"{what}: {type(error).__name__}")
        return f"{type(error).__name__}"
    return None


def _shape(sentence: str) -> str:
    """A sentence without what it quotes, so that equal ones count as one."""
    return _QUOTED.sub("'…'", sentence)


def _load_alone(scene: Scene) -> None:
    """Load the files without a signature: what the manifest's hashes and golden vectors catch."""
    contents = {name: each for name, each in read_artefact(scene.registry, FIRST).items() if name != "model.sig"}
    load_contents(FIRST, contents)


def _verify_alone(scene: Scene) -> None:
    contents = read_artefact(scene.registry, FIRST)
    require_signed(FIRST, contents, scene.keys, AT_MS, None)


def _approvals_alone(scene: Scene) -> None:
    standing = standing_approvals(scene.registry, FIRST, scene.book.people, AT_MS + HOUR_MS)
    if standing.missing is not None:
        refuse("; ".join([standing.missing, *standing.faults]))


_LAYERS: Final[Mapping[str, Callable[[Scene], object]]] = {
    "artefact": _load_alone,
    "manifest": _verify_alone,  # nothing in the manifest vouches for the manifest
    "signature": _verify_alone,
    "approval": _approvals_alone,
    "alias": lambda scene: champion_record(scene.registry, scene.keys),
}


def _places(scene: Scene) -> list[Place]:
    root = scene.registry.root
    return [
        Place("artefact", root / FIRST / "tables.json"),
        Place("artefact", root / FIRST / "card.md"),
        Place("manifest", root / FIRST / "manifest.json"),
        Place("signature", root / FIRST / "model.sig"),
        *(Place("approval", path) for path in sorted((root / "approvals" / FIRST).iterdir())),
        *(Place("alias", path) for path in sorted((root / "aliases" / "champion").iterdir())),
    ]
