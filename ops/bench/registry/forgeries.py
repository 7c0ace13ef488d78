"""Forgeries that are whole: each leaves a registry in which every single file looks right, and none may load.

Each is done to a registry of its own, by somebody who has the disk, and in some who also stole a key.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from models.artefact.strict import ModelRefused
from models.versions.alias_files import champion_record, move_alias
from models.versions.aliases import Seen
from models.versions.approval_files import write_approval
from models.versions.artefact_files import digest_of, read_artefact
from models.versions.evidence_files import read_evidence
from models.versions.history import Event
from models.versions.history_files import append_history, read_history
from models.versions.loading_files import load_by_alias
from models.versions.locations import Alias
from models.versions.records import sha256_of
from models.versions.registry_files import DirectoryRegistry
from models.versions.signature_files import signed_artefact
from ops.bench.registry.scene import (
    APPROVERS,
    AT_MS,
    FIRST,
    HOUR_MS,
    SECOND,
    Scene,
    approve,
    copy_version,
    identity,
    move,
    replace,
    sign,
)
from pipeline.keys.artefact_key_files import create_artefact_key
from pipeline.keys.key_files import create_signing_key
from pipeline.keys.key_sets import KeyUse, with_key, with_revocation
from pipeline.people.roles import Role

LATER_MS: Final = AT_MS + 10 * HOUR_MS
THIRD: Final = "glass-third"
CHAMPIONS: Final = "aliases/champion"


def seen_of(scene: Scene) -> Seen:
    record = champion_record(scene.registry, scene.keys)
    return Seen(record.sequence, record.sha256)


def _old_alias_record(scene: Scene) -> None:
    content = scene.registry.read(f"{CHAMPIONS}/000002.json", 2**20) or b""
    replace(scene.registry, f"{CHAMPIONS}/000004.json", content)
    load_by_alias(scene.registry, scene.trust)


def _last_record_gone(scene: Scene) -> None:
    seen = seen_of(scene)
    (scene.registry.root / CHAMPIONS / "000003.json").unlink()
    load_by_alias(scene.registry, scene.trust, seen)


def _middle_record_gone(scene: Scene) -> None:
    (scene.registry.root / CHAMPIONS / "000002.json").unlink()
    load_by_alias(scene.registry, scene.trust)


def _older_registry(scene: Scene) -> None:
    """All of it, history included, is put back as it was two moves before."""
    before = scene.folder / "before"
    shutil.copytree(scene.registry.root, before)
    move(scene, SECOND, LATER_MS)
    seen = seen_of(scene)
    shutil.rmtree(scene.registry.root)
    shutil.copytree(before, scene.registry.root)
    load_by_alias(scene.registry, scene.trust, seen)


def _other_branch(scene: Scene) -> None:
    """Somebody with the key writes another third record than the one that was in force."""
    seen = seen_of(scene)
    (scene.registry.root / CHAMPIONS / "000003.json").unlink()
    move(scene, FIRST, LATER_MS)
    load_by_alias(scene.registry, scene.trust, seen)


def _challengers_record(scene: Scene) -> None:
    """A challenger's first record becomes the champion's, in a registry that had none."""
    move_alias(scene.registry, scene.keys, scene.models, alias=Alias.CHALLENGER, version=SECOND, by="b", at_ms=LATER_MS)
    shutil.rmtree(scene.registry.root / CHAMPIONS)
    shutil.copytree(scene.registry.root / "aliases/challenger", scene.registry.root / CHAMPIONS)
    load_by_alias(scene.registry, scene.trust)


def _strangers_key(scene: Scene) -> None:
    stranger = create_signing_key(scene.folder / "stranger.key", KeyUse.MODELS, with_set=False)
    theirs = with_key(scene.keys, KeyUse.MODELS, stranger.public, 0)
    move(scene._replace(models=stranger, keys=theirs), SECOND, LATER_MS)
    load_by_alias(scene.registry, scene.trust)


def _key_for_another_use(scene: Scene) -> None:
    drills = create_signing_key(scene.folder / "drills.key", KeyUse.DRILLS, with_set=False)
    theirs = with_key(scene.keys, KeyUse.MODELS, drills.public, 0)
    move(scene._replace(models=drills, keys=theirs), SECOND, LATER_MS)
    ours = with_key(scene.keys, KeyUse.DRILLS, drills.public, 0)
    load_by_alias(scene.registry, scene.trust._replace(keys=ours))


def _revoked_key(scene: Scene) -> None:
    revoked = with_revocation(scene.keys, scene.models.key_id, LATER_MS, "it was copied")
    load_by_alias(scene.registry, scene.trust._replace(keys=revoked))


def _swapped_versions(scene: Scene) -> None:
    root = scene.registry.root
    (root / FIRST).rename(root / "between")
    (root / SECOND).rename(root / FIRST)
    (root / "between").rename(root / SECOND)
    load_by_alias(scene.registry, scene.trust)


def _renamed_version_moved_to(scene: Scene) -> None:
    """A thief of the records' key moves the alias to a copy of a signed version under another name."""
    shutil.copytree(scene.registry.root / SECOND, scene.registry.root / THIRD)
    move(scene, THIRD, LATER_MS, pinned={})
    load_by_alias(scene.registry, scene.trust)


