"""A person's word that a feed is meant, although it is older than the one in force, or changes too much.

It lies in the archive beside the feed, signed by its author with their own key: who, why, which feed, and in whose
place. A worker heeds it where the registry's file proves that an OPERATOR signed exactly it, and nowhere else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

from models.artefact.plain_files import read_plain
from pipeline.decide.feeds.feed import Feed, FeedRefused
from pipeline.decide.feeds.feed_files import HASH_DIGITS, archive_folder, replace
from pipeline.people.act_store import CHECKS, evidence_fields, evidence_of
from pipeline.people.acts import CONTENT_BYTES_MAX, ActKind, ActMalformed, SignedAct, Subject, act_of
from pipeline.people.key_files import Identity
from pipeline.people.people_files import PeopleFileRefused, read_people
from pipeline.people.registry import Expected, Registry, act_fault
from pipeline.people.roles import Role

WORD_BYTES_MAX: Final = 4 * CONTENT_BYTES_MAX
NO_PEOPLE: Final = "FRAUD_PEOPLE_FILE names no file that says who may force a feed"


class Word(NamedTuple):
    """What the word says. `replaces`: the hash of the feed in force when it was given."""

    kind: str
    version: str
    sha256: str
    replaces: str
    reason: str


class ProvedWord(NamedTuple):
    """When an OPERATOR gave a word, and the hashes of the feed that it put in and of the one that it took back."""

    at_ms: int
    sha256: str
    replaces: str


def word_for(before: Feed, after: Feed, reason: str) -> Word:
    return Word(after.kind.value, after.version, after.sha256.hex(), before.sha256.hex(), reason)


def write_word(feeds_path: Path, word: Word, by: Identity, at_ms: int, root: str) -> None:
    """Sign the word and keep it in the archive, in the place of one that said the same before.

    One about the same feed in another's place stays: what it took back stays taken back.
    """
    signed = by.sign(ActKind.FEED_FORCED, _subject(word), at_ms, root)
    fields = {
        "act": signed.content,
        "signature": signed.signature.hex(),
        "evidence": evidence_fields(signed.evidence),
    }
    replace(_path(feeds_path, word.sha256, word.replaces), json.dumps(fields, indent=2).encode() + b"\n")


def word_fault(feeds_path: Path, people_file: Path | None, before: Feed, after: Feed, seen_at_ms: int) -> str | None:
    """Return why no OPERATOR is proved to have said that `after` is to follow `before`; None where one is.

    seen_at_ms: when the word was found, which shows that it isn't signed as of before a key's revocation.
    """
    try:
        signed = _read(_path(feeds_path, after.sha256.hex(), before.sha256.hex()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "no person has said that it is meant (`fraud feeds install --force`)"
    if people_file is None:
        return NO_PEOPLE
    try:
        registry, act = read_people(people_file).registry, act_of(signed.content)
    except PeopleFileRefused as refusal:
        return str(refusal)
    except ActMalformed as error:
        return f"the word that it is meant is no act: {error}"
    reason = act.subject.get("reason")
    word = word_for(before, after, reason if isinstance(reason, str) else "")
    expected = Expected(ActKind.FEED_FORCED, act.name, _subject(word), (Role.OPERATOR,))
    fault = act_fault(registry, signed, expected, CHECKS, is_pending=False, seen_at_ms=seen_at_ms)
    return None if fault is None else f"the word that it is meant is not proved: {fault}"


def _subject(word: Word) -> Subject:
    return word._asdict()


def _path(feeds_path: Path, sha256: str, replaces: str) -> Path:
    return archive_folder(feeds_path) / f"forced-{sha256[:HASH_DIGITS]}-{replaces[:HASH_DIGITS]}.json"


def _read(path: Path) -> SignedAct:
    read = json.loads(read_plain(path, WORD_BYTES_MAX))
    if not isinstance(read, dict) or not isinstance(read["act"], str):
        raise TypeError("a word is an object with an act")
    return SignedAct(read["act"], bytes.fromhex(read["signature"]), evidence_of(read["evidence"]))


def proved_words(feeds_path: Path, people_file: Path | None) -> list[ProvedWord]:
    """Return every word of the archive that an OPERATOR is proved to have given, however long ago.

    A worker that is told of no people's file has none, as it heeds none. Raises FeedRefused where there are words and
    the file that proves them can't be read: one may have taken back what is to come in force.
    """
    words = [word for path in archive_folder(feeds_path).glob("forced-*.json") if (word := _read_or_none(path))]
    if people_file is None or not words:
        return []
    try:
        registry = read_people(people_file).registry
    except PeopleFileRefused as refusal:
        raise FeedRefused(f"whether an OPERATOR took it back can't be told: {refusal}") from refusal
    return [proved for word in words if (proved := _proved(registry, word)) is not None]


def _proved(registry: Registry, signed: SignedAct) -> ProvedWord | None:
    try:
        act = act_of(signed.content)
    except ActMalformed:
        return None
    expected = Expected(ActKind.FEED_FORCED, act.name, act.subject, (Role.OPERATOR,))
    if act_fault(registry, signed, expected, CHECKS, is_pending=False) is not None:
        return None
    sha256, replaces = act.subject.get("sha256"), act.subject.get("replaces")
    if not isinstance(sha256, str) or not isinstance(replaces, str):
        return None
    return ProvedWord(act.at_ms, sha256, replaces)


def _read_or_none(path: Path) -> SignedAct | None:
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
