"""Gathering the facts that the gate judges: from the registry, PostgreSQL and the policy file.

What fails to be read becomes a fact of its own (`Unread`), so that the gate tells of it beside every other reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from models.artefact.files import load_contents
from models.artefact.plain_files import read_plain
from models.artefact.strict import ModelRefused
from models.versions.alias_files import alias_records
from models.versions.aliases import AliasRecord, Seen, require_no_way_back
from models.versions.approval_files import standing_approvals
from models.versions.approvals import Grounds, Standing
from models.versions.artefact_files import digest_of, read_artefact
from models.versions.evidence import Evidence, Filed, Recorded, gone, root_of
from models.versions.evidence_files import evidence_names, filed_evidence, recorded_evidence
from models.versions.history import retired
from models.versions.history_files import read_history
from models.versions.locations import Alias
from models.versions.registry_files import Registry
from models.versions.signature_files import require_signed
from pipeline.breaker.settings import POLICY_BYTES_MAX
from pipeline.decide.policy import PolicyRefused, parse_new_policy
from pipeline.decide.rollout.limits import PPM_A_PERCENT, Promotion
from pipeline.domain.times import utc_text
from pipeline.io.clock import now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySet
from pipeline.people.key_files import Identity
from pipeline.people.registry import Registry as People
from pipeline.people.store import is_known, person_of
from pipeline.promotion.facts import CLOCKS_MS, Approval, Facts, Found, Reviewed, Shadow, Unread
from pipeline.promotion.moves import MOVERS, champion_digest_of, champion_of, is_shared
from pipeline.promotion.store import drawn
from pipeline.replay.regimes import RegimeOf
from pipeline.shadow.proof_store import Champion, shadow_doubt
from pipeline.shadow.summary_store import ShadowSummary, summary

T = TypeVar("T")
NO_CHAMPION: Final = "the registry names no champion, so there is nothing to compare with"


class Standpoint(NamedTuple):
    """The alias as it stands: its records, and why it can't be moved whatever the version; None where it can."""

    records: list[AliasRecord]
    fault: str | None

    @property
    def latest(self) -> AliasRecord | None:
        return self.records[-1] if self.records else None


class Terms(NamedTuple):
    """What a policy says of promotions, and the SHA-256 of its file in hexadecimal; None where it can't be read."""

    limits: Promotion | None
    policy: str | None


NO_TERMS: Final = Terms(None, None)


class Sources(NamedTuple):
    """Where versions are, and the policies and feeds that decisions were made under."""

    registry: Registry
    regime_of: RegimeOf


class Asked(NamedTuple):
    """Who asks for what, and by which keys records of the registry are proved."""

    sources: Sources
    keys: KeySet
    people: People
    version: str
    by: Identity
    now_ms: int


class Gathered(NamedTuple):
    """`standing`: the approvals that count, for the record that moves the alias by them; None: they can't be read."""

    facts: Facts
    standing: Standing | None


def standpoint(registry: Registry, keys: KeySet, seen: Seen | None) -> Standpoint:
    """Read the alias, and hold it against what was recorded of it: an older registry put back shows by that."""
    try:
        records = alias_records(registry, keys, Alias.CHAMPION)
        require_no_way_back(Alias.CHAMPION, records, seen)
    except ModelRefused as refusal:
        return Standpoint([], str(refusal))
    return Standpoint(records, None if records else NO_CHAMPION)


