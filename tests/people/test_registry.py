"""The registry: who counts as whom, by acts alone, and what the owner's credential can't make of it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.people.act_store import CHECKS
from pipeline.people.acts import (
    NO_ROOT,
    NONCE_BYTES,
    Act,
    ActKind,
    ActMalformed,
    SignedAct,
    act_of,
    content_of,
    key_id_of,
)
from pipeline.people.key_files import Identity, is_signed
from pipeline.people.registry import SEEN_WITHIN_MS, Expected, Registry, act_fault, advanced
from pipeline.people.roles import GrantRefusal, Role, folded
from tests.known import identity

AT_MS = 1_764_000_000_000
values = st.none() | st.booleans() | st.integers() | st.text()


class Book:
    """A registry that grows by signed acts, as the database would hold them."""

    def __init__(self) -> None:
        self.registry, self.acts, self.at_ms = Registry(), [], AT_MS
        self.fault = self.add("ada", ActKind.FIRST_ADMIN, **claim("ada"))

    def signed(self, by: str, kind: ActKind, **subject: str) -> SignedAct:
        self.at_ms += 1000
        return identity(by).sign(kind, {**subject, "previous": self.registry.head}, self.at_ms, self.registry.root)

    def add(self, by: str, kind: ActKind, **subject: str) -> str | None:
        return self.take(self.signed(by, kind, **subject))

    def take(self, signed: SignedAct) -> str | None:
        self.registry, fault = advanced(self.registry, signed, CHECKS)
        self.acts.append(signed)
        return fault

    def register(self, name: str, by: str = "ada") -> str | None:
        return self.add(by, ActKind.KEY_REGISTERED, **claim(name))

    def grant(self, name: str, role: str, by: str = "ada") -> str | None:
        return self.add(by, ActKind.ROLE_GRANTED, name=name, role=role)

    def take_away(self, name: str, role: str, by: str = "ada") -> str | None:
        return self.add(by, ActKind.ROLE_REVOKED, name=name, role=role)

    def revoke(self, name: str, by: str = "ada") -> str | None:
        return self.add(by, ActKind.KEY_REVOKED, key=identity(name).key_id, reason="it was copied")

    def roles(self, name: str) -> set[str]:
        return {str(role) for role in self.registry.person(name).roles}


def claim(name: str, of: str | None = None) -> dict[str, str]:
    claimed = identity(of or name).claim()
    return {"name": name, "public": claimed.public.hex(), "possession": claimed.possession.hex()}


@pytest.fixture
def book() -> Book:
    book = Book()
    assert (None, None) == (book.register("ann"), book.grant("ann", "REVIEWER"))
    return book


@given(st.dictionaries(st.text(), values), st.sampled_from(ActKind), st.integers(), st.text())
def test_invariant_1_an_act_has_one_form_and_reads_back_as_itself(subject, kind, at_ms, name) -> None:
    act = Act(kind, subject, name, "key", at_ms, NO_ROOT)
    content = content_of(act)
    assert act == act_of(content)
    for other in (content + " ", content.replace('{"act"', '{ "act"', 1), content[:-1] + ',"zz":1}', f"[{content}]"):
        with pytest.raises(ActMalformed):
            act_of(other)


def test_nobody_knows_what_somebody_is_about_to_sign() -> None:
    """An act's digest is its place in the database: who may append acts could take it before, and keep it."""
    ann, subject = identity("ann"), {"outcome": "BLOCK"}
    one, other = (ann.sign(ActKind.CASE_DECIDED, subject, AT_MS, NO_ROOT) for _ in range(2))
    assert one.digest != other.digest
    assert len(bytes.fromhex(act_of(one.content).nonce)) == NONCE_BYTES
    assert act_of(one.content)._replace(nonce="") == act_of(other.content)._replace(nonce="")


@pytest.mark.parametrize("nonce", ['""', "null", "7", "[]"])
def test_an_act_of_before_has_no_nonce_at_all(nonce: str) -> None:
    content = content_of(Act(ActKind.CASE_DECIDED, {}, "ann", "key", 1, NO_ROOT))
    assert act_of(content).nonce == ""
    with pytest.raises(ActMalformed):
        act_of(content.replace('"root"', f'"nonce":{nonce},"root"'))


@pytest.mark.parametrize(
    "content", ["", "null", "{}", "[" * 100_000, '{"act": NaN}', "1e999", '{"act":"CASE_CLAIMED"}']
)
def test_what_is_no_act_is_refused(content: str) -> None:
    with pytest.raises(ActMalformed):
        act_of(content)


