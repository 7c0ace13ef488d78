"""`fraud models sign`, `approve`, `try`, `retire`, `begin` and `confirm`: each adds, and nothing is written over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from models.artefact.files import SIGNATURE, load_contents
from models.artefact.plain_files import read_plain
from models.artefact.strict import ModelRefused, VersionMissing, refuse
from models.versions.alias_files import alias_records, latest_seen, move_alias
from models.versions.aliases import Seen, require_no_way_back
from models.versions.approval_files import pinned_approvals, standing_approvals, write_approval
from models.versions.approvals import ANSWER_CHARACTERS_MAX, APPROVING_ROLES, Grounds
from models.versions.artefact_files import digest_of, read_artefact
from models.versions.evidence import ASKED_KINDS, Filed, root_of
from models.versions.evidence_files import filed_evidence
from models.versions.history import Event, HistoryRecord, moved_last
from models.versions.history_files import append_history, read_history, require_not_retired
from models.versions.listing_command import no_version
from models.versions.loading_files import Trust, trust_of
from models.versions.locations import Alias
from models.versions.records import sha256_of, vouched
from models.versions.registry_files import Registry, registry_at
from models.versions.signature_files import require_signed, signed_artefact
from pipeline.domain.money import count_text
from pipeline.io.clock import now_ms
from pipeline.io.filing import server_now_ms
from pipeline.io.settings import Settings
from pipeline.keys.artefact_key_files import ArtefactKey
from pipeline.keys.key_files import SigningKey, SigningKeyRefused
from pipeline.keys.key_sets import KeyUse, untrusted
from pipeline.people.identity_command import identity_of
from pipeline.people.people_files import PeopleFileRefused, read_people
from pipeline.people.registry import Registry as People
from pipeline.people.roles import Role
from pipeline.people.store import person_of
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output

REASON_CHARACTERS_MAX = 500
FAILED_SHOWN_MAX = 5
POLICY_BYTES_MAX = 256 * 1024
"""As everybody reads a policy."""


class Beside(NamedTuple):
    """A version that stands beside the registry. load: verifies its files; raises ModelRefused."""

    registry: Registry
    load: Callable[[str, Mapping[str, bytes]], object]


class Signed(NamedTuple):
    version: str
    key_id: str


class Approved(NamedTuple):
    """missing: what the version lacks still, in a sentence; None where three people stand for it.

    evidence: the root of the evidence that it was approved on; empty where there was none. failed: how many runs had
    failed.
    """

    version: str
    digest: str
    role: Role
    name: str
    missing: str | None
    evidence: str
    failed: int


def sign(settings: Settings, version: str, beside: Beside | None = None) -> Signed:
    """Failure where the version can't be loaded, is signed already, or the key set doesn't trust the key."""
    with refusals():
        registry = registry_at(settings.model_registry) if beside is None else beside.registry
        contents = read_artefact(registry, version)
        if SIGNATURE in contents:
            refuse(f"version '{version}' is signed already, and nothing of a version is written over")
        _load(version, contents, beside)
        key = _artefacts_key(settings)
        trust = _trust(settings)
        signature = signed_artefact(version, contents, key)
        signed_by = require_signed(version, {**contents, SIGNATURE: signature}, trust.keys, now_ms(), None)
        registry.create(f"{version}/{SIGNATURE}", signature)
    return Signed(version, signed_by)


def approve(settings: Settings, version: str, role: Role, answer: str) -> Approved:
    """Failure where the version is not signed and sound, or the person doesn't hold the role.

    answer: what they say of the runs of checks that failed; a Failure where some did, and they say nothing.
    """
    by, people = identity_of(settings), _people(settings)
    if not person_of(people, by).holds(role):
        fix = "`fraud people list` shows who does."
        raise Failure(f"Refused: you don't hold the role {role}, or your key isn't registered.", fix, FAILED_CHECK)
    at_ms = trusted_now_ms(settings)
    with refusals():
        registry, trust = registry_at(settings.model_registry), _trust(settings)
        contents = read_artefact(registry, version)
        load_contents(version, contents)
        require_signed(version, contents, trust.keys, at_ms, None)
        require_not_retired(read_history(registry, trust.keys), version)
        filed = [each for each in filed_evidence(registry, version, trust.keys) if each.evidence.kind in ASKED_KINDS]
        failed = [each.name for each in filed if not each.evidence.passed]
        grounds = _grounds(settings, filed, _answer(answer, failed)) if filed else None
        write_approval(registry, version, role, by, at_ms, people.root, grounds)
        standing = standing_approvals(registry, version, people, at_ms, grounds)
        on = "" if grounds is None else grounds.evidence
        return Approved(version, digest_of(registry, version), role, by.name, standing.missing, on, len(failed))


def put_on_trial(settings: Settings, version: str, reason: str, beside: Beside | None = None) -> HistoryRecord:
    """Name the challenger. Failure where the version isn't signed and sound, or is retired.

    The record before may be signed by a key that counts no more: what it named decides nothing.
    """
    by, key, at_ms = _mover(settings), _models_key(settings), trusted_now_ms(settings)
    with refusals():
        registry, trust = registry_at(settings.model_registry), _trust(settings)
        registry = registry if beside is None else beside.registry
        require_not_retired(read_history(registry, trust.keys), version)
        contents = read_artefact(registry, version)
        _load(version, contents, beside)
        require_signed(version, contents, trust.keys, at_ms, None)
        keys = vouched(trust.keys)
        before = alias_records(registry, keys, Alias.CHALLENGER)
        move_alias(
            registry, keys, key, alias=Alias.CHALLENGER, version=version, by=by, event=Event.TRIED,
            at_ms=max([at_ms, *(each.at_ms for each in before[-1:])]), reasons=(_reason(reason),),
        )  # fmt: skip
        return read_history(registry, trust.keys)[-1]


def retire(settings: Settings, version: str, reason: str) -> HistoryRecord:
    """Failure where an alias names it, or is being moved to it, or somebody moved an alias in the same moment."""
    by, key = _mover(settings), _models_key(settings)
    with refusals():
        registry, trust = registry_at(settings.model_registry), _trust(settings)
        history = read_history(registry, trust.keys)  # before the aliases: what is begun after it voids this
        require_not_retired(history, version)
        for alias in Alias:
            records = alias_records(registry, trust.keys if alias is Alias.CHAMPION else vouched(trust.keys), alias)
            if records and records[-1].version == version:
                refuse(f"version '{version}' is {alias}")
            if alias is Alias.CHAMPION and records and records[-1].previous_version == version:
                refuse(f"version '{version}' is what a rollback of {alias} would go back to")
            if moved_last(history, alias) == version:
                refuse(f"{alias} is being moved to version '{version}', or the move was left half done")
        return append_history(
            registry, trust.keys, key, Event.RETIRED, version, digest_of(registry, version),
            by=by, at_ms=trusted_now_ms(settings), reasons=(_reason(reason),), before=history,
        )  # fmt: skip


def begin(settings: Settings, version: str, reason: str) -> HistoryRecord:
    """Failure where there was a champion before, or the version isn't signed and approved."""
    by, key, people = _mover(settings), _models_key(settings), _people(settings)
    at_ms, seen = _noted(settings)
    with refusals():
        registry, trust = registry_at(settings.model_registry), _trust(settings)
        records = alias_records(registry, trust.keys, Alias.CHAMPION)
        require_no_way_back(Alias.CHAMPION, records, seen)
        if records:
            refuse("the registry has a champion; another takes its place when it is promoted")
        moves = [each for each in read_history(registry, trust.keys) if each.alias == Alias.CHAMPION]
        if any(each.event is not Event.BEGUN for each in moves):
            refuse("the history tells of champions whose records are gone: put the registry back from its backup")
        contents = read_artefact(registry, version)
        load_contents(version, contents)
        require_signed(version, contents, trust.keys, at_ms, None)
        standing = standing_approvals(registry, version, people, at_ms)
        if standing.missing is not None:
            refuse("; ".join([f"version '{version}' is not approved: {standing.missing}", *standing.faults]))
        move_alias(
            registry, trust.keys, key, alias=Alias.CHAMPION, version=version, by=by, at_ms=at_ms, event=Event.BEGUN,
            approvals=pinned_approvals(registry, standing), reasons=(_reason(reason),),
        )  # fmt: skip
        return read_history(registry, trust.keys)[-1]


