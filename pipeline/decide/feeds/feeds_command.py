"""`fraud feeds`: check, sign, install, list and show exchange rates and sanctions."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from models.artefact.plain_files import read_plain
from pipeline.decide.feeds.changes import Refused
from pipeline.decide.feeds.feed import (
    FEED_BYTES_MAX,
    ExchangeRates,
    Feed,
    FeedKind,
    FeedRefused,
    parse_new_feed,
)
from pipeline.decide.feeds.feed_files import (
    archive_folder,
    archived,
    feed_bytes,
    is_kept,
    put_in_force,
    replace,
)
from pipeline.decide.feeds.forced_files import NO_PEOPLE, proved_words, word_fault, word_for, write_word
from pipeline.decide.feeds.signature_files import (
    SIGNATURE_BYTES_MAX,
    fault_of,
    keep_signature,
    signature_beside,
    signature_text,
)
from pipeline.decide.feeds.standing_files import is_taken_back, refusal_to_follow, standing
from pipeline.decide.policy import POLICY_BYTES_MAX, Policy, PolicyRefused, parse_new_policy
from pipeline.domain.times import utc_text
from pipeline.io.clock import now_ms
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import SigningKey, SigningKeyRefused
from pipeline.people.identity_command import identity_of
from pipeline.people.people_files import PeopleFileRefused, read_people
from pipeline.people.roles import Role
from pipeline.people.store import person_of
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output, coloured

REASON_CHARACTERS_MAX: Final = 500


class Offered(NamedTuple):
    """A feed that is to be in force, the one that is, and why it may not follow; None: nothing speaks against it.

    signature: of the file beside it; None where there is none.
    """

    feed: Feed
    content: bytes
    before: Feed | None
    policy: Policy
    refused: Refused | None
    signature: bytes | None


def check(settings: Settings, path: Path) -> Offered:
    """Read a feed's file, and compare it with what is in force. Failure says why it can't be a feed at all."""
    content = _read(path)
    try:
        feed = parse_new_feed(content)
    except FeedRefused as refusal:
        raise Failure(f"{path} is refused: {refusal}.", "Ask whoever published it.", FAILED_CHECK) from refusal
    policy, signature = _policy(settings), _signature_beside(path)
    assert policy.feeds is not None, "parse_new_policy refuses a policy without"
    try:
        before = running(settings, feed.kind)
        refused = refusal_to_follow(settings, before, feed, policy.feeds, now_ms())
    except (OSError, FeedRefused) as error:
        what = f"{path} can't be held against what is in force: {error}."
        raise Failure(what, "No worker starts until this is mended.", FAILED_CHECK) from error
    fault = _signature_fault(settings, content, signature)
    if fault is not None:
        fix = "`fraud feeds sign` signs it, with a key of the use feeds."
        raise Failure(f"{path} is refused: {fault}.", fix, FAILED_CHECK)
    return Offered(feed, content, before, policy, refused, signature)


def install(settings: Settings, path: Path, *, is_forced: bool, reason: str | None) -> Offered:
    """Put a feed in force, by an OPERATOR's word where it is forced. Failure says why not; the old one stays then."""
    offered = check(settings, path)
    feed, content, before, _, refused, signature = offered
    if refused is not None:
        if not refused.may_be_forced:
            raise Failure(f"{path} is refused: {refused.why}.", "Wait until then, or correct it.", FAILED_CHECK)
        if not is_forced or reason is None:
            fix = "If it is meant, an OPERATOR says so with --force --reason TEXT."
            raise Failure(f"{path} is refused: {refused.why}.", fix, FAILED_CHECK)
        assert before is not None, "only what follows another can be forced"
        _force(settings, before, feed, reason)
    try:
        if signature is not None:
            keep_signature(settings.feeds_path, feed, signature)
        put_in_force(settings.feeds_path, feed, content)
    except OSError as error:
        what = f"The feed can't be written into {settings.feeds_path} ({error.strerror})."
        raise Failure(what, "Set FRAUD_FEEDS_PATH to the folder that the workers read.") from error
    return offered