def gathered(connection: Connection, asked: Asked, standing: Standpoint, terms: Terms, *, is_step: bool) -> Gathered:
    """Return what is known. is_step: the version has a share already, and asks for a larger one."""
    registry, version = asked.sources.registry, asked.version
    digest = _tried(lambda: _proved_digest(asked))
    champion = Unread(standing.fault or "nothing names it") if standing.latest is None else champion_of(standing.latest)
    filed = _tried(lambda: filed_evidence(registry, version, asked.keys))
    recorded = recorded_evidence(connection, version)
    approvals = _standing(asked, filed, terms)
    facts = Facts(
        version=version,
        digest=digest,
        champion=champion,
        champion_digest=None if standing.latest is None else champion_digest_of(standing.latest),
        policy=terms.policy,
        drawn=_drawn(connection, digest, standing, terms),
        limits=terms.limits,
        evidence=filed if isinstance(filed, Unread) else _evidence(filed, recorded),
        evidence_gone=_gone(registry, version, recorded),
        shadow=shadow_beside(connection, asked.sources, version, digest, standing, terms.limits),
        approvals=approvals if isinstance(approvals, Unread) else _approvals(approvals, str(digest)),
        approvals_void=() if isinstance(approvals, Unread) else approvals.faults,
        promoter=asked.by.name,
        promoter_fault=mover_fault(asked.people, asked.by),
        standing_fault=standing.fault
        or _times_fault(standing, asked.now_ms)
        or _rollout_fault(standing, version, is_step=is_step),
        now_ms=asked.now_ms,
    )
    return Gathered(facts, None if isinstance(approvals, Unread) else approvals)


def mover_fault(people: People, by: Identity) -> str | None:
    """Return why somebody may not move the champion; None where they may."""
    if not is_known(people, by):
        return f"the key of {by.name} is not registered for them, or it is revoked"
    held = person_of(people, by)
    return None if held.holds(*MOVERS) else f"{by.name} is no {' or '.join(MOVERS)}"


def terms_of(settings: Settings) -> Terms:
    """Return what the policy says; nothing where it says nothing, or can't be read: then nothing is promoted."""
    try:
        policy = parse_new_policy(read_plain(settings.policy_path, POLICY_BYTES_MAX))
    except (OSError, PolicyRefused):
        return NO_TERMS
    return Terms(policy.promotion, policy.sha256.hex())


def limits_of(settings: Settings) -> Promotion | None:
    return terms_of(settings).limits


def _times_fault(standing: Standpoint, at_ms: int) -> str | None:
    """Return why nobody knows what time it is; None where clocks agree, and the alias with them.

    at_ms: now, by the database's clock. A record that is dated ahead blinds whoever counts what was decided since, and
    none after it can say less.
    """
    if abs(at_ms - now_ms()) > CLOCKS_MS:
        return f"the clock of the database says {utc_text(at_ms)}, and that of this machine {utc_text(now_ms())}"
    return None if standing.latest is None else times_fault(standing.latest, at_ms)


def times_fault(record: AliasRecord, at_ms: int) -> str | None:
    """Return why a record of the alias can't have been made by now; None where it can."""
    if record.at_ms <= at_ms + CLOCKS_MS:
        return None
    return f"record {record.sequence} of the alias says a time that has not come, {utc_text(record.at_ms)}"


def _rollout_fault(standing: Standpoint, version: str, *, is_step: bool) -> str | None:
    latest = standing.latest
    if latest is None:
        return NO_CHAMPION
    if is_step and (not is_shared(latest) or latest.version != version):
        return f"{version} has no share of the traffic to be raised"
    if not is_step and is_shared(latest):
        share = f"{latest.share_ppm / PPM_A_PERCENT:g} %"
        return f"{latest.version} is being rolled out, at {share}; step on with it or roll it back"
    return None


def _proved_digest(asked: Asked) -> str:
    """Verify the artefact as a worker would before it loads it. Raises ModelRefused."""
    registry, version = asked.sources.registry, asked.version
    contents = read_artefact(registry, version)
    load_contents(version, contents)
    require_signed(version, contents, asked.keys, asked.now_ms, None)
    if version in retired(read_history(registry, asked.keys)):
        raise ModelRefused("it is retired")
    return digest_of(registry, version)


def _evidence(filed: Sequence[Filed], recorded: Sequence[Recorded]) -> Mapping[str, Found]:
    """Return the latest of each kind, with how many runs of the kind failed. filed: oldest first."""
    failed = Counter(each.evidence.kind for each in filed if not each.evidence.passed)
    known = {(each.name, each.sha256) for each in recorded}
    return {
        each.evidence.kind: _found(
            each.evidence, failed[each.evidence.kind], is_recorded=(each.name, each.sha256) in known
        )
        for each in filed
    }


