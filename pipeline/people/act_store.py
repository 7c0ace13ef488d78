"""Signed acts in PostgreSQL: appended with what they are about, and read back to be proved.

PostgreSQL can't check an Ed25519 signature, so its triggers hold only what needs none: that a row is exactly what its
act says, and that author, key and role are in order. Whoever acts on a row proves the signature first, by `proved`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from psycopg.types.json import Jsonb

from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, statements
from pipeline.people.acts import ActKind, Evidence, SignedAct, Subject, act_of
from pipeline.people.key_files import Identity, is_signed
from pipeline.people.registry import (
    Checks,
    Expected,
    KnownLogin,
    ProviderKey,
    Registry,
    act_fault,
    advanced,
    proof_fault,
)

_SQL: Final = statements("pipeline.people", "people")


def _token_fault(
    evidence: Evidence,
    name: str,
    at_ms: int,
    providers: Iterable[ProviderKey],
    logins: Mapping[str, KnownLogin],
) -> str | None:
    from pipeline.people.token_client import token_fault  # its library takes a tenth of a second to import

    return token_fault(evidence, name, at_ms, providers, logins)


CHECKS: Final = Checks(is_signed, _token_fault)
ROWS_A_FETCH: Final = 1000


class RegistryReader:
    """The registry as a process knows it: only what came since is read and proved. For one thread.

    On another connection it is read from its beginning, since the database may have been put back meanwhile, and what
    comes then takes numbers that had been read. On the same one, acts that were read are there, or nothing counts.

    `faults`: why acts among them count as nothing, by digest. `acts`: the others, in order.
    """

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._last: SignedAct | None = None
        self._registry, self._reached = Registry(), 0
        self.faults: dict[str, str] = {}
        self.acts: list[SignedAct] = []

    def read(self, connection: Connection) -> Registry:
        """Read on. Raises psycopg's exceptions."""
        if connection is not self._connection:
            self._begin()
            self._connection = connection
        rows = connection.execute(_SQL["read_registry_acts"], [self._reached]).fetchall()
        if self._last is not None:
            if not rows or _signed_act(rows[0][1:]) != self._last:
                self._registry = self._registry._replace(broken="acts that were read before are not there any more")
                return self._registry
            del rows[0]
        for sequence, *row in rows:
            signed = self._last = _signed_act(row)
            self._registry, fault = advanced(self._registry, signed, CHECKS)
            self._reached = sequence
            if fault is None:
                self.acts.append(signed)
            else:
                self.faults[signed.digest] = fault
        return self._registry

    def _begin(self) -> None:
        self._registry, self._reached, self._last = Registry(), 0, None
        self.faults, self.acts = {}, []


def registry_acts(connection: Connection) -> list[SignedAct]:
    """The acts of the registry that count, in order."""
    reader = RegistryReader()
    reader.read(connection)
    return reader.acts


def read_registry(connection: Connection) -> Registry:
    """Read and prove the whole registry."""
    return RegistryReader().read(connection)


def sign_act(connection: Connection, identity: Identity, kind: ActKind, subject: Subject, registry: Registry) -> str:
    """Append an act that `identity` signs now, in the caller's transaction; return its digest.

    Raises DatabaseRefused where it would count as nothing, and psycopg's CheckViolation where the database refuses it.
    """
    signed = identity.sign(kind, subject, server_now_ms(connection), registry.root)
    if (fault := proof_fault(registry, signed, act_of(signed.content), CHECKS)) is not None:
        raise DatabaseRefused(f"what you signed would count as nothing: {fault}")
    append_act(connection, signed)
    return signed.digest


def append_act(connection: Connection, signed: SignedAct) -> None:
    fields = evidence_fields(signed.evidence)
    evidence = None if fields is None else Jsonb(fields)
    row = {"content": signed.content, "signature": signed.signature, "evidence": evidence}
    connection.execute(_SQL["append_act"], row)


def read_acts(connection: Connection, digests: Iterable[str]) -> dict[str, SignedAct]:
    rows = connection.execute(_SQL["read_acts"], [sorted(set(digests))]).fetchall()
    return {str(digest): _signed_act(row) for digest, *row in rows}


def latest_sequence(connection: Connection) -> int:
    """The sequence of the act that came last; 0 where there is none."""
    found = connection.execute(_SQL["latest_sequence"]).fetchone()
    assert found is not None, "an aggregate has one row"
    return int(found[0])


def acts_since(connection: Connection, sequence: int, limit: int) -> list[tuple[int, SignedAct]]:
    """The acts after the one with this sequence, each with its own, in order."""
    rows = connection.execute(_SQL["acts_since"], [sequence, limit]).fetchall()
    return [(number, _signed_act(row)) for number, *row in rows]


class ClaimedRow(NamedTuple):
    """A row that stands for an act: `kind`, `name` and `subject` are what the act must say."""

    of_table: str
    place: str
    act: str | None
    kind: str
    name: str
    subject: Subject


class RegistryRow(NamedTuple):
    """A row that the triggers look at. `said`: what the act must say that made it."""

    of_table: str
    place: str
    act: str | None
    name: str
    said: Subject


def read_registry_rows(connection: Connection) -> list[RegistryRow]:
    return [RegistryRow(*row) for row in connection.execute(_SQL["registry_rows"]).fetchall()]


def read_claims(connection: Connection) -> Iterator[list[ClaimedRow]]:
    """Every row that stands for an act, some at a time."""
    with connection.transaction(), connection.cursor("claimed_acts") as cursor:
        cursor.execute(_SQL["claimed_acts"])
        while rows := cursor.fetchmany(ROWS_A_FETCH):
            yield [ClaimedRow(*row) for row in rows]


def unproved(
    connection: Connection, registry: Registry, claims: Mapping[str | None, Expected], *, is_pending: bool
) -> str | None:
    """Return why one of these acts counts as nothing, or None where all count. By digest; None: it has none."""
    acts = read_acts(connection, [digest for digest in claims if digest is not None])
    for digest, expected in claims.items():
        signed = None if digest is None else acts.get(digest)
        if signed is not None and signed.digest != digest:
            return "what was signed was exchanged"
        if (fault := act_fault(registry, signed, expected, CHECKS, is_pending=is_pending)) is not None:
            return fault
    return None


def proved(connection: Connection, registry: Registry, claims: Mapping[str | None, Expected]) -> set[str]:
    """Return those of these acts that count, as what was done."""
    acts = read_acts(connection, [digest for digest in claims if digest is not None])
    return {
        digest
        for digest, signed in acts.items()
        if signed.digest == digest and act_fault(registry, signed, claims[digest], CHECKS, is_pending=False) is None
    }


def _signed_act(row: Sequence[object]) -> SignedAct:
    content, signature, evidence = row
    assert isinstance(signature, bytes | memoryview), "a column of bytes"
    return SignedAct(str(content), bytes(signature), evidence_of(evidence))


def evidence_fields(evidence: Evidence | None) -> dict[str, str] | None:
    """As JSON holds it."""
    return None if evidence is None else {"public": evidence.public.hex(), "id_token": evidence.id_token}


def evidence_of(read: object) -> Evidence | None:
    """None, too, where it has not the form of evidence, which then proves nothing."""
    if not isinstance(read, dict):
        return None
    try:
        return Evidence(bytes.fromhex(str(read.get("public"))), str(read.get("id_token")))
    except ValueError:
        return None