def sign(path: Path, key_path: Path) -> Path:
    """Sign a feed's file; return the place of the signature."""
    content = _read(path)
    try:
        parse_new_feed(content)
        key = SigningKey.from_file(key_path)
    except FeedRefused as refusal:
        raise Failure(f"{path} is refused: {refusal}.", "Correct the file before it is signed.") from refusal
    except SigningKeyRefused as refusal:
        raise Failure(f"{refusal}.", "`fraud keys create feeds PATH` makes a key.") from refusal
    replace(signature_beside(path), signature_text(key, content, now_ms()))
    return signature_beside(path)


def in_force(settings: Settings, kind: FeedKind) -> Feed | None:
    """The feed in force; None where its file is gone or spoilt, so that no worker could start with it."""
    try:
        return parse_new_feed(feed_bytes(settings, kind), kind)
    except (OSError, FeedRefused):
        return None


def running(settings: Settings, kind: FeedKind) -> Feed | None:
    """What a new feed is compared with: the one in force, or the youngest of the archive, which workers go on with.

    A file that the archive doesn't hold, or that was taken back, was put there by hand, and no worker has taken it up.
    None where there never was one. Raises FeedRefused or OSError.
    """
    feed = in_force(settings, kind)
    words = proved_words(settings.feeds_path, settings.people_file)
    if feed is not None and is_kept(settings.feeds_path, feed) and not is_taken_back(settings, feed, words):
        return feed
    return next((kept for kept, _ in standing(settings, kind)), feed)


def show_offered(output: Output, offered: Offered, *, is_installed: bool) -> None:
    feed, before, refused = offered.feed, offered.before, offered.refused
    fields = {
        **_fields(feed),
        "replaces": None if before is None else before.version,
        "installed": is_installed,
        "refused": None if refused is None else refused.why,
    }
    follows = "there is none in force" if before is None else f"it follows {before.version}"
    said = f"Installed {feed.kind} {feed.version}" if is_installed else f"{feed.kind} {feed.version} may be installed"
    if refused is not None and not is_installed:
        said = f"{feed.kind} {feed.version} would be refused: {refused.why}"
    output.record(fields, f"{said}; {follows}.")


def show_list(output: Output, settings: Settings) -> None:
    """The feeds of the archive, which decisions may name, and which of them are in force."""
    those_in_force = {feed.sha256 for kind in FeedKind if (feed := in_force(settings, kind)) is not None}
    for path, kept in archived(settings.feeds_path):
        if isinstance(kept, FeedRefused):
            fields: dict[str, object] = {"file": path.name, "refused": str(kept)}
            output.record(fields, f"{coloured('REFUSED', 'red')} {path.name}  {kept}")
        else:
            is_in_force = kept.sha256 in those_in_force
            mark = coloured("in force", "green") if is_in_force else "        "
            line = f"{mark} {kept.kind:<14} {kept.version:<32} {utc_text(kept.as_of_ms)}  {kept.sha256.hex()[:16]}"
            output.record({**_fields(kept), "in_force": is_in_force}, line)
    output.end_list(f"feeds in {archive_folder(settings.feeds_path)}")