def test_a_duplicate_field_is_no_act() -> None:
    content = content_of(Act(ActKind.CASE_DECIDED, {"outcome": "BLOCK"}, "ann", "key", 1, NO_ROOT))
    with pytest.raises(ActMalformed):
        act_of(content.replace('{"outcome":"BLOCK"}', '{"outcome":"ALLOW","outcome":"BLOCK"}'))


def test_the_first_admin_begins_the_registry_once(book: Book) -> None:
    assert book.fault is None
    assert {"ADMIN"} == book.roles("ada")
    again = identity("eve").sign(ActKind.FIRST_ADMIN, {**claim("eve"), "previous": ""}, AT_MS, NO_ROOT)
    assert GrantRefusal.ADMIN_ALREADY == book.take(again)
    assert set() == book.roles("eve")


@pytest.mark.parametrize("role", list(Role))
def test_nobody_changes_their_own_roles_however_they_write_their_name(book: Book, role: Role) -> None:
    for name in ("ada", "Ada", "ADA"):
        assert GrantRefusal.OWN_ROLE == book.grant(name, role)
        assert GrantRefusal.OWN_ROLE == book.take_away(name, role)
    assert {"ADMIN"} == book.roles("ada")


@pytest.mark.parametrize("name", ["Ann", "ANN", "aNN"])
def test_a_name_is_one_persons_however_it_is_written(book: Book, name: str) -> None:
    assert GrantRefusal.SPELT_OTHERWISE == book.grant(name, "SENIOR_REVIEWER")
    assert GrantRefusal.SPELT_OTHERWISE == book.register(name)
    assert (set(), {"REVIEWER"}) == (book.roles(name), book.roles("ann"))


@pytest.mark.parametrize("name", ["", "a", "system:expiry", "-x", "two words", "x" * 65, "ann\n", "ánn", "аnn", "ａnn"])
def test_a_name_is_plain_so_that_no_two_look_alike(book: Book, name: str) -> None:
    assert GrantRefusal.NAME_MALFORMED == book.grant(name, "REVIEWER")


@given(st.text(max_size=8))
def test_folding_is_done_once(name: str) -> None:
    assert folded(folded(name)) == folded(name) or not name.isascii()


def test_only_an_admin_registers_grants_and_revokes(book: Book) -> None:
    assert GrantRefusal.NOT_AN_ADMIN == book.grant("eve", "REVIEWER", by="ann")
    assert GrantRefusal.NOT_AN_ADMIN == book.register("eve", by="ann")
    assert GrantRefusal.NOT_AN_ADMIN == book.revoke("ada", by="ann")
    assert "its key is not registered" == book.grant("eve", "REVIEWER", by="eve")


def test_a_person_revokes_their_own_key_and_nobody_can_administer_nothing(book: Book) -> None:
    assert GrantRefusal.LAST_ADMIN == book.revoke("ada")
    assert book.revoke("ann", by="ann") is None
    assert GrantRefusal.KEY_TAKEN == book.register("ann"), "a key that was revoked never comes back"


def test_a_key_is_one_persons(book: Book) -> None:
    assert GrantRefusal.KEY_TAKEN == book.register("ann")
    assert GrantRefusal.KEY_UNPROVEN == book.add("ada", ActKind.KEY_REGISTERED, **claim("eve", of="ann"))
    stolen = {**claim("eve"), "public": identity("ann").public.hex()}
    assert GrantRefusal.KEY_UNPROVEN == book.add("ada", ActKind.KEY_REGISTERED, **stolen)


@pytest.mark.parametrize("public", ["", "00", "zz", "00" * 32, "ff" * 32, "00" * 33, None])
def test_what_is_no_key_is_not_registered(book: Book, public: str | None) -> None:
    subject = {**claim("eve"), "public": public, "previous": book.registry.head}
    signed = identity("ada").sign(ActKind.KEY_REGISTERED, subject, book.at_ms, book.registry.root)
    assert GrantRefusal.KEY_UNPROVEN == book.take(signed)


def forged(book: Book) -> SignedAct:
    return book.signed("ada", ActKind.ROLE_GRANTED, name="eve", role="ADMIN")._replace(signature=bytes(64))


def unsigned_elsewhere(book: Book) -> SignedAct:
    """Signed for another registry, as that of a test system, by the same ADMIN."""
    subject = {"name": "eve", "role": "ADMIN", "previous": book.registry.head}
    return identity("ada").sign(ActKind.ROLE_GRANTED, subject, book.at_ms, "0" * 64)