def _third_moved_to(scene: Scene, pinned: Mapping[str, str]) -> None:
    """A third version that is signed and nothing else; a thief of the records' key moves the alias to it."""
    move(scene, THIRD, LATER_MS, pinned=pinned)
    load_by_alias(scene.registry, scene.trust)


def _third(scene: Scene) -> None:
    copy_version(scene.registry, FIRST, THIRD)
    sign(scene, THIRD)


def _unapproved(scene: Scene) -> None:
    _third(scene)
    _third_moved_to(scene, {})


def _approvals_of_another_version(scene: Scene) -> None:
    _third(scene)
    shutil.copytree(scene.registry.root / "approvals" / SECOND, scene.registry.root / "approvals" / THIRD)
    _third_moved_to(scene, _hashes(scene))


def _approvals_named_of_another_version(scene: Scene) -> None:
    """The record pins the other version's approvals where they stand."""
    _third(scene)
    _third_moved_to(scene, champion_record(scene.registry, scene.keys).approvals)


def _one_person_three_roles(scene: Scene) -> None:
    _third(scene)
    approve(scene, THIRD, tuple(("omar", role) for _, role in APPROVERS))
    _third_moved_to(scene, _hashes(scene))


def _two_people(scene: Scene) -> None:
    _third(scene)
    approve(scene, THIRD, (("omar", Role.RISK), ("omar", Role.COMPLIANCE), ("erin", Role.ENGINEERING)))
    _third_moved_to(scene, _hashes(scene))


def _a_role_missing(scene: Scene) -> None:
    _third(scene)
    approve(scene, THIRD, APPROVERS[:2])
    _third_moved_to(scene, _hashes(scene))


def _role_that_is_not_held(scene: Scene) -> None:
    _third(scene)
    approve(scene, THIRD, (("rita", Role.RISK), ("carl", Role.COMPLIANCE), ("rita", Role.ENGINEERING)))
    _third_moved_to(scene, _hashes(scene))


def _revoked_persons_approval(scene: Scene) -> None:
    _third(scene)
    approve(scene, THIRD, (("gone", Role.RISK), *APPROVERS[1:]))
    scene.book.take_role("gone", Role.RISK, AT_MS + HOUR_MS)
    _third_moved_to(scene, _hashes(scene))


def _revoked_keys_approval(scene: Scene) -> None:
    """Whoever stole it dates the approval before the revocation."""
    _third(scene)
    scene.book.revoke_key("gone", AT_MS + HOUR_MS)
    approve(scene, THIRD, (("gone", Role.RISK), *APPROVERS[1:]))
    _third_moved_to(scene, _hashes(scene))


