"""Who people are and what they may do, as the registry's signed acts say in their order.

Invariants
1. Only a signed act changes anything. One that nobody proved, or whose signer might not do it, counts as nothing; rows
   beside the acts never count.
2. Each act names the one before it. Where a proven one names another, acts were taken out or put in; and a revocation
   that nobody proves was spoilt. From there on nobody holds any role.
3. A key is one person's for ever, and signs nothing from its revocation on, whatever time it says: in the registry
   order tells, elsewhere the time at which somebody else's clock saw the act.
4. What was proven once is proven years later, by the same acts.
5. A provider's key is what it is made of. Once it is revoked, no other name, use or claim makes it count.
6. A login is a person's by the provider's `iss` and `sub`, which an ADMIN has bound to them, once and for ever. Names
   and addresses that a provider gives may change, or become somebody else's, and prove nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.people.acts import (
    NO_ROOT,
    Act,
    ActKind,
    ActMalformed,
    Evidence,
    SignedAct,
    Subject,
    act_of,
    content_of,
    key_id_of,
    signed_bytes,
)
from pipeline.people.roles import GrantRefusal, Person, Role, folded, is_name, is_same

POSSESSION: Final = b"fraud-key-v1\n"
"""Begins what a new key signs to show that whoever is to be registered has it."""
LOGIN: Final = b"fraud-login-v1\n"
"""Begins what a login's id is the digest of."""
SUBJECT_CHARACTERS_MAX: Final = 255
"""Of `sub`, by OpenID Connect Core 1.0, section 2; ASCII."""
REASON_CHARACTERS_MAX: Final = 500
SEEN_WITHIN_MS: Final = 5 * 60_000
"""How far an act's own time may be from the time at which it came: clocks differ, and people hesitate."""
KEYS_KEPT: Final = 256
"""Providers' keys whose material is remembered; a provider has some a year."""
_REVOCATIONS: Final = (ActKind.ROLE_REVOKED, ActKind.KEY_REVOKED)
_PUBLIC_BYTES: Final = 32
_SUBJECT: Final = re.compile(rf"[!-~]{{1,{SUBJECT_CHARACTERS_MAX}}}")
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")


class KnownKey(NamedTuple):
    """A registered key, raw."""

    name: str
    public: bytes
    registered_at_ms: int


class ProviderKey(NamedTuple):
    """A key by which an OpenID provider signs ID tokens, as an ADMIN has accepted it. `jwk`: as JSON, public only.

    Tokens are for `client_id`. `claim` is how people call themselves there, which proves nothing.
    """

    issuer: str
    client_id: str
    claim: str
    jwk: str
    trusted_at_ms: int


class KnownLogin(NamedTuple):
    """Whose the logins are of one subject at one provider."""

    name: str
    issuer: str
    subject: str
    bound_at_ms: int


class RoleWord(NamedTuple):
    at_ms: int
    role: Role
    is_held: bool


class Checks(NamedTuple):
    """The checks that take cryptography. `is_signed` is given public key, text and signature.

    `token_fault` says why a session's evidence doesn't prove that its key is that person's at that time (name,
    milliseconds), by the providers' keys and whose logins are; None where it does.
    """

    is_signed: Callable[[bytes, bytes, bytes], bool]
    token_fault: Callable[[Evidence, str, int, Iterable[ProviderKey], Mapping[str, KnownLogin]], str | None]