def edited(book: Book) -> SignedAct:
    signed = book.signed("ada", ActKind.ROLE_GRANTED, name="bob", role="REVIEWER")
    return signed._replace(content=signed.content.replace("bob", "eve"))


def in_anothers_name(book: Book) -> SignedAct:
    act = Act(ActKind.ROLE_GRANTED, {"name": "eve", "role": "ADMIN"}, "ada", identity("ann").key_id, AT_MS, "")
    content = content_of(act._replace(subject={**act.subject, "previous": book.registry.head}, root=book.registry.root))
    signature = identity("ann").sign(ActKind.ROLE_GRANTED, {}, AT_MS, "").signature
    return SignedAct(content, signature)


@pytest.mark.parametrize("attack", [forged, unsigned_elsewhere, edited, in_anothers_name])
def test_what_the_owner_inserts_without_an_admins_key_counts_as_nothing(
    book: Book, attack: Callable[[Book], SignedAct]
) -> None:
    assert book.take(attack(book)) is not None
    assert book.registry.broken is None
    assert (set(), {"REVIEWER"}) == (book.roles("eve"), book.roles("ann"))


def test_an_admins_own_signature_over_anothers_key_id_is_false(book: Book) -> None:
    signed = book.signed("ann", ActKind.ROLE_GRANTED, name="eve", role="ADMIN")
    content = signed.content.replace('"name":"ann"', '"name":"ada"')
    assert content != signed.content
    resigned = Identity("ada", identity("ann")._private).sign(
        ActKind.ROLE_GRANTED,
        {"name": "eve", "role": "ADMIN", "previous": book.registry.head},
        AT_MS,
        book.registry.root,
    )
    assert "its key is another person's" == book.take(resigned)


def test_invariant_2_an_act_that_was_taken_out_put_back_or_withheld_ends_all_authority(book: Book) -> None:
    granted = book.signed("ada", ActKind.ROLE_GRANTED, name="eve", role="REVIEWER")  # withheld: never stored
    assert book.take_away("ann", "REVIEWER") is None
    fault = book.take(granted)
    assert fault is not None
    assert "follows another" in fault
    assert set() == book.roles("ada") | book.roles("ann") | book.roles("eve")
    expected = Expected(ActKind.ROLE_GRANTED, "ada", {}, (Role.ADMIN,))
    assert fault == act_fault(book.registry, book.acts[0], expected, CHECKS, is_pending=False)


@pytest.mark.parametrize("spoil", ["signature", "content"])
@pytest.mark.parametrize("kind", [ActKind.ROLE_REVOKED, ActKind.KEY_REVOKED])
def test_invariant_2_a_revocation_that_was_spoilt_gives_nothing_back(book: Book, kind: ActKind, spoil: str) -> None:
    """By the owner, who can't unsay it otherwise than by cutting it off."""
    subject = {"name": "ann", "role": "REVIEWER"} if kind is ActKind.ROLE_REVOKED else {"key": identity("ann").key_id}
    signed = book.signed("ada", kind, **subject)
    changed = {"signature": bytes(64)} if spoil == "signature" else {"content": signed.content[:-1]}
    assert "was spoilt" in (book.take(signed._replace(**changed)) or "")
    assert set() == book.roles("ann") | book.roles("ada")


def test_invariant_3_a_revoked_key_grants_nothing_as_of_before(book: Book) -> None:
    """By whoever has the key and the owner's credential: the order of the acts tells, not what the signer says."""
    assert book.register("bob") is None
    assert book.grant("bob", "ADMIN") is None
    before_ms, book.at_ms = book.at_ms + 1, book.at_ms + 10_000
    assert book.revoke("bob") is None
    subject = {"name": "eve", "role": "ROLLBACK_APPROVER", "previous": book.registry.head}
    forged = identity("bob").sign(ActKind.ROLE_GRANTED, subject, before_ms, book.registry.root)
    assert book.take(forged) == "its key was revoked before"
    assert book.roles("eve") == set()
    assert book.registry.broken is None


def test_a_grant_as_of_long_ago_counts_as_nothing_and_a_revocation_counts(book: Book) -> None:
    """Such as by a session that has ended since."""
    book.at_ms += 2 * SEEN_WITHIN_MS
    assert book.register("eve") is None
    book.at_ms -= SEEN_WITHIN_MS + 10_000
    assert book.grant("ann", "SENIOR_REVIEWER") == "it says a time long before the act that it follows"
    assert book.take_away("ann", "REVIEWER") is None
    assert book.roles("ann") == set()