def confirm(settings: Settings, reason: str) -> HistoryRecord:
    """Failure where there is no champion, or the registry is older than what the database recorded of it.

    The record before may be signed by a key that counts no more.
    """
    by, key = _mover(settings), _models_key(settings)
    at_ms, seen = _noted(settings)
    with refusals():
        registry, trust = registry_at(settings.model_registry), _trust(settings)
        trust = trust._replace(keys=vouched(trust.keys))
        records = alias_records(registry, trust.keys, Alias.CHAMPION)
        if not records:
            refuse("the registry names no champion")
        require_no_way_back(Alias.CHAMPION, records, seen)
        last = records[-1]
        move_alias(
            registry, trust.keys, key, alias=Alias.CHAMPION, version=last.version, by=by,
            at_ms=max(at_ms, last.at_ms), event=Event.CONFIRMED, share_ppm=last.share_ppm, salt=last.salt,
            approvals=last.approvals, reasons=(_reason(reason),),
        )  # fmt: skip
        return read_history(registry, trust.keys)[-1]


def show_signed(output: Output, signed: Signed) -> None:
    output.record(signed._asdict(), f"Version {signed.version} is signed by the key {signed.key_id}.")


def show_approved(output: Output, approved: Approved) -> None:
    rest = "three people stand for it" if approved.missing is None else approved.missing
    runs = f", answering for {count_text(approved.failed, 'run')} that failed" if approved.failed else ""
    line = f"{approved.name} approves {approved.version} ({approved.digest[:16]}) as {approved.role}{runs}; {rest}."
    output.record(approved._asdict(), line)


def show_event(output: Output, record: HistoryRecord) -> None:
    line = f"{record.version}: {record.event}, by {record.by}, as record {record.sequence} of the history."
    output.record({**record._asdict(), "reasons": list(record.reasons)}, line)