def _gone(registry: Registry, version: str, recorded: Sequence[Recorded]) -> tuple[Recorded, ...]:
    """Return the recorded evidence that can't be found; all of it where the registry can't be asked."""
    names = _tried(lambda: evidence_names(registry, version))
    return gone(recorded, () if isinstance(names, Unread) else frozenset(names))


def _found(evidence: Evidence, failed: int, *, is_recorded: bool) -> Found:
    figures = evidence.figures
    champion, policy, seed = figures.get("champion"), figures.get("policy_sha256"), figures.get("seed")
    digest = champion.get("digest") if isinstance(champion, dict) else None
    budget, trials = figures.get("budget"), figures.get("trials")
    return Found(
        digest=evidence.digest,
        made_at_ms=evidence.made_at_ms,
        passed=evidence.passed,
        findings=evidence.findings,
        champion=digest if isinstance(digest, str) else None,
        policy=policy if isinstance(policy, str) else None,
        seed=seed if type(seed) is int else None,
        effort=(budget, trials) if type(budget) is int and type(trials) is int else None,
        failed=failed,
        is_recorded=is_recorded,
    )


def _drawn(connection: Connection, digest: str | Unread, standing: Standpoint, terms: Terms) -> str | None:
    if isinstance(digest, Unread) or standing.latest is None or terms.policy is None:
        return None
    return drawn(connection, digest, champion_digest_of(standing.latest), terms.policy)


def _standing(asked: Asked, filed: Sequence[Filed] | Unread, terms: Terms) -> Standing | Unread:
    """Return the approvals that were given on the evidence and under the policy of now."""
    if isinstance(filed, Unread) or terms.policy is None:
        return Unread("it isn't known on what evidence, or under which policy, they would have to be given")
    grounds = Grounds(root_of(filed), terms.policy)
    return _tried(
        lambda: standing_approvals(asked.sources.registry, asked.version, asked.people, asked.now_ms, grounds)
    )


def _approvals(standing: Standing, digest: str) -> tuple[Approval, ...]:
    return tuple(
        Approval(each.name, each.role, digest, each.at_ms, "" if each.grounds is None else each.grounds.answer)
        for each in standing.approvals.values()
    )


def shadow_beside(
    connection: Connection,
    sources: Sources,
    version: str,
    digest: str | Unread,
    standing: Standpoint,
    limits: Promotion | None,
) -> Shadow | Unread:
    """Return how a version did beside the champion of now, and what speaks against believing it."""
    if isinstance(digest, Unread):
        return Unread("the artefact can't be used")
    if standing.latest is None:
        return Unread(standing.fault or "nothing names a champion")
    champion = Champion(champion_of(standing.latest), bytes.fromhex(champion_digest_of(standing.latest)))
    try:
        above = {} if limits is None else {"above_gbp_minor": limits.review_all_from_gbp_minor}
        whole = summary(connection, version, digest, **above, champion=champion.version)
        found = shadow_of(whole)
        if isinstance(found, Unread):
            return found
        model = load_contents(version, read_artefact(sources.registry, version))
        return found._replace(doubt=shadow_doubt(connection, model, champion, whole, sources.regime_of))
    except (DatabaseRefused, DatabaseUnavailable, ModelRefused) as error:
        return Unread(str(error).rstrip("."))


def shadow_of(whole: ShadowSummary) -> Shadow | Unread:
    if whole.sample == 0:
        return Unread("it answered no payment beside the champion of now")
    if not whole.is_whole:
        return Unread("it disagrees more often than can be counted")
    return Shadow(
        days=whole.days_covered,
        until_ms=whole.last_ms,
        payments=whole.overall.compared,
        agreed=whole.overall.agreed,
        stopped=whole.stopped.compared,
        stopped_agreed=whole.stopped.agreed,
        large=Reviewed(whole.above, whole.above_reviewed, whole.above_right),
        strata={each.name: Reviewed(each.disagreements, each.reviewed, each.challenger_right) for each in whole.strata},
        reviews_unproved=whole.reviews_unproved,
        unanswered=whole.unanswered,
        stopped_unanswered=whole.stopped_unanswered,
    )


def _tried(read: Callable[[], T]) -> T | Unread:
    try:
        return read()
    except ModelRefused as refusal:
        return Unread(str(refusal).rstrip("."))