@pytest.mark.parametrize("missing", range(1, 4))
def test_invariant_2_a_registry_with_a_hole_grants_nothing(book: Book, missing: int) -> None:
    assert book.take_away("ann", "REVIEWER") is None
    registry = Registry()
    for signed in book.acts[:missing] + book.acts[missing + 1 :]:
        registry, _ = advanced(registry, signed, CHECKS)
    is_last = missing == len(book.acts) - 1
    assert is_last == (registry.broken is None), "only what was cut off at the end leaves no trace here"


def acted(book: Book, at_ms: int | None = None, **changed: object) -> tuple[SignedAct, Expected]:
    subject = {"decision_id": "d-1", "round": 1, "outcome": "ALLOW"}
    signed = identity("ann").sign(ActKind.CASE_DECIDED, subject, at_ms or book.at_ms, book.registry.root)
    return signed, Expected(ActKind.CASE_DECIDED, "ann", {**subject, **changed}, (Role.REVIEWER,))


def fault_of(book: Book, signed: SignedAct | None, expected: Expected, *, is_pending: bool = True) -> str | None:
    return act_fault(book.registry, signed, expected, CHECKS, is_pending=is_pending)


def test_an_act_counts_for_exactly_what_it_says(book: Book) -> None:
    signed, expected = acted(book)
    assert fault_of(book, signed, expected) is None
    for other in ({"round": 2}, {"outcome": "BLOCK"}, {"decision_id": "d-2"}, {"reason": "x"}, {"round": True}):
        assert fault_of(book, *acted(book, **other)) is not None
    assert fault_of(book, signed, expected._replace(kind=ActKind.CASE_PROPOSED)) is not None
    assert fault_of(book, signed, expected._replace(name="ada")) is not None
    assert fault_of(book, signed._replace(signature=bytes(64)), expected) == "its signature is false"
    assert fault_of(book, None, expected) == "nobody has signed it"
    assert fault_of(book, signed, expected._replace(roles=(Role.SENIOR_REVIEWER,))) is not None


def test_invariant_3_revocation_voids_what_is_pending_and_leaves_what_was_done(book: Book) -> None:
    signed, expected = acted(book)
    assert book.take_away("ann", "REVIEWER") is None
    assert "any more" in (fault_of(book, signed, expected) or "")
    assert fault_of(book, signed, expected, is_pending=False) is None
    late = acted(book)
    assert "did not hold" in (fault_of(book, *late, is_pending=False) or "")


def test_invariant_3_a_role_that_is_given_anew_revives_nothing_that_was_void(book: Book) -> None:
    signed, expected = acted(book)
    assert (None, None) == (book.take_away("ann", "REVIEWER"), book.grant("ann", "REVIEWER"))
    assert "taken back since" in (fault_of(book, signed, expected) or "")
    assert fault_of(book, signed, expected, is_pending=False) is None
    assert fault_of(book, *acted(book)) is None


def test_an_act_stands_on_the_role_that_its_author_has_had_ever_since(book: Book) -> None:
    assert book.grant("ann", "SENIOR_REVIEWER") is None
    signed, expected = acted(book)
    either = expected._replace(roles=(Role.REVIEWER, Role.SENIOR_REVIEWER))
    assert book.take_away("ann", "REVIEWER") is None
    assert fault_of(book, signed, either) is None
    assert (None, None) == (book.grant("ann", "REVIEWER"), book.take_away("ann", "SENIOR_REVIEWER"))
    assert "taken back since" in (fault_of(book, signed, either) or ""), "neither was hers all the time"


def test_invariant_3_a_revoked_key_signs_nothing_from_then_on(book: Book) -> None:
    before = acted(book)
    assert book.revoke("ann") is None
    after = acted(book)
    assert "revoked since" in (fault_of(book, *before) or "")
    assert fault_of(book, *before, is_pending=False) is None
    assert "revoked before" in (fault_of(book, *after, is_pending=False) or "")


def test_an_act_from_before_the_key_or_the_role_is_none(book: Book) -> None:
    assert fault_of(book, *acted(book, at_ms=AT_MS), is_pending=False) == "its key was registered later"


def test_signatures_are_over_our_own_domain(book: Book) -> None:
    signed, _ = acted(book)
    assert not is_signed(identity("ann").public, signed.content.encode(), signed.signature)
    assert key_id_of(identity("ann").public) == json.loads(signed.content)["key"]