def _strangers_approval(scene: Scene) -> None:
    _third(scene)
    approve(scene, THIRD, APPROVERS[1:])
    write_approval(scene.registry, THIRD, Role.RISK, identity("nobody"), AT_MS, scene.book.people.root)
    _third_moved_to(scene, _hashes(scene))


def _approval_for_another_deployment(scene: Scene) -> None:
    _third(scene)
    approve(scene, THIRD, APPROVERS[1:])
    write_approval(scene.registry, THIRD, Role.RISK, identity("rita"), AT_MS, "0" * 64)
    _third_moved_to(scene, _hashes(scene))


def _approval_after_the_move(scene: Scene) -> None:
    _third(scene)
    approve(scene, THIRD, at_ms=LATER_MS + HOUR_MS)
    _third_moved_to(scene, _hashes(scene))


def _approvals_of_what_the_version_was(scene: Scene) -> None:
    """The version was approved, and then made anew under its name and signed again."""
    _third(scene)
    approve(scene, THIRD)
    shutil.rmtree(scene.registry.root / THIRD)
    contents = read_artefact(scene.registry, SECOND)
    copy_version(scene.registry, SECOND, THIRD)
    for name in ("card.md", "manifest.json"):
        replace(scene.registry, f"{THIRD}/{name}", (scene.registry.root / THIRD / name).read_bytes())
    _change_card(scene, contents["card.md"])
    sign(scene, THIRD)
    _third_moved_to(scene, _hashes(scene))


def _change_card(scene: Scene, card: bytes) -> None:
    changed = card + b"\nIt finds everything.\n"
    manifest = scene.registry.root / THIRD / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(sha256_of(card).encode(), sha256_of(changed).encode()))
    replace(scene.registry, f"{THIRD}/card.md", changed)


def _unsigned_version(scene: Scene) -> None:
    copy_version(scene.registry, FIRST, THIRD)
    approve(scene, THIRD)
    _third_moved_to(scene, _hashes(scene))


def _signed_by_a_stranger(scene: Scene) -> None:
    copy_version(scene.registry, FIRST, THIRD)
    sign(scene, THIRD, create_artefact_key(scene.folder / "stranger.key", with_set=False))
    approve(scene, THIRD)
    _third_moved_to(scene, _hashes(scene))


def _signature_of_another_version(scene: Scene) -> None:
    copy_version(scene.registry, FIRST, THIRD)
    shutil.copy(scene.registry.root / SECOND / "model.sig", scene.registry.root / THIRD / "model.sig")
    approve(scene, THIRD)
    _third_moved_to(scene, _hashes(scene))


def _signature_of_another_name(scene: Scene) -> None:
    """The same files, signed under another name, so that every hash in the statement is right."""
    _third(scene)
    approve(scene, THIRD)
    contents = {name: each for name, each in read_artefact(scene.registry, THIRD).items() if name != "model.sig"}
    replace(scene.registry, f"{THIRD}/model.sig", signed_artefact("glass-fourth", contents, scene.artefacts))
    _third_moved_to(scene, _hashes(scene))


def _signed_by_a_revoked_key(scene: Scene) -> None:
    revoked = with_revocation(scene.keys, scene.artefacts.key_id, AT_MS, "it was copied")
    load_by_alias(scene.registry, scene.trust._replace(keys=revoked))


def _evidence_of_another_version(scene: Scene) -> None:
    root = scene.registry.root / "evidence"
    (theirs,) = (root / FIRST).iterdir()
    shutil.copy(theirs, root / SECOND / theirs.name)
    read_evidence(scene.registry, SECOND, scene.keys)


def _evidence_spoilt(scene: Scene) -> None:
    (path,) = (scene.registry.root / "evidence" / FIRST).iterdir()
    path.write_bytes(path.read_bytes().replace(b'"passed":true', b'"passed":false'))
    read_evidence(scene.registry, FIRST, scene.keys)


def _history_cut_off(scene: Scene) -> None:
    (scene.registry.root / "history" / "000003.json").unlink()
    load_by_alias(scene.registry, scene.trust)