class Registry(NamedTuple):
    """`root` and `head`: the digests of its first and its last act. `names`: as written, by their folded form.

    `revoked`: from when a key signs nothing, sessions' and providers' keys among them, or a login is nobody's.
    `logins`: by their ids, as `login_id` has them. `broken`: why nothing counts.
    `latest_ms`: the latest time that an act has said.
    """

    root: str = NO_ROOT
    head: str = NO_ROOT
    names: Mapping[str, str] = {}
    keys: Mapping[str, KnownKey] = {}
    revoked: Mapping[str, int] = {}
    words: Mapping[str, tuple[RoleWord, ...]] = {}
    providers: Mapping[str, ProviderKey] = {}
    logins: Mapping[str, KnownLogin] = {}
    broken: str | None = None
    latest_ms: int = 0

    def person(self, name: str, at_ms: int | None = None) -> Person:
        """Return a person with the roles that they hold now, or held at a time."""
        if self.broken is not None or self.names.get(folded(name), name) != name:
            return Person(name, frozenset())
        words = self.words.get(folded(name), ())
        latest = {word.role: word.is_held for word in words if at_ms is None or word.at_ms <= at_ms}
        return Person(name, frozenset(role for role, is_held in latest.items() if is_held))

    def holds_since(self, name: str, at_ms: int, roles: Iterable[Role]) -> bool:
        """Return whether a person has held one of the roles from a time to now without a break.

        A role that was taken back and given anew is another one: what was pending in between was void.
        """
        words = self.words.get(folded(name), ())
        taken = {word.role for word in words if word.at_ms > at_ms and not word.is_held}
        held = self.person(name, at_ms).roles & self.person(name).roles
        return bool(held.intersection(roles) - taken)

    def is_usable(self, key_id: str, name: str) -> bool:
        """Return whether a registered key is that person's, and not revoked."""
        known = self.keys.get(key_id)
        return known is not None and known.name == name and key_id not in self.revoked


class Advanced(NamedTuple):
    """The registry after one more act. `fault`: why the act counts as nothing."""

    registry: Registry
    fault: str | None


class Expected(NamedTuple):
    """The act that somebody's row claims to be: by whom, about what, and the roles of which one is needed."""

    kind: ActKind
    name: str
    subject: Subject
    roles: tuple[Role, ...]


def provider_key_id(issuer: str, client_id: str, claim: str, jwk: str) -> str:
    """The name of a provider's key, by which it is revoked."""
    return hashlib.sha256("\n".join([issuer, client_id, claim, jwk]).encode()).hexdigest()


def login_id(issuer: str, subject: str) -> str:
    """The name of a login, by which its binding is revoked."""
    return hashlib.sha256(LOGIN + "\n".join([issuer, subject]).encode()).hexdigest()


@lru_cache(KEYS_KEPT)
def key_material(jwk: str) -> str:
    """Return what whoever has the private half of a provider's key has, however the key is written.

    That is an RSA key's modulus, whatever its exponent, and a curve with a point's `x`, of which both `y` are theirs.
    """
    try:
        read = json.loads(jwk)
        name = "n" if read["kty"] == "RSA" else "x"
        number = base64.urlsafe_b64decode(read[name] + "=" * (-len(read[name]) % 4)).lstrip(b"\0")
        return f"{read['kty']} {read.get('crv')} {number.hex()}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return jwk  # no provider's key: nothing is signed by it


def possession_bytes(name: str, public: bytes) -> bytes:
    """Return what a key signs to show that it is to be `name`'s."""
    return POSSESSION + name.encode() + b"\n" + public


def advanced(registry: Registry, signed: SignedAct, checks: Checks) -> Advanced:
    """Take in the next of the registry's acts."""
    try:
        act = act_of(signed.content)
    except ActMalformed as malformed:
        return _broken(registry, f"the act {signed.digest[:16]} was spoilt: {malformed}")
    is_first = act.kind is ActKind.FIRST_ADMIN
    fault = _first_fault(signed, act, checks) if is_first else proof_fault(registry, signed, act, checks)
    fault = fault or _order_fault(registry, act)
    if fault is not None and act.kind in _REVOCATIONS:
        return _broken(registry, f"the revocation {signed.digest[:16]} was spoilt: {fault}")
    fault = fault or refusal_of(registry, act, checks)
    if fault is not None:
        return Advanced(registry, fault)
    if act.subject.get("previous") != registry.head:
        return _broken(registry, f"the act {signed.digest[:16]} follows another than the one that stands before it")
    return Advanced(_applied(registry, signed.digest, act), None)


def _order_fault(registry: Registry, act: Act) -> str | None:
    """A revocation that says an earlier time is on the safe side, by whoever may still sign."""
    if act.key_id in registry.revoked:
        return "its key was revoked before"
    is_late = act.at_ms < registry.latest_ms - SEEN_WITHIN_MS
    return "it says a time long before the act that it follows" if is_late and act.kind not in _REVOCATIONS else None


def _broken(registry: Registry, why: str) -> Advanced:
    return Advanced(registry._replace(broken=why), why)


