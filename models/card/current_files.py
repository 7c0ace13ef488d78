"""The card of today: the artefact's own facts, with what the registry's evidence and approvals say since."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from models.artefact.files import MANIFEST, TABLES, load_contents
from models.artefact.strict import ModelRefused, parsed, refuse
from models.card.cards import CYCLONEDX, facts_of_artefact
from models.card.facts import Approval, CardFacts, Check, Occasion
from models.card.forms import cyclonedx
from models.card.words import moment
from models.versions.approval_files import standing_approvals
from models.versions.approvals import grounds_words
from models.versions.artefact_files import read_artefact
from models.versions.evidence import Recorded
from models.versions.evidence_files import evidence_root, read_evidence
from models.versions.listing_command import gone_evidence
from models.versions.loading_files import Trust, trust_of
from models.versions.records import sha256_of
from models.versions.registry_files import Registry, registry_at
from models.versions.signature_files import require_signed
from pipeline.io.clock import now_ms
from pipeline.io.settings import Settings

SIGNED: Final = "signed by a key that counts"


def current_facts(settings: Settings, version: str) -> CardFacts:
    """Gather what is known of a version today. Raises ModelRefused.

    Evidence of which a part can't be relied upon refuses the card: one that left it out would look better than it is.
    Raises Failure where a database is named, which has a record of all evidence, and can't be asked.
    """
    registry = registry_at(settings.model_registry)
    contents = read_artefact(registry, version)
    model = load_contents(version, contents)
    manifest = parsed(contents[MANIFEST], MANIFEST)
    assert isinstance(manifest, dict), "a model was loaded by it"
    facts = facts_of_artefact(model, manifest) if CYCLONEDX not in contents else _own_facts(contents, version)
    facts = replace(facts, digest=model.hash.hex(), occasion=Occasion.WITHOUT_KEYS)
    trust = trust_of(settings)
    if trust is None:
        return facts
    taken = tuple(map(_taken, gone_evidence(settings, registry, version)))
    known = _with_registry(facts, registry, contents, trust)
    return replace(known, checks=tuple(sorted((*(known.checks or ()), *taken), key=lambda each: each.made_at_ms)))


def _taken(recorded: Recorded) -> Check:
    """Return a run whose file is gone: whatever it found, nobody can read it any more, so it has not passed."""
    result = "passed" if recorded.passed else "did not pass"
    finding = f"'{recorded.name}' is gone from the registry; by the database's record it {result}"
    return Check(recorded.kind, False, recorded.at_ms, (finding,), {})


def _own_facts(contents: dict[str, bytes], version: str) -> CardFacts:
    facts = cyclonedx.facts_of(contents[CYCLONEDX])
    if (facts.version, facts.tables_sha256) != (version, sha256_of(contents[TABLES])):
        refuse(f"the card of version '{version}' is about another model")
    return facts


def _with_registry(facts: CardFacts, registry: Registry, contents: dict[str, bytes], trust: Trust) -> CardFacts:
    checks = tuple(
        Check(each.kind, each.passed, each.made_at_ms, each.findings, each.figures)
        for each in read_evidence(registry, facts.version, trust.keys)
    )
    known = replace(
        facts, checks=checks, signature=_signature(facts.version, contents, trust), occasion=Occasion.REGISTRY
    )
    if trust.people is None:
        return known
    standing = standing_approvals(registry, facts.version, trust.people, now_ms())
    root = evidence_root(registry, facts.version, trust.keys)
    approvals = tuple(
        Approval(each.role.value, each.name, moment(each.at_ms), grounds_words(each.grounds, root))
        for each in sorted(standing.approvals.values(), key=lambda each: (each.role.value, each.at_ms))
    )
    faults = (*standing.faults, *([] if standing.missing is None else [standing.missing]))
    return replace(known, approvals=approvals, approval_faults=faults)


def _signature(version: str, contents: dict[str, bytes], trust: Trust) -> str:
    try:
        require_signed(version, contents, trust.keys, now_ms(), None)
    except ModelRefused as refusal:
        return str(refusal)
    return SIGNED