def show_in_force(output: Output, settings: Settings) -> bool:
    """Each feed in force with its age and what the policy says of it; True where none is missing or too old."""
    policy, at_ms, is_sound = _policy(settings), now_ms(), True
    for kind in FeedKind:
        feed, too_old_hours = in_force(settings, kind), policy.too_old_hours(kind)
        assert too_old_hours is not None, "parse_new_policy refuses a policy without"
        if feed is None:
            output.record(
                {"kind": kind, "version": None}, f"{coloured('MISSING', 'red')} {kind}: its file is gone, or is no feed"
            )
            is_sound = False
            continue
        age_hours = feed.age_hours(at_ms)
        is_old = age_hours >= too_old_hours
        is_sound &= not is_old
        fields = {**_fields(feed), "age_hours": age_hours, "too_old_hours": too_old_hours, "is_too_old": is_old}
        mark = coloured("TOO OLD", "red") if is_old else coloured("ok     ", "green")
        content = f"{len(feed.rates)} rates" if isinstance(feed, ExchangeRates) else _sanctions_in_words(feed)
        line = f"{mark} {kind:<14} {feed.version}, {age_hours} of {too_old_hours} hours old, {content}: {feed.source}"
        output.record(fields, line)
    return is_sound


def _sanctions_in_words(feed: Feed) -> str:
    assert not isinstance(feed, ExchangeRates)
    return f"{len(feed.sanctioned_countries)} sanctions, {len(feed.known_countries)} countries"


def _force(settings: Settings, before: Feed, feed: Feed, reason: str) -> None:
    """Keep an OPERATOR's signed word that the feed is meant. Failure says why it would count for nothing."""
    if not (0 < len(reason.strip()) <= REASON_CHARACTERS_MAX and reason.isprintable()):
        raise Failure(
            "The reason is empty, too long or not printable.", f"Give one of 1 to {REASON_CHARACTERS_MAX} characters."
        )
    if settings.people_file is None:
        raise Failure(f"{NO_PEOPLE}.", "`fraud people export` writes it; every worker has the same.")
    by = identity_of(settings)
    try:
        registry = read_people(settings.people_file).registry
    except PeopleFileRefused as refusal:
        what = f"{str(refusal)[:1].upper()}{str(refusal)[1:]}."
        raise Failure(what, "`fraud people export` writes it anew.") from refusal
    if not person_of(registry, by).holds(Role.OPERATOR):
        fix = "`fraud people list` shows who is one."
        raise Failure("Refused: only an OPERATOR forces a feed.", fix, FAILED_CHECK)
    archive_folder(settings.feeds_path).mkdir(parents=True, exist_ok=True)
    at_ms = now_ms()
    write_word(settings.feeds_path, word_for(before, feed, reason.strip()), by, at_ms, registry.root)
    fault = word_fault(settings.feeds_path, settings.people_file, before, feed, at_ms)
    if fault is not None:
        raise Failure(f"The word would count for nothing: {fault}.", "`fraud people verify` says more.", FAILED_CHECK)


def _signature_fault(settings: Settings, content: bytes, signature: bytes | None) -> str | None:
    """A signature that is there must be good wherever a key set is named; production takes no feed without one."""
    is_production = settings.profile is Profile.PRODUCTION
    if signature is None:
        return "it is not signed" if is_production else None
    is_checked = is_production or settings.seal_keys is not None or settings.seal_keys_file is not None
    return fault_of(settings, content, signature) if is_checked else None


def _signature_beside(path: Path) -> bytes | None:
    try:
        return read_plain(signature_beside(path), SIGNATURE_BYTES_MAX)
    except OSError:
        return None


def _policy(settings: Settings) -> Policy:
    try:
        return parse_new_policy(read_plain(settings.policy_path, POLICY_BYTES_MAX))
    except (OSError, PolicyRefused) as error:
        what = f"The policy {settings.policy_path} can't be used: {error}."
        raise Failure(what, "`fraud config check` says more.") from error


def _read(path: Path) -> bytes:
    try:
        return read_plain(path, FEED_BYTES_MAX)
    except OSError as error:
        raise Failure(f"{path} can't be read ({error.strerror}).", "Give the path of a feed's file.") from error


def _fields(feed: Feed) -> dict[str, object]:
    return {
        "kind": feed.kind.value,
        "version": feed.version,
        "as_of": utc_text(feed.as_of_ms),
        "source": feed.source,
        "sha256": feed.sha256.hex(),
    }
