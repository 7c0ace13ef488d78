"""A registry as a bank has it: two versions, signed and approved by three people, and moves between them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.artefact.files import SIGNATURE, write
from models.artefact.strict import canonical, mapping, parsed
from models.versions.alias_files import move_alias
from models.versions.aliases import AliasRecord
from models.versions.approval_files import pinned_approvals, standing_approvals, write_approval
from models.versions.artefact_files import digest_of, read_artefact
from models.versions.evidence import Evidence
from models.versions.evidence_files import write_evidence
from models.versions.history import Event
from models.versions.loading_files import Trust
from models.versions.locations import Alias
from models.versions.registry_files import DirectoryRegistry, Registry
from models.versions.signature_files import signed_artefact
from pipeline.keys.artefact_key_files import ArtefactKey, create_artefact_key
from pipeline.keys.key_files import SigningKey, create_signing_key
from pipeline.keys.key_sets import KeySet, KeyUse, with_key
from pipeline.people.act_store import CHECKS
from pipeline.people.acts import ActKind, SignedAct
from pipeline.people.key_files import SCRYPT_COSTS, Identity, sealed_text, write_private
from pipeline.people.registry import Registry as People
from pipeline.people.registry import advanced
from pipeline.people.roles import Role

SHIPPED: Final = Path(__file__).parents[3] / "models" / "registry"
FIRST: Final = "glass-2026-11-02"
SECOND: Final = "glass-second"
AT_MS: Final = 1_764_000_000_000
HOUR_MS: Final = 3_600_000
PASSPHRASE: Final = "of nobody, for the bench"  # noqa: S105 - of keys that anybody can make
ROLES: Final[Mapping[str, tuple[Role, ...]]] = MappingProxyType(
    {
        "rita": (Role.RISK,),
        "carl": (Role.COMPLIANCE,),
        "erin": (Role.ENGINEERING,),
        "omar": (Role.RISK, Role.COMPLIANCE, Role.ENGINEERING),
        "gone": (Role.RISK,),
    }
)
"""omar holds three roles and is one person; gone's key and role are taken away by the forgeries."""
APPROVERS: Final = (("rita", Role.RISK), ("carl", Role.COMPLIANCE), ("erin", Role.ENGINEERING))


class Book:
    """People with their roles, as the database's acts would have them."""

    def __init__(self) -> None:
        self.people, self.at_ms = People(), AT_MS - 1_000 * HOUR_MS
        self.acts: list[SignedAct] = []
        self._act(identity("ada"), ActKind.FIRST_ADMIN, _claim("ada"))
        for name, roles in ROLES.items():
            self._act(identity("ada"), ActKind.KEY_REGISTERED, _claim(name))
            for role in roles:
                self._act(identity("ada"), ActKind.ROLE_GRANTED, {"name": name, "role": role.value})

    def copy(self) -> Book:
        """Return a book of the same acts, which goes on by itself: acts bear a nonce, so one made anew has others."""
        other = copy(self)
        other.acts = [*self.acts]
        return other

    def revoke_key(self, name: str, at_ms: int) -> None:
        self.at_ms = at_ms
        self._act(identity("ada"), ActKind.KEY_REVOKED, {"key": identity(name).key_id, "reason": "it was copied"})

    def take_role(self, name: str, role: Role, at_ms: int) -> None:
        self.at_ms = at_ms
        self._act(identity("ada"), ActKind.ROLE_REVOKED, {"name": name, "role": role.value})

    def _act(self, by: Identity, kind: ActKind, subject: Mapping[str, str]) -> None:
        self.at_ms += 1_000
        signed = by.sign(kind, {**subject, "previous": self.people.head}, self.at_ms, self.people.root)
        self.people, fault = advanced(self.people, signed, CHECKS)
        assert fault is None, fault
        self.acts.append(signed)


class Scene(NamedTuple):
    """`keys` holds `models` and `artefacts`, whose private halves stand beside; `book` may change as forgeries do."""

    registry: DirectoryRegistry
    folder: Path
    keys: KeySet
    models: SigningKey
    artefacts: ArtefactKey
    book: Book

    @property
    def trust(self) -> Trust:
        return Trust(self.keys, self.book.people)


def identity(name: str) -> Identity:
    """The same in every run, so that a seed tells all."""
    return Identity(name, _private(name))


