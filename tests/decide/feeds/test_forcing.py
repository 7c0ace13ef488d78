"""`fraud feeds`, and an OPERATOR's word that lets in what would be refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.decide.feeds.feed import FeedKind, FeedRefused, parse_new_feed
from pipeline.decide.feeds.feed_files import archive_folder, archived, in_force_path, put_in_force
from pipeline.decide.feeds.forced_files import word_fault
from pipeline.decide.regime_files import RegimeSource
from pipeline.io.postgres import Connection
from pipeline.io.settings import Settings
from pipeline.keys.key_files import create_signing_key
from pipeline.keys.key_sets import KeyUse
from pipeline.people.act_store import registry_acts
from pipeline.people.people_files import write_people
from tests.commands import Fraud
from tests.decide.feeds.test_regime_feeds import DAY_MS, HOUR_MS, dated, now_ms
from tests.known import appoint, revoke, settings_of
from tests.records import POLICY_PATH

RATES, SANCTIONS = FeedKind


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Feeds of two hours ago are in force."""
    shutil.copy(POLICY_PATH, tmp_path / "policy.toml")
    for kind in FeedKind:
        content = dated(kind, now_ms() - 2 * HOUR_MS, "first")
        (tmp_path / "feeds").mkdir(exist_ok=True)
        put_in_force(tmp_path / "feeds", parse_new_feed(content), content)
    return tmp_path / "feeds"


def written(folder: Path, content: bytes) -> Path:
    path = folder.parent / "new.toml"
    path.write_bytes(content)
    return path


def given(folder: Path) -> dict[str, object]:
    return {"policy_path": folder.parent / "policy.toml", "feeds_path": folder}


def in_force(folder: Path, kind: FeedKind = RATES) -> str:
    return parse_new_feed(in_force_path(folder, kind).read_bytes(), kind).version


def test_a_younger_feed_is_checked_and_installed(fraud: Fraud, folder: Path) -> None:
    path = written(folder, dated(RATES, now_ms() - HOUR_MS, "second"))
    checked = fraud("feeds", "check", path, **given(folder))
    assert (checked.code, checked.out) == (0, "exchange_rates second may be installed; it follows first.\n")
    assert in_force(folder) == "first"
    installed = fraud("feeds", "install", path)
    assert (installed.code, installed.out) == (0, "Installed exchange_rates second; it follows first.\n")
    assert in_force(folder) == "second"
    assert sorted(found.version for _, found in archived(folder) if not isinstance(found, Exception)) == [
        "first",
        "first",
        "second",
    ]
    listed = [json.loads(line) for line in fraud("feeds", "list", "--json").out.splitlines()]
    assert [(each["kind"], each["version"], each["in_force"]) for each in listed] == [
        ("exchange_rates", "first", False),
        ("exchange_rates", "second", True),
        ("sanctions", "first", True),
    ]


def test_the_feeds_in_force_are_shown_with_their_age(fraud: Fraud, folder: Path) -> None:
    shown = fraud("feeds", "show", **given(folder))
    assert shown.code == 0
    assert "sanctions      first, 2 of 168 hours old, 5 sanctions, 250 countries" in shown.out
    old = dated(RATES, now_ms() - 8 * DAY_MS, "old")
    put_in_force(folder, parse_new_feed(old), old)
    shown = fraud("feeds", "show", "--json")
    rates, sanctions = map(json.loads, shown.out.splitlines())
    assert (shown.code, rates["is_too_old"], rates["age_hours"], sanctions["is_too_old"]) == (1, True, 192, False)
    in_force_path(folder, SANCTIONS).unlink()
    shown = fraud("feeds", "show")
    assert (shown.code, "MISSING sanctions" in shown.out) == (1, True)


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        (b"rubbish", 1, "is refused: the feed is not valid TOML"),
        (b"\xef\xbb\xbf" + dated(RATES, now_ms() - HOUR_MS, "second"), 1, "begins with a byte order mark"),
        (dated(RATES, now_ms() - 3 * HOUR_MS, "second"), 1, "a later one must be for a later time"),
        (dated(RATES, now_ms() + HOUR_MS, "second"), 1, "which is still to come"),
        (dated(RATES, now_ms() - HOUR_MS, "second", ('"0.8720"', '"8.7200"')), 1, "would move by more than 20 %"),
        (dated(RATES, now_ms() - HOUR_MS, "first"), 1, "is in force with other content"),
    ],
)
def test_what_would_be_refused_is_not_installed(
    fraud: Fraud, folder: Path, content: bytes, code: int, sentence: str
) -> None:
    path, before = written(folder, content), in_force_path(folder, RATES).read_bytes()
    answer = fraud("feeds", "install", path, **given(folder))
    assert (answer.code, sentence in answer.err) == (code, True), answer
    assert in_force_path(folder, RATES).read_bytes() == before
    assert len(archived(folder)) == 2
    assert fraud("feeds", "check", path).code == 1


def test_a_file_that_is_not_there_is_told(fraud: Fraud, folder: Path) -> None:
    answer = fraud("feeds", "install", folder / "none.toml", **given(folder))
    assert (answer.code, "can't be read" in answer.err) == (2, True)


def people_file(owner: Connection, folder: Path) -> Path:
    write_people(folder.parent / "people.jsonl", registry_acts(owner))
    return folder.parent / "people.jsonl"