def _history_in_another_order(scene: Scene) -> None:
    root = scene.registry.root / "history"
    (root / "000001.json").rename(root / "between")
    (root / "000002.json").rename(root / "000001.json")
    (root / "between").rename(root / "000002.json")
    read_history(scene.registry, scene.keys)


def _history_without_its_middle(scene: Scene) -> None:
    root = scene.registry.root / "history"
    (root / "000002.json").unlink()
    (root / "000003.json").rename(root / "000002.json")
    read_history(scene.registry, scene.keys)


def _retired_version(scene: Scene) -> None:
    append_history(
        scene.registry, scene.keys, scene.models, Event.RETIRED, SECOND, digest_of(scene.registry, SECOND),
        by="b", at_ms=LATER_MS, reasons=("it missed a kind of fraud",),
    )  # fmt: skip
    move(scene, SECOND, LATER_MS)


def _written_over(scene: Scene) -> None:
    scene.registry.create(f"{FIRST}/tables.json", b"{}")


def _hashes(scene: Scene) -> dict[str, str]:
    folder = scene.registry.root / "approvals" / THIRD
    return {f"approvals/{THIRD}/{path.name}": sha256_of(path.read_bytes()) for path in sorted(folder.iterdir())}


FORGERIES: Final[Mapping[str, Callable[[Scene], None]]] = MappingProxyType(
    {
        "an old alias record replayed": _old_alias_record,
        "the last alias record taken out": _last_record_gone,
        "a middle alias record taken out": _middle_record_gone,
        "the whole registry as it was before": _older_registry,
        "another record in the place of the last": _other_branch,
        "the challenger's record as the champion's": _challengers_record,
        "an alias moved by a stranger's key": _strangers_key,
        "an alias moved by a key for another use": _key_for_another_use,
        "an alias moved by a revoked key": _revoked_key,
        "two versions swapped": _swapped_versions,
        "a signed version under another name": _renamed_version_moved_to,
        "a version that nobody approved": _unapproved,
        "approvals copied from another version": _approvals_of_another_version,
        "another version's approvals pinned": _approvals_named_of_another_version,
        "one person under three roles": _one_person_three_roles,
        "two people under three roles": _two_people,
        "a role that nobody approved as": _a_role_missing,
        "a role that the person does not hold": _role_that_is_not_held,
        "an approval of somebody who lost the role": _revoked_persons_approval,
        "an approval by a revoked key": _revoked_keys_approval,
        "an approval of a stranger": _strangers_approval,
        "an approval for another deployment": _approval_for_another_deployment,
        "approvals of after the move": _approval_after_the_move,
        "old approvals of what the version was": _approvals_of_what_the_version_was,
        "an unsigned version": _unsigned_version,
        "a version signed by a stranger": _signed_by_a_stranger,
        "the signature of another version": _signature_of_another_version,
        "a signature under another name": _signature_of_another_name,
        "a version signed by a revoked key": _signed_by_a_revoked_key,
        "evidence of another version": _evidence_of_another_version,
        "evidence turned round": _evidence_spoilt,
        "the history cut off": _history_cut_off,
        "the history in another order": _history_in_another_order,
        "the history without its middle": _history_without_its_middle,
        "a retired version put in force": _retired_version,
        "a file of a version written over": _written_over,
    }
)


def refused_with(forgery: Callable[[Scene], None], scene: Scene) -> str | None:
    """Return the sentence that refuses a forgery; None where it got through."""
    try:
        forgery(scene)
    except ModelRefused as refusal:
        return str(refusal)
    return None


def copy_of(scene: Scene, folder: Path) -> Scene:
    """Return the same registry in a folder of its own, with people who know nothing of other forgeries."""
    shutil.copytree(scene.folder, folder)
    artefacts = type(scene.artefacts).from_file(folder / "artefacts.key")
    registry, book = DirectoryRegistry(folder / "registry"), scene.book.copy()
    return scene._replace(registry=registry, folder=folder, artefacts=artefacts, book=book)