def _private(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"bench:{name}".encode()).digest())


def identity_settings(folder: Path, name: str) -> dict[str, str]:
    """Write a person's key and its passphrase, and return the settings by which a command is theirs."""
    key, passphrase = folder / f"{name}.identity", folder / "passphrase"
    if not key.exists():
        write_private(key, sealed_text(_private(name), name, PASSPHRASE, SCRYPT_COSTS.start))
    if not passphrase.exists():
        write_private(passphrase, PASSPHRASE)
    return {"FRAUD_IDENTITY_FILE": str(key), "FRAUD_IDENTITY_PASSPHRASE_FILE": str(passphrase)}


def make_scene(folder: Path) -> Scene:
    """Two versions, both approved; champion was the first, then the second, and the first again."""
    folder.mkdir(parents=True, exist_ok=True)
    models = create_signing_key(folder / "models.key", KeyUse.MODELS, with_set=False)
    artefacts = create_artefact_key(folder / "artefacts.key", with_set=False)
    keys = with_key(KeySet({}), KeyUse.MODELS, models.public, 0)
    keys = with_key(keys, KeyUse.ARTEFACTS, artefacts.public, 0)
    scene = Scene(DirectoryRegistry(folder / "registry"), folder, keys, models, artefacts, Book())
    for name, content in read_artefact(DirectoryRegistry(SHIPPED), FIRST).items():
        if name != SIGNATURE:
            scene.registry.create(f"{FIRST}/{name}", content)
    copy_version(scene.registry, FIRST, SECOND)
    for version in (FIRST, SECOND):
        sign(scene, version)
        approve(scene, version)
        evidence = Evidence("golden", version, digest_of(scene.registry, version), AT_MS, True, (), {"vectors": 200})
        write_evidence(scene.registry, evidence, models)
    for at, (version, event) in enumerate(
        [(FIRST, Event.BEGUN), (SECOND, Event.PROMOTED), (FIRST, Event.ROLLED_BACK)], start=1
    ):
        move(scene, version, AT_MS + at * HOUR_MS, event)
    return scene


def copy_version(registry: DirectoryRegistry, version: str, name: str) -> None:
    """Write the same tables as another version, whose manifest differs by its name."""
    contents = read_artefact(registry, version)
    manifest = mapping(parsed(contents["manifest.json"], "manifest.json"), "manifest.json", _manifest_names(contents))
    for field in ("format", "version", "files"):
        del manifest[field]
    write(registry.root / name, contents["tables.json"], contents["card.md"], manifest)


def sign(scene: Scene, version: str, key: ArtefactKey | None = None) -> None:
    contents = read_artefact(scene.registry, version)
    scene.registry.create(f"{version}/{SIGNATURE}", signed_artefact(version, contents, key or scene.artefacts))


def approve(
    scene: Scene, version: str, approvers: tuple[tuple[str, Role], ...] = APPROVERS, at_ms: int = AT_MS
) -> None:
    for name, role in approvers:
        write_approval(scene.registry, version, role, identity(name), at_ms, scene.book.people.root)


def move(
    scene: Scene, version: str, at_ms: int, event: Event = Event.PROMOTED, pinned: Mapping[str, str] | None = None
) -> AliasRecord:
    """Move the champion as the gate does, or with other approvals, as a thief of the key does."""
    if pinned is None:
        pinned = pinned_approvals(scene.registry, standing_approvals(scene.registry, version, scene.book.people, at_ms))
    return move_alias(
        scene.registry, scene.keys, scene.models,
        alias=Alias.CHAMPION, version=version, by="the bench", at_ms=at_ms, event=event, approvals=pinned,
    )  # fmt: skip


def replace(registry: Registry, name: str, content: bytes) -> None:
    """Put other content in a file's place, which only somebody with the disk can."""
    assert isinstance(registry, DirectoryRegistry), "a forger has the disk"
    path = registry.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _manifest_names(contents: Mapping[str, bytes]) -> set[str]:
    read = parsed(contents["manifest.json"], "manifest.json")
    assert isinstance(read, dict), canonical(read)
    return set(read)


def _claim(name: str) -> dict[str, str]:
    claimed = identity(name).claim()
    return {"name": name, "public": claimed.public.hex(), "possession": claimed.possession.hex()}