def proof_fault(
    registry: Registry, signed: SignedAct, act: Act, checks: Checks, seen_at_ms: int | None = None
) -> str | None:
    """Return why the signature does not prove that the act's person made it then, or None where it does.

    seen_at_ms: when a clock that its signer can't set saw it; None where none did. Then it was made within
    SEEN_WITHIN_MS of that, and the later of the two times counts.
    """
    at_ms = act.at_ms if seen_at_ms is None else max(act.at_ms, seen_at_ms)
    if seen_at_ms is not None and abs(seen_at_ms - act.at_ms) > SEEN_WITHIN_MS:
        return "it says another time than the one at which it came"
    if act.root != registry.root or registry.root == NO_ROOT:
        return "it was signed for another registry"
    known = registry.keys.get(act.key_id)
    public = known.public if known is not None else None if signed.evidence is None else signed.evidence.public
    if public is None or key_id_of(public) != act.key_id:
        return "its key is not registered"
    if not checks.is_signed(public, signed_bytes(signed.content), signed.signature):
        return "its signature is false"
    revoked_at_ms = registry.revoked.get(act.key_id)
    if revoked_at_ms is not None and at_ms >= revoked_at_ms:
        return "its key was revoked before"
    if known is None:
        assert signed.evidence is not None, "the public key is the evidence's"
        trusted = _trusted(registry, at_ms)
        return checks.token_fault(signed.evidence, act.name, at_ms, trusted, _bound(registry, at_ms))
    if known.name != act.name:
        return "its key is another person's"
    return "its key was registered later" if act.at_ms < known.registered_at_ms else None


def act_fault(
    registry: Registry,
    signed: SignedAct | None,
    expected: Expected,
    checks: Checks,
    *,
    is_pending: bool,
    seen_at_ms: int | None = None,
) -> str | None:
    """Return why an act counts as nothing, or None where it counts.

    is_pending: nothing has come of it yet, so that it counts only while its author has had role and key ever since.
    seen_at_ms: as `proof_fault` takes it.
    """
    if registry.broken is not None:
        return registry.broken
    if signed is None:
        return "nobody has signed it"
    try:
        act = act_of(signed.content)
    except ActMalformed as malformed:
        return str(malformed)
    if content_of(act._replace(kind=expected.kind, name=expected.name, subject=expected.subject)) != signed.content:
        return "what was signed says otherwise"
    if (fault := proof_fault(registry, signed, act, checks, seen_at_ms)) is not None:
        return fault
    at_ms = act.at_ms if seen_at_ms is None else seen_at_ms
    if not registry.person(act.name, at_ms).holds(*expected.roles):
        return "its author did not hold the role"
    if is_pending and act.key_id in registry.revoked:
        return "its key has been revoked since"
    if is_pending and not registry.person(act.name).holds(*expected.roles):
        return "its author does not hold the role any more"
    if is_pending and not registry.holds_since(act.name, at_ms, expected.roles):
        return "its author's role has been taken back since"
    if is_pending and _is_login_gone(registry, signed, act, checks):
        return "its login is nobody's any more"
    return None


def _is_login_gone(registry: Registry, signed: SignedAct, act: Act, checks: Checks) -> bool:
    """Whether a session signed it whose login's binding has been revoked since, or the provider's key behind it.

    Whoever has that key has logged in as whoever they liked.
    """
    if signed.evidence is None or act.key_id in registry.keys:
        return False
    ended = _ended(registry)
    trusted = [key for key in _trusted(registry, act.at_ms) if key_material(key.jwk) not in ended]
    return checks.token_fault(signed.evidence, act.name, act.at_ms, trusted, _bound(registry, None)) is not None


def refusal_of(registry: Registry, act: Act, checks: Checks) -> GrantRefusal | None:
    """Return why an act may not change the registry, or None where it may. Who made it was proved."""
    if (registry.root == NO_ROOT) != (act.kind is ActKind.FIRST_ADMIN):
        return GrantRefusal.NO_ADMIN_YET if registry.root == NO_ROOT else GrantRefusal.ADMIN_ALREADY
    is_admin = act.kind is ActKind.FIRST_ADMIN or registry.person(act.name).holds(Role.ADMIN)
    match act.kind:
        case ActKind.KEY_REVOKED:
            return _revocation_refusal(registry, act, is_admin=is_admin)
        case ActKind.FIRST_ADMIN | ActKind.KEY_REGISTERED:
            return _name_refusal(registry, act, is_admin=is_admin) or _key_refusal(registry, act.subject, checks)
        case ActKind.ROLE_GRANTED | ActKind.ROLE_REVOKED:
            return _name_refusal(registry, act, is_admin=is_admin) or _role_refusal(act)
        case ActKind.PROVIDER_TRUSTED:
            return _provider_refusal(registry, act.subject) if is_admin else GrantRefusal.NOT_AN_ADMIN
        case ActKind.LOGIN_BOUND:
            return _name_refusal(registry, act, is_admin=is_admin) or _login_refusal(registry, act.subject)
    return GrantRefusal.NOT_AN_ADMIN  # no act of another kind changes the registry