def test_an_operator_forces_an_older_feed_and_workers_heed_their_word(
    fraud: Fraud, folder: Path, owner: Connection
) -> None:
    appoint(owner, {"on-call": "OPERATOR", "ann": "REVIEWER"})
    people = people_file(owner, folder)
    source = RegimeSource(Settings(**given(folder), people_file=people))
    older = written(folder, dated(RATES, now_ms() - 3 * HOUR_MS, "older"))
    force = ("feeds", "install", older, "--force", "--reason", "the last rates were of the wrong day")
    assert "OPERATOR says so with --force" in fraud("feeds", "install", older, "--force", **given(folder)).err
    assert "FRAUD_PEOPLE_FILE names no file" in fraud(*force).err
    as_ann = {**settings_of(folder.parent / "keys", "ann"), "people_file": people}
    refused = fraud(*force, **as_ann)
    assert (refused.code, "only an OPERATOR forces a feed" in refused.err) == (1, True)
    assert in_force(folder) == "first"
    forced = fraud(*force, **settings_of(folder.parent / "keys", "on-call"))
    assert (forced.code, in_force(folder)) == (0, "older"), forced
    with capture_logs() as logs:
        changed = source.changed()
    assert changed is not None
    assert changed.feeds is not None
    assert changed.feeds.exchange_rates is not None
    assert changed.feeds.exchange_rates.version == "older"
    assert "feed_forced" in [each["event"] for each in logs]
    assert RegimeSource(Settings(**given(folder), people_file=people)).current.feeds == changed.feeds, "a start, too"
    with pytest.raises(FeedRefused, match=r"a later one must be for a later time \(it would follow first\)"):
        RegimeSource(Settings(**given(folder), people_file=None))
    [word] = archive_folder(folder).glob("forced-*.json")
    act = json.loads(json.loads(word.read_text())["act"])
    assert (act["name"], act["subject"]["reason"]) == ("on-call", "the last rates were of the wrong day")


def test_a_word_is_about_one_feed_in_one_place_and_by_one_who_may(
    owner: Connection, fraud: Fraud, folder: Path
) -> None:
    appoint(owner, {"on-call": "OPERATOR"})
    people = people_file(owner, folder)
    before = parse_new_feed(in_force_path(folder, RATES).read_bytes())
    content = dated(RATES, now_ms() - 3 * HOUR_MS, "older")
    path = written(folder, content)
    asked = {**given(folder), **settings_of(folder.parent / "keys", "on-call"), "people_file": people}
    assert fraud("feeds", "install", path, "--force", "--reason", "it is meant", **asked).code == 0
    after, at_ms = parse_new_feed(content), now_ms()
    assert word_fault(folder, people, before, after, at_ms) is None
    other = parse_new_feed(dated(RATES, now_ms() - 4 * HOUR_MS, "other"))
    assert "no person has said" in str(word_fault(folder, people, before, other, at_ms))
    assert "no person has said" in str(word_fault(folder, people, other, after, at_ms)), "in another's place"
    assert "another time" in str(word_fault(folder, people, before, after, at_ms + DAY_MS)), "replayed a day later"
    assert word_fault(folder, None, before, after, at_ms) is not None
    [word] = archive_folder(folder).glob("forced-*.json")
    renamed = word.with_name(f"forced-{after.sha256.hex()[:16]}-{other.sha256.hex()[:16]}.json")
    shutil.copy(word, renamed)
    assert "says otherwise" in str(word_fault(folder, people, other, after, at_ms)), "nor under another's name"
    renamed.unlink()
    fields = json.loads(word.read_text())
    for changed in (
        {"act": fields["act"].replace("it is meant", "it was not")},
        {"act": "rubbish"},
        {"act": 5},
        {"signature": "00" * 64},
        {"signature": "no"},
    ):
        word.write_text(json.dumps({**fields, **changed}))
        fault = word_fault(folder, people, before, after, at_ms)
        assert fault is not None, changed
    word.write_text(json.dumps(fields))
    revoke(owner, "on-call", "OPERATOR")
    assert word_fault(folder, people_file(owner, folder), before, after, now_ms() + 1) is not None


def test_a_publisher_signs_and_production_takes_nothing_else(fraud: Fraud, folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "publisher.key"
    create_signing_key(key, KeyUse.FEEDS)
    path = written(folder, dated(RATES, now_ms() - HOUR_MS, "second"))
    asked = {**given(folder), "profile": "production", "seal_keys_file": f"{key}.keys"}
    unsigned = fraud("feeds", "install", path, **asked)
    assert (unsigned.code, "it is not signed" in unsigned.err) == (1, True), unsigned
    signed = fraud("feeds", "sign", path, "--key", key)
    assert signed.code == 0, signed
    path.write_bytes(path.read_bytes() + b"# altered\n")
    altered = fraud("feeds", "install", path)
    assert (altered.code, "not one of the key" in altered.err) == (1, True), altered
    assert fraud("feeds", "sign", path, "--key", key).code == 0
    assert fraud("feeds", "install", path).code == 0
    assert in_force(folder) == "second"


def test_a_feed_whose_file_is_gone_is_followed_all_the_same(fraud: Fraud, folder: Path) -> None:
    """What it may be followed by is told by the archive, where the file in force is gone or spoilt."""
    spoilings: list[Callable[[Path], object]] = [Path.unlink, lambda path: path.write_bytes(b"rubbish")]
    for number, spoil in enumerate(spoilings):
        spoil(in_force_path(folder, RATES))
        older = fraud(
            "feeds", "install", written(folder, dated(RATES, now_ms() - 3 * HOUR_MS, "older")), **given(folder)
        )
        assert (older.code, "a later one must be for a later time" in older.err) == (1, True)
        younger = dated(RATES, now_ms() - HOUR_MS + number * 60_000, f"younger-{number}")
        assert fraud("feeds", "install", written(folder, younger)).code == 0
        assert in_force(folder) == f"younger-{number}"