def trusted_now_ms(settings: Settings) -> int:
    """Return the time that a record is dated by: the database's, so that no wrong clock here dates what others count.

    In development, where no database is named, this machine's clock stands in for it.
    """
    if not settings.has_database:
        return now_ms()
    with connected(settings) as connection:
        return server_now_ms(connection)


def _noted(settings: Settings) -> tuple[int, Seen | None]:
    """Return that time, and the champion's last record as the database has it: what a registry that was emptied, or put
    back, doesn't say."""
    if not settings.has_database:
        return now_ms(), None
    with connected(settings) as connection:
        return server_now_ms(connection), latest_seen(connection)


def _load(version: str, contents: Mapping[str, bytes], beside: Beside | None) -> None:
    """Raises ModelRefused for what nobody could load."""
    if beside is None:
        load_contents(version, contents)
    else:
        beside.load(version, contents)


def _mover(settings: Settings) -> str:
    """Return the name of whoever asks. Failure where their key is not registered, or they hold no role in this."""
    by = identity_of(settings)
    if not person_of(_people(settings), by).holds(Role.OPERATOR, *APPROVING_ROLES):
        roles = ", ".join([Role.OPERATOR, *APPROVING_ROLES])
        what = f"Refused: you hold none of the roles {roles}, or your key isn't registered."
        raise Failure(what, "`fraud people list` shows who does.", FAILED_CHECK)
    return by.name


def _grounds(settings: Settings, filed: Sequence[Filed], answer: str) -> Grounds:
    try:
        policy = read_plain(settings.policy_path, POLICY_BYTES_MAX)
    except OSError as error:
        raise Failure(f"The policy can't be read ({error.strerror}).", "Set FRAUD_POLICY_PATH.") from error
    return Grounds(root_of(filed), sha256_of(policy), answer)


def _answer(answer: str, failed: Sequence[str]) -> str:
    said = answer.strip()
    if failed and not said:
        shown = ", ".join(failed[:FAILED_SHOWN_MAX]) + (" …" if len(failed) > FAILED_SHOWN_MAX else "")
        runs = count_text(len(failed), "run")
        what = f"{runs} of its checks failed ({shown}), and whoever approves it answers for them."
        raise Failure(what, "Read them with `fraud models card`; say why they don't stand against it by --answer.")
    if not (len(said) <= ANSWER_CHARACTERS_MAX and said.isprintable()):
        raise Failure(
            "The answer is too long or not printable.", f"Give one of at most {ANSWER_CHARACTERS_MAX} characters."
        )
    return said


def _trust(settings: Settings) -> Trust:
    trust = trust_of(settings)
    if trust is None:
        raise Failure(
            "No key set says which keys sign models.",
            "Set FRAUD_SEAL_KEYS_FILE to one that holds keys of the uses models and artefacts (`fraud keys create`).",
        )
    return trust


def _people(settings: Settings) -> People:
    if settings.people_file is None:
        raise Failure("FRAUD_PEOPLE_FILE names no file that says who may.", "`fraud people export` writes it.")
    try:
        return read_people(settings.people_file).registry
    except PeopleFileRefused as refusal:
        what = f"{str(refusal)[:1].upper()}{str(refusal)[1:]}."
        raise Failure(what, "`fraud people export` writes it anew.") from refusal


def _models_key(settings: Settings) -> SigningKey:
    """Failure where there is none, or the key set doesn't trust it: nobody would heed what it signs."""
    fix = "`fraud keys create models PATH --set SET` makes one."
    if settings.models_key_file is None:
        raise Failure("FRAUD_MODELS_KEY_FILE names no key that signs what the registry says.", fix)
    try:
        key = SigningKey.from_file(settings.models_key_file)
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", fix) from refusal
    with refusals():
        why = untrusted(_trust(settings).keys, KeyUse.MODELS, key.key_id, now_ms(), None)
    if why is not None:
        raise Failure(f"Nobody would heed what this key signs: {why}.", fix)
    return key


def _artefacts_key(settings: Settings) -> ArtefactKey:
    fix = "`fraud keys create artefacts PATH --set SET` makes one."
    if settings.artefacts_key_file is None:
        raise Failure("FRAUD_ARTEFACTS_KEY_FILE names no key that signs models.", fix)
    try:
        return ArtefactKey.from_file(settings.artefacts_key_file)
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", fix) from refusal


def _reason(reason: str) -> str:
    if not (0 < len(reason.strip()) <= REASON_CHARACTERS_MAX and reason.isprintable()):
        raise Failure(
            "The reason is empty, too long or not printable.", f"Give one of 1 to {REASON_CHARACTERS_MAX} characters."
        )
    return reason.strip()


@contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except VersionMissing as missing:
        raise no_version(str(missing)) from missing
    except ModelRefused as refusal:
        what = f"{str(refusal)[:1].upper()}{str(refusal)[1:]}."
        raise Failure(what, "`fraud models verify` says how the registry stands.", FAILED_CHECK) from refusal