def _first_fault(signed: SignedAct, act: Act, checks: Checks) -> str | None:
    """The first act proves itself: it holds the key that signs it."""
    public = _public(act.subject)
    if act.root != NO_ROOT or act.name != act.subject.get("name") or public is None:
        return "it begins no registry"
    if key_id_of(public) != act.key_id or not checks.is_signed(public, signed_bytes(signed.content), signed.signature):
        return "its signature is false"
    return None


def _name_refusal(registry: Registry, act: Act, *, is_admin: bool) -> GrantRefusal | None:
    name = str(act.subject.get("name"))
    if not is_name(name):
        return GrantRefusal.NAME_MALFORMED
    if not is_admin:
        return GrantRefusal.NOT_AN_ADMIN
    if act.kind in (ActKind.ROLE_GRANTED, ActKind.ROLE_REVOKED) and is_same(name, act.name):
        return GrantRefusal.OWN_ROLE
    return GrantRefusal.SPELT_OTHERWISE if registry.names.get(folded(name), name) != name else None


def _role_refusal(act: Act) -> GrantRefusal | None:
    return None if act.subject.get("role") in set(Role) else GrantRefusal.NOT_AN_ADMIN


def _key_refusal(registry: Registry, subject: Subject, checks: Checks) -> GrantRefusal | None:
    public, possession = _public(subject), _bytes(subject.get("possession"))
    shown = possession_bytes(str(subject.get("name")), public or b"")
    if public is None or possession is None or not checks.is_signed(public, shown, possession):
        return GrantRefusal.KEY_UNPROVEN
    key_id = key_id_of(public)
    return GrantRefusal.KEY_TAKEN if key_id in registry.keys or key_id in registry.revoked else None


def _provider_refusal(registry: Registry, subject: Subject) -> GrantRefusal | None:
    """What was revoked does not come back, under another name or with another claim either."""
    texts = [subject.get(name) for name in ("issuer", "client_id", "claim", "jwk")]
    if not all(isinstance(text, str) and text for text in texts):
        return GrantRefusal.PROVIDER_MALFORMED
    key_id = provider_key_id(*map(str, texts))
    if subject.get("key") != key_id:
        return GrantRefusal.PROVIDER_MALFORMED
    is_ended = key_material(str(subject["jwk"])) in _ended(registry)
    is_taken = key_id in registry.providers or key_id in registry.revoked
    return GrantRefusal.KEY_TAKEN if is_taken or is_ended else None


def _login_refusal(registry: Registry, subject: Subject) -> GrantRefusal | None:
    """A login that was revoked does not come back, nor become somebody else's."""
    issuer, said = subject.get("issuer"), subject.get("subject")
    if not (isinstance(issuer, str) and issuer and isinstance(said, str) and _SUBJECT.fullmatch(said)):
        return GrantRefusal.LOGIN_MALFORMED
    if subject.get("login") != login_id(issuer, said):
        return GrantRefusal.LOGIN_MALFORMED
    is_taken = subject["login"] in registry.logins or subject["login"] in registry.revoked
    return GrantRefusal.LOGIN_TAKEN if is_taken else None


def _revocation_refusal(registry: Registry, act: Act, *, is_admin: bool) -> GrantRefusal | None:
    """An ADMIN revokes any key, a person their own."""
    key_id = str(act.subject.get("key"))
    known = registry.keys.get(key_id)
    if not is_admin and (known is None or known.name != act.name):
        return GrantRefusal.NOT_AN_ADMIN
    if not _KEY_ID.fullmatch(key_id) or key_id in registry.revoked:
        return GrantRefusal.KEY_UNKNOWN
    after = registry._replace(revoked={**registry.revoked, key_id: act.at_ms})
    return None if _can_administer(after) else GrantRefusal.LAST_ADMIN


def _can_administer(registry: Registry) -> bool:
    """Whether some ADMIN has a key that counts, or could log in."""
    admins = [name for name in registry.names.values() if registry.person(name).holds(Role.ADMIN)]
    ended = _ended(registry)
    asked = {key.issuer for key in registry.providers.values() if key_material(key.jwk) not in ended}
    if any(login.name in admins and login.issuer in asked for login in _bound(registry, None).values()):
        return True
    return any(
        registry.is_usable(key_id, known.name) for key_id, known in registry.keys.items() if known.name in admins
    )


def _applied(registry: Registry, digest: str, act: Act) -> Registry:
    """The registry after an act that was proved and is not refused."""
    after = registry._replace(head=digest, latest_ms=max(registry.latest_ms, act.at_ms))
    match act.kind:
        case ActKind.FIRST_ADMIN:
            begun = _with_key(after._replace(root=digest), act)
            return _with_word(begun, str(act.subject["name"]), RoleWord(act.at_ms, Role.ADMIN, is_held=True))
        case ActKind.KEY_REGISTERED:
            return _with_key(after, act)
        case ActKind.KEY_REVOKED:
            return after._replace(revoked={**registry.revoked, str(act.subject["key"]): act.at_ms})
        case ActKind.ROLE_GRANTED | ActKind.ROLE_REVOKED:
            word = RoleWord(act.at_ms, Role(str(act.subject["role"])), act.kind is ActKind.ROLE_GRANTED)
            return _with_word(after, str(act.subject["name"]), word)
        case ActKind.PROVIDER_TRUSTED:
            subject = act.subject
            issuer, client_id, claim, jwk = (str(subject.get(name)) for name in ("issuer", "client_id", "claim", "jwk"))
            key = ProviderKey(issuer, client_id, claim, jwk, act.at_ms)
            return after._replace(providers={**registry.providers, str(subject.get("key")): key})
        case ActKind.LOGIN_BOUND:
            name, issuer, said = (str(act.subject[field]) for field in ("name", "issuer", "subject"))
            login = KnownLogin(name, issuer, said, act.at_ms)
            names = {**registry.names, folded(name): name}
            return after._replace(logins={**registry.logins, login_id(issuer, said): login}, names=names)
    raise AssertionError(f"{act.kind} was refused")


def _with_key(registry: Registry, act: Act) -> Registry:
    public, name = _public(act.subject), str(act.subject["name"])
    assert public is not None, "a key without its bytes was refused"
    known = KnownKey(name, public, act.at_ms)
    keys = {**registry.keys, key_id_of(public): known}
    return registry._replace(keys=keys, names={**registry.names, folded(name): name})


def _with_word(registry: Registry, name: str, word: RoleWord) -> Registry:
    words = (*registry.words.get(folded(name), ()), word)
    return registry._replace(
        names={**registry.names, folded(name): name}, words={**registry.words, folded(name): words}
    )


def _trusted(registry: Registry, at_ms: int) -> list[ProviderKey]:
    """The providers' keys that counted at a time."""
    ended = _ended(registry)
    return [
        key
        for key in registry.providers.values()
        if key.trusted_at_ms <= at_ms < ended.get(key_material(key.jwk), at_ms + 1)
    ]


def _ended(registry: Registry) -> dict[str, int]:
    """From when keys of providers count no more, by what they are made of."""
    ended: dict[str, int] = {}
    for name in registry.providers.keys() & registry.revoked.keys():
        material, at_ms = key_material(registry.providers[name].jwk), registry.revoked[name]
        ended[material] = min(at_ms, ended.get(material, at_ms))
    return ended


def _bound(registry: Registry, at_ms: int | None) -> dict[str, KnownLogin]:
    """The logins that were somebody's at a time, or have been bound since. None: that still are."""
    revoked = registry.revoked
    return {
        name: login
        for name, login in registry.logins.items()
        if name not in revoked or (at_ms is not None and at_ms < revoked[name])
    }


def _public(subject: Subject) -> bytes | None:
    public = _bytes(subject.get("public"))
    return public if public is not None and len(public) == _PUBLIC_BYTES else None


def _bytes(text: object) -> bytes | None:
    try:
        return bytes.fromhex(text) if isinstance(text, str) else None
    except ValueError:
        return None
